//! What a snapshot is of, for people and for programs.

use serde_json::json;

use crate::cli::{Output, say};
use crate::snapshot::{Header, Position};
use quorate_wasm::Digest;

/// A whole snapshot: what it says of itself, what it amounts to, and its size as a file.
pub(super) struct Report<'a> {
    pub(super) header: &'a Header,
    pub(super) position: &'a Position,
    pub(super) file_bytes: u64,
}

impl Report<'_> {
    pub(super) fn print(&self, output: Output) {
        match output {
            Output::Human => self.print_lines(),
            Output::Json => say(format_args!("{:#}", self.to_json())),
        }
    }

    fn print_lines(&self) {
        let Self { header, position, file_bytes } = self;
        say(format_args!("cluster  {}", header.cluster));
        say(format_args!("module   {}", Digest(header.module)));
        say(format_args!("index    {}", header.meta.applied.index));
        say(format_args!("term     {}", header.meta.applied.term));
        say(format_args!("time     {} ms since 1970", header.meta.time_ms));
        say(format_args!("records  {} in {} chunks", position.records, position.chunks));
        say(format_args!("size     {file_bytes} bytes, {} before compression", position.bytes));
        say(format_args!("digest   {}", Digest(position.digest)));
    }

    fn to_json(&self) -> serde_json::Value {
        let Self { header, position, file_bytes } = self;
        json!({
            "cluster": header.cluster,
            "group": header.group.0,
            "module": Digest(header.module).to_string(),
            "fuel": header.fuel,
            "index": header.meta.applied.index,
            "term": header.meta.applied.term,
            "time_ms": header.meta.time_ms,
            "records": position.records,
            "chunks": position.chunks,
            "bytes": file_bytes,
            "bytes_before_compression": position.bytes,
            "digest": Digest(position.digest).to_string(),
        })
    }
}
