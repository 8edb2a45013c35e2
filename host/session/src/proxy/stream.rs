//! What leads to an origin: a socket, or a tunnel through a proxy. TLS and HTTP run over either.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use crate::pool::SlotId;
use crate::{connector, tcp};

/// A way to the origin.
#[derive(Debug)]
pub(crate) struct Stream {
    hop: Hop,
    /// The origin's address; absent where a proxy found it.
    peer: Option<IpAddr>,
    /// What came behind a proxy's answer is the origin's, and is read first. Empty without a tunnel.
    early: Bytes,
}

#[derive(Debug)]
enum Hop {
    Plain(tcp::Stream),
    /// TLS to the proxy itself.
    Tls(Box<TlsStream<tcp::Stream>>),
    /// What the session's connector opened.
    Lent(connector::Stream),
}

impl Stream {
    /// A socket that is connected to the origin itself.
    pub(crate) fn direct(stream: tcp::Stream) -> Self {
        let peer = Some(stream.peer());
        Self { hop: Hop::Plain(stream), peer, early: Bytes::new() }
    }

    /// What the session's connector opened, to an address that it found itself.
    pub(crate) fn lent(stream: connector::Stream) -> Self {
        Self { hop: Hop::Lent(stream), peer: None, early: Bytes::new() }
    }

    /// Through a proxy, to an address of the origin's that we told it.
    pub(super) fn told(stream: tcp::Stream, peer: IpAddr) -> Self {
        Self { hop: Hop::Plain(stream), peer: Some(peer), early: Bytes::new() }
    }

    /// Through a proxy, which finds the origin's address itself.
    pub(super) fn plain(stream: tcp::Stream) -> Self {
        Self { hop: Hop::Plain(stream), peer: None, early: Bytes::new() }
    }

    /// The same, over TLS to the proxy.
    pub(super) fn tls(stream: TlsStream<tcp::Stream>) -> Self {
        Self { hop: Hop::Tls(Box::new(stream)), peer: None, early: Bytes::new() }
    }

    pub(crate) fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    /// Puts bytes that have been read before those that will be.
    pub(super) fn behind(self, early: Bytes) -> Self {
        Self { early, ..self }
    }

    /// Looks at the socket beneath; absent where a connector opened it.
    pub(crate) fn handle(&self) -> Option<tcp::Handle> {
        match &self.hop {
            Hop::Plain(stream) => Some(stream.handle()),
            Hop::Tls(stream) => Some(stream.get_ref().0.handle()),
            Hop::Lent(_) => None,
        }
    }

    /// True if what lies in the socket is for the hop's own TLS.
    pub(crate) fn is_encrypted(&self) -> bool {
        match self.hop {
            Hop::Tls(_) => true,
            Hop::Plain(_) | Hop::Lent(_) => false,
        }
    }

    pub(crate) fn slot(&self) -> SlotId {
        match &self.hop {
            Hop::Plain(stream) => stream.slot(),
            Hop::Tls(stream) => stream.get_ref().0.slot(),
            Hop::Lent(stream) => stream.slot(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let length = self.early.len().min(buffer.remaining());
            buffer.put_slice(&self.early.split_to(length));
            return Poll::Ready(Ok(()));
        }
        match &mut self.hop {
            Hop::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Hop::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Hop::Lent(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.hop {
            Hop::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Hop::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Hop::Lent(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.hop {
            Hop::Plain(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
            Hop::Tls(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
            Hop::Lent(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.hop {
            Hop::Plain(stream) => stream.is_write_vectored(),
            Hop::Tls(stream) => stream.is_write_vectored(),
            Hop::Lent(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.hop {
            Hop::Plain(stream) => Pin::new(stream).poll_flush(context),
            Hop::Tls(stream) => Pin::new(stream).poll_flush(context),
            Hop::Lent(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.hop {
            Hop::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Hop::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Hop::Lent(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
