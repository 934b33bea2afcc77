//! The gate: what it lets through, and each thing that it does not.

use quorate_proto::v1::Kind;

use super::*;
use crate::gate::inspect;
use crate::{LoadError, Refusal};

/// A module that is fine.
const FINE: &str = r#"(module
    (import "quorate_v1" "next" (func (param i32 i32 i32 i32 i32) (result i64)))
    (memory (export "memory") 1)
    (func (export "quorate_abi_v1"))
    (func (export "quorate_apply"))
    (func (export "quorate_query"))
    (@custom "quorate_v1" "MANIFEST"))"#;

fn refusals(wat: &str) -> Vec<Refusal> {
    inspect(&assemble(wat)).refusals
}

/// `FINE` with a change is refused in these words, and for nothing else.
#[track_caller]
fn assert_refused(from: &str, to: &str, words: &str) {
    let wat = FINE.replacen(from, to, 1);
    assert_ne!(wat, FINE, "the change is one");
    let lines: Vec<_> = refusals(&wat).iter().map(ToString::to_string).collect();
    assert!(matches!(&lines[..], [line] if line.contains(words)), "{lines:?}");
}

/// `FINE` with something added.
#[track_caller]
fn assert_addition_refused(addition: &str, words: &str) {
    assert_refused("(@custom", &format!("{addition} (@custom"), words);
}

#[test]
fn a_fine_module_passes_and_is_reported() {
    let wasm = assemble(FINE);
    let report = inspect(&wasm);
    assert_eq!(report.refusals, []);
    assert_eq!(report.bytes, wasm.len());
    assert_eq!(report.imports, ["quorate_v1.next (i32, i32, i32, i32, i32) -> i64"]);
    let exports = ["memory a memory", "quorate_abi_v1 ()", "quorate_apply ()", "quorate_query ()"];
    assert_eq!(report.exports, exports);
    assert_eq!(report.digest.to_string().len(), 64);
    let manifest = report.manifest.unwrap();
    assert_eq!((manifest.name.as_str(), manifest.version.as_str()), ("hostile", "0.1.0"));
    assert_eq!(manifest.services[0].name, "t.v1.T");
    assert_eq!(manifest.services[0].methods[0].path, "/t.v1.T/Call");
    assert_eq!(manifest.services[0].methods[0].id, quorate_abi::method_id("t.v1.T/Call"));
    assert_eq!(Module::load(&wasm).unwrap().digest(), report.digest);
}

#[test]
fn what_is_not_wasm_is_refused() {
    for bytes in [&b""[..], b"\x7fELF", b"\0as"] {
        assert_eq!(inspect(bytes).refusals, [Refusal::NotWasm]);
    }
}

#[test]
fn every_truncation_is_refused() {
    let wasm = assemble(FINE);
    for len in 0..wasm.len() {
        assert!(!inspect(&wasm[..len]).refusals.is_empty(), "cut to {len} bytes");
    }
}

/// Damage is found, or is harmless: it never ends in a panic.
#[test]
fn damaged_modules_do_not_harm_the_gate() {
    let wasm = assemble(FINE);
    for at in 0..wasm.len() {
        for bit in 0..8 {
            let mut wasm = wasm.clone();
            wasm[at] ^= 1 << bit;
            inspect(&wasm);
        }
    }
}

#[test]
fn a_module_over_the_size_limit_is_refused() {
    let mut wasm = assemble(FINE);
    wasm.resize(quorate_core::limits::MODULE_BYTES_MAX + 1, 0);
    assert!(matches!(inspect(&wasm).refusals[..], [Refusal::TooMany { what: "bytes", .. }]));
}

#[test]
fn imports_are_known_by_module_name_and_type() {
    assert_refused("\"quorate_v1\" \"next\"", "\"env\" \"next\"", "env.next");
    assert_refused("\"quorate_v1\" \"next\"", "\"quorate_v1\" \"previous\"", "v1.previous");
    assert_refused("(result i64)", "(result i32)", "next as (i32, i32, i32, i32, i32) -> i32");
    assert_refused("i32 i32)", "i32)", "but it is (i32, i32, i32, i32, i32) -> i64");
    let global = "(module (import \"quorate_v1\" \"next\" (global i32))";
    assert_refused("(module", global, "next as a global");
    let random = "(module (import \"wasi_snapshot_preview1\" \"random_get\" (func))";
    assert_refused("(module", random, "wasi_snapshot_preview1.random_get");
}

#[test]
fn exports_are_required_with_their_types() {
    for name in ["memory", "quorate_abi_v1", "quorate_apply", "quorate_query"] {
        let export = format!("(export \"{name}\")");
        assert_refused(&export, "", &format!("does not export {name}"));
    }
    let applies = "(func (export \"quorate_apply\") (param i32)";
    assert_refused("(func (export \"quorate_apply\")", applies, "quorate_apply as (i32)");
    let global = "(global (export \"quorate_query\") i32 (i32.const 0)";
    assert_refused("(func (export \"quorate_query\")", global, "quorate_query as a global");
}

#[test]
fn there_is_one_memory_within_the_limit() {
    let imported = "(import \"env\" \"m\" (memory 1)) (export \"memory\" (memory 0))";
    assert_refused("(memory (export \"memory\") 1)", imported, "imports env.m");
    assert_refused("(memory (export \"memory\") 1)", "(memory (export \"memory\") 1025)", "memory");
    let found = refusals(&FINE.replace("(memory (export \"memory\") 1)", ""));
    let none = [Refusal::MemoryCount { found: 0 }, Refusal::MissingExport { name: "memory" }];
    assert_eq!(found, none, "all that is wrong is told");
}

#[test]
fn tables_functions_and_the_rest_are_bounded() {
    assert_addition_refused("(table 10001 funcref)", "10001 table elements");
    assert_addition_refused("(table 1 funcref) (table 1 funcref)", "2 tables");
    assert_addition_refused(&"(func)".repeat(50_000), "functions");
    assert_addition_refused(&"(global i32 (i32.const 0))".repeat(1_001), "1001 globals");
    assert_addition_refused(&"(data \"\")".repeat(10_001), "10001 data segments");
    assert_addition_refused(&"(elem func)".repeat(10_001), "10001 element segments");
    let locals = "(local i32)".repeat(10_001);
    assert_addition_refused(&format!("(func {locals})"), "10001 local variables");
    let code = "(drop (i32.const 1))".repeat(180_000);
    assert_addition_refused(&format!("(func {code})"), "bytes in one function");
    let exports: Vec<_> = (0..1_000).map(|n| format!("(export \"e{n}\" (func 1))")).collect();
    assert_addition_refused(&exports.concat(), "1004 exports");
}

#[test]
fn a_start_function_is_refused() {
    assert_addition_refused("(func $start) (start $start)", "start function");
}

/// Each proposal that is off, by a module that needs it.
#[test]
fn what_is_off_is_refused() {
    let off = [
        ("threads", "(func (drop (i32.atomic.load (i32.const 0) (i32.const 0))))"),
        ("threads", "(func (atomic.fence))"),
        ("tail calls", "(func $f (return_call $f))"),
        (
            "relaxed simd",
            "(func (param v128) (result v128)
            (f32x4.relaxed_madd (local.get 0) (local.get 0) (local.get 0)))",
        ),
        ("exceptions", "(tag $t) (func (throw $t))"),
        ("gc", "(type $s (struct (field i32)))"),
        ("gc", "(func (param anyref))"),
        ("gc types", "(func (param externref))"),
        ("function references", "(type $f (func)) (func (param (ref $f)))"),
        ("multi-memory", "(memory 1)"),
        ("custom page sizes", "(memory 1 (pagesize 1))"),
        ("memory64", "(memory i64 1)"),
        ("shared memory", "(memory 1 1 shared)"),
        ("table64", "(table i64 1 funcref)"),
        (
            "wide arithmetic",
            "(func (param i64) (result i64 i64)
            (i64.mul_wide_u (local.get 0) (local.get 0)))",
        ),
        ("stack switching", "(type $f (func)) (type $c (cont $f))"),
    ];
    for (proposal, addition) in off {
        // A second memory would be refused for its number as well.
        let from = if addition.starts_with("(memory") && proposal != "multi-memory" {
            "(memory (export \"memory\") 1)"
        } else {
            "(@custom"
        };
        let to = match from {
            "(@custom" => format!("{addition} (@custom"),
            _ => addition.replacen("(memory", "(memory (export \"memory\")", 1),
        };
        let wasm = wat::parse_str(FINE.replacen(from, &to, 1));
        let wasm = wasm.unwrap_or_else(|error| panic!("{proposal}: {error}"));
        let found = inspect(&wasm).refusals;
        assert!(matches!(found[..], [Refusal::Invalid { .. }]), "{proposal}: {found:?}");
    }
}

/// The gate is not alone: the engines refuse what it refuses.
#[test]
fn the_engines_have_the_same_switches() {
    let wasm = wat::parse_str("(module (func $f (return_call $f)))").unwrap();
    for engine in [crate::engine::apply().unwrap(), crate::engine::query().unwrap()] {
        let error = wasmtime::Module::from_binary(&engine, &wasm).map(drop).unwrap_err();
        assert!(format!("{error:#}").contains("tail calls"), "{error:#}");
    }
}

#[test]
fn what_is_on_passes() {
    let on = "(table 1 funcref) (global i32 (i32.add (i32.const 1) (i32.const 2)))
        (func (param v128 f32) (result i32 i32)
            (memory.fill (i32.const 0) (i32.const 0) (i32.const 1))
            (drop (ref.is_null (ref.null func)))
            (i32.extend8_s (i32.trunc_sat_f32_s (local.get 1)))
            (i8x16.extract_lane_s 0 (local.get 0)))";
    assert_eq!(refusals(&FINE.replace("(@custom", &format!("{on} (@custom"))), []);
}

#[test]
fn there_is_one_manifest_that_can_be_read() {
    assert_refused("(@custom \"quorate_v1\"", "(@custom \"other\"", "no custom section");
    assert_addition_refused("(@custom \"quorate_v1\" \"\")", "several custom sections");
    assert_refused("MANIFEST", "\\ff\\ff", "manifest cannot be read");
    let garbage = escape(&field(3, b"garbage"));
    assert_refused("MANIFEST", &garbage, "manifest cannot be read");
    let odd = field(3, &field(1, &[field(1, b"t.proto"), field(12, b"proto9")].concat()));
    assert_refused("MANIFEST", &escape(&odd), "the syntax \"proto9\" is not known");
    assert_refused("MANIFEST", "", "no service with a method");
    let empty = escape(&manifest(&[service("T", &[])]));
    assert_refused("MANIFEST", &empty, "no service with a method");
}

#[test]
fn methods_have_one_path_and_one_number() {
    let call = || method("Call", &[]);
    let twice = escape(&manifest(&[service("T", &[call()]), service("T", &[call()])]));
    assert_refused("MANIFEST", &twice, "manifest cannot be read");
    let twice = escape(&manifest(&[service("T", &[call(), call()])]));
    assert_refused("MANIFEST", &twice, "manifest cannot be read");

    let (one, other) = collision();
    let same = escape(&manifest(&[service("T", &[method(&one, &[]), method(&other, &[])])]));
    assert_refused("MANIFEST", &same, "have the same number");
}

/// Two names of methods with one number.
fn collision() -> (String, String) {
    let mut seen = std::collections::BTreeMap::new();
    for n in 0.. {
        let name = format!("M{n}");
        if let Some(other) = seen.insert(quorate_abi::method_id(&format!("t.v1.T/{name}")), n) {
            return (format!("M{other}"), name);
        }
    }
    unreachable!("there are more names than numbers")
}

#[test]
fn streaming_methods_are_refused() {
    for stream in [[5 << 3, 1], [6 << 3, 1]] {
        let streams = escape(&manifest(&[service("T", &[method("Call", &stream)])]));
        assert_refused("MANIFEST", &streams, "/t.v1.T/Call streams");
    }
}

#[test]
fn methods_say_what_they_are() {
    let kind = |kind| field(4, &[&[0x88, 0x82, 0x29][..], &[kind]].concat());
    let methods = [method("A", &[]), method("B", &kind(0)), method("C", &kind(1))];
    let wat = FINE.replace("MANIFEST", &escape(&manifest(&[service("T", &methods)])));
    let manifest_read = inspect(&assemble(&wat)).manifest.unwrap();
    let kinds: Vec<_> = manifest_read.methods().map(|method| method.kind).collect();
    assert_eq!(kinds, [Kind::Command, Kind::Command, Kind::Query]);

    let odd = escape(&manifest(&[service("T", &[method("Call", &kind(9))])]));
    assert_refused("MANIFEST", &odd, "not COMMAND or QUERY");
}

/// What only shows when an instance is made is found at the door as well.
#[test]
fn data_beyond_the_memory_is_unusable() {
    let wat = FINE.replace("(@custom", "(data (i32.const 65536) \"x\") (@custom");
    let error = Module::load(&assemble(&wat)).map(drop).unwrap_err();
    assert!(matches!(error, LoadError::Unusable { .. }), "{error}");
}
