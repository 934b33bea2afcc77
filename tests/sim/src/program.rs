//! The machine under test: a native program, or the real module of the key-value plugin; or, for
//! the tests of other plugins, whatever they bring.
//!
//! The native one does what the plugin does with registers, and runs scripts: together they use all
//! that a program can do with its state, and each way a call can end.

use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use kv::compare::Target;
use kv::txn_op::Op as TxnOp;
use kv::txn_op_reply::Reply as TxnOpReply;
use kv::{
    GetReply, GetRequest, KeyValue, PutReply, PutRequest, TxnOpReply as OpReply, TxnReply,
    TxnRequest,
};
use prost::Message as _;
use quorate_core::machine::Program;
use quorate_core::outcome::{Fatal, Outcome, Rejection};
use quorate_core::run::{Call, Run, Stop};
use quorate_core::state::Range;
use quorate_history::Found;
use quorate_wasm::{Module, WasmProgram};

use crate::request::{self, End, Script, ScriptReply, Step, StepKind, StepReply};

/// One wrong bit in what a replica decides, by a number that chooses which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flip {
    /// None.
    #[default]
    None,
    /// In a value that is written.
    Write(u32),
    /// In a reply.
    Outcome(u32),
}

/// What will go wrong with the next call that it can go wrong with, and what has.
#[derive(Clone, Debug, Default)]
pub struct Armed(Arc<Mutex<(Flip, Option<Flip>)>>);

impl Armed {
    fn lock(&self) -> MutexGuard<'_, (Flip, Option<Flip>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What will go wrong.
    pub fn get(&self) -> Flip {
        self.lock().0
    }

    /// Decides what will.
    pub fn set(&self, flip: Flip) {
        self.lock().0 = flip;
    }

    /// What has gone wrong since this was asked last.
    pub fn take_fired(&self) -> Option<Flip> {
        self.lock().1.take()
    }

    /// Flips the bit, if this call has one.
    fn strike(&self, run: &mut Run, outcome: Outcome) -> Outcome {
        let mut armed = self.lock();
        let struck = match (armed.0, outcome) {
            (Flip::Write(bit), Ok(reply)) => {
                let written = run.writes().iter().find_map(|(key, value)| {
                    let value = value.as_ref().filter(|value| !value.is_empty())?;
                    Some((key.clone(), flipped(value, bit)))
                });
                let is_struck = written.is_some_and(|(key, value)| run.put(&key, &value).is_ok());
                (is_struck, Ok(reply))
            }
            (Flip::Outcome(bit), Ok(reply)) if !reply.is_empty() && !run.writes().is_empty() => {
                (true, Ok(flipped(&reply, bit)))
            }
            (_, outcome) => (false, outcome),
        };
        if struck.0 {
            armed.1 = Some(std::mem::take(&mut armed.0));
        }
        struck.1
    }
}

fn flipped(bytes: &[u8], bit: u32) -> Bytes {
    let mut flipped = bytes.to_vec();
    let at = bit as usize / 8 % flipped.len();
    flipped[at] ^= 1 << (bit % 8);
    flipped.into()
}

/// What the machines of a cluster run.
#[derive(Clone)]
pub enum Code {
    /// The native program.
    Native,
    /// The key-value plugin, in its sandbox.
    Module(Arc<Module>),
    /// Another plugin.
    Other(Rc<dyn OtherCode>),
}

impl Code {
    /// Whether it answers the calls of the simulation's own clients.
    pub fn is_own(&self) -> bool {
        !matches!(self, Self::Other(_))
    }
}

/// A plugin that the simulation knows nothing of. What it does not know, it refuses.
pub trait OtherCode {
    /// What applies commands, for one process.
    fn program(&self) -> Box<dyn Program>;
    /// Answers a query.
    fn query(&self, run: Run) -> Result<Outcome, Fatal>;
}

/// What the machine of one process runs.
pub enum SimProgram {
    /// In this process.
    Native(Armed),
    /// The plugin, in its sandbox.
    Wasm(Box<WasmProgram>),
    /// Another plugin.
    Other(Box<dyn Program>),
}

impl SimProgram {
    /// The program of a node. Of the native one, a bit flips when `armed` says so.
    pub fn new(code: &Code, armed: &Armed) -> Self {
        match code {
            Code::Native => Self::Native(armed.clone()),
            Code::Module(module) => Self::Wasm(Box::new(module.program())),
            Code::Other(code) => Self::Other(code.program()),
        }
    }

    /// Answers a query.
    pub fn query(code: &Code, mut run: Run) -> Result<Outcome, Fatal> {
        match code {
            Code::Native => {}
            Code::Module(module) => return module.query(run),
            Code::Other(code) => return code.query(run),
        }
        let call = run.next_call().ok_or_else(|| Fatal::msg("a query without a call"))?;
        native(&mut run, &call)
    }
}

impl Program for SimProgram {
    fn run(&mut self, mut run: Run) -> Result<Run, Fatal> {
        match self {
            Self::Native(armed) => {
                while let Some(call) = run.next_call() {
                    let outcome = native(&mut run, &call)?;
                    let outcome = armed.strike(&mut run, outcome);
                    run.finish(outcome);
                }
                Ok(run)
            }
            Self::Wasm(program) => program.run(run),
            Self::Other(program) => program.run(run),
        }
    }

    fn prepare(&mut self) -> Result<(), Fatal> {
        match self {
            Self::Native(_) => Ok(()),
            Self::Wasm(program) => program.prepare(),
            Self::Other(program) => program.prepare(),
        }
    }
}

fn native(run: &mut Run, call: &Call) -> Result<Outcome, Fatal> {
    match answer(run, call) {
        Ok(reply) => Ok(Ok(reply.into())),
        Err(Stop::Reject(rejection)) => Ok(Err(rejection)),
        Err(Stop::Fatal(fatal)) => Err(fatal),
    }
}

fn answer(run: &mut Run, call: &Call) -> Result<Vec<u8>, Stop> {
    let payload = &call.payload[..];
    let malformed = |_| Stop::Reject(status(3, "malformed"));
    match call.method {
        request::PUT => {
            let request = PutRequest::decode(payload).map_err(malformed)?;
            let revision = revision(run)? + 1;
            let prev_kv = put(run, request, revision)?;
            Ok(PutReply { revision, prev_kv }.encode_to_vec())
        }
        request::GET => {
            let request = GetRequest::decode(payload).map_err(malformed)?;
            let (revision, kv) = (revision(run)?, get(run, &request.key)?);
            Ok(GetReply { revision, kv }.encode_to_vec())
        }
        request::TXN => {
            let request = TxnRequest::decode(payload).map_err(malformed)?;
            Ok(txn(run, request)?.encode_to_vec())
        }
        request::SCRIPT => {
            let script = Script::decode(payload).map_err(malformed)?;
            let mut reply = ScriptReply::default();
            for step in &script.steps {
                reply.steps.push(take(run, call, step)?);
            }
            match script.end() {
                End::Reply => Ok(reply.encode_to_vec()),
                End::Reject => Err(status(10, "on second thought").into()),
                End::Trap => Err(Rejection::trap("as it was told").into()),
                End::Fuel => Err(Rejection::OutOfFuel.into()),
            }
        }
        _ => Err(status(12, "no such method").into()),
    }
}

fn status(code: u32, message: &str) -> Rejection {
    Rejection::Status { code, message: message.to_owned(), details: Bytes::new() }
}

fn register_key(key: &[u8]) -> Vec<u8> {
    [b"p", key].concat()
}

fn revision(run: &Run) -> Result<u64, Fatal> {
    let bytes = run.get(b"r")?.unwrap_or_default();
    Ok(request::value_number(&bytes).unwrap_or(0))
}

/// A register is stored as the revision that set it, and its value.
fn get(run: &Run, key: &[u8]) -> Result<Option<KeyValue>, Fatal> {
    let Some(stored) = run.get(&register_key(key))? else { return Ok(None) };
    let (revision, value) = stored.split_at(8);
    Ok(Some(KeyValue {
        key: key.to_vec(),
        value: value.to_vec(),
        mod_revision: request::value_number(revision).unwrap_or(0),
        ..KeyValue::default()
    }))
}

fn put(run: &mut Run, request: PutRequest, revision: u64) -> Result<Option<KeyValue>, Stop> {
    let found = get(run, &request.key)?;
    let mut stored = revision.to_le_bytes().to_vec();
    stored.extend(request.value);
    run.put(&register_key(&request.key), &stored)?;
    run.put(b"r", &revision.to_le_bytes())?;
    Ok(found)
}

/// One comparison of a revision, one put, one get: what the clients of a simulation ask for.
fn txn(run: &mut Run, request: TxnRequest) -> Result<TxnReply, Stop> {
    let revision = revision(run)?;
    let compare = request.compare.first().cloned().unwrap_or_default();
    let found = get(run, &compare.key)?;
    let mod_revision = found.as_ref().map_or(0, |kv| kv.mod_revision);
    let succeeded = compare.target == Some(Target::ModRevision(mod_revision));
    let (revision, reply) = match request.success.into_iter().next().and_then(|op| op.op) {
        Some(TxnOp::Put(request)) if succeeded => {
            let revision = revision + 1;
            let prev_kv = put(run, request, revision)?;
            (revision, TxnOpReply::Put(PutReply { revision, prev_kv }))
        }
        _ => (revision, TxnOpReply::Get(GetReply { revision, kv: found })),
    };
    Ok(TxnReply { revision, succeeded, responses: vec![OpReply { reply: Some(reply) }] })
}

/// A register of the native program, if a pair of its state is one.
pub fn register(key: &[u8], stored: &[u8]) -> Option<(u32, Found)> {
    let key = request::key_number(key.strip_prefix(b"p")?)?;
    let (revision, value) = stored.split_at_checked(8)?;
    let mod_revision = request::value_number(revision)?;
    Some((key, Found { value: request::value_number(value)?, mod_revision }))
}

fn take(run: &mut Run, call: &Call, step: &Step) -> Result<StepReply, Stop> {
    let mut reply = StepReply::default();
    let hi = (!step.value.is_empty()).then_some(&step.value[..]);
    match step.kind() {
        StepKind::Put => run.put(&step.key, &step.value)?,
        StepKind::PutTooLong => {
            let long = quorate_core::limits::KEY_BYTES_MAX + 1;
            run.put(&vec![b's'; long], b"")?;
        }
        StepKind::Delete => reply.count = run.delete(&step.key)?.into(),
        StepKind::DeleteRange => reply.count = run.delete_range(&step.key, hi)?,
        StepKind::Get => reply.read.extend(run.get(&step.key)?.map(|value| value.to_vec())),
        StepKind::Scan | StepKind::ScanBack => {
            let reverse = step.kind() == StepKind::ScanBack;
            let range = Range { lo: &step.key, hi, reverse };
            let mut left = step.limit;
            let passed = run.scan(range, &mut |key, value| {
                reply.read.extend([key.to_vec(), value.to_vec()]);
                left = left.wrapping_sub(1);
                if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            reply.count = if step.limit == 0 { passed } else { 0 };
        }
        StepKind::Stamp => {
            reply.place = vec![call.time_ms, call.index, call.position.into()];
            reply.seed = call.seed;
        }
    }
    Ok(reply)
}
