//! Opens sessions, and reads which call of which session a command is.

use quorate_core::batch::Command;
use quorate_core::limits;
use quorate_core::session::{SessionCall, SessionUse};
use quorate_proto::v1::sessions_server::{Sessions, SessionsServer};
use quorate_proto::v1::{OpenSessionReply, OpenSessionRequest};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::status::SESSION_KEY;
use super::{service, status};
use crate::random;
use crate::submit::Submitter;

/// Opens sessions, on any node.
pub(super) struct SessionsService {
    pub(super) submitter: Submitter,
}

impl SessionsService {
    /// As a service for a server.
    pub(super) fn into_server(self) -> SessionsServer<Self> {
        SessionsServer::new(self)
    }
}

#[tonic::async_trait]
impl Sessions for SessionsService {
    async fn open(
        &self,
        _: Request<OpenSessionRequest>,
    ) -> Result<Response<OpenSessionReply>, Status> {
        let admission = &self.submitter.admission;
        let admitted = admission.enter();
        let _admitted = admitted.ok_or_else(|| status::no_room(admission.retry_after()))?;
        let open = Command::open_session(random::bits_64());
        let opened = service::command(&self.submitter, open).await?;
        Ok(opened.map(|id| OpenSessionReply {
            session: String::from_utf8_lossy(&id).into_owned(),
            replies_max: u32::try_from(limits::SESSION_REPLIES_MAX).unwrap_or(u32::MAX),
        }))
    }
}

/// Which call of which session a command is, as its metadata say.
pub(super) fn of_metadata(metadata: &MetadataMap) -> Result<Option<SessionUse>, Status> {
    let mut values = metadata.get_all(SESSION_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let wrong = |what| Status::invalid_argument(format!("metadata {SESSION_KEY}: {what}"));
    if values.next().is_some() {
        return Err(wrong("a command is one call of one session".to_owned()));
    }
    let call = value.to_str().unwrap_or_default().parse::<SessionCall>();
    call.map(|call| Some(SessionUse::Call(call))).map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic::metadata::MetadataValue;

    use super::*;

    fn metadata(values: &[&'static str]) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        for value in values {
            metadata.append(SESSION_KEY, MetadataValue::from_static(value));
        }
        metadata
    }

    #[test]
    fn a_command_has_one_session_or_none() {
        assert_eq!(of_metadata(&metadata(&[])).unwrap(), None);
        let call = "00000000000000010000000000000002/3/2";
        let session = of_metadata(&metadata(&[call])).unwrap();
        assert_eq!(session, Some(SessionUse::Call(call.parse().unwrap())));
        for wrong in [&["1/3"][..], &[""], &[call, call]] {
            let status = of_metadata(&metadata(wrong)).unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{wrong:?}");
            assert!(status.message().contains(SESSION_KEY), "{status}");
        }
    }
}
