//! Generates a client from the key-value plugin's `.proto`, as any user would.

use std::error::Error;

const SERVICE: &str = "kv/v1/kv.proto";
const FOLDERS: [&str; 2] = ["../../plugins/kv/proto", "../../proto"];

fn main() -> Result<(), Box<dyn Error>> {
    for folder in FOLDERS {
        println!("cargo:rerun-if-changed={folder}");
    }
    tonic_prost_build::configure()
        .build_server(false)
        .bytes(".")
        .compile_fds(protox::compile([SERVICE], FOLDERS)?)?;
    Ok(())
}
