//! What wasm-smith makes: as it likes, or behind our imports and exports.

use arbitrary::{Arbitrary as _, Unstructured};
use quorate_abi::MANIFEST_SECTION;
use wasm_encoder::{CodeSection, ExportKind, Function, FunctionSection, Module};
use wasm_smith::Config;

use crate::random::Random;
use crate::sections::Section;
use crate::{abi, manifest};

/// What the driver calls in a module of this shape.
pub(super) const DRIVEN: &str = "driven";

/// Any module that wasm-smith can make.
pub(super) fn any(random: &mut Random) -> Vec<u8> {
    let mut config = if random.one_in(2) {
        let seed = random.bytes(256);
        Config::arbitrary(&mut Unstructured::new(&seed)).unwrap_or_default()
    } else {
        Config::default()
    };
    // Raw bytes for bodies, proposals that are off here, custom sections.
    config.allow_invalid_funcs = random.one_in(4);
    config.custom_page_sizes_enabled = random.one_in(8);
    config.wide_arithmetic_enabled = random.one_in(8);
    config.generate_custom_sections = random.one_in(4);
    config.max_memories = random.pick(&[1, 1, 2]);
    if random.one_in(2) {
        // Passes as far as the validator lets it.
        config.module_shape = Some(shape(random, true));
    }
    let wasm = make(random, config, None);
    if random.one_in(4) { wasm } else { with_manifest(wasm) }
}

/// A module with our imports and exports.
pub(super) fn shaped(random: &mut Random) -> Vec<u8> {
    let wasm = behind_our_exports(random);
    with_manifest(wasm)
}

/// The same, without a manifest.
pub(super) fn behind_our_exports(random: &mut Random) -> Vec<u8> {
    let config = Config {
        module_shape: Some(shape(random, false)),
        allow_start_export: false,
        custom_descriptors_enabled: false,
        disallow_traps: random.one_in(2),
        exceptions_enabled: false,
        gc_enabled: false,
        max_data_segments: 4,
        max_element_segments: 4,
        max_elements: 16,
        max_funcs: 24,
        max_globals: 16,
        max_instructions: random.pick(&[50, 100, 300]),
        max_memories: 1,
        max_table_elements: 1_000,
        max_tables: 1,
        max_types: 24,
        memory64_enabled: false,
        // With it come external references, which the gate refuses.
        reference_types_enabled: random.one_in(6),
        relaxed_simd_enabled: false,
        shared_everything_threads_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        wide_arithmetic_enabled: false,
        ..Config::default()
    };
    // Without a bound of its own, an endless loop takes all of the fuel: a tenth of a second.
    let turns = if random.one_in(20) { None } else { Some(random.pick(&[100, 1_000, 100_000])) };
    make(random, config, turns)
}

/// A module of that configuration, with functions that end after so many turns.
fn make(random: &mut Random, config: Config, turns: Option<u32>) -> Vec<u8> {
    let len = random.pick(&[512, 2_048, 8_192]);
    let bytes = random.bytes(len);
    // A configuration may contradict itself; then there is no module, which is one for the gate.
    let Ok(mut module) = wasm_smith::Module::new(config, &mut Unstructured::new(&bytes)) else {
        return Vec::new();
    };
    if let Some(turns) = turns {
        module.ensure_termination(turns).expect("all bodies are wasm-smith's own");
    }
    module.to_bytes()
}

pub(super) fn with_manifest(mut wasm: Vec<u8>) -> Vec<u8> {
    let section = Section::custom(MANIFEST_SECTION, &manifest::valid());
    wasm.extend(crate::sections::join(&[section]).split_off(crate::sections::HEADER.len()));
    wasm
}

/// A module with the imports and exports of a guest, and one function for the driver. A crooked
/// one may have a wrong type somewhere.
fn shape(random: &mut Random, crooked: bool) -> Vec<u8> {
    let (marker, driven) = (abi::IMPORTED, abi::IMPORTED + 3);
    let import = if crooked && random.one_in(3) { random.below(abi::IMPORTED) } else { 0 };
    let query = if crooked && random.one_in(3) { driven } else { marker + 2 };
    let mut functions = FunctionSection::new();
    let mut code = CodeSection::new();
    let own = [abi::signature::NOTHING; 3].into_iter().chain([abi::signature::DRIVEN]);
    for signature in own {
        functions.function(signature);
        let mut function = Function::new([]);
        function.instructions().unreachable().end();
        code.function(&function);
    }
    let mut exports = abi::exports(marker, marker + 1, query);
    exports.export(DRIVEN, ExportKind::Func, driven);
    let maximum = random.pick(&[None, Some(2), Some(40), Some(65_536)]);
    let mut module = Module::new();
    module
        .section(&abi::types())
        .section(&abi::imports(import))
        .section(&functions)
        .section(&abi::memory(2, maximum))
        .section(&exports)
        .section(&code);
    module.finish()
}
