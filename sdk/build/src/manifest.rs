//! What a module says about itself without being run.

use prost::Message as _;
use protox::Compiler;
use quorate_proto::v1::Plugin;

/// The content of the module's custom section.
pub(crate) fn encode(name: &str, version: &str, compiler: &Compiler) -> Vec<u8> {
    let plugin = Plugin {
        name: name.to_owned(),
        version: version.to_owned(),
        // Not by way of prost's types, which would lose the methods' options.
        file_descriptor_set: compiler.encode_file_descriptor_set().into(),
    };
    plugin.encode_to_vec()
}
