//! `quorate call`: calls any method of any gRPC service that offers reflection.

mod reflection;
mod text;

use std::io::Read as _;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor, SerializeOptions};
use serde_json::Value;
use tonic::Code;

use super::connect::{connect, exit_code};
use super::{Failure, complain, say, usage};
use crate::rpc::codec::BytesCodec;
use crate::rpc::consistency::READ_KEY;
use crate::rpc::status::SESSION_KEY;
use quorate_core::limits;
use quorate_core::session::SessionCall;

const CALL_WAIT_MAX: Duration = Duration::from_secs(15);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A node's client address, HOST:PORT
    #[arg(value_name = "ADDR")]
    address: String,
    /// The method, such as kv.v1.Kv/Put
    #[arg(value_name = "SERVICE/METHOD")]
    method: String,
    /// The request in protobuf's JSON; "-" reads it from standard input
    #[arg(value_name = "JSON", default_value = "{}")]
    request: String,
    /// Make it a call of a session, which quorate.v1.Sessions/Open gives: a command that is sent
    /// again under the same number is executed once
    #[arg(long, value_name = "SESSION/NUMBER[/FLOOR]")]
    session: Option<SessionCall>,
    /// How a query is to be read: linearizable, lease or stale
    #[arg(long, value_name = "HOW")]
    read: Option<String>,
    /// Bytes are text, here and in the reply, instead of base64
    #[arg(long)]
    text: bool,
    /// Print the reply's metadata too, on standard error
    #[arg(long, short)]
    verbose: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting a runtime")?;
    runtime.block_on(call(arguments))
}

async fn call(arguments: &Arguments) -> Result<(), Failure> {
    let (service, method) = arguments
        .method
        .trim_start_matches('/')
        .rsplit_once('/')
        .ok_or_else(|| usage(format_args!("{}: write SERVICE/METHOD", arguments.method)))?;
    let json = read_json(&arguments.request)?;
    let channel = connect(&arguments.address).await.map_err(|status| not_connected(&status))?;
    let method =
        reflection::method(&channel, service, method).await.map_err(|problem| failed(&problem))?;
    let request = encode(&method.input(), json, arguments.text)?;

    let mut grpc =
        tonic::client::Grpc::new(channel).max_decoding_message_size(2 * limits::REPLY_BYTES_MAX);
    grpc.ready().await.context("connecting")?;
    let path = format!("/{service}/{}", method.name());
    let path = path.parse().map_err(|_| usage(format_args!("{path} is not a path")))?;
    let mut request = tonic::Request::new(request);
    request.set_timeout(CALL_WAIT_MAX);
    if let Some(session) = arguments.session {
        let session = session.to_string().parse().context("a session is plain text")?;
        request.metadata_mut().insert(SESSION_KEY, session);
    }
    if let Some(how) = &arguments.read {
        let how = how.parse().map_err(|_| usage(format_args!("--read {how}: not a word")))?;
        request.metadata_mut().insert(READ_KEY, how);
    }
    let reply = grpc.unary(request, path, BytesCodec).await.map_err(|status| failed(&status))?;
    if arguments.verbose {
        print_metadata(reply.metadata());
    }
    print_reply(&method, reply.get_ref(), arguments.text)
}

fn read_json(request: &str) -> Result<Value, Failure> {
    let mut text = request.to_owned();
    if request == "-" {
        text.clear();
        std::io::stdin().read_to_string(&mut text).context("reading standard input")?;
    }
    serde_json::from_str(&text).map_err(|error| usage(format_args!("the JSON request: {error}")))
}

/// Says why there is no connection.
pub(super) fn not_connected(status: &tonic::Status) -> Failure {
    match status.code() {
        Code::InvalidArgument => usage(status.message()),
        _ => failed(status),
    }
}

/// Says a status as its code and message.
pub(super) fn failed(status: &tonic::Status) -> Failure {
    let code = reflection::code_name(status.code());
    complain(format_args!("{code}: {}", status.message()));
    if !status.details().is_empty() {
        complain(format_args!("details: {}", status.details().escape_ascii()));
    }
    exit_code(status.code())
}

fn encode(
    descriptor: &MessageDescriptor,
    mut json: Value,
    bytes_are_text: bool,
) -> Result<bytes::Bytes, Failure> {
    if bytes_are_text {
        text::encode(descriptor, &mut json);
    }
    let message = DynamicMessage::deserialize(descriptor.clone(), json).map_err(|error| {
        usage(format_args!("the request is no {}: {error}", descriptor.full_name()))
    })?;
    Ok(message.encode_to_vec().into())
}

fn print_reply(
    method: &MethodDescriptor,
    reply: &[u8],
    bytes_are_text: bool,
) -> Result<(), Failure> {
    let output = method.output();
    let message = DynamicMessage::decode(output.clone(), reply)
        .with_context(|| format!("the reply is no {}", output.full_name()))?;
    // Zeros are shown: a reader should not have to know what is left out.
    let options = SerializeOptions::new().skip_default_fields(false);
    let mut json = message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .context("printing the reply")?;
    if bytes_are_text {
        text::decode(&output, &mut json);
    }
    say(format_args!("{json:#}"));
    Ok(())
}

fn print_metadata(metadata: &tonic::metadata::MetadataMap) {
    for (key, value) in metadata.as_ref() {
        let value = String::from_utf8_lossy(value.as_bytes());
        complain(format_args!("{key}: {value}"));
    }
}
