//! One connection of a client: TLS, if `serve.tls` says so, then HTTP/1.1, or HTTP/2 where the client begins with it.
//!
//! Runs from accept to close, for as long as the client and the server like. Invariants: a client that sends nothing, or
//! drips, is waited for no longer than `serve.head_timeout`; over HTTP/2, whose pings are answered without a request, no
//! longer than twice that, and once more where it does not go when told. An answer that waits for its client to take more, no
//! longer than twice `serve.send_timeout`.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::sync::watch;

use super::exchanges::{Exchanges, Held, Open, Streams};
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
    let (patience, send) = (settings.settings.head_timeout.0, settings.settings.send_timeout.0);
    let Some(socket) = shaken(socket, settings.tls.clone(), patience, &mut phase).await else { return };
    drop(settings);
    let service = {
        let exchanges = Arc::clone(&exchanges);
        service_fn(move |request| {
            let (shared, open) = (Arc::clone(&shared), Open::begin(&exchanges));
            async move {
                let answer = answer::answer(request, peer, shared).await;
                Ok::<_, Infallible>(answer.map(|body| Held::new(body, open)))
            }
        })
    };
    let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
    // hyper tells the two protocols apart by the first bytes, and waits for those without an end; and it lets a connection of
    // HTTP/2 be on which nothing is asked.
    let mut silence = pin!(within(patience, std::future::pending::<()>()));
    let mut standstill = pin!(within(send, std::future::pending::<()>()));
    // The moves at the last look.
    let (mut heard, mut ending) = (0, false);
    loop {
        tokio::select! {
            // A client that breaks off, or speaks no HTTP, is no news.
            _ = connection.as_mut() => return,
            _ = &mut silence => {
                let rests = exchanges.rest_since(&mut heard);
                if (rests && ending) || heard == 0 {
                    return tracing::debug!("a client that asks nothing is let go");
                }
                if rests {
                    ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                silence.set(within(patience, std::future::pending()));
            }
            _ = &mut standstill => {
                if !exchanges.end_standing() {
                    return tracing::debug!("a client that takes nothing of its answers is let go");
                }
                standstill.set(within(send, std::future::pending()));
            }
            () = until_ending(&mut phase), if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// The client's stream, under TLS where the server speaks it; absent if none comes of it.
async fn shaken(
    socket: Box<dyn Stream>,
    config: Option<Arc<ServerConfig>>,
    patience: Option<Duration>,
    phase: &mut watch::Receiver<Phase>,
) -> Option<Box<dyn Stream>> {
    let Some(config) = config else { return Some(socket) };
    let shaken = Box::pin(within(patience, tls::accept(socket, config)));
    tokio::select! {
        shaken = shaken => shaken?.ok(),
        () = until_ending(phase) => None,
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

/// Bytes of one answer that may wait for a client of HTTP/2, out of sight.
const UNSENT: usize = 64 << 10;

fn builder(settings: &Settings) -> auto::Builder<Streams> {
    let head = usize::try_from(settings.max_head.0).unwrap_or(usize::MAX);
    let mut builder = auto::Builder::new(Streams);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(settings.head_timeout.0).max_buf_size(head);
    let list = u32::try_from(settings.max_head.0).unwrap_or(u32::MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(list)
        .max_send_buf_size(UNSENT)
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG);
    builder
}
