//! Quorate's wire contracts: the code generated from the `.proto` files beside it, and
//! the seal under which messages between nodes travel. No other logic.

#[cfg(feature = "rpc")]
pub mod sealed;

/// Version 1 of the contracts.
pub mod v1 {
    #![allow(clippy::all, clippy::excessive_nesting, reason = "generated")]
    include!(concat!(env!("OUT_DIR"), "/quorate.v1.rs"));
    include!(concat!(env!("OUT_DIR"), "/peer/quorate.v1.rs"));
}

/// The services that clients find beside the plugin's own, as a serialized
/// `google.protobuf.FileDescriptorSet`.
pub const PUBLIC_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/public.binpb"));

/// The text of `quorate/v1/options.proto`, for tools that compile a plugin's `.proto`.
pub const OPTIONS_PROTO: &str = include_str!("../quorate/v1/options.proto");
