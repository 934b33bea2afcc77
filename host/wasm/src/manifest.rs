//! What a module says of itself: its name, its services, and which of their methods change state.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use quorate_proto::v1::{Kind, Plugin};

use crate::refusal::Refusal;

/// What a plugin says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The plugin's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its services, in the order of their files.
    pub services: Vec<Service>,
    /// The serialized `google.protobuf.FileDescriptorSet` of its `.proto` files.
    pub descriptors: Bytes,
}

/// A gRPC service of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its full name, such as `kv.v1.Kv`.
    pub name: String,
    /// Its methods.
    pub methods: Vec<Method>,
}

/// A method of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    /// Its path in gRPC, such as `/kv.v1.Kv/Put`.
    pub path: String,
    /// Its number in the log and in frames.
    pub id: u32,
    /// Whether it changes state.
    pub kind: Kind,
    /// Whether it is taken when a disk is nearly full, since it makes room.
    pub frees_space: bool,
}

/// The options of a method, as far as they concern us. Decoded by number: which file a plugin's
/// descriptors take the option from does not matter.
#[derive(Clone, PartialEq, prost::Message)]
struct MethodOptions {
    #[prost(int32, optional, tag = "84001")]
    kind: Option<i32>,
    #[prost(bool, optional, tag = "84002")]
    frees_space: Option<bool>,
}

/// A file descriptor set, as far as it must be right before prost-reflect reads it: that one panics
/// when it is to report a syntax that it does not know.
#[derive(Clone, PartialEq, prost::Message)]
struct Files {
    #[prost(message, repeated, tag = "1")]
    files: Vec<File>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct File {
    #[prost(string, optional, tag = "12")]
    syntax: Option<String>,
}

impl Manifest {
    /// Reads the content of the custom section. What is refused is added to `refusals`.
    pub(super) fn read(section: &[u8], refusals: &mut Vec<Refusal>) -> Option<Self> {
        let (plugin, pool) = match decode(section) {
            Ok(decoded) => decoded,
            Err(reason) => {
                refusals.push(Refusal::BadManifest { reason });
                return None;
            }
        };
        let services: Vec<_> = pool
            .services()
            .map(|service| Service {
                name: service.full_name().to_owned(),
                methods: service.methods().map(|m| Method::read(&m, refusals)).collect(),
            })
            .collect();
        if services.iter().all(|service| service.methods.is_empty()) {
            refusals.push(Refusal::NoMethods);
        }
        let manifest = Self {
            name: plugin.name,
            version: plugin.version,
            services,
            descriptors: plugin.file_descriptor_set,
        };
        manifest.check_ids(refusals);
        Some(manifest)
    }

    /// The full names of its services.
    pub fn service_names(&self) -> impl Iterator<Item = &str> {
        self.services.iter().map(|service| service.name.as_str())
    }

    /// All methods of all services.
    pub fn methods(&self) -> impl Iterator<Item = &Method> {
        self.services.iter().flat_map(|service| &service.methods)
    }

    fn check_ids(&self, refusals: &mut Vec<Refusal>) {
        let mut paths = BTreeMap::new();
        for method in self.methods() {
            if let Some(other) = paths.insert(method.id, &method.path) {
                let paths = [other.clone(), method.path.clone()];
                refusals.push(Refusal::SameMethodId { paths });
            }
        }
    }
}

/// The manifest and its types. Duplicate names, and so duplicate paths, are errors.
fn decode(section: &[u8]) -> Result<(Plugin, DescriptorPool), String> {
    let plugin = Plugin::decode(section).map_err(|error| error.to_string())?;
    let bytes = plugin.file_descriptor_set.as_ref();
    let files = Files::decode(bytes).map_err(|error| error.to_string())?.files;
    let known = [None, Some("proto2"), Some("proto3")];
    if let Some(file) = files.iter().find(|file| !known.contains(&file.syntax.as_deref())) {
        return Err(format!("the syntax {:?} is not known", file.syntax()));
    }
    let pool = DescriptorPool::decode(bytes).map_err(|error| error.to_string())?;
    Ok((plugin, pool))
}

impl Method {
    fn read(method: &MethodDescriptor, refusals: &mut Vec<Refusal>) -> Self {
        let name = format!("{}/{}", method.parent_service().full_name(), method.name());
        let id = quorate_abi::method_id(&name);
        let path = format!("/{name}");
        if method.is_client_streaming() || method.is_server_streaming() {
            refusals.push(Refusal::Streaming { path: path.clone() });
        }
        let options = MethodOptions::decode(method.options().encode_to_vec().as_slice());
        let frees_space = options.as_ref().is_ok_and(MethodOptions::frees_space);
        let kind = options.ok().and_then(|options| match options.kind {
            Some(number) => Kind::try_from(number).ok(),
            None => Some(Kind::Command),
        });
        if kind.is_none() {
            refusals.push(Refusal::BadKind { path: path.clone() });
        }
        Self { path, id, kind: kind.unwrap_or_default(), frees_space }
    }
}
