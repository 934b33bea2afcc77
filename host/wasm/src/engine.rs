//! The two engines. Apply must decide the same on every node, so all that wasmtime would take from
//! the machine, the environment or its own version is fixed here. Queries are answered by one node
//! alone: they run without the cost of fuel, until a deadline of the wall clock.

use std::time::Duration;

use quorate_core::limits;
use wasmparser::WasmFeatures;
use wasmtime::{
    Config, Engine, Inlining, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    Strategy, WasmBacktraceDetails,
};

use crate::fuel;

/// What a module may use of WebAssembly. All else is off, be it standard, proposed or unheard of:
/// the gate and both engines are built from this one set. Threads would bring races, relaxed SIMD
/// the CPU's own results, memory64 and several memories would escape the limits; tail calls,
/// exceptions and garbage collection are not needed by the guests there are. `GC_TYPES` is off,
/// so of the reference types there is `funcref` alone.
pub(super) const FEATURES: WasmFeatures = WasmFeatures::MUTABLE_GLOBAL
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::SIMD)
    .union(WasmFeatures::FLOATS)
    .union(WasmFeatures::EXTENDED_CONST);

/// Stack of a guest. The thread that runs it needs this and room for the host's functions:
/// Rust's default of 2 MiB is enough.
const STACK_BYTES_MAX: usize = 1024 * 1024;

/// What stays mapped of an instance's memory when it is reset: beyond it pages go back to the
/// system, and their faults cost more than clearing them does.
const MEMORY_RESIDENT_BYTES: usize = 128 * 1024;
/// The same for its table.
const TABLE_RESIDENT_BYTES: usize = 64 * 1024;

/// Instances for apply. A program has one at a time, prepared, running or spent; the rest is for
/// the other nodes of a cluster in one process, which share the module.
const APPLY_INSTANCES_MAX: u32 = 8;
const _: () = assert!(limits::VOTERS_MAX <= APPLY_INSTANCES_MAX as usize);
/// Instances for queries: those that run, and a few whose reset is not done yet.
#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
const QUERY_INSTANCES_MAX: u32 = limits::QUERIES_RUNNING_MAX as u32 + 8;

/// How often the query engine's epoch moves.
pub(super) const TICK: Duration = Duration::from_millis(TICK_MS);
const TICK_MS: u64 = 50;
/// Ticks that a query may take. The first one comes early, by up to its whole length.
pub(super) const QUERY_TICKS_MAX: u64 = limits::QUERY_MS_MAX / TICK_MS + 1;

/// Code for the oldest CPU of the architecture, not for the one at hand: the frames of functions
/// then have one size on every node, and so endless recursion ends at one depth.
const TARGET: Option<&str> = if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
    Some("x86_64-unknown-linux-gnu")
} else if cfg!(all(target_os = "linux", target_arch = "aarch64")) {
    Some("aarch64-unknown-linux-gnu")
} else {
    None
};

/// The engine that runs commands.
pub(super) fn apply() -> wasmtime::Result<Engine> {
    let mut config = common(APPLY_INSTANCES_MAX);
    config.consume_fuel(true).operator_cost(fuel::table());
    if let Some(target) = TARGET {
        config.target(target)?;
    }
    Engine::new(&config)
}

/// The engine that runs queries.
pub(super) fn query() -> wasmtime::Result<Engine> {
    let mut config = common(QUERY_INSTANCES_MAX);
    config.epoch_interruption(true);
    Engine::new(&config)
}

fn common(instances_max: u32) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(instances_max)
        .total_memories(instances_max)
        .total_tables(instances_max)
        .max_memories_per_module(1)
        .max_tables_per_module(1)
        .max_memory_size(limits::GUEST_MEMORY_BYTES_MAX)
        .table_elements(limits::GUEST_TABLE_ELEMENTS_MAX)
        .linear_memory_keep_resident(MEMORY_RESIDENT_BYTES)
        .table_keep_resident(TABLE_RESIDENT_BYTES);
    let mut config = Config::new();
    config
        .wasm_features(FEATURES, true)
        .wasm_features(FEATURES.complement(), false)
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .compiler_inlining(Inlining::No)
        .max_wasm_stack(STACK_BYTES_MAX)
        // The default asks an environment variable.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}
