//! The provider of the benchmark: a process of its own on loopback, which answers by the first word of the path.

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Request, Response, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// The process, stopped when it is dropped.
pub(crate) struct Upstream {
    process: Child,
    address: SocketAddr,
}

impl Upstream {
    pub(crate) fn start() -> Self {
        let program = std::env::current_exe().expect("the benchmark has a path");
        let mut process = Command::new(program)
            .arg("--upstream")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the upstream starts");
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().expect("its output is piped"));
        output.read_line(&mut line).expect("the upstream prints its address");
        Self { process, address: line.trim().parse().expect("an address") }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.process.kill().expect("the upstream is ours to stop");
        self.process.wait().expect("it ends");
    }
}

/// Serves until the parent's end of the input closes.
pub(crate) fn serve() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    std::thread::spawn(|| {
        // Who started us has gone.
        std::io::stdin().lines().for_each(drop);
        std::process::exit(0);
    });
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("an address"));
        std::io::stdout().flush().expect("output");
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                loop {
                    let (socket, _) = listener.accept().await.expect("a connection");
                    socket.set_nodelay(true).expect("an option");
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service_fn(answer));
                    tokio::task::spawn_local(connection);
                }
            })
            .await;
    });
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

async fn answer(request: Request<Incoming>) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    body.collect().await.expect("the whole request");
    let kind = head.uri.path().split('/').nth(1).unwrap_or_default();
    let (media, body) = match kind {
        "hold" => return Ok(held()),
        "stream" => ("text/event-stream", events()),
        "large" => ("application/json", completion(20_000)),
        _ => ("application/json", completion(250)),
    };
    let answer = Response::builder().header(header::CONTENT_TYPE, media).header("x-request-id", "req_0123456789abcdef");
    Ok(answer.body(Full::new(body).boxed_unsync()).expect("a response"))
}

/// A stream that gives its first two events, of which the second has text, and then holds its breath.
fn held() -> Answer {
    let events = events();
    let ends = events.windows(2).enumerate().filter(|(_, pair)| pair == b"\n\n");
    let first = ends.map(|(end, _)| end + 2).nth(1).expect("two events");
    let body = futures::stream::iter([Ok(Frame::data(events.slice(..first)))]).chain(futures::stream::pending());
    let body = StreamBody::new(body).boxed_unsync();
    Response::builder().header(header::CONTENT_TYPE, "text/event-stream").body(body).expect("a response")
}

/// An answer in OpenAI's documented shape, about 600 bytes with 250 of text
/// (<https://platform.openai.com/docs/api-reference/chat/object>, 2026-11).
fn completion(text: usize) -> Bytes {
    let text = "word ".repeat(text / 5);
    format!(
        r#"{{"id":"chatcmpl-0123456789","object":"chat.completion","created":1750000000,"model":"gpt-4o-mini-2024-07-18","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}","refusal":null}},"logprobs":null,"finish_reason":"stop"}}],"usage":{{"prompt_tokens":12,"completion_tokens":50,"total_tokens":62}},"service_tier":"default","system_fingerprint":"fp_0123456789"}}"#
    )
    .into()
}

/// A stream of a hundred deltas, in the shape of
/// <https://platform.openai.com/docs/api-reference/chat/streaming> (2026-11).
fn events() -> Bytes {
    let mut events = String::new();
    let mut event = |delta: &str, finish: &str| {
        events.push_str(&format!(
            "data: {{\"id\":\"chatcmpl-0123456789\",\"object\":\"chat.completion.chunk\",\"created\":1750000000,\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_0123456789\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}]}}\n\n"
        ));
    };
    event(r#"{"role":"assistant","content":"","refusal":null}"#, "null");
    for _ in 0..98 {
        event(r#"{"content":" word"}"#, "null");
    }
    event("{}", "\"stop\"");
    events.push_str("data: [DONE]\n\n");
    events.into()
}
