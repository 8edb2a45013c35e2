//! A connector that the session's owner lends: it opens byte streams in the place of `dns`, `tcp` and `proxy`.
//!
//! Runs in a task of the pool, before `tls`. The connector stays its owner's; the streams that it opens are the
//! session's, which counts each as a socket and closes it.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http::Uri;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower_service::Service;

use crate::error::{BoxError, Error, Kind};
use crate::pool::{Slot, SlotId};
use crate::route::Origin;
use crate::stage::Stage;

/// The connector of a session.
#[derive(Clone)]
pub(crate) struct Connector(Arc<dyn Dial>);

type Dialling = Pin<Box<dyn Future<Output = Result<Box<dyn Bytes>, BoxError>> + Send>>;

trait Dial: Send + Sync {
    fn dial(&self, uri: Uri) -> Dialling;
}

/// What a connector opens.
trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// A service; behind a lock, which is held while it is cloned and never while anything waits, because services need not
/// be `Sync`.
struct Lent<S>(Mutex<S>);

impl<S> Dial for Lent<S>
where
    S: Service<Uri> + Clone + Send + 'static,
    S::Response: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    fn dial(&self, uri: Uri) -> Dialling {
        let mut service = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move {
            poll_fn(|context| service.poll_ready(context)).await.map_err(Into::into)?;
            let stream = service.call(uri).await.map_err(Into::into)?;
            Ok(Box::new(stream) as Box<dyn Bytes>)
        })
    }
}

impl Connector {
    pub(crate) fn new<S>(service: S) -> Self
    where
        S: Service<Uri> + Clone + Send + 'static,
        S::Response: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        Self(Arc::new(Lent(Mutex::new(service))))
    }

    /// Opens a stream to the origin. Cancel safe: dropping it drops the connector's own future.
    pub(crate) async fn connect(&self, origin: &Origin, slot: Slot) -> Result<Stream, Error> {
        let bytes = self.0.dial(uri(origin)?).await.map_err(failed)?;
        Ok(Stream { bytes, slot })
    }
}

/// `scheme://host:port/`, the port always written.
fn uri(origin: &Origin) -> Result<Uri, Error> {
    let authority = origin.host_port();
    Uri::builder()
        .scheme(origin.scheme().word())
        .authority(authority.to_string())
        .path_and_query("/")
        .build()
        .map_err(|_| Error::new(Stage::Tcp, Kind::RequestInvalid, "the host cannot be written in a URI"))
}

fn failed(source: BoxError) -> Error {
    let io = source.downcast_ref::<io::Error>().map(io::Error::kind);
    let kind = match io {
        Some(io::ErrorKind::ConnectionRefused) => Kind::ConnectionRefused,
        Some(io::ErrorKind::TimedOut) => Kind::ConnectTimeout,
        Some(_) | None => Kind::Unavailable,
    };
    Error::new(Stage::Tcp, kind, format!("the connector of the session failed: {source}")).with_source(source)
}

/// A stream that a connector opened, with its place in the pool's limits, which is given back once it has been dropped.
pub(crate) struct Stream {
    // Before the slot: fields are dropped in this order.
    bytes: Box<dyn Bytes>,
    slot: Slot,
}

impl Stream {
    pub(crate) fn slot(&self) -> SlotId {
        self.slot.id()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.bytes).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.bytes).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.bytes.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_shutdown(context)
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Connector")
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Stream").field("slot", &self.slot.id()).finish()
    }
}
