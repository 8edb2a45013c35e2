//! What a session's owner lends it: a connector under our pool and TLS, a transport under our egress and credentials, and
//! the session itself, lent to many. What is lent is never closed by us; what is ours always is.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response, Uri};
use seaway_session::{Call, Error, Kind, RequestBody, ResponseBody, Session, Stage};
use seaway_tests::answer::{Answer, Gate};
use seaway_tests::certificates::Authority;
use seaway_tests::client::{Client, collect, get, request};
use seaway_tests::daemon::free_port;
use seaway_tests::error::assert_says;
use seaway_tests::kernel::sockets_to;
use seaway_tests::origin::Origin;
use seaway_tests::request::Request as Asked;
use tokio::net::TcpStream;
use tower_service::Service;

/// Leads to one port of this machine, whatever is asked for.
#[derive(Clone)]
struct Sidecar(u16);

impl Service<Uri> for Sidecar {
    type Response = TcpStream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(TcpStream::connect(("127.0.0.1", self.0)))
    }
}

/// A session as a transport of another.
#[derive(Clone)]
struct Beneath(Session);

impl Service<Request<RequestBody>> for Beneath {
    type Response = Response<ResponseBody>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let session = self.0.clone();
        Box::pin(async move { session.send(request, Call::default()).await })
    }
}

/// A connector's streams carry our TLS to a name that nobody resolves, are kept and counted by our pool, and are closed
/// with the session.
#[tokio::test]
async fn a_connectors_streams_carry_our_tls_and_are_ours_to_close() {
    let authority = Authority::new("Test CA");
    let origin = Origin::tls(authority.leaf(&["llm.corp.example"]).server(), |_: &_| Answer::ok("hello")).await;
    let policy = "pool.limit = 1\n[tls]\nroots = \"none\"\nca = [\"ca.pem\"]";
    let builder = Client::under(policy).file("ca.pem", authority.pem());
    let builder = builder.destination("https://llm.corp.example").destination("https://other.corp.example");
    let connecting = |policy, environment: &_, destinations| {
        Session::connecting(policy, environment, destinations, Sidecar(origin.port()))
    };
    let client = builder.made_by(connecting).unwrap();
    for _ in 0..2 {
        assert_eq!(client.get("https://llm.corp.example/").await.unwrap().body, "hello");
    }
    client.settles(1, 1).await;
    let ledger = origin.ledger();
    assert_eq!((ledger.accepted, sockets_to(origin.port())), (1, 1));
    assert_eq!(ledger.handshakes, [Some("llm.corp.example".to_owned())]);
    assert_eq!(ledger.requests[0].header("host"), Some("llm.corp.example".to_owned()));
    // The certificate is judged by the name that was asked for, and the connection of another name makes room.
    let error = client.get("https://other.corp.example/").await.unwrap_err();
    assert_eq!((error.stage(), error.kind(), error.request_sent()), (Stage::Tls, Kind::Certificate, false));
    origin.forgive();
    assert_eq!(client.get("https://llm.corp.example/").await.unwrap().body, "hello");
    drop(client);
    origin.until("every stream is closed", |ledger| ledger.open == 0).await;
}

/// A connector that cannot connect says so in the stage whose place it has.
#[tokio::test]
async fn a_connector_that_is_refused_says_so() {
    let port = free_port();
    let builder = Client::under("").destination("http://llm.corp.example");
    let client = builder.made_by(|policy, environment, destinations| {
        Session::connecting(policy, environment, destinations, Sidecar(port))
    });
    let error = client.unwrap().get("http://llm.corp.example/").await.unwrap_err();
    assert_says(&error, Stage::Tcp, Kind::ConnectionRefused, &["the connector of the session failed"]);
}

/// A transport is asked for what egress and credentials admit, and for nothing else; its connections outlive the session.
#[tokio::test]
async fn a_transport_gets_what_is_admitted_and_keeps_its_connections() {
    let gate = Gate::shut();
    let held = gate.clone();
    let origin = Origin::plain(move |request: &Asked| match request.target.as_str() {
        "/v1/held" => Answer::ok("held").wait(&held),
        _ => Answer::ok("hello"),
    })
    .await;
    let beneath = Client::to(&origin);
    let transport = Beneath(beneath.session.clone());
    let url = origin.url("");
    let policy = format!("[credentials.k]\nvalue = \"sk-hidden\"\nurls = [\"{url}/v1\"]");
    let builder = Client::under(&policy).destination(&url);
    let client = builder
        .made_by(|policy, environment, destinations| Session::over(policy, environment, destinations, transport))
        .unwrap();
    let keyed = |path: &str| {
        let headers = [("x-token", "seaway-credential:k"), ("connection", "x-hop"), ("x-hop", "1")];
        request("POST", &format!("{url}{path}"), &headers, RequestBody::full("ping"))
    };
    let reply = client.read(keyed("/v1/chat?x=1")).await.unwrap();
    assert_eq!(reply.body, "hello");
    let asked = origin.ledger().requests[0].clone();
    assert_eq!(asked.target, "/v1/chat?x=1");
    assert_eq!((asked.header("x-token"), asked.header("x-hop")), (Some("sk-hidden".to_owned()), None));
    // Where the credential may not go, and where nothing may go although the transport could.
    let error = client.read(keyed("/v2")).await.unwrap_err();
    assert_says(&error, Stage::Credentials, Kind::CredentialDenied, &["`credentials.k` may not go to"]);
    let error = client.get(&origin.at("localhost", "/")).await.unwrap_err();
    assert_eq!((error.stage(), error.kind()), (Stage::Egress, Kind::Denied));
    assert_eq!(origin.ledger().requests.len(), 1);

    // The session ends while an answer is under way: neither that nor a connection of the transport's ends with it.
    let held = client.open(keyed("/v1/held"));
    let (held, ()) = tokio::join!(held, async { gate.open(1) });
    drop(client);
    assert_eq!(collect(held.unwrap().into_body()).await.unwrap().0, "held");
    beneath.settles(1, 1).await;
    assert_eq!(beneath.get(&origin.url("/")).await.unwrap().body, "hello");
    assert_eq!((origin.ledger().accepted, beneath.figures().reused), (1, 2));
}

/// A session lent to many: one user's end closes nothing of another's, and the last one's closes what is idle.
#[tokio::test]
async fn one_users_end_closes_nothing_of_anothers() {
    let origin = Origin::plain(|_: &_| Answer::ok("hello")).await;
    let client = Client::to(&origin);
    let users = [client.session.clone(), client.session.clone()];
    for user in users {
        let answer = user.send(get(&origin.url("/")), Call::default()).await.unwrap();
        collect(answer.into_body()).await.unwrap();
        drop(user);
        client.settles(1, 1).await;
    }
    assert_eq!((origin.ledger().accepted, origin.ledger().open), (1, 1));
    drop(client);
    origin.until("what is idle is closed", |ledger| ledger.open == 0).await;
}
