//! What the owner of a session may lend it: a connector, or a whole transport.
//!
//! What is lent stays its owner's: the session clones it, drops its clones, and closes nothing of it. What a connector
//! has opened, as everything that the session opens itself, is the session's, and is closed by it. A policy that comes
//! in the place of another leaves what is lent as it is.

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

use crate::connector::Connector;
use crate::wire::transport::Transport;
use crate::{BoxError, Destinations, Environment, Policy, RequestBody, Session, policy, proxy};

/// What does the lower half of the path.
#[derive(Clone, Debug)]
pub(crate) enum Lower {
    /// The session's own stages.
    Own,
    /// In the place of `dns`, `tcp` and `proxy`.
    Connector(Connector),
    /// In the place of everything from `pool` to `wire`.
    Transport(Transport),
}

impl Session {
    /// A session over a transport of yours, such as a client that you have already: it stands in the place of `pool`,
    /// `dns`, `tcp`, `proxy`, `tls` and `wire`. The other arguments are those of [`Session::new`].
    ///
    /// - Egress, credentials, `total`, `connect`, `wire.timeout`, the limits and deadlines of `[body]` hold as ever.
    ///   `connect` bounds the wait for `poll_ready`. No other key of the sections that it replaces has an effect.
    /// - A request's URI is absolute. It has no `Host` and nothing that belongs to one hop, and neither has the answer.
    /// - Egress judges names, and addresses that are written in the URI. To which address a name leads only the transport
    ///   knows, so `egress.addresses` cannot be held against it; nor can redirects that it follows by itself: it should
    ///   follow none, or the secrets in the request may go to where egress and credentials never allowed.
    /// - It is cloned for each request, and the clone is dropped once the head of the answer has come. It is never sent a
    ///   request twice: `[retry]` has no effect. What it fails with is the source of an error of [`Stage::Wire`](crate::Stage::Wire).
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::{Request, Response};
    /// use http_body_util::{BodyExt as _, Full};
    /// use seaway_session::{Call, Destination, Destinations, Environment, Origin, Policy, RequestBody, Session};
    ///
    /// /// Any `tower::Service` will do; `tower::service_fn` makes one of a closure.
    /// #[derive(Clone)]
    /// struct Echo;
    ///
    /// impl tower_service::Service<Request<RequestBody>> for Echo {
    ///     type Response = Response<Full<Bytes>>;
    ///     type Error = std::convert::Infallible;
    ///     type Future = std::future::Ready<Result<Self::Response, Self::Error>>;
    ///
    ///     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
    ///         std::task::Poll::Ready(Ok(()))
    ///     }
    ///
    ///     fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
    ///         std::future::ready(Ok(Response::new(Full::from(request.uri().to_string()))))
    ///     }
    /// }
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let llm = Destination { origin: Origin::parse("https://llm.example")?, local: false };
    /// let destinations = Destinations { written: vec![llm], ..Destinations::default() };
    /// let session = Session::over(Policy::default(), &Environment::default(), destinations, Echo)?;
    /// let request = Request::get("https://llm.example/v1/models").body(RequestBody::empty())?;
    /// let answer = session.send(request, Call::default()).await?;
    /// assert_eq!(answer.into_body().collect().await?.to_bytes(), "https://llm.example/v1/models");
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Session::new`]; and a proxy that the policy or its environment names, which the transport would pass by:
    /// `proxy.mode = "off"` says that this is meant.
    pub fn over<S, B>(
        policy: Policy,
        environment: &Environment,
        destinations: Destinations,
        transport: S,
    ) -> Result<Self, policy::Error>
    where
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self::build(policy, environment, destinations, Lower::Transport(Transport::new(transport)))
    }

    /// A session whose byte streams a connector of yours opens: it stands in the place of `dns`, `tcp` and `proxy`, under
    /// the session's pool and TLS. The other arguments are those of [`Session::new`].
    ///
    /// - It is asked with `scheme://host:port/`, the port always written and an IPv6 address in brackets, so that
    ///   `uri.authority()` is what `TcpStream::connect` takes. For `https` it opens the stream beneath TLS.
    /// - `tcp.timeout` and `connect` bound it; no other key of `[dns]`, `[tcp]` and `[proxy]` has an effect.
    /// - Its streams count as sockets in the limits of `[pool]`, and are the session's to close: by shutting them down,
    ///   then dropping them. `pool.cleanup_closed` drops them without a reset.
    /// - Egress judges names, and addresses that are written in the URI. To which address a name leads only the connector
    ///   knows, so `egress.addresses` cannot be held against it.
    /// - It is cloned for each stream. What it fails with is the source of an error of [`Stage::Tcp`](crate::Stage::Tcp).
    ///
    /// ```
    /// use std::future::Future;
    /// use std::pin::Pin;
    ///
    /// use seaway_session::{Destination, Destinations, Environment, Origin, Policy, Session};
    /// use tokio::net::TcpStream;
    ///
    /// /// Everything goes to a sidecar. Any `tower::Service` will do; `tower::service_fn` makes one of a closure.
    /// #[derive(Clone)]
    /// struct Sidecar(std::net::SocketAddr);
    ///
    /// impl tower_service::Service<http::Uri> for Sidecar {
    ///     type Response = TcpStream;
    ///     type Error = std::io::Error;
    ///     type Future = Pin<Box<dyn Future<Output = std::io::Result<TcpStream>> + Send>>;
    ///
    ///     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<std::io::Result<()>> {
    ///         std::task::Poll::Ready(Ok(()))
    ///     }
    ///
    ///     fn call(&mut self, _: http::Uri) -> Self::Future {
    ///         Box::pin(TcpStream::connect(self.0))
    ///     }
    /// }
    ///
    /// let llm = Destination { origin: Origin::parse("https://llm.example")?, local: false };
    /// let destinations = Destinations { written: vec![llm], ..Destinations::default() };
    /// let sidecar = Sidecar(([127, 0, 0, 1], 15001).into());
    /// let session = Session::connecting(Policy::default(), &Environment::default(), destinations, sidecar)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Session::new`]; and a proxy that the policy or its environment names, which the connector would pass by:
    /// `proxy.mode = "off"` says that this is meant.
    pub fn connecting<S>(
        policy: Policy,
        environment: &Environment,
        destinations: Destinations,
        connector: S,
    ) -> Result<Self, policy::Error>
    where
        S: Service<Uri> + Clone + Send + 'static,
        S::Response: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        Self::build(policy, environment, destinations, Lower::Connector(Connector::new(connector)))
    }
}

impl Lower {
    /// Fails closed: a proxy that somebody named is not passed by without a word.
    ///
    /// # Errors
    /// There is one, and something lent.
    pub(crate) fn check(&self, proxies: &proxy::Proxies) -> Result<(), policy::Error> {
        let what = match self {
            Self::Own => return Ok(()),
            Self::Connector(_) => "connector",
            Self::Transport(_) => "transport",
        };
        proxies.named_by().map_or(Ok(()), |name| {
            let message =
                format!("`{name}` names a proxy, and the session's {what} would pass it by; write mode = \"off\"");
            Err(policy::Error::key("proxy.mode", message))
        })
    }
}

#[cfg(test)]
mod tests;
