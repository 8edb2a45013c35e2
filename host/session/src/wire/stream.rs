//! What HTTP runs over: the stream itself, or TLS upon it.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use crate::pool::SlotId;
use crate::{proxy, tcp};

/// What HTTP runs over.
#[derive(Debug)]
pub(crate) enum Io {
    Plain(proxy::Stream),
    Tls(Box<TlsStream<proxy::Stream>>),
}

impl Io {
    pub(crate) fn peer(&self) -> Option<IpAddr> {
        match self {
            Self::Plain(stream) => stream.peer(),
            Self::Tls(stream) => stream.get_ref().0.peer(),
        }
    }

    /// Looks at the socket beneath; absent where the session did not open it.
    pub(super) fn handle(&self) -> Option<tcp::Handle> {
        match self {
            Self::Plain(stream) => stream.handle(),
            Self::Tls(stream) => stream.get_ref().0.handle(),
        }
    }

    /// True if what lies in the socket is not what HTTP will read.
    pub(super) fn is_encrypted(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_encrypted(),
            Self::Tls(_) => true,
        }
    }

    pub(crate) fn slot(&self) -> SlotId {
        match self {
            Self::Plain(stream) => stream.slot(),
            Self::Tls(stream) => stream.get_ref().0.slot(),
        }
    }
}

/// What a connection has received unread is read before it closes, up to this much: the kernel would reset it instead.
const UNREAD: usize = 64 * 1024;

impl Drop for Io {
    /// However its connection ended, it says goodbye (close_notify, FIN), as far as that needs no waiting.
    fn drop(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        if Pin::new(&mut *self).poll_shutdown(&mut context).is_pending() {
            return;
        }
        let mut unread = [0; 4096];
        for _ in 0..UNREAD / unread.len() {
            let mut buffer = ReadBuf::new(&mut unread);
            match Pin::new(&mut *self).poll_read(&mut context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) | Poll::Pending => return,
            }
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
