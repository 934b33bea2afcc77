//! Modules that other tools made: what the build step of a Rust plugin puts into its module, put
//! into one that is there.
//!
//! What this deliberately does not do: look at the module. That is for the host's gate.

use std::path::Path;

use protox::Compiler;

use crate::{Error, PROTO_DIR, manifest, resolver, service};

/// What the host learns about a plugin: a serialized `quorate.v1.Plugin`. Imports are resolved from
/// the `.proto`'s nearest folder named `proto`, or from its own.
pub fn describe(name: &str, version: &str, proto: &Path) -> Result<Vec<u8>, Error> {
    let folders = || proto.ancestors().skip(1);
    let include = folders().find(|folder| folder.file_name() == Some(PROTO_DIR.as_ref()));
    let include = include.or_else(|| folders().next()).unwrap_or_else(|| Path::new(""));
    let mut compiler = Compiler::with_file_resolver(resolver(include));
    compiler.include_imports(true).open_file(proto).map_err(Error::Proto)?;
    service::Traits::check(&compiler.descriptor_pool())?;
    Ok(manifest::encode(name, version, &compiler))
}

/// The module with a manifest: a custom section more, at its end.
pub fn attach(module: &[u8], manifest: &[u8]) -> Vec<u8> {
    let name = quorate_abi::MANIFEST_SECTION;
    let mut content = leb128(name.len());
    content.extend_from_slice(name.as_bytes());
    content.extend_from_slice(manifest);
    [module, &[CUSTOM_SECTION], &leb128(content.len()), &content].concat()
}

/// The number of custom sections in WebAssembly.
const CUSTOM_SECTION: u8 = 0;

/// As WebAssembly writes numbers.
fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).expect("seven bits fit");
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_webassembly() {
        assert_eq!(leb128(0), [0]);
        assert_eq!(leb128(127), [127]);
        assert_eq!(leb128(128), [0x80, 1]);
        assert_eq!(leb128(624_485), [0xe5, 0x8e, 0x26]);
    }

    #[test]
    fn a_section_more() {
        let module = attach(b"\0asm", b"plugin");
        assert_eq!(module, b"\0asm\0\x11\x0aquorate_v1plugin");
    }

    #[test]
    fn the_descriptors_are_named_as_in_rust() {
        let proto = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../plugins/counter/proto/counter/v1/counter.proto");
        let manifest = describe("counter", "1", &proto).expect("it compiles");
        let name = b"counter/v1/counter.proto";
        assert!(manifest.windows(name.len()).any(|window| window == name));
        let absent = describe("counter", "1", Path::new("absent.proto"));
        assert!(matches!(absent, Err(Error::Proto(_))));
    }
}
