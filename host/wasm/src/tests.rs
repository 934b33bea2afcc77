//! The sandbox against guests that were written to break it.

mod apply;
mod gate;
mod host_calls;
mod query;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use quorate_core::batch::Command;
use quorate_core::id::{GroupId, LogId};
use quorate_core::machine::Program;
use quorate_core::outcome::{Outcome, Rejection};
use quorate_core::run::{Place, Run};
use quorate_core::state::{Key, MemoryState, Meta, Space, StateStore, Value, Writes};

use super::{Module, WasmProgram};

/// The methods of `hostile.wat`.
mod method {
    pub(super) const PUT: u32 = 1;
    pub(super) const GET: u32 = 2;
    pub(super) const UNREACHABLE: u32 = 3;
    pub(super) const LOOP: u32 = 4;
    pub(super) const MEMORY_BOMB: u32 = 5;
    pub(super) const IMPOSSIBLE_MEMORY: u32 = 6;
    pub(super) const RECURSION: u32 = 7;
    pub(super) const REPLY_OF: u32 = 8;
    pub(super) const REFUSE: u32 = 9;
    pub(super) const PUT_AND_TRAP: u32 = 11;
    pub(super) const CALL: u32 = 12;
    pub(super) const COUNTER: u32 = 13;
    pub(super) const RETURN: u32 = 14;
    pub(super) const VERDICT: u32 = 15;
    pub(super) const TRAP_ON_EXIT: u32 = 18;
    pub(super) const TABLE_BOMB: u32 = 19;
    pub(super) const COUNT_TO: u32 = 20;
    pub(super) const DIVIDE_BY_ZERO: u32 = 21;
    pub(super) const OUT_OF_BOUNDS: u32 = 22;
    pub(super) const INDIRECT_NULL: u32 = 23;
    pub(super) const NAN: u32 = 24;
    pub(super) const SIMD: u32 = 25;
    pub(super) const REPEAT: u32 = 26;
}

fn hostile() -> Arc<Module> {
    static MODULE: OnceLock<Arc<Module>> = OnceLock::new();
    Arc::clone(MODULE.get_or_init(|| {
        let wat = include_str!("tests/hostile.wat");
        Module::load(&assemble(wat)).expect("the gate is about looks")
    }))
}

/// Assembles a module; `MANIFEST` stands for that of a plugin with one method.
fn assemble(wat: &str) -> Vec<u8> {
    let manifest = manifest(&[service("T", &[method("Call", &[])])]);
    wat::parse_str(wat.replace("MANIFEST", &escape(&manifest))).expect("a test's own text")
}

/// Bytes as a string of WebAssembly's text format.
fn escape(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect::<Vec<_>>().concat()
}

/// A field of protobuf that has a length.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(content.len()).unwrap();
    let low = u8::try_from(len & 0x7f).unwrap() | 0x80;
    [&[number << 3 | 2, low, u8::try_from(len >> 7).unwrap()], content].concat()
}

/// A `MethodDescriptorProto` of that name, with further fields.
fn method(name: &str, fields: &[u8]) -> Vec<u8> {
    let types = [field(2, b".t.v1.M"), field(3, b".t.v1.M")].concat();
    [field(1, name.as_bytes()), types, fields.to_vec()].concat()
}

fn service(name: &str, methods: &[Vec<u8>]) -> Vec<u8> {
    let methods: Vec<u8> = methods.iter().flat_map(|method| field(2, method)).collect();
    [field(1, name.as_bytes()), methods].concat()
}

/// A manifest of a file with these services.
fn manifest(services: &[Vec<u8>]) -> Vec<u8> {
    let services: Vec<u8> = services.iter().flat_map(|service| field(6, service)).collect();
    let names = [field(1, b"t.proto"), field(2, b"t.v1"), field(12, b"proto3")].concat();
    let file = [names, field(4, &field(1, b"M")), services].concat();
    [field(1, b"hostile"), field(2, b"0.1.0"), field(3, &field(1, &file))].concat()
}

/// A machine without a log.
struct Bench {
    module: Arc<Module>,
    program: WasmProgram,
    state: MemoryState,
    index: u64,
}

impl Bench {
    fn new() -> Self {
        Self::of(hostile())
    }

    fn of(module: Arc<Module>) -> Self {
        let program = module.program();
        Self { module, program, state: MemoryState::new(), index: 0 }
    }

    /// Applies one entry with these commands; what it wrote is in the state.
    fn apply(&mut self, commands: &[(u32, &[u8])]) -> Vec<Outcome> {
        self.apply_and_show(commands).0
    }

    fn apply_and_show(&mut self, commands: &[(u32, &[u8])]) -> (Vec<Outcome>, Writes) {
        self.index += 1;
        let id = LogId { term: 1, index: self.index };
        let place = Place { group: GroupId(1), id, time_ms: 1_000 };
        let run = Run::commands(
            self.state.snapshot(),
            place,
            commands.iter().map(of).enumerate().collect(),
        );
        let (outcomes, writes) = self.program.run(run).expect("no fault of this node").into_parts();
        let meta = Meta { applied: id, ..Meta::default() };
        self.state.commit(&writes.clone().into(), meta).unwrap();
        assert_eq!(outcomes.len(), commands.len(), "each command has its outcome");
        (outcomes, writes)
    }

    /// Applies an entry of one command.
    fn one(&mut self, method: u32, payload: &[u8]) -> Outcome {
        self.apply(&[(method, payload)]).remove(0)
    }

    fn query(&self, method: u32, payload: &[u8]) -> Outcome {
        let run = Run::query(self.state.snapshot(), GroupId(1), of(&(method, payload)));
        self.module.query(run).expect("no fault of this node")
    }

    /// Has the guest call an import with these arguments; its answer.
    fn call(&mut self, import: u32, args: &[u32]) -> Result<i64, Rejection> {
        let reply = self.one(method::CALL, &call(import, args))?;
        Ok(reply[..].try_into().map_or(0, i64::from_le_bytes))
    }
}

/// The payload of [`method::CALL`].
fn call(import: u32, args: &[u32]) -> Vec<u8> {
    [&[import], args].concat().iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn of((method, payload): &(u32, &[u8])) -> Command {
    Command::new(*method, Bytes::copy_from_slice(payload))
}

#[track_caller]
fn assert_trap(outcome: Outcome, reason: &str) {
    match outcome {
        Err(Rejection::Trap { reason: found }) if found.contains(reason) => {}
        other => panic!("not a trap for {reason:?}: {other:?}"),
    }
}
