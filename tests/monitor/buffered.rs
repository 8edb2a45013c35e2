//! Streams that something on the way holds back: nginx and squid, the real ones.

use std::time::Duration;

use seaway_session::Signal;
use seaway_tests::answer::{Answer, Gate, Then};
use seaway_tests::client::{Client, collect, get, piece};
use seaway_tests::log::Log;
use seaway_tests::nginx::Nginx;
use seaway_tests::origin::Origin;
use seaway_tests::proxies::{Squid, Ways};

use super::Heard;

/// Events of a stream, and the time between them: together well beyond what counts as a fast answer.
const EVENTS: usize = 20;
const PACE: Duration = Duration::from_millis(75);

/// A stream of which each event waits at the gate. It ends with its connection, as HTTP/1.0 has it, which nginx speaks to
/// what is behind it unless it is told otherwise.
async fn streaming(gate: &Gate) -> Origin {
    let gate = gate.clone();
    let origin = Origin::plain(move |_: &_| {
        let head = Answer::raw("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n");
        let events = 0..EVENTS;
        events.fold(head, |all, index| all.wait(&gate).write(format!("data: {index}\n\n"))).then(Then::Close)
    });
    origin.await
}

/// nginx in front of an origin, which it is told to buffer or not to.
async fn gateway(origin: &Origin, buffering: &str) -> Option<Nginx> {
    let server =
        format!("listen 127.0.0.1:$PORT; location / {{ proxy_pass {}; proxy_buffering {buffering}; }}", origin.url(""));
    Nginx::start(&server, &[]).await
}

/// Reads the stream while the origin takes its time.
async fn read(client: &Client, url: &str, origin: &Origin, gate: &Gate) {
    let before = origin.ledger().requests.len();
    let reader = async {
        let answer = client.open(get(url)).await.unwrap();
        collect(answer.into_body()).await.unwrap().0
    };
    let pace = async {
        origin.requests(before + 1).await;
        // The subject of the test: a stream that takes its time.
        let mut ticks = tokio::time::interval(PACE);
        for _ in 0..EVENTS {
            ticks.tick().await;
            gate.open(1);
        }
    };
    let (body, ()) = tokio::join!(reader, pace);
    assert_eq!(body.windows(2).filter(|two| two == b"\n\n").count(), EVENTS);
}

/// X16: nginx that buffers is seen to hold the stream back, by itself and behind squid, and is named; the warning comes
/// once an origin and says what to change.
#[tokio::test]
async fn a_stream_that_a_gateway_buffers_is_warned_of_once() {
    let gate = Gate::shut();
    let origin = streaming(&gate).await;
    let Some(nginx) = gateway(&origin, "on").await else { return };
    let Some(squid) = Squid::start(Ways::default()).await else { return };
    let url = format!("http://127.0.0.1:{}/", nginx.port());
    for proxy in ["", &format!("http://127.0.0.1:{}", squid.port())] {
        let (log, _guard) = Log::listen();
        let client = Client::under("").destination(&url).variable("http_proxy", proxy).build();
        let heard = Heard::of(&client);
        // A machine that is busy with other things may tear one burst apart, never three in a row.
        for _ in 0..5 {
            read(&client, &url, &origin, &gate).await;
            if client.figures().buffered == 2 {
                break;
            }
        }
        assert!(client.figures().buffered >= 2, "not seen through `{proxy}`");
        let second = Duration::from_secs(1);
        let told =
            |signal: &Signal| matches!(signal, Signal::BufferedStream { silence, events: 20 } if *silence >= second);
        assert!(heard.has(told));
        let warnings = log.warnings("buffered_stream");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        for word in ["likely nginx", "X-Accel-Buffering: no", " events came at once", url.trim_end_matches('/')] {
            assert!(warnings[0].contains(word), "`{word}` is not in {}", warnings[0]);
        }
    }
}

/// X16: a stream that is passed on as it comes is none of that: nginx told not to buffer, squid, and the origin itself.
/// Its first byte is there before the origin has ended.
#[tokio::test]
async fn a_stream_that_is_passed_on_as_it_comes_is_not_warned_of() {
    let gate = Gate::shut();
    let origin = streaming(&gate).await;
    let Some(nginx) = gateway(&origin, "off").await else { return };
    let Some(squid) = Squid::start(Ways::default()).await else { return };
    let proxy = format!("http://127.0.0.1:{}", squid.port());
    let (direct, passed_on) = (origin.url("/"), format!("http://127.0.0.1:{}/", nginx.port()));
    for (url, proxy) in [(&direct, ""), (&passed_on, ""), (&direct, &proxy[..]), (&passed_on, &proxy)] {
        let client = Client::under("").to(&origin).destination(url).variable("http_proxy", proxy).build();
        gate.open(1);
        let mut body = client.open(get(url)).await.unwrap().into_body();
        let first = piece(&mut body).await.unwrap().unwrap();
        assert_eq!(first, "data: 0\n\n");
        gate.open(EVENTS - 1);
        collect(body).await.unwrap();
        read(&client, url, &origin, &gate).await;
        assert_eq!(client.figures().buffered, 0, "{url} through `{proxy}`");
    }
}

/// An answer that is fast as a whole is never one that was held back, and `monitor.signals = "off"` warns of none.
#[tokio::test]
async fn a_fast_answer_is_not_warned_of_and_off_is_off() {
    let gate = Gate::shut();
    let origin = streaming(&gate).await;
    let Some(nginx) = gateway(&origin, "on").await else { return };
    let url = format!("http://127.0.0.1:{}/", nginx.port());
    let (log, _guard) = Log::listen();
    let client = Client::under("[monitor]\nsignals = \"off\"").destination(&url).build();
    gate.open(EVENTS);
    collect(client.open(get(&url)).await.unwrap().into_body()).await.unwrap();
    assert_eq!(client.figures().buffered, 0);
    for _ in 0..5 {
        read(&client, &url, &origin, &gate).await;
        if client.figures().buffered > 0 {
            break;
        }
    }
    assert!(client.figures().buffered > 0);
    assert_eq!(log.warnings("buffered_stream"), [""; 0]);
}
