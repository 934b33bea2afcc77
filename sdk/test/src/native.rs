//! A plugin as a library of this process, as a program of the core: its calls see the state of the
//! run that they are part of, and a panic is a trap.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::ops::{ControlFlow, Range as Keys};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, Once, PoisonError};

use bytes::Bytes;
use quorate_abi::Frame;
use quorate_core::limits;
use quorate_core::machine::Program;
use quorate_core::outcome::{Fatal, Rejection};
use quorate_core::run::{Run, Stop};
use quorate_core::state::Range;
use quorate_sdk::testing::{Native, Pairs, Visit};
use quorate_sdk::{Plugin, Status};

use crate::Costs;

/// Applies commands with the plugin's own functions.
pub(crate) struct NativeProgram<P> {
    /// Before the first entry of the log, so many were applied elsewhere.
    pub(crate) index_base: u64,
    pub(crate) costs: Arc<Mutex<Costs>>,
    pub(crate) plugin: PhantomData<fn() -> P>,
}

impl<P: Plugin> Program for NativeProgram<P> {
    fn run(&mut self, mut run: Run) -> Result<Run, Fatal> {
        let is_command = run.is_writable();
        while let Some(call) = run.next_call() {
            let frame = Frame { index: self.index_base + call.index, ..call.frame() };
            let native = Native::new(RunPairs { run: RefCell::new(run), stop: Cell::default() });
            let ended = without_a_report(AssertUnwindSafe(|| native.call::<P>(&frame, is_command)));
            let costs = native.last_costs().into();
            *self.costs.lock().unwrap_or_else(PoisonError::into_inner) = costs;
            let RunPairs { run: back, stop } = native.into_pairs();
            run = back.into_inner();
            run.finish(match (stop.into_inner(), ended) {
                (Some(Stop::Fatal(fatal)), _) => return Err(fatal),
                (Some(Stop::Reject(rejection)), _) => Err(rejection),
                (None, Ok(Ok(reply))) => Ok(reply.into()),
                (None, Ok(Err(status))) => Err(rejection_of(&status)),
                (None, Err(_)) => Err(Rejection::trap(SAID.take())),
            });
        }
        Ok(run)
    }
}

/// A plugin's own refusal, as it crosses to the host.
fn rejection_of(status: &Status) -> Rejection {
    let (details, bytes_max) = (status.details(), limits::STATUS_DETAILS_BYTES_MAX);
    let fits = Rejection::check("the details of a status", details.len(), bytes_max);
    fits.err().unwrap_or_else(|| Rejection::Status {
        code: status.code() as u32,
        message: status.message().to_owned(),
        details: Bytes::copy_from_slice(details),
    })
}

thread_local! {
    /// A plugin is running.
    static WITHIN: Cell<bool> = const { Cell::new(false) };
    /// What its last panic said.
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs what may panic, and is told instead of reported.
pub(crate) fn without_a_report<T>(
    run: AssertUnwindSafe<impl FnOnce() -> T>,
) -> std::thread::Result<T> {
    listen_to_panics();
    let before = WITHIN.replace(true);
    let ended = panic::catch_unwind(run);
    WITHIN.set(before);
    ended
}

/// A plugin's panic is an outcome, and told as such; all others are as they were.
fn listen_to_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !WITHIN.get() {
                return before(info);
            }
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            let text = info.payload_as_str().unwrap_or("without a message");
            SAID.set(format!("panicked at {place}: {text}"));
        }));
    });
}

/// The state as the calls of a run see it. What a limit refuses ends the call at once.
struct RunPairs {
    run: RefCell<Run>,
    stop: Cell<Option<Stop>>,
}

impl RunPairs {
    /// What came of it, or the end of the call.
    fn go_on<T, E: Into<Stop>>(&self, result: Result<T, E>) -> T {
        result.unwrap_or_else(|stop| {
            self.stop.set(Some(stop.into()));
            // Unlike a panic, it says nothing.
            panic::resume_unwind(Box::new("the host ends this call"))
        })
    }

    fn check_key(&self, key: &[u8]) {
        self.go_on(Rejection::check("a key", key.len(), limits::KEY_BYTES_MAX));
    }

    fn check_bounds(&self, keys: &Keys<&[u8]>) {
        for bound in [keys.start, keys.end] {
            let bytes_max = limits::KEY_BYTES_MAX + 1;
            self.go_on(Rejection::check("the end of a range", bound.len(), bytes_max));
        }
    }
}

/// An empty upper end stands for none.
fn end<'a>(keys: &Keys<&'a [u8]>) -> Option<&'a [u8]> {
    (!keys.end.is_empty()).then_some(keys.end)
}

impl Pairs for RunPairs {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.check_key(key);
        self.go_on(self.run.borrow().get(key)).map(|value| value.to_vec())
    }

    fn put(&self, key: &[u8], value: &[u8]) {
        self.go_on(self.run.borrow_mut().put(key, value));
    }

    fn delete(&self, key: &[u8]) -> bool {
        self.check_key(key);
        self.go_on(self.run.borrow_mut().delete(key))
    }

    fn delete_range(&self, keys: Keys<&[u8]>) -> u64 {
        self.check_bounds(&keys);
        self.go_on(self.run.borrow_mut().delete_range(keys.start, end(&keys)))
    }

    fn scan(&self, keys: Keys<&[u8]>, reverse: bool, visit: &mut Visit<'_>) {
        self.check_bounds(&keys);
        let range = Range { lo: keys.start, hi: end(&keys), reverse };
        let visit = &mut |key: &[u8], value: &[u8]| -> ControlFlow<()> { visit(key, value) };
        self.go_on(self.run.borrow().scan(range, visit));
    }
}
