//! Connections whose writes gather. What an entry of the log decides wakes many calls at once, and
//! tokio has each call's connection write as soon as that call has its reply: a system call, and a
//! packet, for each. A connection that first gives way to what is queued before it, once, writes
//! what all of them have for it together.
//!
//! What this deliberately does not do: wait. With nothing else to do, its turn comes at once; and
//! while no other call is under way, and no stream of commands is open, it does not give way.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::admission::Admission;

/// A connection of a client.
#[derive(Debug)]
pub(super) struct Gathering<T> {
    connection: T,
    admission: Admission,
    /// For the write to come.
    gave_way: bool,
}

impl<T> Gathering<T> {
    /// The same connection, to a node that takes on these calls.
    pub(super) fn new(connection: T, admission: Admission) -> Self {
        Self { connection, admission, gave_way: false }
    }
}

impl<T: AsyncWrite + Unpin> Gathering<T> {
    /// Gives way once before each write. A task that wakes itself goes behind all that are queued.
    fn write<R>(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut T>, &mut Context<'_>) -> Poll<R>,
    ) -> Poll<R> {
        if !self.gave_way && self.admission.is_busy() {
            self.gave_way = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let written = ready!(write(Pin::new(&mut self.connection), context));
        self.gave_way = false;
        Poll::Ready(written)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gathering<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gathering<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |connection, context| connection.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |connection, context| connection.poll_write_vectored(context, parts))
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }
}

impl Connected for Gathering<TcpStream> {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.connection.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn who_is_queued_has_its_turn_before_a_write() {
        let (near, mut far) = tokio::io::duplex(64);
        let admission = Admission::default();
        let mut connection = Gathering::new(near, admission.clone());
        let _under_way = admission.enter().unwrap();
        let turns = Arc::new(AtomicUsize::new(0));
        for expected in 1..=3 {
            let queued = Arc::clone(&turns);
            tokio::spawn(async move { queued.fetch_add(1, Ordering::Relaxed) });
            connection.write_all(b"reply").await.unwrap();
            assert_eq!(turns.load(Ordering::Relaxed), expected);
            let mut came = [0; 5];
            far.read_exact(&mut came).await.unwrap();
            assert_eq!(&came, b"reply");
        }
        connection.shutdown().await.unwrap();
        assert_eq!(far.read(&mut [0]).await.unwrap(), 0, "it ends like any other");
    }

    #[tokio::test]
    async fn without_other_calls_it_gives_way_to_nobody() {
        let (near, _far) = tokio::io::duplex(64);
        let mut connection = Gathering::new(near, Admission::default());
        let (sender, mut queued) = tokio::sync::oneshot::channel();
        tokio::spawn(async move { sender.send(()) });
        connection.write_all(b"reply").await.unwrap();
        assert!(queued.try_recv().is_err(), "it had its turn first");
    }
}
