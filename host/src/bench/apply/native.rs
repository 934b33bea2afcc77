//! A plugin's own code as a program, with nothing around it: what the sandbox is compared with.
//!
//! What this deliberately does not do: outlive a plugin that panics or breaks a limit. The
//! fidelity `native` of `quorate-test` does.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::Range as Keys;

use bytes::Bytes;
use quorate_core::machine::Program;
use quorate_core::outcome::{Fatal, Rejection};
use quorate_core::run::Run;
use quorate_core::state::Range;
use quorate_sdk::testing::{Native, Pairs, Visit};
use quorate_sdk::{Plugin, Status};

/// Applies commands by calling the functions of `P`.
#[derive(Debug)]
pub(super) struct NativeProgram<P>(PhantomData<fn() -> P>);

impl<P> NativeProgram<P> {
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<P: Plugin> Program for NativeProgram<P> {
    fn run(&mut self, run: Run) -> Result<Run, Fatal> {
        let native = Native::new(RunPairs(RefCell::new(run)));
        let run = &native.pairs().0;
        let next_call = || run.borrow_mut().next_call();
        while let Some(call) = next_call() {
            let reply = native.call::<P>(&call.frame(), true);
            run.borrow_mut().finish(reply.map(Bytes::from).map_err(|status| refusal(&status)));
        }
        Ok(native.into_pairs().0.into_inner())
    }
}

fn refusal(status: &Status) -> Rejection {
    Rejection::Status {
        code: status.code() as u32,
        message: status.message().to_owned(),
        details: Bytes::copy_from_slice(status.details()),
    }
}

/// The state as the calls of a run see it.
struct RunPairs(RefCell<Run>);

const LIMITS: &str = "the load keeps the limits, and the state is sound";

/// An empty upper end stands for none.
fn end<'a>(keys: &Keys<&'a [u8]>) -> Option<&'a [u8]> {
    (!keys.end.is_empty()).then_some(keys.end)
}

impl Pairs for RunPairs {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.borrow().get(key).expect(LIMITS).map(|value| value.to_vec())
    }

    fn put(&self, key: &[u8], value: &[u8]) {
        self.0.borrow_mut().put(key, value).expect(LIMITS);
    }

    fn delete(&self, key: &[u8]) -> bool {
        self.0.borrow_mut().delete(key).expect(LIMITS)
    }

    fn delete_range(&self, keys: Keys<&[u8]>) -> u64 {
        self.0.borrow_mut().delete_range(keys.start, end(&keys)).expect(LIMITS)
    }

    fn scan(&self, keys: Keys<&[u8]>, reverse: bool, visit: &mut Visit<'_>) {
        let range = Range { lo: keys.start, hi: end(&keys), reverse };
        let visit = &mut |key: &[u8], value: &[u8]| visit(key, value);
        self.0.borrow().scan(range, visit).expect(LIMITS);
    }
}
