//! Generates clients from the `.proto` of the key-value plugin, of sessions and of the stream of
//! commands, as any user would.

use std::error::Error;

const SERVICES: [&str; 3] =
    ["kv/v1/kv.proto", "quorate/v1/sessions.proto", "quorate/v1/client.proto"];
const FOLDERS: [&str; 2] = ["../../plugins/kv/proto", "../../proto"];

fn main() -> Result<(), Box<dyn Error>> {
    for folder in FOLDERS {
        println!("cargo:rerun-if-changed={folder}");
    }
    tonic_prost_build::configure()
        .build_server(false)
        .bytes(".")
        .compile_fds(protox::compile(SERVICES, FOLDERS)?)?;
    Ok(())
}
