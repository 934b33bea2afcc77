//! How a guest breaks off, and whose fault it was: the guest's, which every node sees alike and
//! which becomes an outcome, or this node's, which stops it.

use std::fmt;

use quorate_core::outcome::{Fatal, Rejection};
use quorate_core::run::Stop;
use wasmtime::Trap;

/// What a host function returns to wasmtime to end the guest.
#[derive(Debug)]
pub(super) struct Halt(Stop);

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Stop::Reject(rejection) => rejection.fmt(f),
            Stop::Fatal(fatal) => fatal.fmt(f),
        }
    }
}

impl std::error::Error for Halt {}

impl From<Stop> for Halt {
    fn from(stop: Stop) -> Self {
        Self(stop)
    }
}

impl From<Rejection> for Halt {
    fn from(rejection: Rejection) -> Self {
        Self(rejection.into())
    }
}

impl From<Fatal> for Halt {
    fn from(fatal: Fatal) -> Self {
        Self(fatal.into())
    }
}

impl From<wasmtime::Error> for Halt {
    fn from(error: wasmtime::Error) -> Self {
        fatal("serving a plugin", &error).into()
    }
}

/// A fault of this node, as wasmtime tells it.
pub(super) fn fatal(doing: &'static str, error: &wasmtime::Error) -> Fatal {
    Fatal::new(doing, anyhow::anyhow!("{error:#}"))
}

/// Whose fault an error of a running guest is. `metered` tells apply, which has no deadline.
pub(super) fn judge(error: wasmtime::Error, metered: bool) -> Stop {
    let Some(&trap) = error.downcast_ref::<Trap>() else {
        return match error.downcast::<Halt>() {
            Ok(halt) => halt.0,
            Err(error) => fatal("running a plugin", &error).into(),
        };
    };
    match Kind::of(trap) {
        Some(Kind::Guest(reason)) => Rejection::trap(reason).into(),
        Some(Kind::OutOfFuel) => Rejection::OutOfFuel.into(),
        Some(Kind::Deadline) if !metered => Rejection::Deadline.into(),
        Some(Kind::Deadline | Kind::Host) | None => fatal("running a plugin", &error).into(),
    }
}

/// What wasmtime's trap codes mean here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The guest did it, on every node. The words are ours, since they become part of outcomes.
    Guest(&'static str),
    /// The guest ran out of fuel.
    OutOfFuel,
    /// The query engine's clock ran out.
    Deadline,
    /// It cannot happen with what the engines allow; if it does, this node cannot be trusted.
    Host,
}

impl Kind {
    /// `None` for a code that this version does not know.
    fn of(trap: Trap) -> Option<Self> {
        Some(match trap {
            Trap::StackOverflow => Self::Guest("the call stack is exhausted"),
            Trap::MemoryOutOfBounds => Self::Guest("a memory access is out of bounds"),
            Trap::TableOutOfBounds => Self::Guest("a table access is out of bounds"),
            Trap::IndirectCallToNull => Self::Guest("an indirect call has no target"),
            Trap::BadSignature => Self::Guest("an indirect call has another signature"),
            Trap::IntegerOverflow => Self::Guest("an integer overflowed"),
            Trap::IntegerDivisionByZero => Self::Guest("an integer was divided by zero"),
            Trap::BadConversionToInteger => Self::Guest("a float does not fit an integer"),
            Trap::UnreachableCodeReached => Self::Guest("unreachable code was reached"),
            Trap::OutOfFuel => Self::OutOfFuel,
            Trap::Interrupt => Self::Deadline,
            // Threads, garbage collection, typed references, stack switching and exceptions.
            Trap::HeapMisaligned
            | Trap::AtomicWaitNonSharedMemory
            | Trap::NullReference
            | Trap::ArrayOutOfBounds
            | Trap::AllocationTooLarge
            | Trap::CastFailure
            | Trap::UnhandledTag
            | Trap::ContinuationAlreadyConsumed
            | Trap::UncaughtException
            // The interpreter, and components.
            | Trap::DisabledOpcode
            | Trap::CannotEnterComponent
            | Trap::NoAsyncResult
            | Trap::AsyncDeadlock
            | Trap::CannotLeaveComponent
            | Trap::CannotBlockSyncTask
            | Trap::InvalidChar
            | Trap::DebugAssertStringEncodingFinished
            | Trap::DebugAssertEqualCodeUnits
            | Trap::DebugAssertPointerAligned
            | Trap::DebugAssertUpperBitsUnset
            | Trap::StringOutOfBounds
            | Trap::ListOutOfBounds
            | Trap::InvalidDiscriminant
            | Trap::UnalignedPointer
            | Trap::TaskCancelNotCancelled
            | Trap::TaskCancelOrReturnTwice
            | Trap::SubtaskCancelAfterTerminal
            | Trap::TaskReturnInvalid
            | Trap::WaitableSetDropHasWaiters
            | Trap::SubtaskDropNotResolved
            | Trap::ThreadNewIndirectInvalidType
            | Trap::ThreadNewIndirectUninitialized
            | Trap::BackpressureOverflow
            | Trap::UnsupportedCallbackCode
            | Trap::CannotResumeThread
            | Trap::ConcurrentFutureStreamOp
            | Trap::ReferenceCountOverflow
            | Trap::StreamOpTooBig
            | Trap::WaitableSyncAndAsync => Self::Host,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A version of wasmtime with a new code must not build a release before someone has decided
    /// whose fault it is.
    #[test]
    fn every_trap_code_is_judged() {
        let codes: Vec<Trap> = (0..=u8::MAX).filter_map(Trap::from_u8).collect();
        assert!(codes.len() > 40, "the codes are walked");
        for trap in codes {
            assert!(Kind::of(trap).is_some(), "{trap:?} is not judged");
        }
    }

    /// The judgement itself: a code that moves from one side to the other is a change of outcomes.
    #[test]
    fn the_guests_faults_are_these() {
        let guests = (0..=u8::MAX)
            .filter_map(Trap::from_u8)
            .filter(|trap| matches!(Kind::of(*trap), Some(Kind::Guest(_))));
        let expected = [
            Trap::StackOverflow,
            Trap::MemoryOutOfBounds,
            Trap::TableOutOfBounds,
            Trap::IndirectCallToNull,
            Trap::BadSignature,
            Trap::IntegerOverflow,
            Trap::IntegerDivisionByZero,
            Trap::BadConversionToInteger,
            Trap::UnreachableCodeReached,
        ];
        assert_eq!(guests.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_deadline_is_never_an_outcome_of_apply() {
        assert!(matches!(judge(Trap::Interrupt.into(), true), Stop::Fatal(_)));
        let Stop::Reject(rejection) = judge(Trap::Interrupt.into(), false) else {
            panic!("a query's deadline is its outcome");
        };
        assert_eq!(rejection, Rejection::Deadline);
    }

    #[test]
    fn what_is_not_known_stops_this_node() {
        let unknown = wasmtime::Error::msg("mmap failed");
        assert!(matches!(judge(unknown, true), Stop::Fatal(_)));
        assert!(matches!(judge(Trap::CastFailure.into(), true), Stop::Fatal(_)));
    }
}
