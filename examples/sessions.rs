//! The client of sessions that `build.rs` has generated.
#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated from the .proto"
)]

tonic::include_proto!("quorate.v1");
