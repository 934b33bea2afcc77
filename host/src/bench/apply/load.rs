//! What is applied: commands of one get and one put each, of two plugins.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use quorate_abi::method_id;
use quorate_core::batch::{self, Command};
use quorate_core::machine::Program;
use quorate_wasm::{LoadError, Module};

use super::native::NativeProgram;

/// Bytes of a key, or of a counter's name.
pub(super) const KEY_BYTES: usize = 16;
/// When all of it was proposed.
const TIME_MS: u64 = 1_735_689_600_000;

/// Commands of one plugin, and its code in both forms.
pub(super) struct Load {
    pub(super) plugin: &'static str,
    /// Of a value that a client sends; counters have none.
    pub(super) value_bytes: Option<usize>,
    pub(super) module: Arc<Module>,
    pub(super) native: fn() -> Box<dyn Program>,
    /// One command for each key.
    commands: Vec<Command>,
}

impl Load {
    /// `counter.v1.Counter/Add`: a small number under each key.
    pub(super) fn counter(module: &Arc<Module>, keys: usize) -> Self {
        let method = method_id("counter.v1.Counter/Add");
        let add = |key| counter::AddRequest { name: name(key), by: 1 }.encode_to_vec();
        Self {
            plugin: "counter",
            value_bytes: None,
            module: Arc::clone(module),
            native: || Box::new(NativeProgram::<counter::Counters>::new()),
            commands: (0..keys).map(|key| Command::new(method, add(key).into())).collect(),
        }
    }

    /// `kv.v1.Kv/Put`: reads the pair before it writes it, and counts the store's revision.
    pub(super) fn kv(module: &Arc<Module>, keys: usize, value_bytes: usize) -> Self {
        let method = method_id("kv.v1.Kv/Put");
        let put = |key| {
            let (key, value) = (name(key).into_bytes(), vec![7; value_bytes]);
            kv::PutRequest { key, value, prev_kv: false }.encode_to_vec()
        };
        Self {
            plugin: "kv",
            value_bytes: Some(value_bytes),
            module: Arc::clone(module),
            native: || Box::new(NativeProgram::<kv::Store>::new()),
            commands: (0..keys).map(|key| Command::new(method, put(key).into())).collect(),
        }
    }

    /// Entries that write each key once.
    pub(super) fn fill(&self, entry_commands: usize) -> Vec<Bytes> {
        self.commands
            .chunks(entry_commands)
            .map(|some| batch::encode(TIME_MS, some.iter()))
            .collect()
    }

    /// So many entries of keys at random: the same from the same seed.
    pub(super) fn entries(&self, entries: usize, entry_commands: usize, seed: u64) -> Vec<Bytes> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut some = |_| {
            let command = |_| &self.commands[random.usize(..self.commands.len())];
            let commands: Vec<_> = (0..entry_commands).map(command).collect();
            batch::encode(TIME_MS, commands.into_iter())
        };
        (0..entries).map(&mut some).collect()
    }
}

fn name(key: usize) -> String {
    format!("{key:0KEY_BYTES$}")
}

/// The modules of both plugins: of counters, and of pairs.
pub(super) fn modules() -> Result<[Arc<Module>; 2], LoadError> {
    Ok([Module::load(quorate_modules::COUNTER_MODULE)?, Module::load(quorate_modules::KV_MODULE)?])
}
