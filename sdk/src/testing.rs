//! Tests of a plugin without a host: its methods are called as functions, on a state in memory.

use std::fmt;
use std::marker::PhantomData;

use prost::Message;
use quorate_abi::{Frame, method_id};

use crate::limits::REPLY_BYTES_MAX;
use crate::memory::{Memory, Own};
#[doc(hidden)]
pub use crate::memory::{Pairs, Visit};
use crate::plugin::{self, Plugin};
use crate::{Caller, Command, MethodPath, Query, Status};

/// Where a machine's clock starts: 2025-01-01 in UTC.
const START_MS: u64 = 1_735_689_600_000;

/// What a call asked the state for, counted as the host would: each use of an import of the state
/// is a crossing. Reading a value of over 512 bytes takes two, since the first tells how much room
/// it needs; a scan takes one for each page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    /// How often the call crossed to the host. Taking the call and answering it do not count.
    pub host_calls: u64,
    /// Bytes of keys and values in reads: with those of the ends of scans, of all that scans came
    /// by, and of values that came twice.
    pub read_bytes: u64,
    /// Bytes of keys and values in writes; deletions have keys alone.
    pub written_bytes: u64,
}

/// A deployed plugin, as far as a native test needs one. The methods are called directly,
///
/// ```
/// use quorate_sdk::{Map, Status, testing::Machine};
///
/// const MAP: Map<String, u64> = Map::new("map");
///
/// let mut machine = Machine::<()>::new();
/// machine.command(|cx| Ok(MAP.insert(cx, "a", &1)))?;
/// let refused = machine.command(|cx| {
///     MAP.insert(cx, "a", &2);
///     Err::<(), _>(Status::aborted("on second thought"))
/// });
/// assert!(refused.is_err());
/// assert_eq!(machine.query(|cx| MAP.get(cx, "a")), Some(1), "an error rolls back");
/// # Ok::<(), Status>(())
/// ```
///
/// as in `machine.command(|cx| Store::put(cx, request))`, or with [`call`](Self::call) in the way
/// that a host does it.
pub struct Machine<P> {
    state: Memory<Own>,
    index: u64,
    time_ms: u64,
    plugin: PhantomData<fn() -> P>,
}

impl<P: Plugin> Machine<P> {
    /// A machine with nothing in its state.
    pub fn new() -> Self {
        Self { state: Memory::default(), index: 0, time_ms: START_MS, plugin: PhantomData }
    }

    /// Runs a command: a log entry of its own. When it fails or panics, nothing was written.
    pub fn command<T>(
        &mut self,
        run: impl FnOnce(&mut Command<'_>) -> Result<T, Status>,
    ) -> Result<T, Status> {
        self.transact(0, &[], |state, frame| run(&mut Command::new(state, frame)))
    }

    /// Runs a query.
    pub fn query<T>(&self, run: impl FnOnce(&Query<'_>) -> T) -> T {
        self.state.begin();
        run(&Query::new(&self.state, &self.frame(0, &[])))
    }

    /// Calls a command by its path, `kv.v1.Kv/Put`, with an encoded request.
    pub fn call(&mut self, path: &str, request: &[u8]) -> Result<Vec<u8>, Status> {
        self.transact(method_id(path), request, |state, frame| {
            let reply = plugin::command::<P>(state, frame)?;
            check_length(reply)
        })
    }

    /// Calls a query by its path, `kv.v1.Kv/Get`, with an encoded request.
    pub fn call_query(&self, path: &str, request: &[u8]) -> Result<Vec<u8>, Status> {
        self.state.begin();
        let reply = plugin::query::<P>(&self.state, &self.frame(method_id(path), request))?;
        check_length(reply)
    }

    /// What the last call asked the state for: a command, also one that failed, or a query.
    ///
    /// ```
    /// use quorate_sdk::{Counter, testing::Machine};
    ///
    /// const VISITS: Counter = Counter::new("visits");
    ///
    /// let mut machine = Machine::<()>::new();
    /// machine.command(|cx| Ok(VISITS.add(cx, 1)))?;
    /// assert_eq!(machine.last_costs().host_calls, 2, "one reads, one writes");
    /// # Ok::<(), quorate_sdk::Status>(())
    /// ```
    pub fn last_costs(&self) -> Costs {
        self.state.costs()
    }

    /// The log index of the last command.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The time that the next call sees.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// Sets the time that the next call sees. As in the log, it cannot fall.
    pub fn set_time_ms(&mut self, time_ms: u64) {
        assert!(time_ms >= self.time_ms, "the log's time never falls");
        self.time_ms = time_ms;
    }

    fn transact<T>(
        &mut self,
        method: u32,
        payload: &[u8],
        run: impl FnOnce(&Memory<Own>, &Frame<'_>) -> Result<T, Status>,
    ) -> Result<T, Status> {
        self.index += 1;
        self.state.begin();
        let frame = self.frame(method, payload);
        let transaction = Transaction(&mut self.state);
        let result = run(transaction.0, &frame);
        if result.is_ok() {
            transaction.0.pairs.commit();
        }
        result
    }

    fn frame<'a>(&self, method: u32, payload: &'a [u8]) -> Frame<'a> {
        // Any mixture will do; this one is from Fibonacci hashing.
        let seed = self.index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Frame { index: self.index, time_ms: self.time_ms, seed, position: 0, method, payload }
    }
}

impl<P: Plugin> Caller for Machine<P> {
    type Plugin = P;

    fn call<Q, R>(&mut self, method: MethodPath, request: &Q) -> Result<R, Status>
    where
        Q: Message + fmt::Debug,
        R: Message + Default + fmt::Debug,
    {
        let request = request.encode_to_vec();
        let reply = if method.is_command() {
            Self::call(self, method.path(), &request)
        } else {
            self.call_query(method.path(), &request)
        };
        R::decode(&*reply?).map_err(|error| Status::internal(format!("no reply: {error}")))
    }
}

/// Takes back what was not committed, also when a command panics.
struct Transaction<'a>(&'a mut Memory<Own>);

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        self.0.pairs.roll_back();
    }
}

/// A plugin on pairs that somebody else keeps, for those who run whole plugins natively: the
/// fidelities of `quorate-test`. It takes nothing back; that is theirs to do.
#[doc(hidden)]
#[derive(Debug)]
pub struct Native<S>(Memory<S>);

#[doc(hidden)]
impl<S: Pairs + 'static> Native<S> {
    /// A plugin on these pairs.
    pub fn new(pairs: S) -> Self {
        Self(Memory::new(pairs))
    }

    /// Runs one call as the host would.
    pub fn call<P: Plugin>(&self, frame: &Frame<'_>, is_command: bool) -> Result<Vec<u8>, Status> {
        self.0.begin();
        if is_command {
            plugin::command::<P>(&self.0, frame)
        } else {
            plugin::query::<P>(&self.0, frame)
        }
    }

    /// What the last call asked the pairs for.
    pub fn last_costs(&self) -> Costs {
        self.0.costs()
    }

    /// The pairs.
    pub fn pairs(&self) -> &S {
        &self.0.pairs
    }

    /// The same, without the plugin.
    pub fn into_pairs(self) -> S {
        self.0.pairs
    }
}

fn check_length(reply: Vec<u8>) -> Result<Vec<u8>, Status> {
    if reply.len() <= REPLY_BYTES_MAX {
        return Ok(reply);
    }
    let (is, max) = (reply.len(), REPLY_BYTES_MAX);
    Err(Status::resource_exhausted(format!("the reply has {is} bytes, of {max} allowed")))
}

impl<P: Plugin> Default for Machine<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P> fmt::Debug for Machine<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, time_ms, .. } = self;
        f.debug_struct("Machine")
            .field("index", index)
            .field("time_ms", time_ms)
            .finish_non_exhaustive()
    }
}
