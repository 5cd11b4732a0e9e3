//! A bound on what an endpoint can make Herald read.
//!
//! What is kept of an answer has bounds of its own. But HTTP and TLS know bytes of
//! which nothing is kept, in any number: interim answers, zeros before the size of a
//! chunk, blanks after it. An endpoint that sends them as fast as it can would
//! keep a core busy until the deadline, at the expense of the others.
//!
//! So each connection counts what it reads from its socket, and breaks when that is
//! more than any answer needs. Opening it and each exchange have a count of their own.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most bytes that are read while a connection is opened, or in one exchange. The longest
/// answer in the smallest chunks takes less.
pub(super) const MOST_READ: usize = 1 << 20;

/// Why a connection broke: its endpoint sends more than that.
#[derive(Debug, thiserror::Error)]
#[error("the endpoint sends more than Herald reads in one exchange, which is 1 MiB")]
pub(super) struct TooMuch;

/// What may still be read.
#[derive(Clone, Debug)]
pub(super) struct Quota(Arc<AtomicUsize>);

impl Quota {
    /// From here on it is the whole again.
    pub(super) fn renew(&self) {
        self.0.store(MOST_READ, Ordering::Relaxed);
    }

    fn take(&self, read: usize) -> io::Result<()> {
        let left = self.0.load(Ordering::Relaxed).checked_sub(read);
        // Whoever reads also renews: nobody else changes it in between.
        self.0.store(left.unwrap_or(0), Ordering::Relaxed);
        left.map(|_| ()).ok_or_else(|| io::Error::other(TooMuch))
    }
}

/// A stream that reads no more than its quota.
pub(super) struct Metered<S> {
    stream: S,
    quota: Quota,
}

impl<S> Metered<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, quota: Quota(Arc::new(AtomicUsize::new(MOST_READ))) }
    }

    pub(super) fn quota(&self) -> Quota {
        self.quota.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        Poll::Ready(self.quota.take(buffer.filled().len() - before))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn each_of_opening_and_an_exchange_may_read_so_much_and_no_more() {
        let mut stream = Metered::new(tokio::io::repeat(0));
        let mut buffer = vec![0; MOST_READ];
        for what in ["opening", "an exchange", "another"] {
            stream.read_exact(&mut buffer).await.expect(what);
            let error = stream.read_exact(&mut [0]).await.expect_err(what);
            assert_eq!(error.to_string(), TooMuch.to_string(), "{what}");
            stream.quota().renew();
        }
    }
}
