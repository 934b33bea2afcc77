//! What happened, in order: always as a digest, by which two runs of one seed are compared, and on
//! request as lines for a person.

use crate::time::{SECOND, Time};

/// The story of one run.
#[derive(Debug, Default)]
pub struct Trace {
    digest: u64,
    events: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// An empty story, which is written down if asked for.
    pub fn new(is_written: bool) -> Self {
        Self { lines: is_written.then(Vec::new), ..Self::default() }
    }

    /// Takes note of an event: where (0 for nowhere), what, and two numbers that tell it from
    /// others. The text is made only if somebody will read it.
    pub fn note(
        &mut self,
        at: (Time, u32),
        what: &'static str,
        numbers: [u64; 2],
        text: impl FnOnce() -> String,
    ) {
        let (now, node) = at;
        self.events += 1;
        let name = what.bytes().fold(0, |name, byte| mix(name, byte.into()));
        for part in [now, node.into(), name, numbers[0], numbers[1]] {
            self.digest = mix(self.digest, part);
        }
        if let Some(lines) = &mut self.lines {
            let (seconds, rest) = (now / SECOND, now % SECOND);
            let place = if node == 0 { "-".to_owned() } else { node.to_string() };
            let line = format!("{seconds:>4}.{rest:06}  {place}  {what:<9}  {}", text());
            lines.push(line.trim_end().to_owned());
        }
    }

    /// A number that differs when anything differs.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// What was written down.
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }

    /// Takes out what was written down since the last time.
    pub fn take_lines(&mut self) -> Vec<String> {
        self.lines.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

/// Mixes a number into a digest: FNV-1a, by words, with a shift so that high bits count.
pub fn mix(digest: u64, part: u64) -> u64 {
    let mixed = (digest ^ part).wrapping_mul(0x0000_0100_0000_01b3);
    mixed ^ (mixed >> 29)
}

/// Mixes bytes into a digest.
pub fn mix_bytes(digest: u64, bytes: &[u8]) -> u64 {
    mix(mix(digest, bytes.len() as u64), crc32c::crc32c(bytes).into())
}
