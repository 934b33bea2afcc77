//! What computation costs. Fuel bounds a command the same way on every node, whatever its speed.
//!
//! Nodes that disagree about a cost disagree about which commands run out of fuel, so a change here
//! is a change of the replicated behaviour: it raises [`VERSION`]. A test pins the whole table, the
//! part that wasmtime defines included. How much fuel is left never reaches the state or a reply.

use quorate_core::limits;
use quorate_core::outcome::Rejection;
use wasmtime::{AsContextMut as _, Caller, OperatorCost};

use crate::engine;
use crate::guest::Guest;
use crate::trap::Halt;

/// The version of all costs together.
pub const VERSION: u32 = 2;

/// A call of the host that touches no state.
pub(super) const CALL: u64 = 100;
/// A call that reads or writes state, before its bytes and pairs.
pub(super) const STATE_CALL: u64 = 500;
/// Each pair that a scan visits or a range deletion removes.
pub(super) const PAIR: u64 = 100;
/// A log line. It leaves the sandbox, for whoever pays for the operator's disk.
pub(super) const LOG_LINE: u64 = 10_000;

/// The cost of each instruction: one, with exceptions for what takes clearly longer or nothing.
pub(super) fn table() -> OperatorCost {
    let mut cost = OperatorCost::new();
    for division in [
        &mut cost.I32DivS,
        &mut cost.I32DivU,
        &mut cost.I32RemS,
        &mut cost.I32RemU,
        &mut cost.I64DivS,
        &mut cost.I64DivU,
        &mut cost.I64RemS,
        &mut cost.I64RemU,
        &mut cost.F32Div,
        &mut cost.F64Div,
        &mut cost.F32Sqrt,
        &mut cost.F64Sqrt,
    ] {
        *division = 8;
    }
    // The oldest CPU of the architecture has no instruction for these: each is a call, or four.
    for rounding in [
        &mut cost.F32Ceil,
        &mut cost.F32Floor,
        &mut cost.F32Trunc,
        &mut cost.F32Nearest,
        &mut cost.F64Ceil,
        &mut cost.F64Floor,
        &mut cost.F64Trunc,
        &mut cost.F64Nearest,
    ] {
        *rounding = 8;
    }
    for vector in [
        &mut cost.F64x2Ceil,
        &mut cost.F64x2Floor,
        &mut cost.F64x2Trunc,
        &mut cost.F64x2Nearest,
        &mut cost.F64x2Div,
        &mut cost.F64x2Sqrt,
        &mut cost.F32x4Div,
        &mut cost.F32x4Sqrt,
        &mut cost.I8x16Popcnt,
    ] {
        *vector = 24;
    }
    for vector in
        [&mut cost.F32x4Ceil, &mut cost.F32x4Floor, &mut cost.F32x4Trunc, &mut cost.F32x4Nearest]
    {
        *vector = 96;
    }
    // Each leaves the compiled code, however little it has to do.
    for bulk in [
        &mut cost.ElemDrop,
        &mut cost.DataDrop,
        &mut cost.TableInit,
        &mut cost.TableCopy,
        &mut cost.TableFill,
        &mut cost.MemoryInit,
        &mut cost.MemoryCopy,
        &mut cost.MemoryFill,
    ] {
        *bulk = 24;
    }
    cost.Call = 2;
    cost.CallIndirect = 4;
    cost.MemoryGrow = u8::MAX;
    cost.TableGrow = u8::MAX;
    cost.variable.memory_grow_per_page = u8::MAX;
    cost
}

/// Pays for a host call: refills when a new call began, then takes what the guest owes. A query
/// pays in time, and has its own.
pub(super) fn settle(host: &mut Caller<'_, Guest>) -> Result<(), Halt> {
    let bill = host.data_mut().take_bill();
    if !host.data().is_metered() {
        if bill.refill {
            host.as_context_mut().set_epoch_deadline(engine::QUERY_TICKS_MAX);
        }
        return Ok(());
    }
    let before = if bill.refill { limits::COMMAND_FUEL_MAX } else { host.get_fuel()? };
    let left = before.checked_sub(bill.units).ok_or(Rejection::OutOfFuel)?;
    host.set_fuel(left)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::Digest;

    /// Any change to what an instruction costs shows here, also one that wasmtime makes.
    #[test]
    fn the_table_is_that_of_its_version() {
        let text = format!("{:?} {CALL} {STATE_CALL} {PAIR} {LOG_LINE}", table());
        let digest = Digest(Sha256::digest(text).into()).to_string();
        assert!(
            (VERSION, digest.get(..16)) == (2, Some("3124a40b359cf87a")),
            "raise the version of the fuel table: {digest}"
        );
    }
}
