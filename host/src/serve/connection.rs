//! One connection of a client: TLS, if `serve.tls` says so, then HTTP/1.1, or HTTP/2 where the client begins with it.
//!
//! Runs from accept to close, for as long as the client and the server like. Invariant: a client that sends nothing, or
//! drips, is waited for no longer than `serve.head_timeout`; over HTTP/2, whose pings are answered without a request, no
//! longer than twice that.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::sync::watch;

use super::body::Outgoing;
use super::listen::Stream;
use super::settings::Settings;
use super::{Phase, Shared, answer, tls};
use crate::turns::Turns;

/// How often a connection may wake itself before it makes way for others: once for each request whose body is read.
const TURNS: u32 = 4;

pub(super) async fn serve(socket: Box<dyn Stream>, peer: Option<SocketAddr>, shared: Arc<Shared>) {
    let (turns, mut converse) = (Turns::new(TURNS), pin!(converse(socket, peer, Arc::clone(&shared))));
    poll_fn(|cx| turns.poll(converse.as_mut(), shared.admission.running(), cx)).await;
}

async fn converse(socket: Box<dyn Stream>, peer: Option<SocketAddr>, shared: Arc<Shared>) {
    let _connected = shared.figures.connected();
    let mut phase = shared.phase.subscribe();
    let settings = Arc::clone(&shared.live.load());
    let exchanges = Arc::new(Exchanges::default());
    let builder = builder(&settings.settings);
    let patience = settings.settings.head_timeout.0;
    let socket = match settings.tls.clone() {
        None => socket,
        Some(config) => {
            let shaken = Box::pin(within(patience, tls::accept(socket, config)));
            let shaken = tokio::select! {
                shaken = shaken => shaken,
                () = until_ending(&mut phase) => None,
            };
            match shaken {
                Some(Ok(socket)) => socket,
                Some(Err(_)) | None => return,
            }
        }
    };
    drop(settings);
    let service = {
        let exchanges = Arc::clone(&exchanges);
        service_fn(move |request| {
            let (shared, open) = (Arc::clone(&shared), Open::begin(&exchanges));
            async move {
                let answer = answer::answer(request, peer, shared).await;
                Ok::<_, Infallible>(answer.map(|body| Held { body, _open: open }))
            }
        })
    };
    let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
    // hyper tells the two protocols apart by the first bytes, and waits for those without an end; and it lets a connection of
    // HTTP/2 be on which nothing is asked.
    let mut silence = pin!(within(patience, std::future::pending::<()>()));
    // The number of exchanges, if all were over at the last look.
    let (mut quiet, mut ending) = (None, false);
    loop {
        tokio::select! {
            // A client that breaks off, or speaks no HTTP, is no news.
            _ = connection.as_mut() => return,
            _ = &mut silence, if !ending => {
                let begun = exchanges.begun.load(Ordering::Relaxed);
                if begun == 0 {
                    return;
                }
                let now = (exchanges.open.load(Ordering::Relaxed) == 0).then_some(begun);
                if now.is_some() && now == quiet {
                    ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                quiet = now;
                silence.set(within(patience, std::future::pending()));
            }
            () = until_ending(&mut phase), if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// The exchanges of one connection.
#[derive(Default)]
struct Exchanges {
    begun: AtomicUsize,
    open: AtomicUsize,
}

/// One of them, until its answer has been told.
struct Open(Arc<Exchanges>);

impl Open {
    fn begin(exchanges: &Arc<Exchanges>) -> Self {
        exchanges.begun.fetch_add(1, Ordering::Relaxed);
        exchanges.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(exchanges))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer's body, while which the exchange is open.
struct Held {
    body: Outgoing,
    _open: Open,
}

impl Body for Held {
    type Data = <Outgoing as Body>::Data;
    type Error = <Outgoing as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What comes of the work, if it comes in time.
async fn within<T>(patience: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    match patience {
        Some(patience) => tokio::time::timeout(patience, work).await.ok(),
        None => Some(work.await),
    }
}

async fn until_ending(phase: &mut watch::Receiver<Phase>) {
    // A server that is gone needs no connection either.
    drop(phase.wait_for(|phase| *phase == Phase::Ending).await);
}

/// Streams that a client of HTTP/2 may have open at a time; the calls are bounded elsewhere.
const STREAMS: u32 = 1024;

/// How often a client of HTTP/2 is asked whether it is there, and how long it may take to say so: an answer that nobody
/// takes would be held for as long as the kernel waits.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);

fn builder(settings: &Settings) -> auto::Builder<TokioExecutor> {
    let head = usize::try_from(settings.max_head.0).unwrap_or(usize::MAX);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(settings.head_timeout.0).max_buf_size(head);
    let list = u32::try_from(settings.max_head.0).unwrap_or(u32::MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(list)
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG);
    builder
}
