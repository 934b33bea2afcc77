//! A process that ends with its test, whatever becomes of the test.

use std::fs;
use std::io::{self, BufRead as _, BufReader, PipeReader, Read, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::binary::Ran;
use crate::{note, wait};

/// What is shown of a process when its test fails.
const SHOWN_LINES_MAX: usize = 60;

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    out: Lines,
    err: Lines,
}

/// What can be sent to a process, besides the end.
#[derive(Clone, Copy, Debug)]
pub enum Signal {
    /// Asks it to end.
    Terminate,
    /// The same, from a keyboard.
    Interrupt,
    /// Pauses it.
    Stop,
    /// Lets it go on.
    Continue,
}

/// While this is there, a process waits with what it would write to standard output.
pub struct Unheard {
    _hold: Sender<()>,
}

struct Held {
    heard: Receiver<()>,
    out: PipeReader,
}

impl Read for Held {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Nothing is ever sent: it ends when the sender is dropped.
        let _dropped = self.heard.recv();
        self.out.read(buffer)
    }
}

impl Process {
    /// Starts a process. Its name is for reports.
    pub fn start(name: impl Into<String>, mut command: Command) -> Self {
        let (out, stdout) = io::pipe().expect("a pipe");
        command.stdout(stdout);
        Self::heard(name.into(), command, out)
    }

    /// The same, for a process that cannot write to standard output until it is let.
    pub fn start_unheard(name: impl Into<String>, mut command: Command) -> (Self, Unheard) {
        let (out, mut full) = io::pipe().expect("a pipe");
        command.stdout(full.try_clone().expect("a pipe"));
        // More than a pipe holds. Nobody reads it where the process has ended.
        let padding = move || drop(full.write_all(&vec![b' '; 1 << 20]));
        thread::Builder::new().spawn(padding).expect("a thread");
        let (unheard, heard) = mpsc::channel();
        let out = Held { heard, out };
        (Self::heard(name.into(), command, out), Unheard { _hold: unheard })
    }

    fn heard(name: String, mut command: Command, out: impl Read + Send + 'static) -> Self {
        let spawned = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{name}: {command:?}: {error}"));
        // It has the writing end of `out`, which must not be kept open here.
        drop(command);
        let out = Lines::read(out);
        let err = Lines::read(child.stderr.take().expect("it is piped"));
        Self { name, child, out, err }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line on standard output that begins so.
    pub fn says(&self, beginning: &str) -> String {
        self.says_within(wait::LONG, beginning)
    }

    /// The same, where something has to be built first.
    pub fn says_within(&self, within: Duration, beginning: &str) -> String {
        let line = self.out.wait_for(within, |line| line.starts_with(beginning));
        line.unwrap_or_else(|| panic!("{} did not say {beginning:?}", self.name))
    }

    /// What it has said on standard output.
    pub fn said(&self) -> Vec<String> {
        self.out.now()
    }

    /// Waits for a line in its log, on standard error, that contains all of this.
    pub fn logs(&self, parts: &[&str]) -> String {
        let wanted = |line: &str| parts.iter().all(|part| line.contains(part));
        let line = self.err.wait_for(wait::LONG, wanted);
        line.unwrap_or_else(|| panic!("{} did not log {parts:?}", self.name))
    }

    /// The lines of its log so far that contain this.
    pub fn logged(&self, part: &str) -> Vec<String> {
        self.err.now().into_iter().filter(|line| line.contains(part)).collect()
    }

    /// Whether it has said what to do on both signals that ask for its end, which would end it at
    /// once otherwise. Procfs has it without a race with the signal itself.
    pub fn heeds_signals(&self) -> bool {
        let file = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect(&file);
        let caught = u64::from_str_radix(caught.trim(), 16).expect("a mask");
        [2, 15].iter().all(|number| caught & (1 << (number - 1)) != 0)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let name = match signal {
            Signal::Terminate => "TERM",
            Signal::Interrupt => "INT",
            Signal::Stop => "STOP",
            Signal::Continue => "CONT",
        };
        // The shell has it without a crate: rustix would do, but another feature of it would have
        // wasmtime compiled twice.
        let kill = format!("kill -s {name} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &kill]).status().expect("there is a shell");
        assert!(sent.success(), "{}: {kill}", self.name);
    }

    /// Kills it (`kill -9`), and waits until it is gone.
    pub fn kill(self) {
        drop(self);
    }

    /// Waits for its end, and gives all that it wrote.
    pub fn finish(mut self, within: Duration) -> Ran {
        let (status, _) = self.ended(within);
        Ran { code: status.code().unwrap_or(-1), out: self.out.text(), err: self.err.text() }
    }

    /// Waits for its end; gives its exit code, or why there is none, and how long it took.
    pub fn ends(mut self, within: Duration) -> (Result<i32, String>, Duration) {
        let (status, took) = self.ended(within);
        let by_signal = || format!("signal {}", status.signal().unwrap_or_default());
        (status.code().ok_or_else(by_signal), took)
    }

    fn ended(&mut self, within: Duration) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        let status = wait::until(within, || self.child.try_wait().expect("it is our child"));
        let status = status.unwrap_or_else(|| panic!("{} runs on after {within:?}", self.name));
        (status, begun.elapsed())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail when it has ended, which is what they are for.
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            let lines = self.err.all();
            let shown = lines.len().saturating_sub(SHOWN_LINES_MAX);
            note(format_args!("--- log of {}, from line {shown}", self.name));
            for line in &lines[shown..] {
                note(format_args!("{line}"));
            }
        }
    }
}

/// The lines that come out of a pipe, as they come.
#[derive(Debug)]
struct Lines {
    shared: Arc<Shared>,
    /// Ends with the process.
    reader: Option<thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Seen {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    fn read(pipe: impl Read + Send + 'static) -> Self {
        let shared = Arc::<Shared>::default();
        let writer = Arc::clone(&shared);
        let read = move || {
            // What is not UTF-8 ends the reading, and so fails the test that waits for more.
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                writer.update(|seen| seen.lines.push(line));
            }
            writer.update(|seen| seen.ended = true);
        };
        let reader = thread::Builder::new().name("lines".to_owned()).spawn(read);
        Self { shared, reader: Some(reader.expect("a thread can be started")) }
    }

    /// The first line that is wanted, when it comes; `None` if it does not.
    fn wait_for(&self, within: Duration, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let Shared { seen, changed } = &*self.shared;
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let find = |seen: &Seen| seen.lines.iter().find(|line| wanted(line)).cloned();
        let waiting = |seen: &mut Seen| !seen.ended && find(seen).is_none();
        let in_time = changed.wait_timeout_while(seen, within, waiting);
        let (seen, _) = in_time.unwrap_or_else(PoisonError::into_inner);
        find(&seen)
    }

    fn now(&self) -> Vec<String> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).lines.clone()
    }

    /// All lines of a process that has ended.
    fn all(&mut self) -> Vec<String> {
        if let Some(reader) = self.reader.take() {
            // It only reads: it has not panicked.
            drop(reader.join());
        }
        self.now()
    }

    /// The same as it was written.
    fn text(&mut self) -> String {
        let mut text = self.all().join("\n");
        if !text.is_empty() {
            text.push('\n');
        }
        text
    }
}

impl Shared {
    fn update(&self, update: impl FnOnce(&mut Seen)) {
        update(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}
