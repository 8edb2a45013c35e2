//! `egress`: what may not leave is refused before a name is looked up, a secret attached or a socket opened.

use seaway_session::{Kind, RequestBody, Stage};
use seaway_tests::answer::Answer;
use seaway_tests::client::{Client, get, request};
use seaway_tests::error::{SECRET, assert_says};
use seaway_tests::log::Log;
use seaway_tests::origin::Origin;

async fn hello() -> Origin {
    Origin::plain(|_: &_| Answer::ok("hello")).await
}

/// R4, the part without a proxy.
#[tokio::test]
async fn denied_host_never_dials() {
    let (allowed, other) = (hello().await, hello().await);
    let client = Client::to(&allowed);
    let error = client.get(&other.at("localhost", "/v1?q=QUERY-MARK")).await.unwrap_err();
    let place = other.at("localhost", "");
    assert_says(&error, Stage::Egress, Kind::Denied, &["no rule allows", &place, "hint: egress.allow = ["]);
    assert!(!error.request_sent());
    assert_eq!(client.get(&allowed.url("/")).await.unwrap().body, "hello");
    assert_eq!((other.ledger().accepted, client.figures().opened), (0, 1));
}

/// The line that a refusal advises is the line that allows it.
#[tokio::test]
async fn the_advised_line_allows_what_was_denied() {
    let origin = hello().await;
    for url in [origin.at("localhost", "/"), origin.url("/")] {
        let error = Client::under("").build().get(&url).await.unwrap_err();
        let hint = error.hint().unwrap();
        let line = hint.split(" (").next().unwrap();
        let client = Client::under(line).build();
        assert_eq!(client.get(&url).await.unwrap().body, "hello", "{hint}");
    }
}

/// Another port, another scheme and another name are other destinations.
#[tokio::test]
async fn an_origin_is_scheme_and_host_and_port() {
    let origin = hello().await;
    let client = Client::under("").destination(&origin.url("")).build();
    let (port, next) = (origin.port(), origin.port() ^ 1);
    for url in [
        format!("http://127.0.0.1:{next}/"),
        format!("https://127.0.0.1:{port}/"),
        format!("http://localhost:{port}/"),
        format!("http://127.0.0.1.example:{port}/"),
    ] {
        let error = client.get(&url).await.unwrap_err();
        assert_eq!(error.stage(), Stage::Egress, "{url}: {error}");
        assert!(error.hint().is_some(), "{error}");
    }
    assert_eq!(client.figures().opened, 0);
}

/// A denial comes first: a request that may not leave says so, whatever else is wrong with it.
#[tokio::test]
async fn egress_speaks_before_credentials() {
    let origin = hello().await;
    let policy = format!("[credentials.k]\nvalue = \"{SECRET}\"\nurls = [\"http://127.0.0.1:1\"]");
    let client = Client::under(&policy).build();
    let request =
        request("POST", &origin.url("/"), &[("authorization", "Bearer seaway-credential:k")], RequestBody::empty());
    assert_eq!(client.open(request).await.unwrap_err().stage(), Stage::Egress);
    let figures = client.figures();
    assert_eq!((figures.stage(Stage::Egress).failures, figures.stage(Stage::Credentials).runs), (1, 0));
}

/// G1, the methods: CONNECT and TRACE never leave, others by policy.
#[tokio::test]
async fn methods_leave_by_policy() {
    let origin = hello().await;
    let client = Client::to(&origin);
    for (method, kind) in [("CONNECT", Kind::RequestInvalid), ("TRACE", Kind::RequestInvalid), ("DELETE", Kind::Denied)]
    {
        let error = client.open(request(method, &origin.url("/"), &[], RequestBody::empty())).await.unwrap_err();
        assert_says(&error, Stage::Egress, kind, &[method, &origin.url("")]);
    }
    assert_eq!(origin.ledger().accepted, 0);
    let client = Client::under("[egress]\nmethods = [\"DELETE\"]").to(&origin).build();
    client.read(request("DELETE", &origin.url("/"), &[], RequestBody::empty())).await.unwrap();
    let error = client.get(&origin.url("/")).await.unwrap_err();
    assert_says(&error, Stage::Egress, Kind::Denied, &["GET", "egress.methods = [\"DELETE\", \"GET\"]"]);
}

/// G1, the authority: user information, and what else has no place in a URI.
#[tokio::test]
async fn a_uri_that_hides_something_is_refused() {
    let origin = hello().await;
    let client = Client::to(&origin);
    let port = origin.port();
    for url in [
        format!("http://user:{SECRET}@127.0.0.1:{port}/"),
        format!("http://127.0.0.1:{port}@evil.example/"),
        format!("ftp://127.0.0.1:{port}/"),
        "/only/a/path".to_owned(),
        "http://127.0.0.1:0/".to_owned(),
    ] {
        let error = client.open(get(&url)).await.unwrap_err();
        assert_eq!((error.stage(), error.kind()), (Stage::Egress, Kind::RequestInvalid), "{url}: {error}");
    }
    assert_eq!(client.figures().opened, 0);
}

/// R2: addresses in every disguise, named by nobody.
#[tokio::test]
async fn special_addresses_are_refused_in_every_spelling() {
    let client = Client::under("[egress]\nallow = [\"*.example\", \"0.0.0.0/0\", \"::/0\"]").build();
    for host in [
        "169.254.169.254",
        "[fd00:ec2::254]",
        "[::ffff:127.0.0.1]",
        "[::ffff:169.254.169.254]",
        "0.0.0.0",
        "0x7f.1",
        "127.1",
        "2130706433",
        "0177.0.0.1",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::a9fe:a9fe]",
        "100.64.0.1",
        "10.0.0.1",
        "192.168.1.1",
        "127.0.0.1",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[ff02::1]",
        "[2002:7f00:1::]",
        "224.0.0.1",
        "255.255.255.255",
    ] {
        let error = client.get(&format!("http://{host}:9/")).await.unwrap_err();
        assert!(matches!(error.kind(), Kind::AddressDenied(_)), "{host}: {error}");
        assert_eq!(error.stage(), Stage::Egress, "{host}: {error}");
    }
    assert_eq!(client.figures().opened, 0);
}

/// R2: what no operator can allow, not even by name.
#[tokio::test]
async fn metadata_and_link_local_are_refused_even_when_named() {
    for url in ["http://169.254.169.254", "http://169.254.1.1:8080", "http://[fd00:ec2::254]", "http://0.0.0.0:9"] {
        let client =
            Client::under(&format!("[egress]\nallow = [\"{url}\"]\nprivate = [\"0.0.0.0/0\"]")).destination(url);
        let error = client.build().get(url).await.unwrap_err();
        assert!(matches!(error.kind(), Kind::AddressDenied(_)), "{url}: {error}");
        assert!(error.hint().is_none(), "nothing would allow it: {error}: {:?}", error.hint());
    }
}

/// R1, R6: a name that nobody may trust with a loopback address is refused when it leads to one, before it is dialled.
#[tokio::test]
async fn a_name_that_leads_inside_is_refused_before_it_is_dialled() {
    let origin = hello().await;
    let url = origin.at("localhost", "/");
    let client = Client::under("").built_in(&url, false).build();
    let error = client.get(&url).await.unwrap_err();
    assert!(matches!(error.kind(), Kind::AddressDenied(address) if address.is_loopback()), "{error}");
    assert_says(
        &error,
        Stage::Egress,
        error.kind(),
        &["`localhost` leads to", "egress.private = [..., \"localhost\"]"],
    );
    client.settles(0, 0).await;
    assert_eq!(origin.ledger().accepted, 0);
}

/// R6: written in a `base_url`, marked local in the table, or listed as private, the same name is reached.
#[tokio::test]
async fn a_name_that_the_operator_trusts_is_reached() {
    let origin = hello().await;
    let url = origin.at("localhost", "/");
    for builder in [
        Client::under("").destination(&url),
        Client::under("").built_in(&url, true),
        Client::under("[egress]\nprivate = [\"localhost\"]").built_in(&url, false),
        Client::under("[egress]\nprivate = [\"127.0.0.0/8\", \"::1\"]").built_in(&url, false),
        Client::under(&format!("[egress]\nallow = [\"{}\"]", url.trim_end_matches('/'))),
    ] {
        assert_eq!(builder.build().get(&url).await.unwrap().body, "hello");
    }
}

/// The table's rows go once a list is given; what the file writes elsewhere stays.
#[tokio::test]
async fn a_list_takes_the_place_of_the_built_in_rows() {
    let (row, written) = (hello().await, hello().await);
    let policy = "[egress]\nallow = [\"https://api.example\"]";
    let client = Client::under(policy).built_in(&row.url(""), true).destination(&written.url("")).build();
    assert_eq!(client.get(&written.url("/")).await.unwrap().body, "hello");
    assert_eq!(client.get(&row.url("/")).await.unwrap_err().stage(), Stage::Egress);
    assert_eq!(row.ledger().accepted, 0);
}

/// R3: a redirect is handed to the guest, and what the guest makes of it is a request like any other.
#[tokio::test]
async fn a_redirect_is_the_guests_and_is_checked_again() {
    let inside = hello().await;
    let target = inside.url("/latest/meta-data");
    let origin = Origin::plain(move |_: &_| Answer::whole("302 Found", &[("location", &target)], "")).await;
    let client = Client::to(&origin);
    let reply = client.get(&origin.url("/")).await.unwrap();
    assert_eq!(reply.status, 302);
    let next = reply.headers["location"].to_str().unwrap().to_owned();
    assert_eq!(client.get(&next).await.unwrap_err().stage(), Stage::Egress);
    assert_eq!((origin.ledger().requests.len(), inside.ledger().accepted), (1, 0));
}

/// `egress.mode = "count"`: what would be refused leaves, is counted, and is one warning with the line that allows it.
#[tokio::test]
async fn what_is_only_counted_leaves_and_is_told_once() {
    let (log, _guard) = Log::listen();
    let origin = hello().await;
    let client = Client::under("[egress]\nmode = \"count\"").build();
    for _ in 0..3 {
        assert_eq!(client.get(&origin.url("/")).await.unwrap().body, "hello");
    }
    client.read(request("DELETE", &origin.url("/"), &[], RequestBody::empty())).await.unwrap();
    // Three times the address, and once more when it was dialled; then the method and the address.
    assert_eq!((client.figures().denied, client.figures().stage(Stage::Egress).failures), (6, 0));
    let told = log.warnings("would be refused");
    let line = format!("hint: egress.allow = [\"{}\"]", origin.url(""));
    assert_eq!(told.iter().filter(|told| told.contains(&line)).count(), 1, "{told:#?}");
    assert!(told.iter().any(|told| told.contains("egress.methods = [\"GET\", \"POST\", \"DELETE\"]")), "{told:#?}");
    // What no line of policy could allow is refused in either mode.
    for url in ["http://169.254.169.254/", "http://127.1/", "http://[fe80::1]/"] {
        assert_eq!(client.get(url).await.unwrap_err().stage(), Stage::Egress, "{url}");
    }
    assert_eq!(client.figures().denied, 9);
}
