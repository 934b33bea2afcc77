//! What the build step accepts, what it makes of it, and what it refuses.

use std::fs;
use std::path::Path;

use prost::Message as _;
use protox::prost_reflect::{DescriptorPool, Value};

use super::*;

/// Compiles one file, and what it imports, in a crate of its own.
fn compile(source: &str, imports: &[(&str, &str)]) -> Result<Compiled, Error> {
    let dir = tempfile::tempdir().unwrap();
    let proto = dir.path().join(PROTO_DIR);
    for (name, source) in imports.iter().chain([&("t.proto", source)]) {
        fs::create_dir_all(proto.join(name).parent().unwrap()).unwrap();
        fs::write(proto.join(name), source).unwrap();
    }
    let crate_dir = dir.path().to_path_buf();
    let plugin = Plugin { name: "t".to_owned(), version: "1.2.3".to_owned(), crate_dir };
    plugin.compile(Path::new("proto/t.proto"))
}

/// A file of package `t.v1` with one message `M` and this body.
fn file(body: &str) -> String {
    format!(
        "syntax = \"proto3\"; package t.v1; import \"quorate/v1/options.proto\";
         message M {{ bytes data = 1; }} {body}"
    )
}

const READ_AND_WRITE: &str = "
    // Things.
    service Things {
      // Reads.
      rpc Read(M) returns (M) { option (quorate.v1.kind) = QUERY; }
      rpc Write(M) returns (M);
    }";

#[test]
fn the_kind_of_a_method_is_in_its_first_argument() {
    let code = compile(&file(READ_AND_WRITE), &[]).unwrap().code;
    let code = code.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(code.contains("/// Things. pub trait Things {"), "{code}");
    assert!(code.contains("/// Reads. fn read( cx: &::quorate_sdk::Query<'_>,"), "{code}");
    assert!(code.contains("fn write( cx: &mut ::quorate_sdk::Command<'_>,"), "{code}");
    assert!(code.contains("Method::command( \"t.v1.Things/Write\","), "{code}");
}

#[test]
fn calls_from_outside_have_types() {
    let code = compile(&file(READ_AND_WRITE), &[]).unwrap().code;
    let code = code.split_whitespace().collect::<Vec<_>>().join(" ");
    let native = "#[cfg(not(target_arch = \"wasm32\"))]";
    assert!(code.contains(&format!("{native} pub trait ThingsCalls {{ /// Reads. fn read(")));
    assert!(
        code.contains("impl<C: ::quorate_sdk::Caller> ThingsCalls for C where C::Plugin: Things")
    );
    assert!(code.contains("MethodPath::query(\"t.v1.Things/Read\")"), "{code}");
    assert!(code.contains("pub enum ThingsCall { /// `t.v1.Things/Read`. Read(M),"), "{code}");
    assert!(code.contains("Self::Write(it) => Answer::Write(callee.write(it)?),"), "{code}");
}

#[test]
fn the_manifest_keeps_the_options_and_all_imports() {
    let manifest = compile(&file(READ_AND_WRITE), &[]).unwrap().manifest;
    let plugin = quorate_proto::v1::Plugin::decode(manifest.as_slice()).unwrap();
    assert_eq!((plugin.name.as_str(), plugin.version.as_str()), ("t", "1.2.3"));

    let pool = DescriptorPool::decode(&plugin.file_descriptor_set[..]).unwrap();
    let kind = pool.get_extension_by_name("quorate.v1.kind").unwrap();
    let things = pool.get_service_by_name("t.v1.Things").unwrap();
    let kinds: Vec<_> =
        things.methods().map(|m| m.options().get_extension(&kind).into_owned()).collect();
    assert_eq!(kinds, [Value::EnumNumber(1), Value::EnumNumber(0)]);
}

#[test]
fn a_file_may_import_its_own_package_and_well_known_types() {
    let other = "syntax = \"proto3\"; package t.v1; message Other {}";
    let source = "syntax = \"proto3\"; package t.v1;
        import \"t/other.proto\"; import \"google/protobuf/timestamp.proto\";
        service Things { rpc Now(Other) returns (google.protobuf.Timestamp); }";
    let compiled = compile(source, &[("t/other.proto", other)]).unwrap();
    assert_eq!(compiled.sources.len(), 2, "Cargo watches the crate's own files");
    assert!(compiled.code.contains("::quorate_sdk::prost_types::Timestamp"), "{}", compiled.code);
    assert!(compiled.code.contains("pub struct Other"), "{}", compiled.code);
}

fn refusal(source: &str, imports: &[(&str, &str)]) -> String {
    let error = compile(source, imports).err().expect("it should be refused");
    assert_eq!(format!("{error}"), format!("{error:?}"), "Cargo shows Debug");
    error.to_string()
}

#[test]
fn what_cannot_be_served_is_refused() {
    let streams = file("service S { rpc Watch(M) returns (stream M); }");
    assert_eq!(
        refusal(&streams, &[]),
        "t.v1.S.Watch streams: only unary methods can be replicated"
    );
    assert!(matches!(compile(&file(""), &[]).err(), Some(Error::NoMethods)));
    assert!(matches!(compile(&file("service Empty {}"), &[]).err(), Some(Error::NoMethods)));

    let no_package = "syntax = \"proto3\"; message M {} service S { rpc A(M) returns (M); }";
    assert!(matches!(compile(no_package, &[]).err(), Some(Error::NoPackage)));

    let other = "syntax = \"proto3\"; package u.v1; message Other {}";
    let source = file("service S { rpc A(M) returns (u.v1.Other); }")
        .replace("message M", "import \"u.proto\"; message M");
    assert_eq!(
        refusal(&source, &[("u.proto", other)]),
        "u.proto is of package `u.v1`: all files of a plugin share one, here `t.v1`"
    );
}

#[test]
fn an_error_in_the_file_tells_its_line() {
    let refusal = refusal("syntax = \"proto3\";\npackage t.v1;\nmessage {}", &[]);
    assert!(refusal.contains("t.proto:3:9"), "{refusal}");
}

#[test]
fn two_methods_of_one_number_are_refused() {
    // Found by search; method_id is FNV-1a with 32 bits.
    let service = "service S { rpc M136169(M) returns (M); rpc M2184692(M) returns (M); }";
    assert!(matches!(compile(&file(service), &[]).err(), Some(Error::SameId { .. })));
}
