//! Where a page's commands run: a shell in a folder of the page's own, with `quorate` on its path,
//! and a further terminal for each command that does not end by itself.
//!
//! The book's ports may be somebody else's here, and two pages are tried at a time: so each page
//! has others, and neither it nor its commands know.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use tempfile::TempDir;

use super::page::{Console, Page, Step};
use super::screen;
use crate::binary::{quorate, target_dir};
use crate::process::{Process, Signal};
use crate::{is_full, note, ports, wait, workspace};

/// The book's ports, which are mapped to others.
const PORTS: std::ops::Range<u16> = 7400..7600;
/// Commands that do not end by themselves, unless they are put into the background.
const LASTING: [&str; 2] = ["quorate dev", "quorate serve"];
/// A plugin's dependencies may have to be built first.
const WAIT_MAX: Duration = Duration::from_mins(5);
/// In the long form, those of its tests too.
const FULL_WAIT_MAX: Duration = Duration::from_mins(40);
const STOP_WAIT_MAX: Duration = Duration::from_secs(20);
/// Ends a command's output, and tells how it ended and where.
const END: &str = "-- end of the command:";

/// The terminals of a page.
#[derive(Debug)]
pub struct Terminal {
    page: String,
    folder: PathBuf,
    first_port: u16,
    shell: Shell,
    /// The command that still runs, and how much of its output was looked at.
    lasting: Option<(Process, usize)>,
    /// Those before, which run until the page's end.
    others: Vec<Process>,
    /// Last: with `quorate` in it.
    bin: TempDir,
}

impl Terminal {
    /// A terminal in a folder.
    pub fn open(page: &Page, folder: &Path) -> Self {
        let bin = tempfile::tempdir().expect("a folder for the path");
        let program = fs::canonicalize(quorate().get_program()).expect("it was built");
        symlink(program, bin.path().join("quorate")).expect("the folder is new");
        let first_port = ports::free_in_a_row(PORTS.len().try_into().expect("a few hundred"));
        let shell = Shell::start(command(folder, bin.path(), first_port));
        let (page, folder) = (page.name.clone(), folder.to_owned());
        Self { page, folder, first_port, shell, lasting: None, others: Vec::new(), bin }
    }

    /// Writes a file.
    pub fn write(&self, path: &str, text: &str) {
        let file = self.folder.join(path);
        let parent = file.parent().expect("it is below a folder");
        fs::create_dir_all(parent).expect("a page's folder can be written to");
        fs::write(&file, to_own(text, self.first_port)).expect("a page's folder can be written to");
    }

    /// Types what a page shows, and looks at what is seen.
    pub fn console(&mut self, console: &Console) {
        for (number, step) in (1..).zip(&console.steps) {
            let is_last = number == console.steps.len();
            let Some(typed) = &step.command else {
                self.look_on(step);
                continue;
            };
            note(format_args!("{}:{}: {typed}", self.page, step.line));
            if LASTING.iter().any(|lasting| typed.starts_with(lasting)) && !is_short(typed) {
                self.last(typed);
                self.look_on(step);
            } else {
                assert!(!step.is_interrupted, "{}:{}: it has ended", self.page, step.line);
                let fails = is_last && console.fails;
                self.run(step, typed, fails, is_last && console.is_repeated);
            }
        }
    }

    /// Runs a command to its end.
    fn run(&mut self, step: &Step, typed: &str, fails: bool, is_repeated: bool) {
        let begun = Instant::now();
        let within = if is_full() { FULL_WAIT_MAX } else { WAIT_MAX };
        let typed = to_own(typed, self.first_port);
        let wait = if is_repeated { wait::LONG } else { Duration::ZERO };
        let mut seen = (Vec::new(), 0);
        let found = wait::until(wait, || {
            let (output, code) = self.shell.run(&typed, within);
            let output: Vec<_> =
                output.iter().map(|line| to_shown(line, self.first_port)).collect();
            let is_right = screen::is_all(&step.expected, &output) && (code == 0) != fails;
            seen = (output, code);
            is_right.then_some(())
        });
        note(format_args!("  {:.1} s", begun.elapsed().as_secs_f64()));
        let (output, code) = seen;
        assert!(
            found.is_some(),
            "{}:{}: {typed}\nshown:\n{}\nseen, with exit code {code}:\n{}\n",
            self.page,
            step.line,
            step.expected.join("\n"),
            output.join("\n")
        );
    }

    /// Begins a command that does not end by itself.
    fn last(&mut self, typed: &str) {
        self.others.extend(self.lasting.take().map(|(process, _)| process));
        let cwd = self.shell.folder.clone();
        let mut lasting =
            command(cwd.as_deref().unwrap_or(&self.folder), self.bin.path(), self.first_port);
        lasting.args(["-c", &format!("exec {}", to_own(typed, self.first_port))]);
        self.lasting = Some((Process::start(typed, lasting), 0));
    }

    /// Waits until the command that still runs shows what it should, and ends it if it is to end.
    fn look_on(&mut self, step: &Step) {
        let place = format!("{}:{}", self.page, step.line);
        let (process, before) =
            self.lasting.as_ref().unwrap_or_else(|| panic!("{place}: nothing runs"));
        let shown = || -> Vec<String> {
            process.said().iter().skip(*before).map(|line| self.to_shown(line)).collect()
        };
        let found = wait::until(WAIT_MAX, || screen::consumed(&step.expected, &shown()));
        let Some(found) = found else {
            panic!(
                "{place}: shown:\n{}\nseen:\n{}\n",
                step.expected.join("\n"),
                shown().join("\n")
            );
        };
        let now = before + found;
        let (process, _) = self.lasting.take().expect("it was there");
        if step.is_interrupted {
            process.signal(Signal::Interrupt);
            let (code, _) = process.ends(STOP_WAIT_MAX);
            assert_eq!(code, Ok(0), "{place}");
            self.lasting = self.others.pop().map(|process| {
                let all = process.said().len();
                (process, all)
            });
        } else {
            self.lasting = Some((process, now));
        }
    }

    fn to_shown(&self, line: &str) -> String {
        to_shown(line, self.first_port)
    }
}

/// Whether a command that may last ends nevertheless, or lets the shell go on.
fn is_short(typed: &str) -> bool {
    typed.ends_with('&') || typed.contains("--help")
}

fn own(port: u16, first: u16) -> String {
    (port - PORTS.start + first).to_string()
}

/// What a page says, with this run's ports.
pub fn to_own(text: &str, first: u16) -> String {
    mapped(text, PORTS.map(|port| (port.to_string(), own(port, first))))
}

/// What is seen in this run, with the page's ports.
pub fn to_shown(text: &str, first: u16) -> String {
    mapped(text, PORTS.map(|port| (own(port, first), port.to_string())))
}

fn mapped(text: &str, ports: impl Iterator<Item = (String, String)>) -> String {
    const HOST: &str = "127.0.0.1:";
    if !text.contains(HOST) {
        return text.to_owned();
    }
    let ports: std::collections::BTreeMap<_, _> = ports.collect();
    let mut between = text.split(HOST);
    let mut out = between.next().unwrap_or_default().to_owned();
    for part in between {
        let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (port, rest) = part.split_at(digits);
        out.extend([HOST, ports.get(port).map_or(port, String::as_str), rest]);
    }
    out
}

/// A shell as a reader's is, but for what the tests set for themselves.
fn command(folder: &Path, bin: &Path, first_port: u16) -> Command {
    let mut command = Command::new("bash");
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("QUORATE_")) {
            command.env_remove(name);
        }
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let paths = [bin.to_owned()].into_iter().chain(env::split_paths(&path));
    let path = env::join_paths(paths).expect("a temporary folder has no colon in its name");
    let here = to_own("127.0.0.1:7400", first_port);
    command.current_dir(folder).env("PATH", path).env("NO_COLOR", "1");
    command.env("QUORATE_LISTEN", &here).env("QUORATE_AT", &here);
    command.env("CLONE", workspace());
    // All pages share what they build, and a later run finds it.
    command.env("CARGO_TARGET_DIR", target_dir()).env("CARGO_TERM_COLOR", "never");
    command
}

/// A shell that types one command after the other.
#[derive(Debug)]
pub struct Shell {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    /// Where it is after the last command.
    folder: Option<PathBuf>,
}

impl Shell {
    /// Starts it.
    pub fn start(mut command: Command) -> Self {
        // A group of its own: with it ends what it has put into the background.
        let command = command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("there is bash");
        let mut input = child.stdin.take().expect("it is piped");
        let output = child.stdout.take().expect("it is piped");
        input.write_all(b"exec 2>&1\n").expect("it has just begun");
        let (sender, lines) = mpsc::channel();
        let read = move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        };
        // Ends with the shell's output.
        let reader = thread::Builder::new().name("lines".to_owned()).spawn(read);
        drop(reader.expect("a thread can be started"));
        Self { child, input, lines, folder: None }
    }

    /// Runs a command; gives its output and its exit code.
    pub fn run(&mut self, typed: &str, within: Duration) -> (Vec<String>, i32) {
        let text = format!("{typed}\nprintf '\\n{END} %s %s\\n' \"$?\" \"$PWD\"\n");
        self.input.write_all(text.as_bytes()).expect("the shell runs");
        let deadline = Instant::now() + within;
        let mut output = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|late| {
                panic!("{typed}: {late}; it has said:\n{}", output.join("\n"))
            });
            let Some(end) = line.strip_prefix(END) else {
                // The shell's own word about a job that was killed comes at some time or other.
                if !(line.starts_with("bash: line ") && line.contains(" Killed ")) {
                    output.push(line);
                }
                continue;
            };
            let (code, folder) = end.trim_start().split_once(' ').expect("as it was written");
            self.folder = Some(folder.into());
            // The line that was begun to end an unfinished one.
            if output.last().is_some_and(String::is_empty) {
                output.pop();
            }
            return (output, code.parse().expect("a number"));
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let kill = format!("kill -s KILL -- -{}", self.child.id());
        // They may have ended, which is what this is for.
        drop(Command::new("sh").args(["-c", &kill]).stderr(Stdio::null()).status());
        drop(self.child.wait());
    }
}
