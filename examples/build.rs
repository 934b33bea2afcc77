//! Generates clients of the key-value plugin and of sessions from their `.proto`, as for any gRPC
//! service. `protox` takes the place of an installed `protoc`.

use std::error::Error;

/// What the plugin brings along, and the options that it imports.
const PROTO: &str = "../plugins/kv/proto/kv/v1/kv.proto";
/// What every node serves beside its plugin.
const SESSIONS: &str = "../proto/quorate/v1/sessions.proto";
const INCLUDES: [&str; 2] = ["../plugins/kv/proto", "../proto"];

fn main() -> Result<(), Box<dyn Error>> {
    for folder in INCLUDES {
        println!("cargo:rerun-if-changed={folder}");
    }
    let descriptors = protox::compile([PROTO, SESSIONS], INCLUDES)?;
    tonic_prost_build::configure().build_server(false).compile_fds(descriptors)?;
    Ok(())
}
