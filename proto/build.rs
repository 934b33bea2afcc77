//! Generates the Rust code of the wire contracts, without a system `protoc`.

use std::error::Error;

use protox::prost::Message as _;

const FILES: [&str; 7] = [
    "quorate/v1/options.proto",
    "quorate/v1/plugin.proto",
    "quorate/v1/peer.proto",
    "quorate/v1/admin.proto",
    "quorate/v1/snapshot.proto",
    "quorate/v1/sessions.proto",
    "quorate/v1/client.proto",
];

/// What clients find beside the plugin's own service, and may ask about by reflection.
const PUBLIC: [&str; 3] =
    ["quorate/v1/admin.proto", "quorate/v1/sessions.proto", "quorate/v1/client.proto"];

/// What nodes say to each other.
const PEER: &str = "quorate/v1/peer.proto";

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo:rerun-if-changed={file}");
    }
    let all = protox::compile(FILES, ["."])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    let services_of = |is_wanted: fn(&str) -> bool| {
        let mut descriptors = all.clone();
        for file in descriptors.file.iter_mut().filter(|file| !is_wanted(file.name())) {
            file.service.clear();
        }
        descriptors
    };
    let public = protox::compile(PUBLIC, ["."])?;
    std::fs::write(out.join("public.binpb"), public.encode_to_vec())?;
    builder().compile_fds(services_of(|file| file != PEER))?;
    // What nodes say to each other is under a checksum: the same messages, another codec.
    let folder = out.join("peer");
    std::fs::create_dir_all(&folder)?;
    builder()
        .codec_path("crate::sealed::SealedCodec")
        .extern_path(".quorate.v1", "crate::v1")
        .out_dir(folder)
        .compile_fds(services_of(|file| file == PEER))?;
    Ok(())
}

fn builder() -> tonic_prost_build::Builder {
    tonic_prost_build::configure()
        .bytes(".")
        .client_mod_attribute(".", "#[cfg(feature = \"rpc\")]")
        .server_mod_attribute(".", "#[cfg(feature = \"rpc\")]")
}
