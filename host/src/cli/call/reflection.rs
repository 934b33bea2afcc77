//! A service's descriptors, asked of the service itself.

use prost_reflect::{DescriptorPool, MethodDescriptor};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

/// Finds a method. Its errors are those of the service, or say what it does offer.
pub(super) async fn method(
    channel: &Channel,
    service: &str,
    method: &str,
) -> Result<MethodDescriptor, Status> {
    let files = match ask(channel, MessageRequest::FileContainingSymbol(service.to_owned())).await {
        Ok(MessageResponse::FileDescriptorResponse(found)) => found.file_descriptor_proto,
        Err(status) if status.code() != Code::NotFound => return Err(status),
        // Servers say it either way.
        Ok(_) | Err(_) => {
            let offered = services(channel).await?;
            return Err(Status::unimplemented(format!(
                "there is no service {service}; there is {}",
                offered.join(", ")
            )));
        }
    };
    let pool = pool(channel, files).await?;
    let descriptor = pool
        .get_service_by_name(service)
        .ok_or_else(|| Status::internal(format!("reflection has no service {service}")))?;
    let methods: Vec<_> = descriptor.methods().collect();
    if let Some(found) = methods.iter().find(|candidate| candidate.name() == method) {
        return Ok(found.clone());
    }
    let names: Vec<_> = methods.iter().map(MethodDescriptor::name).collect();
    Err(Status::unimplemented(format!(
        "{service} has no method {method}; it has {}",
        names.join(", ")
    )))
}

/// The files and all that they import. A server may send imports along or wait to be asked.
async fn pool(channel: &Channel, files: Vec<Vec<u8>>) -> Result<DescriptorPool, Status> {
    use prost::Message as _;
    let undecodable = |error| Status::internal(format!("reflection: {error}"));
    let mut known: Vec<prost_types::FileDescriptorProto> = Vec::new();
    let mut to_decode = files;
    loop {
        for bytes in std::mem::take(&mut to_decode) {
            let file = prost_types::FileDescriptorProto::decode(&*bytes).map_err(undecodable)?;
            if !known.iter().any(|other| other.name() == file.name()) {
                known.push(file);
            }
        }
        let missing = known.iter().flat_map(|file| &file.dependency).find(|import| {
            !import.starts_with("google/protobuf/")
                && !known.iter().any(|file| file.name() == import.as_str())
        });
        let Some(missing) = missing.cloned() else { break };
        match ask(channel, MessageRequest::FileByFilename(missing.clone())).await? {
            MessageResponse::FileDescriptorResponse(found) => {
                to_decode = found.file_descriptor_proto;
            }
            _ => return Err(Status::internal(format!("reflection has no file {missing}"))),
        }
    }
    // The global pool holds google's own files, which servers need not send.
    let mut pool = DescriptorPool::global();
    known.retain(|file| pool.get_file_by_name(file.name()).is_none());
    let set = prost_types::FileDescriptorSet { file: known };
    pool.add_file_descriptor_set(set)
        .map_err(|error| Status::internal(format!("reflection: {error}")))?;
    Ok(pool)
}

async fn services(channel: &Channel) -> Result<Vec<String>, Status> {
    match ask(channel, MessageRequest::ListServices(String::new())).await? {
        MessageResponse::ListServicesResponse(list) => {
            Ok(list.service.into_iter().map(|service| service.name).collect())
        }
        _ => Ok(Vec::new()),
    }
}

async fn ask(channel: &Channel, request: MessageRequest) -> Result<MessageResponse, Status> {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    // The server answers each request of the stream; this stream has one.
    let stream = tonic::codegen::tokio_stream::once(request);
    let mut replies = ServerReflectionClient::new(channel.clone())
        .server_reflection_info(stream)
        .await?
        .into_inner();
    let reply = replies.message().await?.and_then(|reply| reply.message_response);
    reply.ok_or_else(|| Status::internal("reflection gave no answer"))
}

/// A code as the gRPC specification writes it.
pub(super) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
