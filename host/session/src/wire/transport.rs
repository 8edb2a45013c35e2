//! A transport that the session's owner lends: it stands in the place of everything from `pool` to `wire`.
//!
//! `egress` and `credentials` run before it, the guard of `body` behind it. What it connects to, and closes, is its own:
//! the session clones it for each request, waits until the clone is ready, and drops the clone once it has answered.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::CONNECTION;
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use http_body::Body;
use http_body_util::BodyExt as _;
use tower_service::Service;

use super::{FirstByte, Outgoing, WireBody, host};
use crate::body::{Content, Raw, RequestBody};
use crate::error::{BoxError, Error, Kind};
use crate::route::Origin;
use crate::stage::Stage;

type Waiting<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// The transport of a session.
#[derive(Clone)]
pub(crate) struct Transport(Arc<dyn Lend>);

trait Lend: Send + Sync {
    /// A clone, once it can take a request.
    fn ready(&self) -> Waiting<Box<dyn Take>>;
}

/// A clone that is ready.
trait Take: Send {
    fn call(self: Box<Self>, request: Request<RequestBody>) -> Waiting<Response<Raw>>;
}

/// A service; behind a lock, which is held while it is cloned and never while anything waits, because services need not
/// be `Sync`.
struct Lent<S>(Mutex<S>);
struct Ready<S>(S);

impl<S, B> Lend for Lent<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn ready(&self) -> Waiting<Box<dyn Take>> {
        let mut service = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move {
            poll_fn(|context| service.poll_ready(context)).await.map_err(Into::into)?;
            Ok(Box::new(Ready(service)) as Box<dyn Take>)
        })
    }
}

impl<S, B> Take for Ready<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn call(mut self: Box<Self>, request: Request<RequestBody>) -> Waiting<Response<Raw>> {
        Box::pin(async move {
            let answer = self.0.call(request).await.map_err(Into::into)?;
            Ok(answer.map(|body| Raw::Lent(body.map_err(Into::into).boxed_unsync())))
        })
    }
}

impl Transport {
    pub(crate) fn new<S, B>(service: S) -> Self
    where
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Arc::new(Lent(Mutex::new(service))))
    }

    /// Waits until the transport can take a request. Cancel safe: nothing has been handed over.
    pub(crate) async fn ready(&self) -> Result<Turn, Error> {
        self.0.ready().await.map(Turn).map_err(failed)
    }
}

/// The right to hand over one request.
pub(crate) struct Turn(Box<dyn Take>);

impl Turn {
    /// Hands the request over and waits for the head of its answer: at most `first_byte` from when its body has been
    /// read. Dropping the future drops the transport's own.
    pub(crate) async fn exchange(
        self,
        mut request: Outgoing,
        origin: &Origin,
        first_byte: FirstByte,
    ) -> Result<Response<Raw>, Error> {
        address(&mut request, origin)?;
        let upload = request.body().upload();
        let answer = pin!(self.0.call(request.map(RequestBody::from)));
        first_byte.wait(upload.as_deref(), answer).await?.map_err(|error| {
            // What is wrong with the request's own body is the caller's to hear, not what the transport made of it.
            let own = upload.and_then(|upload| upload.error());
            own.unwrap_or_else(|| failed(error).after_sending())
        })
    }
}

/// Puts the URI into absolute form again, as egress has read it. `Connection` is for the transport to write.
fn address(request: &mut Outgoing, origin: &Origin) -> Result<(), Error> {
    let unwritable = || Error::new(Stage::Wire, Kind::RequestInvalid, "the host cannot be written in a URI");
    let authority = Authority::try_from(host(origin)?.as_bytes()).map_err(|_| unwritable())?;
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Scheme::try_from(origin.scheme().word()).ok();
    parts.authority = Some(authority);
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| unwritable())?;
    request.headers_mut().remove(CONNECTION);
    Ok(())
}

/// The transport has seen the query and the secrets, so what it says stays in the source.
fn failed(source: BoxError) -> Error {
    Error::new(Stage::Wire, Kind::Terminated, "the transport of the session failed").with_source(source)
}

impl From<WireBody> for RequestBody {
    fn from(body: WireBody) -> Self {
        Self(match body {
            WireBody::Full(None, _) => Content::Empty,
            WireBody::Full(Some(bytes), _) => Content::Full(bytes),
            WireBody::Stream(_) => Content::Stream(body.boxed_unsync()),
        })
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Transport")
    }
}
