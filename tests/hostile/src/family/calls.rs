//! Guests that keep to the ABI as far as it takes to be given commands, and for each command do a
//! few things that they should not: see [`action`]. What they read, what calls returned, how large
//! the memory is and what is in it ends up in the state.

mod action;
mod arguments;

use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataCountSection, DataSection, ElementSection, Elements,
    Function, FunctionSection, GlobalSection, GlobalType, InstructionSink, MemorySection, Module,
    RefType, TableSection, TableType, ValType,
};

use self::action::Body;
use crate::abi::{self, COUNTS_KEY, FRAME, IMPORTED, METHOD, PAGE_BYTES, call, signature};
use crate::manifest;
use crate::random::Random;

/// Function indexes.
const MARKER: u32 = IMPORTED;
const APPLY: u32 = IMPORTED + 1;
const QUERY: u32 = IMPORTED + 2;
/// Calls itself as often as it is told.
const RECURSE: u32 = IMPORTED + 3;
/// The first of those that do what a method asks for.
const HANDLER: u32 = IMPORTED + 4;

/// Globals: first how often each import came back.
mod global {
    pub(super) const CAP: u32 = 8;
    pub(super) const REPLY_AT: u32 = 9;
    pub(super) const REPLY_LEN: u32 = 10;
    pub(super) const VERDICT: u32 = 11;
    pub(super) const COUNT: u32 = 12;
}

/// Where what was read and returned is kept, up to the frame; also what a reply is made of.
const RESULTS: u32 = 0;
const RESULTS_BYTES: u32 = 1_008;
/// Random bytes, of which there are keys.
const DATA: u32 = 16_384;
const DATA_BYTES: u32 = 1_024;
/// Where there is room for what the host writes.
const BUFFER: u32 = 32_768;
/// Where the counts are put together.
const COUNTS: u32 = 60_000;

/// The number of data segments and of element segments.
const SEGMENTS: u32 = 2;
/// Elements of the table at first.
const TABLE: u32 = 10;

pub(super) fn module(random: &mut Random) -> Vec<u8> {
    let handlers = 1 + random.below(4);
    let mut code = CodeSection::new();
    let mut empty = Function::new([]);
    empty.instructions().end();
    code.function(&empty);
    code.function(&serve(random, handlers, true));
    code.function(&serve(random, handlers, false));
    code.function(&recurse(random));
    let mut functions = FunctionSection::new();
    functions
        .function(signature::NOTHING)
        .function(signature::NOTHING)
        .function(signature::NOTHING)
        .function(signature::NUMBER);
    for _ in 0..handlers {
        functions.function(signature::NOTHING);
        let steps = 1 + random.below(6);
        code.function(&handler(random, steps, handlers));
    }
    let mut module = Module::new();
    module
        .section(&abi::types())
        .section(&abi::imports(call::NEXT))
        .section(&functions)
        .section(&table(random))
        .section(&memory(random))
        .section(&globals())
        .section(&abi::exports(MARKER, APPLY, QUERY))
        .section(&elements(handlers))
        .section(&DataCountSection { count: SEGMENTS })
        .section(&code)
        .section(&data(random));
    abi::add_manifest(&mut module, &manifest::valid());
    module.finish()
}

fn memory(random: &mut Random) -> MemorySection {
    // The gate lets up to 1,024 pages pass, and 10,000 elements.
    let refused = random.one_in(80);
    let minimum = if refused { 1_025 } else { random.pick(&[1, 1, 2, 3, 17, 100, 1_024]) };
    let maximum = match random.below(4) {
        0 => Some(minimum),
        1 => Some(minimum + 10),
        2 => Some(65_536),
        _ => None,
    };
    abi::memory(minimum, maximum)
}

fn table(random: &mut Random) -> TableSection {
    let mut tables = TableSection::new();
    tables.table(TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: if random.one_in(80) { 10_001 } else { TABLE.into() },
        maximum: random.pick(&[None, None, Some(12_000)]),
        shared: false,
    });
    tables
}

fn globals() -> GlobalSection {
    let mut globals = GlobalSection::new();
    let ty = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
    for index in 0..global::COUNT {
        let first = if index == global::CAP { 4_096 } else { 0 };
        globals.global(ty, &ConstExpr::i32_const(first));
    }
    globals
}

/// Some of the table: an import, the entry points, a handler; the rest stays null.
fn elements(handlers: u32) -> ElementSection {
    let some = [MARKER, APPLY, call::LOG, RECURSE, HANDLER, HANDLER + handlers - 1];
    let mut elements = ElementSection::new();
    elements
        .active(None, &ConstExpr::i32_const(0), Elements::Functions(some[..].into()))
        .passive(Elements::Functions(some[..].into()));
    elements
}

fn data(random: &mut Random) -> DataSection {
    let mut data = DataSection::new();
    let len = usize::try_from(DATA_BYTES).expect("it is small");
    // Passes the gate, which does not compute, and cannot be set up.
    let at = if random.one_in(80) { u32::MAX } else { DATA };
    data.active(0, &ConstExpr::i32_const(abi::bits(at)), random.bytes(len));
    data.passive(random.bytes(64));
    data
}

/// An entry point: mostly the loop that the ABI is made for, at times no such thing.
fn serve(random: &mut Random, handlers: u32, writes: bool) -> Function {
    let mut body = Body::new(random, handlers);
    // Before it has any call.
    if body.random.one_in(12) {
        body.actions(2);
    }
    if body.random.one_in(25) {
        return body.finish();
    }
    pull(&mut body.sink());
    if body.random.one_in(20) {
        // After the last one, before it leaves.
        body.actions(1);
    }
    body.sink().return_().end();
    dispatch(&mut body.sink(), handlers);
    if writes {
        count(&mut body.sink());
        let most = if body.random.one_in(20) { 17 * PAGE_BYTES } else { PAGE_BYTES };
        let shown = body.random.pick(&[1_024, 1_024, DATA + DATA_BYTES, most]);
        show(&mut body.sink(), shown);
    }
    body.sink().br(0).end();
    body.finish()
}

/// Asks for the next call. What follows is run when there are no more.
fn pull(code: &mut InstructionSink<'_>) {
    code.loop_(BlockType::Empty)
        .global_get(global::VERDICT)
        .global_get(global::REPLY_AT)
        .global_get(global::REPLY_LEN)
        .i32_const(abi::bits(FRAME))
        .global_get(global::CAP)
        .call(call::NEXT)
        .local_set(action::LONG);
    came_back(code, call::NEXT);
    code.i32_const(0)
        .global_set(global::VERDICT)
        .local_get(action::LONG)
        .global_get(global::CAP)
        .i64_extend_i32_u()
        .i64_gt_u()
        .local_get(action::LONG)
        .i64_const(quorate_abi::NO_MORE)
        .i64_ne()
        .i32_and()
        // Too little room: the same again, with more.
        .if_(BlockType::Empty)
        .local_get(action::LONG)
        .i32_wrap_i64()
        .global_set(global::CAP)
        .br(1)
        .end()
        .local_get(action::LONG)
        .i64_const(quorate_abi::NO_MORE)
        .i64_eq()
        .if_(BlockType::Empty);
}

/// Calls the handler of the method, after it has set what a plain success would be.
fn dispatch(code: &mut InstructionSink<'_>, handlers: u32) {
    code.i32_const(1)
        .global_set(global::VERDICT)
        .i32_const(abi::bits(RESULTS))
        .global_set(global::REPLY_AT)
        .i32_const(64)
        .global_set(global::REPLY_LEN);
    for handler in 0..handlers {
        code.i32_const(abi::bits(METHOD))
            .i32_load(abi::plain())
            .i32_const(abi::bits(handlers))
            .i32_rem_u()
            .i32_const(abi::bits(handler))
            .i32_eq()
            .if_(BlockType::Empty)
            .call(HANDLER + handler)
            .end();
    }
}

/// Writes how often each import came back to the state.
fn count(code: &mut InstructionSink<'_>) {
    code.i32_const(abi::bits(COUNTS))
        .i64_const(i64::from_le_bytes(*COUNTS_KEY))
        .i64_store(abi::plain());
    for import in 0..IMPORTED {
        code.i32_const(abi::bits(COUNTS)).global_get(import).i32_store(abi::at(8 + 4 * import));
    }
    code.i32_const(abi::bits(COUNTS))
        .i32_const(8)
        .i32_const(abi::bits(COUNTS + 8))
        .i32_const(abi::bits(4 * IMPORTED))
        .call(call::PUT);
    came_back(code, call::PUT);
}

/// Writes memory to the state, and how much of it there is.
fn show(code: &mut InstructionSink<'_>, shown: u32) {
    code.i32_const(abi::bits(COUNTS))
        .memory_size(0)
        .i32_store(abi::at(8))
        .i32_const(abi::bits(COUNTS + 8))
        .i32_const(4)
        .i32_const(0)
        .i32_const(abi::bits(shown))
        .call(call::PUT);
    came_back(code, call::PUT);
}

/// Notes that a call returned.
fn came_back(code: &mut InstructionSink<'_>, import: u32) {
    code.global_get(import).i32_const(1).i32_add().global_set(import);
}

/// As deep as the number says, with a call of the host at each level, or at the deepest.
fn recurse(random: &mut Random) -> Function {
    let everywhere = random.one_in(3);
    let mut body = Body::new(random, 1);
    let number = 0;
    body.sink().local_get(number).i32_eqz().if_(BlockType::Empty);
    body.import();
    body.sink().return_().end();
    if everywhere {
        body.import();
    }
    body.sink().local_get(number).i32_const(1).i32_sub().call(RECURSE);
    body.finish_with_number()
}

fn handler(random: &mut Random, steps: u32, handlers: u32) -> Function {
    let mut body = Body::new(random, handlers);
    body.actions(steps);
    body.finish()
}
