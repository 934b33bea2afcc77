//! The modules that the binary carries, compiled once for it and for the tests that attack them.
//! It deliberately knows nothing that could run them.

/// The module of the key-value plugin.
pub const KV_MODULE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kv.wasm"));

/// The module of the counter, for measurements: hardly a plugin does less.
pub const COUNTER_MODULE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/counter.wasm"));
