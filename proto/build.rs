//! Generates the Rust code of the wire contracts, without a system `protoc`.

use std::error::Error;

const FILES: [&str; 5] = [
    "quorate/v1/options.proto",
    "quorate/v1/plugin.proto",
    "quorate/v1/peer.proto",
    "quorate/v1/admin.proto",
    "quorate/v1/snapshot.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    tonic_prost_build::configure()
        .bytes(".")
        .client_mod_attribute(".", "#[cfg(feature = \"rpc\")]")
        .server_mod_attribute(".", "#[cfg(feature = \"rpc\")]")
        // What nodes say to each other is under a checksum.
        .codec_path("crate::sealed::SealedCodec")
        .compile_fds(descriptors)?;
    Ok(())
}
