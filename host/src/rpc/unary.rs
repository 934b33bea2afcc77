//! A call with one message in and one out, as gRPC frames it, for the methods of a plugin. Both are
//! bytes here, so all there is to do is five bytes in front of each.
//!
//! tonic does the same for any codec, compression and streams. What it needs for that, a buffer of
//! 8 KiB for each message and a stream around it, cost a small call a tenth of its time.
//!
//! What this deliberately does not do: take compressed messages, or compress; and time-outs, which
//! the server keeps.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use axum::body::HttpBody;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response};
use bytes::{BufMut, Bytes, BytesMut};
use http_body::Frame;
use quorate_core::limits;
use tonic::Status;
use tonic::body::Body;
use tonic::metadata::MetadataValue;

use super::status;

/// In front of a message: whether it is compressed, and its length, big endian.
const PREFIX_BYTES: usize = 5;
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const OK: HeaderValue = HeaderValue::from_static("0");
/// How messages may be compressed.
const ACCEPT_ENCODING_KEY: &str = "grpc-accept-encoding";

/// Reads a request to its end: its one message.
pub(super) async fn read<B>(body: B) -> Result<Bytes, Status>
where
    B: HttpBody<Data = Bytes, Error: Into<tonic::codegen::StdError>>,
{
    let mut body = pin!(body);
    let mut came = Bytes::new();
    while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
        let frame = frame.map_err(|error| Status::from_error(error.into()))?;
        // Trailers say nothing that is of use here.
        let Ok(more) = frame.into_data() else { continue };
        came = joined(came, more);
        check(&came)?;
    }
    match expected(&came) {
        Some(bytes) if came.len() == bytes => Ok(came.slice(PREFIX_BYTES..)),
        Some(_) => Err(Status::internal("the request ends within its message")),
        None => Err(Status::unimplemented("a call has one message; there is none")),
    }
}

/// Most requests come in one piece, which is not copied.
fn joined(came: Bytes, more: Bytes) -> Bytes {
    if came.is_empty() {
        return more;
    }
    let mut all = came.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared));
    all.extend_from_slice(&more);
    all.freeze()
}

/// How many bytes the first message takes with its prefix, once that is there.
fn expected(came: &[u8]) -> Option<usize> {
    let ([_, length @ ..], _) = came.split_first_chunk::<PREFIX_BYTES>()?;
    usize::try_from(u32::from_be_bytes(*length)).ok()?.checked_add(PREFIX_BYTES)
}

/// Refuses as early as it can be told what cannot become one message.
fn check(came: &[u8]) -> Result<(), Status> {
    let Some(expected) = expected(came) else { return Ok(()) };
    if came[0] > 1 {
        return Err(Status::internal("a message is compressed, by its flag, or it is not"));
    }
    if came[0] == 1 {
        let mut status = Status::unimplemented("compressed messages are not taken here");
        let none = MetadataValue::from_static("identity");
        status.metadata_mut().insert(ACCEPT_ENCODING_KEY, none);
        return Err(status);
    }
    if expected > limits::REQUEST_BYTES_MAX + PREFIX_BYTES {
        return Err(status::request_too_large());
    }
    if came.len() > expected {
        return Err(Status::unimplemented("a call has one message; there is more"));
    }
    Ok(())
}

/// The response that a reply makes, with the metadata beside it.
pub(super) fn response(reply: tonic::Response<Bytes>) -> Response<Body> {
    let (metadata, message, _) = reply.into_parts();
    let mut response = Response::new(Body::new(Reply(Part::Message(framed(&message)))));
    *response.headers_mut() = metadata.into_headers();
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).expect("a reply is under 4 GiB"));
    framed.put_slice(message);
    framed.freeze()
}

/// The message, then the status.
struct Reply(Part);

/// What is still to be sent.
enum Part {
    Message(Bytes),
    Status,
    Nothing,
}

impl HttpBody for Reply {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let (frame, rest) = match std::mem::replace(&mut self.0, Part::Nothing) {
            Part::Message(message) => (Frame::data(message), Part::Status),
            Part::Status => {
                let trailers = HeaderMap::from_iter([(GRPC_STATUS, OK)]);
                (Frame::trailers(trailers), Part::Nothing)
            }
            Part::Nothing => return Poll::Ready(None),
        };
        self.0 = rest;
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Part::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use tonic::Code;

    use super::*;

    /// A body that comes in pieces.
    struct Pieces(VecDeque<Bytes>);

    impl HttpBody for Pieces {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }
    }

    async fn read_in(bytes: &[u8], piece_bytes: usize) -> Result<Bytes, Status> {
        read(Pieces(bytes.chunks(piece_bytes).map(Bytes::copy_from_slice).collect())).await
    }

    #[tokio::test]
    async fn a_message_is_read_however_it_is_cut() {
        for message in [&b""[..], b"a", &[7; 300]] {
            let bytes = framed(message);
            for piece_bytes in 1..=bytes.len() {
                assert_eq!(read_in(&bytes, piece_bytes).await.unwrap(), message);
            }
        }
        let largest = vec![7; limits::REQUEST_BYTES_MAX];
        assert_eq!(read_in(&framed(&largest), 16 * 1024).await.unwrap(), largest);
    }

    #[tokio::test]
    async fn what_is_not_one_message_is_refused() {
        let whole = framed(b"message");
        let compressed = [&[1], &whole[1..]].concat();
        let unknown = [&[2], &whole[1..]].concat();
        let too_large = framed(&vec![7; limits::REQUEST_BYTES_MAX + 1]);
        for (bytes, code) in [
            (&[][..], Code::Unimplemented),
            (&whole[..3], Code::Unimplemented),
            (&whole[..whole.len() - 1], Code::Internal),
            (&[&whole[..], &whole].concat(), Code::Unimplemented),
            (&[&whole[..], &[0]].concat(), Code::Unimplemented),
            (&compressed, Code::Unimplemented),
            (&unknown, Code::Internal),
            (&too_large, Code::InvalidArgument),
            // Before it is all there.
            (&too_large[..100], Code::InvalidArgument),
        ] {
            for piece_bytes in [7, 1024 * 1024 * 2] {
                let status = read_in(bytes, piece_bytes).await.unwrap_err();
                assert_eq!(status.code(), code, "{} bytes: {status}", bytes.len());
            }
        }
    }

    #[tokio::test]
    async fn a_reply_is_a_message_and_a_status() {
        let mut reply = tonic::Response::new(Bytes::from_static(b"reply"));
        reply.metadata_mut().insert("beside", MetadataValue::from_static("it"));
        let (head, mut body) = response(reply).into_parts();
        assert_eq!(head.headers["content-type"], "application/grpc");
        assert_eq!(head.headers["beside"], "it");
        let mut frames = Vec::new();
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            frames.push(frame.unwrap());
        }
        assert_eq!(frames[0].data_ref().unwrap(), &framed(b"reply"));
        assert_eq!(frames[1].trailers_ref().unwrap()["grpc-status"], "0");
        assert_eq!(frames.len(), 2);
    }
}
