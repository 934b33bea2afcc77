//! What a call asked of its host, for authors who want to know. It decides nothing: bounds are the
//! business of `fuel` and of the limits.

use quorate_core::limits;

/// What a call has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    /// How often it crossed to the host for the sake of the state. Taking the call and answering it
    /// do not count.
    pub host_calls: u64,
    /// Bytes of keys and values in reads: those of the ends of scans, and of all that scans came
    /// by, included.
    pub read_bytes: u64,
    /// Bytes of keys and values in writes; deletions have keys alone.
    pub written_bytes: u64,
    /// Fuel; zero for queries, which have a deadline instead.
    pub fuel: u64,
}

/// The bill of the running call, and that of the last one.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// `None` before the first call: an instance that goes on for another may have none to serve.
    running: Option<Costs>,
    last: Option<Costs>,
}

impl Meter {
    /// A call begins.
    pub(super) fn begin(&mut self) {
        self.running = Some(Costs::default());
    }

    /// The running call has crossed for a read of so many bytes.
    pub(super) fn read(&mut self, bytes: usize) {
        if let Some(running) = &mut self.running {
            running.host_calls += 1;
            running.read_bytes += bytes as u64;
        }
    }

    /// The same for a write.
    pub(super) fn wrote(&mut self, bytes: usize) {
        if let Some(running) = &mut self.running {
            running.host_calls += 1;
            running.written_bytes += bytes as u64;
        }
    }

    /// The running call ends, with so much of its fuel left.
    pub(super) fn end(&mut self, fuel_left: Option<u64>) {
        let fuel = fuel_left.map_or(0, |left| limits::COMMAND_FUEL_MAX.saturating_sub(left));
        self.last = self.running.map(|running| Costs { fuel, ..running });
    }

    /// What the last call has cost, if there was one.
    pub(super) fn last(&self) -> Option<Costs> {
        self.last
    }
}
