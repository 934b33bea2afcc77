//! Generates a client of the key-value plugin from its `.proto`, as any client of any gRPC service
//! does. `protox` takes the place of an installed `protoc`.

use std::error::Error;

/// What the plugin brings along, and the options that it imports.
const PROTO: &str = "../plugins/kv/proto/kv/v1/kv.proto";
const INCLUDES: [&str; 2] = ["../plugins/kv/proto", "../proto"];

fn main() -> Result<(), Box<dyn Error>> {
    for folder in INCLUDES {
        println!("cargo:rerun-if-changed={folder}");
    }
    let descriptors = protox::compile([PROTO], INCLUDES)?;
    tonic_prost_build::configure().build_server(false).compile_fds(descriptors)?;
    Ok(())
}
