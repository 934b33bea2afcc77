//! What the machine should do, written down a second time and as simply as can be: the reference
//! that every reply is compared with. It shares no code with the core.

pub mod sessions;

use std::collections::{BTreeMap, BTreeSet};

use quorate_core::limits::KEY_BYTES_MAX;
use quorate_core::outcome::Rejection;
use quorate_history::Found;

use crate::request::{End, Reply, Request, Script, ScriptReply, Step, StepKind, StepReply};

/// A reply, or the beginning of what a rejection says.
pub type Expected = Result<Reply, &'static str>;

/// Where a command stands.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its entry.
    pub index: u64,
    /// Its place in the entry.
    pub position: u64,
}

/// A machine's state, as it should be.
#[derive(Clone, Debug, Default)]
pub struct Model {
    revision: u64,
    registers: BTreeMap<u32, Found>,
    pairs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Keys that commands of this entry have deleted, and none has set again.
    deleted: BTreeSet<Vec<u8>>,
    time_ms: u64,
    seeds: BTreeSet<u64>,
}

impl Model {
    /// An entry comes with its leader's clock.
    pub fn entry(&mut self, time_ms: u64) {
        self.time_ms = self.time_ms.max(time_ms);
        self.deleted.clear();
    }

    /// What a read of a register gives now.
    pub fn read(&self, key: u32) -> Reply {
        let found = self.registers.get(&key).cloned();
        Reply::Register { revision: self.revision, wrote: false, found }
    }

    /// What the registers hold, in the order of their keys.
    pub fn registers(&self) -> impl Iterator<Item = (u32, Found)> {
        self.registers.iter().map(|(key, found)| (*key, found.clone()))
    }

    /// What the scripts' map holds.
    pub fn pairs(&self) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        &self.pairs
    }

    /// Carries out a command; returns what its client should be told.
    pub fn command(&mut self, request: &Request, place: Place) -> Expected {
        match request {
            Request::Put(key, value, _) => Ok(self.set(*key, *value)),
            Request::Cas(key, wanted, value) => {
                let held = self.registers.get(key).map_or(0, |found| found.mod_revision);
                Ok(if held == *wanted { self.set(*key, *value) } else { self.read(*key) })
            }
            Request::Script(script) => {
                let before = (self.pairs.clone(), self.deleted.clone());
                let expected = self.script(script, place);
                if expected.is_err() {
                    (self.pairs, self.deleted) = before;
                }
                expected.map(Reply::Script)
            }
            Request::Get(_) | Request::Look(_) => self.query(request, place.index),
            Request::Open(_) => Err("opens a session"),
            Request::Other(..) => Err("is of another plugin"),
        }
    }

    /// What a query gives at this index.
    pub fn query(&self, request: &Request, index: u64) -> Expected {
        match request {
            Request::Look(script) => {
                let kinds = [StepKind::Put, StepKind::Delete, StepKind::DeleteRange];
                let writes = |step: &Step| {
                    kinds.contains(&step.kind()) || step.kind() == StepKind::PutTooLong
                };
                if script.steps.iter().any(writes) {
                    return Err("the plugin trapped: a query tried to change the state");
                }
                let mut copy = Self { pairs: self.pairs.clone(), ..Self::default() };
                copy.time_ms = self.time_ms;
                copy.script(script, Place { index, position: 0 }).map(Reply::Script)
            }
            Request::Get(key) => Ok(self.read(*key)),
            Request::Put(..)
            | Request::Cas(..)
            | Request::Script(_)
            | Request::Open(_)
            | Request::Other(..) => Err("no query"),
        }
    }

    fn set(&mut self, key: u32, value: u64) -> Reply {
        self.revision += 1;
        let found = self.registers.insert(key, Found { value, mod_revision: self.revision });
        Reply::Register { revision: self.revision, wrote: true, found }
    }

    fn script(&mut self, script: &Script, place: Place) -> Result<ScriptReply, &'static str> {
        let mut reply = ScriptReply::default();
        for step in &script.steps {
            reply.steps.push(self.step(step, place)?);
        }
        match script.end() {
            End::Reply => Ok(reply),
            End::Reject => Err("on second thought"),
            End::Trap => Err("the plugin trapped: as it was told"),
            End::Fuel => Err("the plugin ran out of fuel"),
        }
    }

    fn step(&mut self, step: &Step, place: Place) -> Result<StepReply, &'static str> {
        let mut reply = StepReply::default();
        let is_open = step.value.is_empty();
        let within = |key: &&Vec<u8>| **key >= step.key && (is_open || **key < step.value);
        match step.kind() {
            StepKind::Put => {
                self.deleted.remove(&step.key);
                self.pairs.insert(step.key.clone(), step.value.clone());
            }
            StepKind::PutTooLong => {
                const { assert!(KEY_BYTES_MAX == 4096, "the message names the size") };
                return Err("a key of 4097 bytes is over the limit of 4096 bytes");
            }
            StepKind::Delete => {
                self.deleted.insert(step.key.clone());
                reply.count = self.pairs.remove(&step.key).is_some().into();
            }
            StepKind::DeleteRange => {
                let keys: Vec<_> = self.pairs.keys().filter(within).cloned().collect();
                reply.count = keys.len() as u64;
                self.pairs.retain(|key, _| !keys.contains(key));
                self.deleted.extend(keys);
            }
            StepKind::Get => reply.read.extend(self.pairs.get(&step.key).cloned()),
            StepKind::Scan | StepKind::ScanBack => {
                let mut found: Vec<_> = self.pairs.iter().filter(|(key, _)| within(key)).collect();
                if step.kind() == StepKind::ScanBack {
                    found.reverse();
                }
                let taken = if step.limit == 0 { found.len() } else { step.limit as usize };
                found.truncate(taken);
                if step.limit == 0 {
                    reply.count = self.deleted.iter().filter(within).count() as u64;
                }
                reply.read = found.into_iter().flat_map(|(k, v)| [k.clone(), v.clone()]).collect();
            }
            StepKind::Stamp => reply.place = vec![self.time_ms, place.index, place.position],
        }
        Ok(reply)
    }

    /// Whether a query was told what it should have been.
    pub fn agrees_query(expected: &Expected, told: &Result<Reply, Rejection>) -> bool {
        Self::default().agrees(expected, told)
    }

    /// Whether a client was told what it should have been. Seeds need only differ.
    pub fn agrees(&mut self, expected: &Expected, told: &Result<Reply, Rejection>) -> bool {
        match (expected, told) {
            (Ok(expected), Ok(Reply::Script(told))) => {
                let mut told = told.clone();
                for step in told.steps.iter_mut().filter(|step| !step.place.is_empty()) {
                    // One command may ask twice, and gets the same; `place` tells commands apart.
                    let seed = std::mem::take(&mut step.seed);
                    let is_new = self.seeds.insert(seed);
                    if seed == 0 || !is_new {
                        return false;
                    }
                }
                *expected == Reply::Script(told)
            }
            (Ok(expected), Ok(told)) => expected == told,
            (Err(expected), Err(told)) => told.to_string().starts_with(expected),
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        }
    }
}
