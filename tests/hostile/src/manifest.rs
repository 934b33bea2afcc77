//! What a module says of itself: a manifest that is right, for modules that attack elsewhere.

use prost::Message as _;
use prost_types::{
    DescriptorProto, FileDescriptorProto, MethodDescriptorProto, ServiceDescriptorProto,
};
use quorate_proto::v1::Plugin;

const PACKAGE: &str = "hostile.v1";
const SERVICE: &str = "Hostile";
/// As many as there are kinds of body in a generated guest; more than one, so that the number of
/// the method decides something.
const METHODS: [&str; 4] = ["A", "B", "C", "D"];

/// The manifest of a plugin with four methods.
pub fn valid() -> Vec<u8> {
    of(vec![file().encode_to_vec()])
}

/// The numbers of its methods.
pub fn methods() -> [u32; METHODS.len()] {
    METHODS.map(|name| quorate_abi::method_id(&format!("{PACKAGE}.{SERVICE}/{name}")))
}

/// A `FileDescriptorSet` whose files are encoded.
#[derive(Clone, PartialEq, prost::Message)]
struct Files {
    #[prost(bytes = "vec", repeated, tag = "1")]
    files: Vec<Vec<u8>>,
}

/// A manifest of these files, each encoded, be they right or not.
pub fn of(files: Vec<Vec<u8>>) -> Vec<u8> {
    let plugin = Plugin {
        name: "hostile".to_owned(),
        version: "0.1.0".to_owned(),
        file_descriptor_set: Files { files }.encode_to_vec().into(),
    };
    plugin.encode_to_vec()
}

/// The file that [`valid`] is about.
pub fn file() -> FileDescriptorProto {
    let message = format!(".{PACKAGE}.M");
    let method = |name: &str| MethodDescriptorProto {
        name: Some(name.to_owned()),
        input_type: Some(message.clone()),
        output_type: Some(message.clone()),
        ..MethodDescriptorProto::default()
    };
    FileDescriptorProto {
        name: Some("hostile.proto".to_owned()),
        package: Some(PACKAGE.to_owned()),
        message_type: vec![DescriptorProto {
            name: Some("M".to_owned()),
            ..DescriptorProto::default()
        }],
        service: vec![ServiceDescriptorProto {
            name: Some(SERVICE.to_owned()),
            method: METHODS.into_iter().map(method).collect(),
            options: None,
        }],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    }
}
