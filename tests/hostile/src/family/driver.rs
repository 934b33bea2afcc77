//! wasm-smith's code with a driver before it: a guest that keeps to the ABI, gives each command to
//! that code, and writes to the state what came of it.

use quorate_abi::export;
use wasm_encoder::{BlockType, Encode as _, Function, InstructionSink, ValType};

use super::smith;
use crate::abi::{self, FRAME, IMPORTED, METHOD, PAGE_BYTES, PAYLOAD, call};
use crate::random::Random;
use crate::sections::{self, Section, id};

/// Where the answer of the driven function is kept.
const ANSWER: u32 = 512;
/// Where the key of what is shown is.
const KEY: u32 = 520;

pub(super) fn module(random: &mut Random) -> Vec<u8> {
    let wasm = smith::behind_our_exports(random);
    let driven = drive(random, &wasm).unwrap_or(wasm);
    smith::with_manifest(driven)
}

/// Adds the driver; `None` when the module lacks what it needs.
fn drive(random: &mut Random, wasm: &[u8]) -> Option<Vec<u8>> {
    let mut all = sections::split(wasm)?;
    let find = |id| all.iter().position(|section| section.id == id);
    let [signatures, functions] = [find(id::TYPE)?, find(id::FUNCTION)?];
    let [exported, code] = [find(id::EXPORT)?, find(id::CODE)?];
    let types = all[signatures].count()?;
    let own = all[functions].count()?;
    let marker = exported_function(&all[exported], export::ABI_MARKER)?;
    let driven = exported_function(&all[exported], smith::DRIVEN)?;

    let nothing = vec![0x60, 0, 0];
    all[signatures].append(&[nothing])?;
    let mut signature = Vec::new();
    sections::write_u32(&mut signature, types);
    all[functions].append(&[signature.clone(), signature])?;
    let (apply, query) = (IMPORTED + own, IMPORTED + own + 1);
    let mut exports = Vec::new();
    abi::exports(marker, apply, query).encode(&mut exports);
    // Encoded with its length, which `join` writes.
    all[exported].content = sections::read_u32(&exports)?.1.to_vec();
    let shown = random.pick(&[64, 1_024, PAGE_BYTES, 2 * PAGE_BYTES]);
    let bodies = [body(driven, Some(shown)), body(driven, None)];
    all[code].append(&bodies)?;
    Some(sections::join(&all))
}

/// The index of a function by the name that it is exported under.
fn exported_function(section: &Section, name: &str) -> Option<u32> {
    let (count, mut rest) = sections::read_u32(&section.content)?;
    for _ in 0..count {
        let (len, tail) = sections::read_u32(rest)?;
        let (found, tail) = tail.split_at_checked(usize::try_from(len).ok()?)?;
        let (&kind, tail) = tail.split_first()?;
        let (index, tail) = sections::read_u32(tail)?;
        if kind == 0 && found == name.as_bytes() {
            return Some(index);
        }
        rest = tail;
    }
    None
}

/// The driver: pulls calls, calls the driven function with words of the payload, replies with its
/// answer. In apply it writes `shown` bytes of memory to the state, from 0, in one key per method.
fn body(driven: u32, shown: Option<u32>) -> Vec<u8> {
    let mut function = Function::new([(1, ValType::I64), (1, ValType::I32)]);
    let (got, verdict) = (0, 1);
    let code = &mut function.instructions();
    code.loop_(BlockType::Empty)
        .local_get(verdict)
        .i32_const(abi::bits(ANSWER))
        .i32_const(8)
        .i32_const(abi::bits(FRAME))
        .i32_const(abi::bits(2 * PAGE_BYTES - FRAME))
        .call(call::NEXT)
        .local_tee(got)
        .i64_const(quorate_abi::NO_MORE)
        .i64_eq()
        .if_(BlockType::Empty)
        .return_()
        .end();
    // The address is on the stack before the answer is.
    code.i32_const(abi::bits(ANSWER))
        .i32_const(abi::bits(PAYLOAD))
        .i32_load(abi::plain())
        .i32_const(abi::bits(PAYLOAD))
        .i64_load(abi::at(4))
        .call(driven)
        .i64_store(abi::plain());
    if let Some(shown) = shown {
        show(code, shown);
    }
    code.i32_const(1).local_set(verdict).br(0).end().end();
    let mut body = Vec::new();
    function.encode(&mut body);
    body
}

/// Writes memory to the state, and how much of it there is.
fn show(code: &mut InstructionSink<'_>, shown: u32) {
    code.i32_const(abi::bits(KEY))
        .i32_const(abi::bits(METHOD))
        .i32_load(abi::plain())
        .i32_store(abi::plain())
        .i32_const(abi::bits(KEY))
        .memory_size(0)
        .i32_store(abi::at(4))
        .i32_const(abi::bits(KEY))
        .i32_const(4)
        .i32_const(0)
        .i32_const(abi::bits(shown))
        .call(call::PUT);
}
