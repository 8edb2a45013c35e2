//! One connection of a client: TLS, if `serve.tls` says so, then HTTP/1.1, or HTTP/2 where the client begins with it.
//!
//! Runs from accept to close, for as long as the client and the server like. Invariant: a client that sends nothing, or
//! drips, is waited for no longer than `serve.head_timeout`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::sync::watch;

use super::listen::Stream;
use super::settings::Settings;
use super::{Phase, Shared, answer, tls};
use crate::turns::Turns;

/// How often a connection may wake itself before it makes way for others: once for each request whose body is read.
const TURNS: u32 = 4;

pub(super) async fn serve(socket: Box<dyn Stream>, peer: Option<SocketAddr>, shared: Arc<Shared>) {
    Turns::new(TURNS).run(converse(socket, peer, shared)).await;
}

async fn converse(socket: Box<dyn Stream>, peer: Option<SocketAddr>, shared: Arc<Shared>) {
    let _connected = shared.figures.connected();
    let mut phase = shared.phase.subscribe();
    let settings = Arc::clone(&shared.live.load());
    let begun = Arc::new(AtomicBool::new(false));
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
        let begun = Arc::clone(&begun);
        service_fn(move |request| {
            begun.store(true, Ordering::Relaxed);
            let shared = Arc::clone(&shared);
            async move { Ok::<_, Infallible>(answer::answer(request, peer, shared).await) }
        })
    };
    let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
    // hyper tells the two protocols apart by the first bytes, and waits for those without an end.
    let mut silence = pin!(within(patience, std::future::pending::<()>()));
    let (mut waited, mut ending) = (false, false);
    loop {
        tokio::select! {
            // A client that breaks off, or speaks no HTTP, is no news.
            _ = connection.as_mut() => return,
            _ = &mut silence, if !waited => {
                waited = true;
                if !begun.load(Ordering::Relaxed) {
                    return;
                }
            }
            () = until_ending(&mut phase), if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
        }
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

fn builder(settings: &Settings) -> auto::Builder<TokioExecutor> {
    let head = usize::try_from(settings.max_head.0).unwrap_or(usize::MAX);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(settings.head_timeout.0).max_buf_size(head);
    let list = u32::try_from(settings.max_head.0).unwrap_or(u32::MAX);
    builder.http2().timer(TokioTimer::new()).max_header_list_size(list).max_concurrent_streams(STREAMS);
    builder
}
