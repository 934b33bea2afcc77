//! A connection to one of several nodes, and how a command ends for what is answered there.

use std::error::Error;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::{Failure, LATER, REFUSED, WRONG};

/// How long a node may take to be reached.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(5);
/// Between two questions whether the node is still there, and for its answer.
const ALIVE_PAUSE: Duration = Duration::from_secs(10);

/// Connects to the first node of a list, `HOST:PORT,HOST:PORT`, that can be reached.
pub(super) async fn connect(addresses: &str) -> Result<Channel, Status> {
    let mut last = Status::invalid_argument("no node is named");
    for address in addresses.split(',').map(str::trim).filter(|address| !address.is_empty()) {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| Status::invalid_argument(format!("{address}: {error}")))?;
        // A node that is gone without a word must not be waited for.
        let endpoint = endpoint
            .connect_timeout(CONNECT_WAIT_MAX)
            .http2_keep_alive_interval(ALIVE_PAUSE)
            .keep_alive_timeout(ALIVE_PAUSE);
        match endpoint.connect().await {
            Ok(channel) => return Ok(channel),
            Err(error) => {
                let cause = root(&error);
                last = Status::unavailable(format!("cannot reach {address}: {cause}"));
            }
        }
    }
    Err(last)
}

fn root(error: &dyn Error) -> &dyn Error {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause
}

/// How a command ends that came to this, once it has been said.
pub(super) fn exit_code(code: Code) -> Failure {
    match code {
        Code::InvalidArgument | Code::Unimplemented => Failure::Code(WRONG),
        Code::Unavailable
        | Code::ResourceExhausted
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Aborted => Failure::Code(LATER),
        Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::OutOfRange => Failure::Code(REFUSED),
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => Failure::Said,
    }
}
