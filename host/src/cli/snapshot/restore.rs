//! `quorate snapshot restore`: from a saved file to the data folder of a node. The node is a
//! founder of a new cluster; all of its founders are made from the same file.

use std::path::PathBuf;

use clap::Args;
use quorate_core::id::NodeId;

use super::report::Report;
use super::verify;
use crate::cli::settings::load_module;
use crate::cli::{Failure, Output, say, serve, unfit, usage};
use crate::identity::{Identity, Timing};
use crate::snapshot::{Header, Unreadable, restore};
use quorate_wasm::Digest;

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// What was saved
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The folder to make; it must be new, or empty
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The node's number in the new cluster
    #[arg(long, value_name = "ID")]
    node: u32,
    /// All nodes of the new cluster, this one included; the same for all of them
    #[arg(long, value_name = "1=ADDR,2=ADDR,3=ADDR")]
    peers: String,
    /// The new cluster's name, which must be another than the old one's
    #[arg(long, value_name = "NAME")]
    cluster: String,
    /// The module to run [default: the key-value plugin]
    #[arg(long, value_name = "FILE.wasm")]
    plugin: Option<PathBuf>,
    /// Run the state by another module than the one that made it
    #[arg(long)]
    other_module: bool,
    /// How to print the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let node = NodeId::new(arguments.node);
    let node = node.ok_or_else(|| usage("--node 0: nodes are numbered from 1"))?;
    let peers = serve::parse_peers(&arguments.peers)?;
    if !peers.contains_key(&node) {
        let peers = &arguments.peers;
        return Err(usage(format_args!("--peers {peers}: node {node} itself is not among them")));
    }
    let module = load_module(arguments.plugin.as_ref())?.digest();
    let mut snapshot = verify::open(&arguments.file)?;
    let header = verify::read_header(&arguments.file, &mut snapshot)?;
    check(&header, module, arguments)?;
    let identity = Identity {
        cluster: arguments.cluster.clone(),
        node,
        founders: peers.keys().copied().collect(),
        module: module.0,
        // A folder does not remember it.
        timing: Timing::default(),
    };
    let restored = restore(&header, &mut snapshot, &arguments.data, &identity, &peers);
    restored.map_err(|error| match error.downcast_ref() {
        Some(Unreadable::Damaged { .. } | Unreadable::GoesOn(_) | Unreadable::Io(_)) => {
            Failure::Failed(error.context(arguments.file.display().to_string()))
        }
        None => unfit(error),
    })?;
    let position = snapshot.decoder().position().expect("the header was there");
    Report { header: &header, position, file_bytes: snapshot.bytes() }.print(arguments.output);
    if arguments.output == Output::Human {
        print_next(arguments);
    }
    Ok(())
}

/// Whether the snapshot may begin this cluster.
fn check(header: &Header, module: Digest, arguments: &Arguments) -> Result<(), Failure> {
    // Under the old name, nodes of the old cluster that still live would take these for their own.
    if header.cluster == arguments.cluster {
        return Err(usage(format_args!(
            "--cluster {}: that is the cluster that it was saved from; give the new one a name of \
             its own",
            arguments.cluster
        )));
    }
    if module.0 != header.module && !arguments.other_module {
        return Err(usage(format_args!(
            "the state was made by module {}, and this is {module}: give that one by --plugin, or \
             --other-module if this one understands the state",
            Digest(header.module)
        )));
    }
    Ok(())
}

fn print_next(arguments: &Arguments) {
    let Arguments { data, node, peers, cluster, plugin, .. } = arguments;
    let plugin = plugin.as_ref().map(|file| format!(" --plugin {}", file.display()));
    say(format_args!(
        "restored to {}; when all nodes are, start each of them: quorate serve --node {node} \
         --cluster {cluster} --peers {peers} --data {}{} --listen ADDR --peer-listen ADDR",
        data.display(),
        data.display(),
        plugin.unwrap_or_default(),
    ));
}
