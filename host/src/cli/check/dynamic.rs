//! A plugin run several times with the same commands, in ways that must make no difference: a
//! second time, elsewhere in memory, in an instance that is not fresh, from a snapshot. What a
//! command replies and writes is compared after each, and the digest of all that came before. On
//! the way, calls are found that break off: a panic, an overflow, too much fuel or memory.
//!
//! A node gives each entry of the log a fresh instance of one module, so what differs here may do
//! no harm on the day. It does when a plugin is built anew: the next module has another heap.
//!
//! What this deliberately does not do: compare queries. What they reply is in no state.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use quorate_core::batch::{self, Command, Payload};
use quorate_core::id::LogId;
use quorate_core::machine::Machine;
use quorate_core::outcome::{Fatal, Outcome, Rejection};
use quorate_core::run::Run;
use quorate_core::state::{
    Changes, MemoryBuilder, MemoryState, StateBuilder as _, StateStore, Writes,
};
use quorate_proto::v1::Kind;

use super::generate::Generator;
use crate::identity::{GROUP, Timing};
use crate::local;
use crate::snapshot::{Content, Decoder, Encoder, Header};
use quorate_wasm::{Instances, Manifest, Module, WasmProgram};

/// Where the log's clock starts: 2025-01-01 in UTC.
pub(super) const START_MS: u64 = 1_735_689_600_000;

/// How often a run begins anew with the state of the fresh one, before no more is compared.
const RESTARTS_MAX: u32 = 200;

/// Where calls come from.
pub(super) enum Source<'a> {
    /// So many, from this seed.
    Generated { seed: u64, count: u64 },
    /// These.
    Given(Vec<Called<'a>>),
}

/// What was found.
pub(super) struct Findings {
    /// Calls that were made: commands and, at random, queries.
    pub(super) calls: u64,
    /// By method: how often it was called, and how often it succeeded.
    pub(super) methods: BTreeMap<String, (u64, u64)>,
    /// For each method and circumstances, the first difference.
    pub(super) differences: Vec<Difference>,
    /// For each method and reason, the first call that broke off.
    pub(super) breakdowns: Vec<Breakdown>,
}

/// A call in which the plugin broke off.
pub(super) struct Breakdown {
    /// Which call, from 1.
    pub(super) call: u64,
    pub(super) method: String,
    pub(super) request: serde_json::Value,
    pub(super) reason: String,
}

/// A command that did something else under other circumstances.
pub(super) struct Difference {
    /// Which circumstances.
    pub(super) when: When,
    /// Which call, from 1, and where it stands in the log.
    pub(super) call: u64,
    pub(super) index: u64,
    pub(super) method: String,
    pub(super) request: serde_json::Value,
    /// What differs, and how it was in a fresh instance and then.
    pub(super) what: String,
    pub(super) fresh: String,
    pub(super) other: String,
}

/// The circumstances that must make no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum When {
    Again,
    Moved,
    Warm,
    Restored,
}

impl When {
    /// As a word, for programs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Again => "again",
            Self::Moved => "moved",
            Self::Warm => "warm",
            Self::Restored => "restored",
        }
    }

    /// For people: when it was, and what that points to.
    pub(super) fn story(self) -> [&'static str; 2] {
        match self {
            Self::Again => ["a second time", "something that the host does not control"],
            Self::Moved => [
                "elsewhere in memory",
                "an address that is used as a value, or the order of a hash table (HashMap)",
            ],
            Self::Warm => [
                "in an instance that had run the commands before it",
                "a static or thread-local variable, the allocator, or the order of a hash table",
            ],
            Self::Restored => [
                "after a restart from a snapshot",
                "something that is kept in memory, and not in the state",
            ],
        }
    }
}

/// A machine under some circumstances.
struct Twin {
    when: When,
    machine: Machine<WasmProgram>,
    /// How often it was begun anew, since it went another way.
    restarts: u32,
}

/// A method that can be called.
#[derive(Clone)]
pub(super) struct Method {
    /// Its path in gRPC, without the first slash.
    pub(super) path: String,
    /// Its number in the log.
    pub(super) id: u32,
    pub(super) is_query: bool,
    pub(super) descriptor: MethodDescriptor,
}

/// A call to make.
pub(super) struct Called<'a> {
    /// The log's clock, which does not fall behind an earlier one's.
    pub(super) time_ms: u64,
    pub(super) method: &'a Method,
    /// The encoded request.
    pub(super) payload: Bytes,
}

/// Makes the calls, and compares.
pub(super) fn run(
    module: &Arc<Module>,
    methods: &[Method],
    source: &Source<'_>,
) -> anyhow::Result<Findings> {
    let mut comparison = Comparison::new(module, methods)?;
    match source {
        Source::Generated { seed, count } => {
            let (mut generator, mut time_ms) = (Generator::new(*seed), START_MS);
            for number in 1..=*count {
                time_ms += generator.pause_ms();
                let method = generator.choose(methods).context("the plugin has no method")?;
                let request = generator.message(&method.descriptor.input());
                let payload = request.encode_to_vec().into();
                let called = Called { time_ms, method, payload };
                if let Some(reply) = comparison.call((number, *count), &called)? {
                    generator.hear(&request, &reply);
                }
            }
        }
        Source::Given(commands) => {
            let count = commands.len() as u64;
            for (number, called) in (1..).zip(commands) {
                comparison.call((number, count), called)?;
            }
        }
    }
    let mut findings = comparison.findings;
    findings.differences.sort_by_key(|difference| (difference.call, difference.when));
    Ok(findings)
}

/// The runs that are compared, and what was found so far.
struct Comparison<'a> {
    module: &'a Arc<Module>,
    fresh: Machine<WasmProgram>,
    fresh_state: Arc<MemoryState>,
    twins: Vec<Twin>,
    findings: Findings,
}

impl<'a> Comparison<'a> {
    fn new(module: &'a Arc<Module>, methods: &[Method]) -> anyhow::Result<Self> {
        let fresh_state = Arc::new(MemoryState::new());
        let fresh = machine(module, When::Again, Arc::clone(&fresh_state) as _)?;
        let mut twins = Vec::new();
        for when in [When::Again, When::Moved, When::Warm] {
            let machine = machine(module, when, Arc::new(MemoryState::new()))?;
            twins.push(Twin { when, machine, restarts: 0 });
        }
        let methods = methods.iter().map(|method| (method.path.clone(), (0, 0))).collect();
        let (differences, breakdowns) = (Vec::new(), Vec::new());
        let findings = Findings { calls: 0, methods, differences, breakdowns };
        Ok(Self { module, fresh, fresh_state, twins, findings })
    }

    /// Makes the next call of so many; its reply, if it succeeds.
    fn call(
        &mut self,
        (number, count): (u64, u64),
        called: &Called<'_>,
    ) -> anyhow::Result<Option<DynamicMessage>> {
        if number == count / 2 + 1 && number > 1 {
            let machine = machine(self.module, When::Restored, self.restored()?)?;
            self.twins.push(Twin { when: When::Restored, machine, restarts: 0 });
        }
        self.findings.calls = number;
        let outcome = if called.method.is_query {
            let run = Run::query(self.fresh_state.snapshot(), GROUP, called.command());
            self.module.query(run)?
        } else {
            self.command(number, called)?
        };
        let counts = self.findings.methods.entry(called.method.path.clone()).or_default();
        counts.0 += 1;
        counts.1 += u64::from(outcome.is_ok());
        match outcome {
            Ok(reply) => Ok(DynamicMessage::decode(called.method.descriptor.output(), reply).ok()),
            Err(rejection) => {
                self.note_breakdown(number, called, &rejection)?;
                Ok(None)
            }
        }
    }

    /// Runs a command everywhere.
    fn command(&mut self, number: u64, called: &Called<'_>) -> anyhow::Result<Outcome> {
        let id = LogId { term: 1, index: self.fresh.applied().index + 1 };
        let payload = called.entry();
        let done = apply(&mut self.fresh, id, payload.clone())?;
        for mut twin in std::mem::take(&mut self.twins) {
            let other = apply(&mut twin.machine, id, payload.clone())?;
            if let Some(differs) = difference(&called.method.descriptor, &done, &other) {
                self.note(twin.when, (number, id.index), called, differs)?;
                // What comes after would differ since this did.
                twin.machine = machine(self.module, twin.when, self.restored()?)?;
                twin.restarts += 1;
            }
            if twin.restarts < RESTARTS_MAX {
                self.twins.push(twin);
            }
        }
        Ok(done.outcome)
    }

    /// Notes the first call of a method that broke off for that reason.
    fn note_breakdown(
        &mut self,
        call: u64,
        called: &Called<'_>,
        rejection: &Rejection,
    ) -> anyhow::Result<()> {
        let is_breakdown = match rejection {
            Rejection::Trap { .. }
            | Rejection::OutOfFuel
            | Rejection::OutOfMemory
            | Rejection::Deadline => true,
            Rejection::Status { .. } | Rejection::OverLimit { .. } | Rejection::Session(_) => false,
        };
        let (method, reason) = (called.method.path.clone(), rejection.to_string());
        let mut noted = self.findings.breakdowns.iter();
        if !is_breakdown || noted.any(|noted| noted.method == method && noted.reason == reason) {
            return Ok(());
        }
        let request = called.request()?;
        self.findings.breakdowns.push(Breakdown { call, method, request, reason });
        Ok(())
    }

    /// Notes the first difference of a method under some circumstances.
    fn note(
        &mut self,
        when: When,
        (call, index): (u64, u64),
        called: &Called<'_>,
        [what, fresh, other]: [String; 3],
    ) -> anyhow::Result<()> {
        let method = called.method.path.clone();
        let mut noted = self.findings.differences.iter();
        if noted.any(|noted| noted.when == when && noted.method == method) {
            return Ok(());
        }
        let request = called.request()?;
        self.findings.differences.push(Difference {
            when,
            call,
            index,
            method,
            request,
            what,
            fresh,
            other,
        });
        Ok(())
    }

    /// The state as a node would have it that began with a snapshot of it.
    fn restored(&self) -> anyhow::Result<Arc<dyn StateStore>> {
        let view = self.fresh_state.snapshot();
        let first = local::founders(1).into_iter().next().expect("it is one");
        let identity = local::identity(first, 1, self.module.digest(), Timing::default());
        let header = Header::of(&identity, view.meta().clone());
        let mut encoder = Encoder::new(&header, view)?;
        let (mut decoder, mut builder) = (Decoder::new(), MemoryBuilder::new());
        while let Some(frame) = encoder.next_frame()? {
            if let Content::Records(records) = decoder.take(&frame)? {
                records.put_into(&mut builder)?;
            }
        }
        Ok(Arc::new(builder.finish(header.meta)?))
    }
}

fn machine(
    module: &Arc<Module>,
    when: When,
    state: Arc<dyn StateStore>,
) -> Result<Machine<WasmProgram>, Fatal> {
    let instances = match when {
        When::Again => Instances::Fresh,
        When::Moved => Instances::Moved,
        When::Warm | When::Restored => Instances::Warm,
    };
    Machine::new(GROUP, module.program_with(instances), state)
}

/// The methods of a plugin.
pub(super) fn methods_of(manifest: &Manifest) -> Vec<Method> {
    let pool = DescriptorPool::decode(manifest.descriptors.as_ref());
    let pool = pool.expect("the gate has let it through");
    let descriptors = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    // Both list the methods of all services, in the order of their files.
    let methods = descriptors.zip(manifest.methods());
    let method = |(descriptor, known): (MethodDescriptor, &quorate_wasm::Method)| Method {
        path: known.path.trim_start_matches('/').to_owned(),
        id: known.id,
        is_query: known.kind == Kind::Query,
        descriptor,
    };
    methods.map(method).collect()
}

impl Called<'_> {
    fn command(&self) -> Command {
        Command::new(self.method.id, self.payload.clone())
    }

    /// As an entry of its own.
    fn entry(&self) -> Payload {
        Payload::Commands(batch::encode(self.time_ms, [&self.command()].into_iter()))
    }

    /// For people. What does not decode is nothing.
    fn request(&self) -> anyhow::Result<serde_json::Value> {
        let request = DynamicMessage::decode(self.method.descriptor.input(), self.payload.clone());
        Ok(request.map_or(Ok(serde_json::Value::Null), serde_json::to_value)?)
    }
}

/// What a command did.
struct Done {
    outcome: Outcome,
    writes: Writes,
    digest: u64,
}

fn apply(machine: &mut Machine<WasmProgram>, id: LogId, payload: Payload) -> Result<Done, Fatal> {
    let mut decided = machine.apply(id, payload)?;
    let (_, outcome) = decided.pop().expect("an entry of one command has an outcome");
    let Changes { plugin: writes, .. } = machine.take_changes();
    machine.prepare()?;
    Ok(Done { outcome, writes, digest: machine.digest() })
}

/// The first thing that differs: what it is, and how it was with both.
fn difference(method: &MethodDescriptor, fresh: &Done, other: &Done) -> Option<[String; 3]> {
    let keys = fresh.writes.keys().chain(other.writes.keys());
    let differing = keys.filter(|key| fresh.writes.get(*key) != other.writes.get(*key)).min();
    if let Some(key) = differing {
        let written = |done: &Done| match done.writes.get(key) {
            None => "not written".to_owned(),
            Some(None) => "deleted".to_owned(),
            Some(Some(value)) => shown(value),
        };
        return Some([format!("the key {}", shown(key)), written(fresh), written(other)]);
    }
    if fresh.outcome != other.outcome {
        let said = |done: &Done| match &done.outcome {
            Ok(reply) => match DynamicMessage::decode(method.output(), reply.clone()) {
                Ok(reply) => serde_json::to_string(&reply).unwrap_or_else(|_| reply.to_string()),
                Err(_) => shown(reply),
            },
            Err(rejection) => format!("refused: {rejection}"),
        };
        return Some(["the reply".to_owned(), said(fresh), said(other)]);
    }
    let digest = |done: &Done| format!("{:016x}", done.digest);
    let is_other = fresh.digest != other.digest;
    is_other.then(|| ["the digest of the state".to_owned(), digest(fresh), digest(other)])
}

/// Bytes as text where they are, else escaped; cut when they are long.
fn shown(bytes: &[u8]) -> String {
    const BYTES_MAX: usize = 80;
    let cut = bytes.get(..BYTES_MAX).unwrap_or(bytes);
    let more = if bytes.len() > BYTES_MAX { "..." } else { "" };
    format!("\"{}{more}\"", cut.escape_ascii())
}
