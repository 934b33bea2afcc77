//! The header says what the ABI says.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use quorate_abi::{self as abi, Verdict, export, import, limits, page, scan, status};
use quorate_c::root;
use quorate_wasm::gate;

use crate::folder;

/// Compiles a text that includes the header; the compiler's output.
fn clang(arguments: &[&str], source: &str, folder: &Path) -> Vec<u8> {
    fs::create_dir_all(folder).expect("the tests' folder can be written to");
    let file = folder.join("probe.c");
    fs::write(&file, format!("#include \"quorate.h\"\n{source}")).expect("as above");
    let output = Command::new("clang")
        .args(["--target=wasm32", "-std=c11", "-O2", "-ffreestanding", "-nostdlib"])
        .arg(format!("-I{}", root().join("sdk/c").display()))
        .args(["-mbulk-memory", "-Wall", "-Wextra", "-Werror"])
        .args(arguments)
        .arg(&file)
        .output()
        .expect("clang runs; tools/setup.sh test installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The header's macros that are numbers or strings, as they are written.
fn macros() -> BTreeMap<String, String> {
    let all =
        String::from_utf8(clang(&["-E", "-dM"], "", &folder("macros"))).expect("C is ASCII here");
    let defined = all.lines().filter_map(|line| line.strip_prefix("#define QUORATE_"));
    defined
        .filter_map(|line| line.split_once(' '))
        .filter(|(name, value)| !name.contains('(') && !value.is_empty())
        .map(|(name, value)| (name.to_owned(), value.trim_matches(['(', ')', 'u', '"']).to_owned()))
        .collect()
}

#[test]
fn its_numbers_are_those_of_the_abi() {
    let header = macros();
    let number = |number: usize| number.to_string();
    let expected = [
        ("IMPORT_MODULE", abi::IMPORT_MODULE.to_owned()),
        ("MANIFEST_SECTION", abi::MANIFEST_SECTION.to_owned()),
        ("NO_MORE", abi::NO_MORE.to_string()),
        ("ABSENT", abi::ABSENT.to_string()),
        ("VERDICT_NONE", (Verdict::None as u32).to_string()),
        ("VERDICT_REPLY", (Verdict::Reply as u32).to_string()),
        ("VERDICT_REFUSED", (Verdict::Refused as u32).to_string()),
        ("FRAME_HEADER_BYTES", number(abi::Frame::HEADER_BYTES)),
        ("STATUS_HEADER_BYTES", number(status::HEADER_BYTES)),
        ("PAGE_HEADER_BYTES", number(page::HEADER_BYTES)),
        ("PAIR_HEADER_BYTES", number(page::PAIR_HEADER_BYTES)),
        ("SCAN_REVERSE", scan::REVERSE.to_string()),
        ("SCAN_KEYS_ONLY", scan::KEYS_ONLY.to_string()),
        ("KEY_BYTES_MAX", number(limits::KEY_BYTES_MAX)),
        ("VALUE_BYTES_MAX", number(limits::VALUE_BYTES_MAX)),
        ("REPLY_BYTES_MAX", number(limits::REPLY_BYTES_MAX)),
    ];
    for (name, expected) in &expected {
        assert_eq!(header.get(*name), Some(expected), "QUORATE_{name}");
    }
    assert_eq!(scan::ALL, scan::REVERSE | scan::KEYS_ONLY, "the header has all flags");
    // What else there is stands for itself: levels of log lines, codes of gRPC, wire types.
    let named: Vec<&str> = expected.iter().map(|(name, _)| *name).collect();
    let others = header.keys().filter(|name| !named.contains(&name.as_str()));
    let known = |name: &&String| {
        name.starts_with("LOG_")
            || ["VARINT", "FIXED64", "LENGTH", "FIXED32"].contains(&name.as_str())
            || quorate_codes().contains_key(name.as_str())
    };
    assert_eq!(others.filter(|name| !known(name)).collect::<Vec<_>>(), [""; 0]);
    for (name, number) in quorate_codes() {
        assert_eq!(header.get(name), Some(&number.to_string()), "QUORATE_{name}");
    }
}

/// The codes that the header has.
fn quorate_codes() -> BTreeMap<&'static str, u32> {
    BTreeMap::from([
        ("INVALID_ARGUMENT", 3),
        ("NOT_FOUND", 5),
        ("ALREADY_EXISTS", 6),
        ("RESOURCE_EXHAUSTED", 8),
        ("FAILED_PRECONDITION", 9),
        ("ABORTED", 10),
        ("OUT_OF_RANGE", 11),
        ("UNIMPLEMENTED", 12),
        ("INTERNAL", 13),
    ])
}

/// A module that uses all of the header's imports, as the gate sees it.
fn report() -> gate::Report {
    let source = r#"
        static quorate_answer handle(const quorate_frame *frame)
        {
            quorate_bytes key = frame->payload, value;
            quorate_get(key, &value);
            quorate_put(key, value);
            quorate_delete(key);
            quorate_delete_range(key, value);
            quorate_scan(key, value, 0, 0, 4096);
            quorate_log(1, key);
            quorate_abort("all of them are used");
        }
        QUORATE_PLUGIN(handle, handle)
    "#;
    let folder = folder("imports").join(format!("{:?}", std::thread::current().id()));
    let out = folder.join("probe.wasm");
    let link = ["-Wl,--no-entry", "-o", out.to_str().expect("the path is UTF-8")];
    clang(&link, source, &folder);
    let proto = root().join("plugins/counter/proto/counter/v1/counter.proto");
    let manifest = quorate_build::describe("probe", "1", &proto).expect("it compiles");
    let module = quorate_build::attach(&fs::read(&out).expect("it was linked"), &manifest);

    gate::inspect(&module)
}

/// The gate compares types with those that the host's functions have.
#[test]
fn its_imports_and_exports_have_the_types_of_the_host() {
    let report = report();
    assert_eq!(report.refusals, []);
    let names = [
        import::NEXT,
        import::KV_GET,
        import::KV_PUT,
        import::KV_DELETE,
        import::KV_DELETE_RANGE,
        import::KV_SCAN,
        import::LOG,
        import::ABORT,
    ];
    for name in names {
        let import = format!("{}.{name} ", abi::IMPORT_MODULE);
        assert!(report.imports.iter().any(|found| found.starts_with(&import)), "{name}");
    }
    assert_eq!(report.imports.len(), names.len());
    for name in [export::MEMORY, export::ABI_MARKER, export::APPLY, export::QUERY] {
        let export = format!("{name} ");
        assert!(report.exports.iter().any(|found| found.starts_with(&export)), "{name}");
    }
}

/// The page of the ABI has the same imports, and what it shows in C compiles.
#[test]
fn the_page_says_the_same() {
    let page = fs::read_to_string(root().join("docs/src/abi.md")).expect("it is there");
    let mut rows = 0;
    for import in report().imports {
        let (name, ty) = import.split_once(' ').expect("a name and a type");
        let name = name.strip_prefix("quorate_v1.").expect("the ABI's module");
        let row = page.lines().find_map(|line| line.strip_prefix(&format!("| `{name}` | `")));
        let (parameters, result) = row.and_then(|row| row.split_once("` | ")).expect(name);
        assert_eq!(parameters.split(", ").count(), ty.matches("i32").count(), "{name}");
        assert_eq!(result == "`i64` |", ty.ends_with("-> i64"), "{name}");
        rows += 1;
    }
    assert_eq!(rows, 8);
    let blocks: Vec<&str> = page.split("```c\n").skip(1).collect();
    for (number, block) in blocks.iter().enumerate() {
        let code = block.split("```").next().expect("it ends");
        clang(&["-fsyntax-only"], code, &folder(&format!("page-{number}")));
    }
    assert!(!blocks.is_empty());
}
