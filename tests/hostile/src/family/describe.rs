//! A module that is fine, with a description that is not: descriptors of `.proto` files as no
//! compiler would write them, and descriptors that were damaged on the way.

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
    FileDescriptorProto, MessageOptions, OneofDescriptorProto, descriptor_proto,
};
use quorate_abi::MANIFEST_SECTION;
use wasm_encoder::{CodeSection, Function, FunctionSection, Module};

use crate::abi::{self, call};
use crate::manifest;
use crate::random::Random;
use crate::sections;

pub(super) fn module(random: &mut Random) -> Vec<u8> {
    let manifest = match random.below(8) {
        0 => damaged(random, manifest::valid()),
        1 => damaged(random, manifest_of_kv()),
        2 => {
            let file = manifest::file();
            let files = [file.clone(), renamed(random, file)];
            manifest::of(files.map(|file| file.encode_to_vec()).into())
        }
        _ => {
            let count = random.pick(&[1, 1, 1, 2, 3]);
            let files: Vec<_> = (0..count).map(|_| file(random)).collect();
            let manifest = manifest::of(files);
            if random.one_in(6) { damaged(random, manifest) } else { manifest }
        }
    };
    let mut module = small();
    abi::add_manifest(&mut module, &manifest);
    if random.one_in(30) {
        abi::add_manifest(&mut module, &manifest);
    }
    module.finish()
}

/// A guest that does nothing: each command traps.
fn small() -> Module {
    let mut functions = FunctionSection::new();
    let mut code = CodeSection::new();
    for _ in 0..3 {
        functions.function(abi::signature::NOTHING);
        let mut function = Function::new([]);
        function.instructions().end();
        code.function(&function);
    }
    let mut module = Module::new();
    let exports = abi::exports(abi::IMPORTED, abi::IMPORTED + 1, abi::IMPORTED + 2);
    module
        .section(&abi::types())
        .section(&abi::imports(call::NEXT))
        .section(&functions)
        .section(&abi::memory(1, None))
        .section(&exports)
        .section(&code);
    module
}

fn manifest_of_kv() -> Vec<u8> {
    let all = sections::split(quorate_modules::KV_MODULE).unwrap_or_default();
    let data = all.iter().find_map(|section| section.data_of(MANIFEST_SECTION));
    data.expect("the host's own plugin has a manifest").to_vec()
}

fn damaged(random: &mut Random, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..=random.below(3) {
        let at = random.index(bytes.len().max(1));
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.pick(&[0, 1, 0x0a, 0x12, 0x22, 0x7f, 0xff])),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
    bytes
}

/// The same file under another name or in another package, or not even that.
fn renamed(random: &mut Random, mut file: FileDescriptorProto) -> FileDescriptorProto {
    match random.below(4) {
        0 => {}
        1 => file.name = Some("other.proto".to_owned()),
        2 => file.package = Some("other.v1".to_owned()),
        _ => {
            file.name = Some("other.proto".to_owned());
            file.package = None;
            file.message_type.clear();
            file.dependency = vec!["hostile.proto".to_owned()];
        }
    }
    file
}

/// A name, which now and then is none, or that of something else.
fn name(random: &mut Random) -> Option<String> {
    const NAMES: [&str; 14] =
        ["A", "B", "C", "D", "M", "m", "a.b", "", ".", ".M", "hostile.v1.M", "é", "0", "map_entry"];
    let name = random.pick(&NAMES).to_owned();
    (!random.one_in(12)).then_some(name)
}

/// The name of a type that is there, in most cases.
fn type_name(random: &mut Random) -> Option<String> {
    const NAMES: [&str; 10] = [
        ".hostile.v1.M",
        ".hostile.v1.M",
        ".hostile.v1.M",
        ".hostile.v1.E",
        "M",
        ".p.M",
        ".google.protobuf.Any",
        "..",
        "",
        ".hostile.v1.S",
    ];
    (!random.one_in(20)).then(|| random.pick(&NAMES).to_owned())
}

/// A file that differs from the good one in a few places, each chosen at random.
fn file(random: &mut Random) -> Vec<u8> {
    let mut file = manifest::file();
    let mut more = Services::default();
    for _ in 0..=random.below(2) {
        match random.below(14) {
            0 => file.name = name(random),
            1 => file.package = name(random),
            2 => {
                let syntax = random.pick(&["proto2", "proto3", "editions", "", "proto4", "\0"]);
                file.syntax = (!random.one_in(4)).then(|| syntax.to_owned());
            }
            3 => {
                let names = ["hostile.proto", "none.proto", "", "google/protobuf/any.proto"];
                file.dependency.push(random.pick(&names).to_owned());
            }
            4 => file.public_dependency.push(random.pick(&[0, 1, -1, i32::MAX])),
            5 | 6 => file.message_type.push(message(random, 0)),
            7 => file.enum_type.push(enumeration(random)),
            8 => file.extension.push(field(random)),
            9 => file.service.clear(),
            _ => more = services(random),
        }
    }
    [file.encode_to_vec(), more.encode_to_vec()].concat()
}

/// A file's services once more, with options as bytes: protobuf takes what comes twice for more of
/// the same, and prost's own type would drop an option that it does not know.
#[derive(Clone, PartialEq, prost::Message)]
struct Services {
    #[prost(message, repeated, tag = "6")]
    services: Vec<Service>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Service {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(message, repeated, tag = "2")]
    methods: Vec<Method>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Method {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    input: Option<String>,
    #[prost(string, optional, tag = "3")]
    output: Option<String>,
    #[prost(bytes = "vec", optional, tag = "4")]
    options: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "5")]
    client_streaming: Option<bool>,
    #[prost(bool, optional, tag = "6")]
    server_streaming: Option<bool>,
}

fn services(random: &mut Random) -> Services {
    let service = |random: &mut Random| Service {
        name: random.pick(&[Some("S"), Some("T"), Some("U"), Some(""), None]).map(str::to_owned),
        methods: (0..=random.below(2)).map(|_| method(random)).collect(),
    };
    Services { services: (0..=random.below(1)).map(|_| service(random)).collect() }
}

fn method(random: &mut Random) -> Method {
    // The option that says whether it is a command, under its number: right, unknown, of another
    // wire type, and cut off.
    let kinds: [&[u8]; 7] = [
        &[0x88, 0x82, 0x29, 1],
        &[0x88, 0x82, 0x29, 2],
        &[0x88, 0x82, 0x29, 0],
        &[0x88, 0x82, 0x29, 0x7f],
        &[0x8a, 0x82, 0x29, 1, 1],
        &[0x88, 0x82, 0x29, 1, 0x88, 0x82, 0x29],
        &[0xba, 0x3e, 2, 8, 1],
    ];
    let good = || Some(".hostile.v1.M".to_owned());
    Method {
        name: name(random),
        input: if random.one_in(8) { type_name(random) } else { good() },
        output: if random.one_in(8) { type_name(random) } else { good() },
        options: random.one_in(2).then(|| random.pick(&kinds).to_vec()),
        client_streaming: random.one_in(8).then_some(true),
        server_streaming: random.one_in(8).then_some(true),
    }
}

fn field(random: &mut Random) -> FieldDescriptorProto {
    let ty = random.word() % 22;
    FieldDescriptorProto {
        name: name(random),
        number: Some(random.pick(&[1, 1, 2, 0, -1, 19_000, 536_870_912, i32::MAX])),
        label: random.one_in(2).then_some(random.pick(&[
            Label::Optional as i32,
            Label::Required as i32,
            Label::Repeated as i32,
            9,
        ])),
        // 1 to 18 are types: numbers, groups, messages, enums.
        r#type: (!random.one_in(6)).then_some(abi::bits(ty)),
        type_name: (ty == Type::Message as u32 || random.one_in(3))
            .then(|| type_name(random))
            .flatten(),
        extendee: random.one_in(5).then(|| type_name(random)).flatten(),
        default_value: random.one_in(4).then(|| {
            random.pick(&["1", "-", "nan", "inf", "\\x", "\\777", "A", "1e999", ""]).into()
        }),
        oneof_index: random.one_in(4).then(|| random.pick(&[0, 1, -1, i32::MAX, i32::MIN])),
        json_name: random.one_in(4).then(|| random.pick(&["a", "", "A", "[x]"]).into()),
        options: None,
        proto3_optional: random.one_in(5).then_some(true),
    }
}

fn enumeration(random: &mut Random) -> EnumDescriptorProto {
    let values = random.below(3);
    EnumDescriptorProto {
        name: if random.one_in(2) { Some("E".to_owned()) } else { name(random) },
        value: (0..values)
            .map(|_| EnumValueDescriptorProto {
                name: name(random),
                number: random.pick(&[Some(0), Some(1), Some(-1), Some(i32::MIN), None]),
                options: None,
            })
            .collect(),
        ..EnumDescriptorProto::default()
    }
}

fn message(random: &mut Random, depth: u32) -> DescriptorProto {
    let fields = random.below(4);
    let range = |random: &mut Random| descriptor_proto::ExtensionRange {
        start: Some(random.pick(&[1, 0, -1, 100])),
        end: random.pick(&[Some(2), Some(0), Some(i32::MAX), None]),
        options: None,
    };
    DescriptorProto {
        name: name(random),
        field: (0..fields).map(|_| field(random)).collect(),
        extension: if random.one_in(6) { vec![field(random)] } else { Vec::new() },
        // Up to deeper than prost's limit of a hundred, which must be an error and no more.
        nested_type: if (depth > 0 || random.one_in(8)) && depth < 150 {
            vec![message(random, depth + 1)]
        } else {
            Vec::new()
        },
        enum_type: if random.one_in(4) { vec![enumeration(random)] } else { Vec::new() },
        extension_range: if random.one_in(5) { vec![range(random)] } else { Vec::new() },
        oneof_decl: (0..random.below(2))
            .map(|_| OneofDescriptorProto { name: name(random), options: None })
            .collect(),
        options: random
            .one_in(4)
            .then(|| MessageOptions { map_entry: Some(true), ..MessageOptions::default() }),
        ..DescriptorProto::default()
    }
}
