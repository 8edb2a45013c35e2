//! Answers over HTTP/2 that come before their request has been sent, and answers that are refused: the stream is open until
//! both sides are done, and its place is taken until the peer's window has had room for the request's last piece.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http_body::Frame;
use http_body_util::StreamBody;
use seaway_session::{BoxError, Kind, RequestBody, Stage};
use seaway_tests::client::{Client, get, request};
use seaway_tests::{eventually, soon};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What the server makes of a request's body once it has answered.
#[derive(Clone, Copy, PartialEq)]
enum Reads {
    /// All of it, once the test says so.
    Later,
    /// What comes, without ever making room for more; the first such answer is a refusal.
    NoRoom,
    /// All of it, under an answer that has no end.
    Meanwhile,
}

/// Answers each request at its head.
struct Server {
    url: String,
    /// Lets a body be read.
    go: mpsc::UnboundedSender<()>,
    /// Why the reading of each body ended before its end, if it did.
    ends: mpsc::UnboundedReceiver<Option<h2::Reason>>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(reads: Reads) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
        let ((go, gone), (ended, ends)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let gone = Arc::new(Mutex::new(gone));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (gone, ended) = (Arc::clone(&gone), ended.clone());
                connections.spawn(async move {
                    let mut connection = h2::server::handshake(socket).await.unwrap();
                    let mut bodies = JoinSet::new();
                    let mut answers = (0..).map(|nth| match (reads, nth) {
                        (Reads::NoRoom, 0) => http::Response::builder().status(429).header("retry-after", "0"),
                        _ => http::Response::builder(),
                    });
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        let get = request.method() == http::Method::GET;
                        let answer = answers.next().unwrap().body(()).unwrap();
                        let open = respond.send_response(answer, get || reads != Reads::Meanwhile);
                        if get {
                            continue;
                        }
                        let (gone, ended) = (Arc::clone(&gone), ended.clone());
                        bodies.spawn(async move {
                            let _open = (open, respond);
                            let mut body = request.into_body();
                            if reads == Reads::Later {
                                gone.lock().await.recv().await;
                            }
                            let end = loop {
                                match body.data().await {
                                    Some(Ok(_)) if reads == Reads::NoRoom => {}
                                    Some(Ok(data)) => body.flow_control().release_capacity(data.len()).unwrap(),
                                    Some(Err(error)) => break error.reason(),
                                    None => break None,
                                }
                            };
                            ended.send(end).unwrap();
                        });
                    }
                });
            }
        });
        Self { url, go, ends, _tasks: tasks }
    }

    fn client(&self) -> Client {
        self.under("")
    }

    fn under(&self, policy: &str) -> Client {
        let policy = format!("wire = {{ http = \"2\", h2.streams = 1 }}\npool.limit = 1\n{policy}");
        Client::under(&policy).destination(&self.url).build()
    }
}

/// More than a window and more than what is held to be sent again; `open` goes on until its sender is gone.
fn large(open: Option<mpsc::Receiver<Bytes>>) -> RequestBody {
    let more = futures::stream::unfold(open, async |mut open| {
        let bytes = open.as_mut()?.recv().await?;
        Some((Ok::<_, BoxError>(Frame::data(bytes)), open))
    });
    let begun = futures::stream::iter((0..PIECES).map(|_| Ok(Frame::data(Bytes::from_static(&[b'x'; PIECE])))));
    RequestBody::stream(StreamBody::new(begun.chain(more)))
}

/// As much, as a guest sends it.
fn in_one_piece() -> RequestBody {
    let bytes = Ok::<_, BoxError>(Frame::data(Bytes::from(vec![b'x'; PIECES * PIECE])));
    RequestBody::stream(StreamBody::new(futures::stream::iter([bytes])))
}

const PIECES: usize = 128;
const PIECE: usize = 16 << 10;

/// An answer that is over first keeps its place while the request goes on, whether its length is known or not, and in
/// however many pieces it comes.
#[tokio::test]
async fn an_early_answer_keeps_its_place_while_the_request_goes_on() {
    let declared = [("content-length", "2097152")];
    let whole = || RequestBody::full(vec![b'x'; 512 << 10]);
    for (headers, body) in [
        (&[][..], large(None)),
        (&declared[..], large(None)),
        (&[][..], in_one_piece()),
        (&declared[..], in_one_piece()),
        (&[][..], whole()),
    ] {
        let mut server = Server::start(Reads::Later).await;
        let client = server.client();
        let reply = client.read(request("POST", &server.url, headers, body)).await.unwrap();
        assert_eq!(reply.status.as_u16(), 200);
        let next = client.get(&server.url);
        let release = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let figures = client.figures();
            assert_eq!((figures.open, figures.idle, figures.waiting), (1, 0, 1), "{headers:?}");
            server.go.send(()).unwrap();
        };
        let (reply, ()) = tokio::join!(next, release);
        assert_eq!(reply.unwrap().status.as_u16(), 200);
        assert_eq!(soon("the body's end", server.ends.recv()).await, Some(None));
        client.settles(1, 1).await;
        assert_eq!(client.figures().opened, 1);
    }
}

/// A server that answers and then takes nothing more holds up nobody for long: the stream is reset, though it waits for room.
#[tokio::test]
async fn a_request_that_nobody_takes_is_cut_off() {
    let cut_off = async |body| {
        let mut server = Server::start(Reads::NoRoom).await;
        let client = server.client();
        // The answer is over, and kept.
        let _answer = client.open(request("POST", &server.url, &[], body)).await.unwrap();
        let next = soon("room", client.get(&server.url)).await.unwrap();
        assert_eq!((next.status.as_u16(), client.figures().opened), (200, 1));
        assert_eq!(soon("the body's end", server.ends.recv()).await, Some(Some(h2::Reason::CANCEL)));
    };
    let whole = RequestBody::full(vec![b'x'; 512 << 10]);
    tokio::join!(cut_off(large(None)), cut_off(in_one_piece()), cut_off(whole));
}

/// Nor does one that refuses early: what is left of the request is for nobody, and it is sent again at once.
#[tokio::test]
async fn a_request_that_is_refused_early_is_cut_off_and_repeated() {
    let server = Server::start(Reads::NoRoom).await;
    let client = server.under("retry.status = [429]");
    let begun = Instant::now();
    let body = RequestBody::full(vec![b'x'; 512 << 10]);
    let reply = client.read(request("POST", &server.url, &[], body)).await.unwrap();
    assert_eq!((reply.status.as_u16(), client.figures().retried, client.figures().opened), (200, 1, 1));
    // A request that may go on would have had five seconds.
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

/// Who gives an answer up has its request cut off too, though more of it could come.
#[tokio::test]
async fn giving_an_answer_up_ends_its_request() {
    let mut server = Server::start(Reads::Meanwhile).await;
    let client = server.client();
    let (_more, open) = mpsc::channel(1);
    let answer = client.open(request("POST", &server.url, &[], large(Some(open)))).await.unwrap();
    drop(answer);
    assert_eq!(soon("the body's end", server.ends.recv()).await, Some(Some(h2::Reason::CANCEL)));
    eventually("the place is free", || client.figures().idle == 1).await;
    assert_eq!((client.get(&server.url).await.unwrap().status.as_u16(), client.figures().opened), (200, 1));
}

/// A head that is too large is refused whatever its status says of repeats.
#[tokio::test]
async fn a_refusal_with_too_many_headers_is_refused() {
    for repeats in ["", "retry.status = [429]"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connection = h2::server::handshake(listener.accept().await.unwrap().0).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let answer = http::Response::builder().status(429).header("retry-after", "9999");
                let answer = (0..20).fold(answer, |answer, nth| answer.header(format!("x-{nth}"), "1"));
                respond.send_response(answer.body(()).unwrap(), true).unwrap();
            }
        });
        let policy = format!("wire = {{ http = \"2\", max_headers = 10 }}\n{repeats}");
        let client = Client::under(&policy).destination(&url).build();
        let error = client.read(get(&url)).await.unwrap_err();
        assert_eq!((error.stage(), error.kind()), (Stage::Wire, Kind::HeadersTooLarge), "{repeats}");
        assert!(error.request_sent());
        client.settles(1, 1).await;
    }
}
