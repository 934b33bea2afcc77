//! The build step of a plugin: from its `.proto` to the code that `quorate_sdk::plugin!` takes in.
//!
//! ```no_run
//! // build.rs
//! fn main() -> Result<(), quorate_build::Error> {
//!     quorate_build::compile("proto/kv/v1/kv.proto")
//! }
//! ```
//!
//! The file lies in the crate's `proto` folder, from which imports are resolved too. It may import
//! `quorate/v1/options.proto` and Google's well-known types without having a copy of them. Neither
//! `protoc` nor anything else needs to be installed.
//!
//! What this deliberately does not do: streaming methods, and more than one package per plugin.

mod attach;
mod calls;
mod error;
mod manifest;
mod service;

use std::path::{Path, PathBuf};
use std::{env, fs};

pub use attach::{attach, describe};
pub use error::Error;
use prost_build::{Config, Module};
use protox::Compiler;
use protox::file::{
    ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver,
};

/// The folder of a plugin's `.proto` files, beside its `Cargo.toml`.
const PROTO_DIR: &str = "proto";

/// What a plugin says about its methods; built in, so that no plugin needs a copy.
const OPTIONS_NAME: &str = "quorate/v1/options.proto";
const OPTIONS_SOURCE: &str = include_str!("../../../proto/quorate/v1/options.proto");

/// Packages whose messages others provide, or nobody needs in Rust.
const FOREIGN_PACKAGES: [&str; 2] = ["google.protobuf", "quorate.v1"];

/// Compiles the plugin's `.proto`, a path relative to the crate, and writes to `OUT_DIR`:
/// `quorate_plugin.rs`, the messages and one trait per service; and `quorate_manifest.bin`, what
/// the host learns about the plugin. Made for `build.rs`.
pub fn compile(proto: impl AsRef<Path>) -> Result<(), Error> {
    let crate_dir = PathBuf::from(cargo_var("CARGO_MANIFEST_DIR")?);
    let plugin = Plugin {
        name: cargo_var("CARGO_PKG_NAME")?,
        version: cargo_var("CARGO_PKG_VERSION")?,
        crate_dir,
    };
    let compiled = plugin.compile(proto.as_ref())?;
    for file in &compiled.sources {
        print_instruction(&format!("rerun-if-changed={}", file.display()));
    }
    let out_dir = PathBuf::from(cargo_var("OUT_DIR")?);
    write(out_dir.join("quorate_plugin.rs"), compiled.code.as_bytes())?;
    write(out_dir.join("quorate_manifest.bin"), &compiled.manifest)
}

/// What is compiled, and where it is.
struct Plugin {
    name: String,
    version: String,
    crate_dir: PathBuf,
}

/// What came of it.
struct Compiled {
    code: String,
    manifest: Vec<u8>,
    sources: Vec<PathBuf>,
}

impl Plugin {
    fn compile(&self, proto: &Path) -> Result<Compiled, Error> {
        let mut compiler = Compiler::with_file_resolver(resolver(&self.crate_dir.join(PROTO_DIR)));
        compiler
            .include_imports(true)
            .include_source_info(true)
            .open_file(self.crate_dir.join(proto))
            .map_err(Error::Proto)?;

        let code = generate(&compiler)?;
        let sources = compiler.files().filter_map(|f| f.path().map(Path::to_path_buf)).collect();
        // Comments are half of a descriptor set and of no use to the host.
        compiler.include_source_info(false);
        let manifest = manifest::encode(&self.name, &self.version, &compiler);
        Ok(Compiled { code, manifest, sources })
    }
}

/// The crate's own files first, then those that are built in.
fn resolver(include: &Path) -> impl FileResolver + use<> {
    let mut resolver = ChainFileResolver::new();
    resolver.add(IncludeFileResolver::new(include.to_path_buf()));
    resolver.add(OptionsResolver);
    resolver.add(GoogleFileResolver::new());
    resolver
}

/// Finds the one file that this crate brings along.
struct OptionsResolver;

impl FileResolver for OptionsResolver {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name != OPTIONS_NAME {
            return Err(protox::Error::file_not_found(name));
        }
        File::from_source(OPTIONS_NAME, OPTIONS_SOURCE)
    }
}

/// The messages and traits of the plugin's package.
fn generate(compiler: &Compiler) -> Result<String, Error> {
    let files: Vec<_> = compiler
        .file_descriptor_set()
        .file
        .into_iter()
        .filter(|file| !FOREIGN_PACKAGES.contains(&file.package()))
        .collect();
    let package = match files.last() {
        Some(file) if !file.package().is_empty() => file.package().to_owned(),
        _ => return Err(Error::NoPackage),
    };
    if let Some(other) = files.iter().find(|file| file.package() != package) {
        return Err(Error::OtherPackage {
            package,
            file: other.name().to_owned(),
            other: other.package().to_owned(),
        });
    }

    let traits = service::Traits::check(&compiler.descriptor_pool())?;
    let module = Module::from_protobuf_package_name(&package);
    let requests = files.into_iter().map(|file| (module.clone(), file)).collect();
    let code = Config::new()
        // A map's entries are encoded in its order, which is to be the same everywhere.
        .btree_map(["."])
        .prost_path("::quorate_sdk::prost")
        .prost_types_path("::quorate_sdk::prost_types")
        .service_generator(Box::new(traits))
        .generate(requests)
        .map_err(Error::Generate)?
        .remove(&module)
        .expect("a package with a service has code");
    Ok(code)
}

/// A variable that Cargo sets for build scripts.
fn cargo_var(name: &'static str) -> Result<String, Error> {
    env::var(name).map_err(|_| Error::NotABuildScript { variable: name })
}

fn write(path: PathBuf, content: &[u8]) -> Result<(), Error> {
    fs::write(&path, content).map_err(|source| Error::Write { path, source })
}

#[expect(clippy::print_stdout, reason = "Cargo reads a build script's instructions from stdout")]
fn print_instruction(instruction: &str) {
    println!("cargo::{instruction}");
}

#[cfg(test)]
mod tests;
