//! `quorate status` and `quorate member`: what an operator asks a running cluster.
//!
//! Exit codes beyond those of all commands: 3 when a change was refused, and the same will be
//! refused again; 4 when it may go well later, or its outcome is not known.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use prost::Message as _;
use quorate_proto::v1;
use quorate_proto::v1::admin_client::AdminClient;
use quorate_proto::v1::change_error::Kind;
use serde_json::{Value, json};
use tonic::Status;
use tonic::transport::Channel;

use super::connect::{connect, exit_code};
use super::{Failure, LATER, Output, REFUSED, WRONG, complain, say};

/// Where a node is when nobody says otherwise: that of `quorate dev`.
const AT: &str = "127.0.0.1:7400";

/// The node to ask, and how to print.
#[derive(Clone, Debug, Args)]
pub(super) struct Node {
    /// The client address of any node, HOST:PORT; several are tried in turn
    #[arg(long, env = "QUORATE_AT", value_name = "ADDR,ADDR", default_value = AT, global = true)]
    at: String,
    /// How to print what comes of it
    #[arg(long, short, value_enum, default_value_t = Output::Human, global = true)]
    output: Output,
}

#[derive(Debug, Args)]
pub(super) struct StatusArguments {
    #[command(flatten)]
    node: Node,
}

#[derive(Debug, Args)]
pub(super) struct MemberArguments {
    #[command(flatten)]
    node: Node,
    #[command(subcommand)]
    command: MemberCommand,
}

#[derive(Debug, Subcommand)]
enum MemberCommand {
    /// Add a node as a learner, which follows without a vote; then start it with serve --join
    Add {
        /// The node's number
        id: u64,
        /// Where the other nodes reach it: its --peer-listen as they see it
        #[arg(value_name = "HOST:PORT")]
        address: String,
    },
    /// Give a learner a vote, once it has caught up
    Promote {
        /// The node's number
        id: u64,
        /// Although the voters that are heard of could not go on afterwards
        #[arg(long)]
        force: bool,
    },
    /// Remove a node for good; it stops itself
    Remove {
        /// The node's number
        id: u64,
        /// Although the voters that are heard of could not go on afterwards
        #[arg(long)]
        force: bool,
    },
    /// Give a learner the place of a voter, in one change
    Replace {
        /// The voter that leaves
        old: u64,
        /// The learner that votes instead
        new: u64,
        /// Although the voters that are heard of could not go on afterwards
        #[arg(long)]
        force: bool,
    },
    /// Let another voter lead
    Transfer {
        /// Which one [default: whichever has most of the log]
        id: Option<u64>,
    },
}

pub(super) fn status(arguments: &StatusArguments) -> Result<(), Failure> {
    let reply = run(&arguments.node.at, async |mut client| {
        client.status(v1::StatusRequest { this_node_only: false }).await
    });
    let reply = reply.map_err(|status| refused(&status, arguments.node.output))?;
    match arguments.node.output {
        Output::Human => say(format_args!("{}", table(&reply).trim_end())),
        Output::Json => say(format_args!("{:#}", status_json(&reply))),
    }
    Ok(())
}

pub(super) fn member(arguments: &MemberArguments) -> Result<(), Failure> {
    let command = &arguments.command;
    let reply = run(&arguments.node.at, async |mut client| match command.clone_request() {
        Request::Add(request) => client.member_add(request).await,
        Request::Promote(request) => client.member_promote(request).await,
        Request::Remove(request) => client.member_remove(request).await,
        Request::Replace(request) => client.member_replace(request).await,
        Request::Transfer(request) => client.leader_transfer(request).await,
    });
    let reply = reply.map_err(|status| refused(&status, arguments.node.output))?;
    let v1::MemberReply { leader, voters, learners } = reply;
    match arguments.node.output {
        Output::Human => {
            let list = |nodes: &[u64]| {
                let nodes: Vec<_> = nodes.iter().map(u64::to_string).collect();
                if nodes.is_empty() { "none".to_owned() } else { nodes.join(", ") }
            };
            let leader = if leader == 0 { "none".to_owned() } else { leader.to_string() };
            say(format_args!(
                "done: voters {}; learners {}; leader {leader}",
                list(&voters),
                list(&learners)
            ));
            if let Some(next) = command.next() {
                say(format_args!("{next}"));
            }
        }
        Output::Json => {
            let done = json!({"leader": leader, "voters": voters, "learners": learners});
            say(format_args!("{done:#}"));
        }
    }
    Ok(())
}

enum Request {
    Add(v1::MemberAddRequest),
    Promote(v1::MemberPromoteRequest),
    Remove(v1::MemberRemoveRequest),
    Replace(v1::MemberReplaceRequest),
    Transfer(v1::LeaderTransferRequest),
}

impl MemberCommand {
    fn clone_request(&self) -> Request {
        match self {
            Self::Add { id, address } => {
                Request::Add(v1::MemberAddRequest { id: *id, address: address.clone() })
            }
            Self::Promote { id, force } => {
                Request::Promote(v1::MemberPromoteRequest { id: *id, force: *force })
            }
            Self::Remove { id, force } => {
                Request::Remove(v1::MemberRemoveRequest { id: *id, force: *force })
            }
            Self::Replace { old, new, force } => Request::Replace(v1::MemberReplaceRequest {
                old_id: *old,
                new_id: *new,
                force: *force,
            }),
            Self::Transfer { id } => {
                Request::Transfer(v1::LeaderTransferRequest { id: id.unwrap_or_default() })
            }
        }
    }

    /// What an operator does next.
    fn next(&self) -> Option<String> {
        match self {
            Self::Add { id, address } => Some(format!(
                "next: start it with quorate serve --node {id} --peer-listen {address} --join \
                 PEER_ADDR ..., and give it a vote with quorate member promote {id}"
            )),
            _ => None,
        }
    }
}

/// Asks the first node of a list that can be reached.
fn run<T>(
    at: &str,
    ask: impl AsyncFn(AdminClient<Channel>) -> Result<tonic::Response<T>, Status>,
) -> Result<T, Status> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Status::internal(error.to_string()))?;
    runtime.block_on(async {
        let channel = connect(at).await?;
        ask(AdminClient::new(channel)).await.map(tonic::Response::into_inner)
    })
}

/// Says why not, and what may be done about it.
fn refused(status: &Status, output: Output) -> Failure {
    let details = v1::ChangeError::decode(status.details()).unwrap_or_default();
    let kind = details.kind();
    match output {
        Output::Human => {
            complain(format_args!("error: {}", status.message()));
            if let Some(hint) = hint(kind) {
                complain(format_args!("  {hint}"));
            }
        }
        Output::Json => {
            let error = json!({
                "error": kind.as_str_name().to_lowercase(),
                "message": status.message(),
                "behind": details.behind,
                "leader": details.leader,
            });
            say(format_args!("{error:#}"));
        }
    }
    match kind {
        Kind::Other => exit_code(status.code()),
        Kind::Invalid => Failure::Code(WRONG),
        Kind::NoLeader | Kind::UnderWay | Kind::Undecided | Kind::TooFarBehind => {
            Failure::Code(LATER)
        }
        _ => Failure::Code(REFUSED),
    }
}

fn hint(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::NoLeader => Some("see quorate status: are most voters running?"),
        Kind::UnknownMember | Kind::AlreadyMember | Kind::AlreadyDone | Kind::NotVoter => {
            Some("quorate status shows the members")
        }
        Kind::TooFarBehind => Some("quorate status shows its lag; try again when it is small"),
        Kind::NotHeard => Some("start it, or choose another"),
        Kind::LastVoter => Some("add and promote another node first"),
        Kind::LosesQuorum => Some("--force does it anyway"),
        _ => None,
    }
}

fn status_json(reply: &v1::StatusReply) -> Value {
    let nodes: Vec<Value> = reply.nodes.iter().map(node_json).collect();
    json!({
        "cluster": reply.cluster,
        "answered_by": reply.node,
        "leader": reply.leader,
        "is_joint": reply.is_joint,
        "nodes": nodes,
    })
}

fn node_json(node: &v1::NodeStatus) -> Value {
    json!({
        "id": node.id,
        "incarnation": node.incarnation,
        "address": node.address,
        "client_address": node.client_address,
        "role": node.role().as_str_name().to_lowercase(),
        "reachable": node.unreachable.is_empty(),
        "problem": node.unreachable,
        "term": node.term,
        "committed": node.committed,
        "applied": node.applied,
        "last": node.last,
        "lag": node.lag,
        "log_first": node.log_first,
        "log_entries": log_entries(node),
        "log_bytes": node.log_bytes,
        "health": node.health,
        "version": node.version,
        "store": node.store,
        "leader": node.leader,
    })
}

fn log_entries(node: &v1::NodeStatus) -> u64 {
    (node.last + 1).saturating_sub(node.log_first.max(1))
}

/// For a person.
fn table(reply: &v1::StatusReply) -> String {
    const HEAD: [&str; 11] = [
        "NODE",
        "ADDRESS",
        "ROLE",
        "TERM",
        "COMMITTED",
        "APPLIED",
        "LAG",
        "LOG",
        "HEALTH",
        "VERSION",
        "STORE",
    ];
    let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
    for node in &reply.nodes {
        let incarnation =
            if node.incarnation > 0 { format!(".{}", node.incarnation) } else { String::new() };
        let store = node.store.get(..8).unwrap_or("-").to_owned();
        let mut row = vec![
            format!("{}{incarnation}", node.id),
            if node.address.is_empty() { "-".to_owned() } else { node.address.clone() },
            node.role().as_str_name().to_lowercase(),
        ];
        if node.unreachable.is_empty() {
            let numbers = [node.term, node.committed, node.applied, node.lag, log_entries(node)];
            row.extend(numbers.iter().map(u64::to_string));
            row.extend([node.health.clone(), node.version.clone()]);
        } else {
            row.extend(["-", "-", "-", "-", "-", "down", "-"].map(str::to_owned));
        }
        row.push(store);
        rows.push(row);
    }
    let widths: Vec<usize> = (0..HEAD.len())
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(String::len).max())
        .map(Option::unwrap_or_default)
        .collect();
    let leader = match reply.leader {
        0 => "no leader".to_owned(),
        leader => format!("leader {leader}"),
    };
    let joint = if reply.is_joint { ", a change of members is half done" } else { "" };
    let mut out = format!("cluster {}, {leader}{joint}\n\n", reply.cluster);
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        writeln!(out, "{}", line.trim_end()).expect("a string takes all that is written to it");
    }
    for node in reply.nodes.iter().filter(|node| !node.unreachable.is_empty()) {
        writeln!(out, "\nnode {} did not answer: {}", node.id, node.unreachable)
            .expect("a string takes all that is written to it");
    }
    out
}
