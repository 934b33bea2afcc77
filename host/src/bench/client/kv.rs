//! The messages of the key-value plugin, `plugins/kv/proto/kv/v1/kv.proto`, as far as a load has
//! them.

use bytes::Bytes;
use prost::Message;

/// Sets a value.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Put {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PutReply {
    #[prost(uint64, tag = "1")]
    pub(super) revision: u64,
}

/// A Get, and the Delete of a key.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Key {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) key: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GetReply {
    #[prost(uint64, tag = "1")]
    pub(super) revision: u64,
    #[prost(message, optional, tag = "2")]
    pub(super) kv: Option<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct KeyValue {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
    #[prost(uint64, tag = "3")]
    pub(super) create_revision: u64,
    #[prost(uint64, tag = "4")]
    pub(super) mod_revision: u64,
    #[prost(uint64, tag = "5")]
    pub(super) version: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DeleteReply {
    #[prost(uint64, tag = "1")]
    pub(super) revision: u64,
    #[prost(uint64, tag = "2")]
    pub(super) deleted: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Range {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) start: Bytes,
    #[prost(uint32, tag = "3")]
    pub(super) limit: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RangeReply {
    #[prost(uint64, tag = "1")]
    pub(super) revision: u64,
    #[prost(message, repeated, tag = "2")]
    pub(super) kvs: Vec<KeyValue>,
    #[prost(bool, tag = "3")]
    pub(super) more: bool,
    #[prost(uint64, tag = "4")]
    pub(super) count: u64,
}

/// Operations that happen without a condition.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Txn {
    #[prost(message, repeated, tag = "2")]
    pub(super) success: Vec<Operation>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Operation {
    #[prost(message, optional, tag = "1")]
    pub(super) put: Option<Put>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TxnReply {
    #[prost(uint64, tag = "1")]
    pub(super) revision: u64,
    #[prost(bool, tag = "2")]
    pub(super) succeeded: bool,
}
