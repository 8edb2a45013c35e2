//! A session under a policy that a test writes as an operator would, and requests through it.
//!
//! Loopback origins are allowed the way that a file's `base_url` allows them. Every request carries marks in a header, the
//! query and the body, and every error is searched for them.

use std::net::Ipv4Addr;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use seaway_session::policy::{self, Document, Preset};
use seaway_session::{
    Call, Destination, Destinations, Environment, Error, Figures, Policy, RequestBody, ResponseBody, Session, Timeouts,
    tls,
};

use crate::certificates::Authority;
use crate::error::assert_clear;
use crate::eventually;
use crate::folder::Folder;
use crate::origin::Origin;

/// A session, and the folder that its policy file lies in.
#[derive(Debug)]
pub struct Client {
    /// The session itself.
    pub session: Session,
    folder: Folder,
    destinations: Destinations,
    environment: Environment,
}

/// What a session is made of.
#[derive(Default)]
pub struct Builder {
    policy: String,
    destinations: Destinations,
    environment: Vec<(String, String)>,
    folder: Folder,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The head as the guest would see it.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Trailers, where there were any.
    pub trailers: Option<HeaderMap>,
}

impl Client {
    /// A session under this policy file. Without a `[tls]` section of its own, it believes nobody.
    #[must_use]
    pub fn under(policy: &str) -> Builder {
        Builder { policy: policy.to_owned(), ..Builder::default() }
    }

    /// A session under the default policy that may reach one origin.
    #[must_use]
    pub fn to(origin: &Origin) -> Self {
        Self::under("").to(origin).build()
    }

    /// GETs a URL and reads the answer.
    ///
    /// # Errors
    /// The session's, which has been checked to be clear.
    pub async fn get(&self, url: &str) -> Result<Reply, Error> {
        self.read(get(url)).await
    }

    /// POSTs a body and reads the answer.
    ///
    /// # Errors
    /// The session's, which has been checked to be clear.
    pub async fn post(&self, url: &str, body: impl Into<Bytes>) -> Result<Reply, Error> {
        self.read(post(url, body)).await
    }

    /// Sends a request and reads the answer.
    ///
    /// # Errors
    /// The session's, which has been checked to be clear.
    pub async fn read(&self, request: Request<RequestBody>) -> Result<Reply, Error> {
        let (head, body) = self.open(request).await?.into_parts();
        let (body, trailers) = collect(body).await?;
        Ok(Reply { status: head.status, headers: head.headers, body, trailers })
    }

    /// Sends a request; the body of the answer is the caller's to read.
    ///
    /// # Errors
    /// The session's, which has been checked to be clear.
    pub async fn open(&self, request: Request<RequestBody>) -> Result<Response<ResponseBody>, Error> {
        self.call(request, Call::default()).await
    }

    /// The same, with deadlines of the caller's own.
    ///
    /// # Errors
    /// The session's, which has been checked to be clear.
    pub async fn within(
        &self,
        request: Request<RequestBody>,
        timeouts: Timeouts,
    ) -> Result<Response<ResponseBody>, Error> {
        self.call(request, Call { timeouts, ..Call::default() }).await
    }

    /// The same, with all that a caller can say.
    ///
    /// # Errors
    /// The session's, which has been checked to be clear.
    pub async fn call(&self, request: Request<RequestBody>, call: Call) -> Result<Response<ResponseBody>, Error> {
        self.session.send(request, call).await.inspect_err(assert_clear)
    }

    /// Swaps the policy; the destinations stay allowed.
    ///
    /// # Errors
    /// What the new policy is refused for.
    pub fn swap(&self, policy: &str) -> Result<(), policy::Error> {
        self.session.swap(parse(policy, &self.folder)?, &self.environment, self.destinations.clone())
    }

    /// What the session has done so far.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.session.figures()
    }

    /// Where the policy file and its companions lie.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Waits until the session holds so many open and so many idle connections, and nobody waits.
    pub async fn settles(&self, open: usize, idle: usize) {
        let now = || self.figures();
        let settled = || (now().open, now().idle, now().waiting) == (open, idle, 0);
        eventually(&format!("{open} open and {idle} idle connections; {:?}", now()), settled).await;
    }
}

impl Builder {
    /// Allows an origin at 127.0.0.1 and at `localhost`.
    #[must_use]
    pub fn to(self, origin: &Origin) -> Self {
        self.destination(&origin.at("127.0.0.1", "")).destination(&origin.at("localhost", ""))
    }

    /// Allows an origin at `count` addresses from 127.0.0.1 on.
    #[must_use]
    pub fn to_hosts(self, origin: &Origin, count: u8) -> Self {
        (1..=count).fold(self, |builder, host| builder.destination(&origin.at(&address(host), "")))
    }

    /// Allows a destination as a `base_url` of the file would.
    #[must_use]
    pub fn destination(mut self, url: &str) -> Self {
        self.destinations.written.push(destination(url, false));
        self
    }

    /// Allows a destination as a row of the built-in table would.
    #[must_use]
    pub fn built_in(mut self, url: &str, local: bool) -> Self {
        self.destinations.built_in.push(destination(url, local));
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lays a file beside the policy.
    #[must_use]
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.folder.write(name, content);
        self
    }

    /// The session.
    ///
    /// # Panics
    /// If the policy is refused.
    #[must_use]
    pub fn build(self) -> Client {
        match self.attempt() {
            Ok(client) => client,
            Err(error) => panic!("the test's own policy is refused: {error}"),
        }
    }

    /// The session, if the policy can be used.
    ///
    /// # Errors
    /// What the policy says that it is refused for.
    pub fn attempt(self) -> Result<Client, policy::Error> {
        self.made_by(Session::new)
    }

    /// The session that `make` makes of it, if the policy can be used.
    ///
    /// # Errors
    /// What the policy says that it is refused for.
    pub fn made_by(
        self,
        make: impl FnOnce(Policy, &Environment, Destinations) -> Result<Session, policy::Error>,
    ) -> Result<Client, policy::Error> {
        let Self { policy, destinations, environment, folder } = self;
        let policy = parse(&policy, &folder)?;
        let environment: Environment = environment.into_iter().collect();
        let session = make(policy, &environment, destinations.clone())?;
        Ok(Client { session, folder, destinations, environment })
    }
}

/// The policy that the file in this folder says.
fn parse(text: &str, folder: &Folder) -> Result<Policy, policy::Error> {
    let document = Document::parse(&folder.path().join("seaway.toml"), text)?;
    let (mut policy, _warnings) = document.policy(Preset::Default, &[])?;
    if policy.tls == tls::Settings::default() {
        // The machine's own store is no part of these tests, and takes a while to read.
        let nobody = folder.path().join("nobody.pem");
        if !nobody.exists() {
            folder.write("nobody.pem", Authority::new("nobody").pem());
        }
        policy.tls = tls::Settings { roots: tls::Roots::None, ca: vec![nobody], ..policy.tls };
    }
    Ok(policy)
}

fn destination(url: &str, local: bool) -> Destination {
    let origin = seaway_session::Origin::parse(url).expect("a test's destination is a URL");
    Destination { origin, local }
}

/// 127.0.0.N.
#[must_use]
pub fn address(host: u8) -> String {
    Ipv4Addr::new(127, 0, 0, host).to_string()
}

/// A GET with marks.
#[must_use]
pub fn get(url: &str) -> Request<RequestBody> {
    request("GET", url, &[], RequestBody::empty())
}

/// A POST with marks.
#[must_use]
pub fn post(url: &str, body: impl Into<Bytes>) -> Request<RequestBody> {
    request("POST", url, &[], RequestBody::full(body))
}

/// Any request, with the marks added.
///
/// # Panics
/// If it is none.
#[must_use]
pub fn request(method: &str, url: &str, headers: &[(&str, &str)], body: RequestBody) -> Request<RequestBody> {
    let mut request = Request::builder().method(method).uri(url).header("x-mark", "HEADER-MARK");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).expect("a test's request is one")
}

/// Reads a body to its end.
///
/// # Errors
/// The session's, which has been checked to be clear.
pub async fn collect(body: ResponseBody) -> Result<(Bytes, Option<HeaderMap>), Error> {
    let whole = body.collect().await.inspect_err(assert_clear)?;
    let trailers = whole.trailers().cloned();
    Ok((whole.to_bytes(), trailers))
}

/// Reads the next piece of a body; absent at its end.
///
/// # Errors
/// The session's, which has been checked to be clear.
pub async fn piece(body: &mut ResponseBody) -> Option<Result<String, Error>> {
    let frame = body.frame().await?.inspect_err(assert_clear);
    Some(frame.map(|frame| String::from_utf8_lossy(frame.data_ref().unwrap_or(&Bytes::new())).into_owned()))
}
