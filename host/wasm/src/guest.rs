//! What the host knows of a running guest: its run, where it is in it, what it owes.

use bytes::Bytes;
use quorate_abi::{Frame, Verdict, status};
use quorate_core::limits;
use quorate_core::outcome::{Fatal, Rejection};
use quorate_core::run::{Call, Run};
use wasmtime::{Memory, ResourceLimiter};

use crate::costs::Meter;
use crate::trap::{Halt, fatal};

/// The data of a store.
#[derive(Default)]
pub(super) struct Guest {
    run: Option<Run>,
    memory: Option<Memory>,
    metered: bool,
    /// The running call, until its frame fits the buffer that the guest offers.
    undelivered: Option<Call>,
    /// The guest was told that there are no more calls.
    done: bool,
    bill: Bill,
    meter: Meter,
}

/// What a host call costs.
#[derive(Default)]
pub(super) struct Bill {
    /// A new call began: it has its own fuel.
    pub(super) refill: bool,
    /// To take off.
    pub(super) units: u64,
}

impl Guest {
    /// A guest that has no run yet. One that is metered pays in fuel.
    pub(super) fn new(metered: bool) -> Self {
        Self { metered, ..Self::default() }
    }

    /// Where the instance keeps its memory, once there is an instance.
    pub(super) fn set_memory(&mut self, memory: Memory) {
        self.memory = Some(memory);
    }

    /// The instance's memory.
    pub(super) fn memory(&self) -> Result<Memory, Fatal> {
        self.memory.ok_or_else(|| Fatal::msg("a plugin ran before it was set up"))
    }

    pub(super) fn is_metered(&self) -> bool {
        self.metered
    }

    /// Gives the guest its calls.
    pub(super) fn begin_run(&mut self, run: Run) {
        self.run = Some(run);
        self.done = false;
    }

    /// Takes the run back; true when the guest was told that there are no more calls.
    pub(super) fn end_run(&mut self) -> (Run, bool) {
        let run = self.run.take().expect("a run that was given is taken back once");
        (run, self.done)
    }

    /// The run, for whoever serves the guest.
    pub(super) fn run(&mut self) -> Result<&mut Run, Halt> {
        self.run.as_mut().ok_or_else(|| Fatal::msg("a plugin ran without a run").into())
    }

    /// Puts a cost on the bill of this host call.
    pub(super) fn owe(&mut self, units: u64) {
        self.bill.units = self.bill.units.saturating_add(units);
    }

    /// Puts as many units on the bill as there are bytes.
    pub(super) fn owe_bytes(&mut self, bytes: usize) {
        self.owe(bytes as u64);
    }

    /// What is counted for authors.
    pub(super) fn meter(&mut self) -> &mut Meter {
        &mut self.meter
    }

    pub(super) fn take_bill(&mut self) -> Bill {
        std::mem::take(&mut self.bill)
    }

    /// Ends the running call as the guest says.
    pub(super) fn finish(&mut self, verdict: Verdict, reply: &[u8]) -> Result<(), Halt> {
        let delivered = self.undelivered.is_none();
        let run = self.run()?;
        let answerable = run.is_running() && delivered;
        let outcome = match verdict {
            Verdict::None if answerable => {
                return trap("it asked for the next call before it finished the running one");
            }
            Verdict::None => return Ok(()),
            _ if !answerable => return trap("it finished a call that it did not have"),
            Verdict::Reply => Rejection::check("a reply", reply.len(), limits::REPLY_BYTES_MAX)
                .map(|()| Bytes::copy_from_slice(reply)),
            Verdict::Refused => Err(refusal(reply)?),
        };
        run.finish(outcome);
        Ok(())
    }

    /// Writes the next call's frame to `buf`; its length, or `None` when there are no more.
    pub(super) fn deliver(&mut self, buf: &mut [u8]) -> Result<Option<usize>, Halt> {
        if self.undelivered.is_none() {
            self.undelivered = self.run()?.next_call();
            self.bill.refill |= self.undelivered.is_some();
            self.meter.begin();
        }
        let Some(call) = self.undelivered.take() else {
            self.done = true;
            return Ok(None);
        };
        let frame = call.frame();
        let len = Frame::HEADER_BYTES + call.payload.len();
        if let Some(buf) = buf.get_mut(..len) {
            let (header, payload) = buf.split_at_mut(Frame::HEADER_BYTES);
            header.copy_from_slice(&frame.header());
            payload.copy_from_slice(frame.payload);
            self.owe_bytes(len);
        } else {
            self.undelivered = Some(call);
        }
        Ok(Some(len))
    }
}

/// The guest breaks off for that reason.
pub(super) fn trap<T>(reason: impl Into<String>) -> Result<T, Halt> {
    Err(Rejection::trap(reason).into())
}

/// What an encoded status says.
fn refusal(bytes: &[u8]) -> Result<Rejection, Halt> {
    let Some((code, message, details)) = status::decode(bytes) else {
        return trap("it refused a call with a malformed status");
    };
    let fits = Rejection::check(
        "the details of a status",
        details.len(),
        limits::STATUS_DETAILS_BYTES_MAX,
    );
    Ok(fits.err().unwrap_or_else(|| Rejection::Status {
        code,
        message: cut(message, limits::STATUS_MESSAGE_BYTES_MAX).to_owned(),
        details: Bytes::copy_from_slice(details),
    }))
}

/// The first `bytes_max` bytes of a text, or a little less: no character is cut in two.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}

/// Growth within the limits succeeds on every node, growth beyond them ends the call on every
/// node. Wasmtime's own answer to a system without memory is -1, which guests could act upon, and
/// then nodes would diverge: here it stops this node.
impl ResourceLimiter for Guest {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        declared_max: Option<usize>,
    ) -> wasmtime::Result<bool> {
        may_grow(desired, limits::GUEST_MEMORY_BYTES_MAX, declared_max)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(Halt::from(fatal("growing a plugin's memory", &error)).into())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        declared_max: Option<usize>,
    ) -> wasmtime::Result<bool> {
        may_grow(desired, limits::GUEST_TABLE_ELEMENTS_MAX, declared_max)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(Halt::from(fatal("growing a plugin's table", &error)).into())
    }
}

/// Within the limit, the module's own maximum is WebAssembly's business: the guest gets its -1.
fn may_grow(desired: usize, limit: usize, declared_max: Option<usize>) -> wasmtime::Result<bool> {
    if desired > limit {
        return Err(Halt::from(Rejection::OutOfMemory).into());
    }
    Ok(declared_max.is_none_or(|max| desired <= max))
}
