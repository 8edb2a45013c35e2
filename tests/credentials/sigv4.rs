//! Signatures, made anew by another program of what an origin received.

use std::io::Write as _;
use std::process::{Command, Stdio};

use bytes::Bytes;
use seaway_session::{BoxError, Kind, RequestBody, Stage};
use seaway_tests::client::{Builder, Client, request};
use seaway_tests::daemon::missing;
use seaway_tests::error::SECRET;
use seaway_tests::origin::Origin;
use seaway_tests::request::Request;

use super::hello;

const ACCESS_KEY: &str = "AKIDEXAMPLE";
const TOKEN: &str = "TOKEN-OF-THE-TEST";
const PLACEHOLDER: (&str, &str) = ("authorization", "seaway-credential:aws");

/// Signature Version 4 by its description and Python's standard library alone. Input: the secret, then the request line,
/// the header fields as `name:value`, an empty line and the body.
const PYTHON: &str = r#"
import hashlib, hmac, re, sys
from urllib.parse import quote
data = sys.stdin.buffer.read()
head, body = data.split(b"\n\n", 1)
secret, line, *fields = head.decode().split("\n")
method, target = line.split(" ")
headers = {name.lower(): value.strip() for name, value in (field.split(":", 1) for field in fields)}
path, _, query = target.partition("?")
scope, names = re.search(r"Credential=[^/]+/([^,]+), SignedHeaders=([^,]+),", headers["authorization"]).groups()
pairs = sorted(pair.partition("=")[::2] for pair in query.split("&") if pair)
canonical = "\n".join([method, quote(path, safe="/-_.~"), "&".join(f"{k}={v}" for k, v in pairs)]
    + [f"{name}:{headers[name]}" for name in names.split(";")] + ["", names, hashlib.sha256(body).hexdigest()])
text = "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], scope, hashlib.sha256(canonical.encode()).hexdigest()])
key = ("AWS4" + secret).encode()
for part in scope.split("/"):
    key = hmac.new(key, part.encode(), hashlib.sha256).digest()
print(hmac.new(key, text.encode(), hashlib.sha256).hexdigest())
"#;

/// The signature that a request should have, by what was received of it; absent without Python.
pub(crate) fn recomputed(request: &Request, secret: &str) -> Option<String> {
    let command = Command::new("python3").args(["-c", PYTHON]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut python) = command else {
        missing("python3");
        return None;
    };
    let mut input = format!("{secret}\n{} {}", request.method, request.target).into_bytes();
    request.headers.iter().for_each(|(name, value)| input.extend(format!("\n{name}:{value}").bytes()));
    input.extend(b"\n\n");
    input.extend(&request.body);
    python.stdin.take().unwrap().write_all(&input).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

fn signing(origin: &Origin, more: &str) -> Builder {
    let policy = format!(
        "[credentials.aws]\nkind = \"sigv4\"\naccess_key = {{ value = \"{ACCESS_KEY}\" }}\nsecret_key = {{ env = \"AWS_SECRET\" }}\n\
         token = {{ file = \"token\" }}\nregion = \"eu-central-1\"\nservice = \"bedrock\"\nurls = [\"{}\"]\n{more}",
        origin.url("/model")
    );
    Client::under(&policy).to(origin).variable("AWS_SECRET", SECRET).file("token", TOKEN)
}

/// Asserts that a request carries the signature that another program makes of it.
fn assert_signed(seen: &Request) {
    let authorization = seen.header("authorization").unwrap();
    let prefix = format!("AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/");
    assert!(authorization.starts_with(&prefix) && authorization.contains("/eu-central-1/bedrock/aws4_request, "));
    assert!(authorization.contains("host;x-amz-date;x-amz-security-token"), "{authorization}");
    assert_eq!(seen.header("x-amz-security-token").as_deref(), Some(TOKEN));
    assert!(!seen.head.contains(SECRET) && !seen.head.contains("seaway-credential"), "{}", seen.head);
    if let Some(expected) = recomputed(seen, SECRET) {
        assert_eq!(authorization.rsplit_once("Signature=").unwrap().1, expected, "{}", seen.head);
    }
}

/// V3: what arrives is signed as it arrives: path, query, headers, and a body that came in pieces.
#[tokio::test]
async fn the_signature_is_that_of_the_request_as_it_arrives() {
    let origin = hello().await;
    let client = signing(&origin, "").build();
    let pieces = |count| {
        let piece = |_| Ok::<_, BoxError>(http_body::Frame::data(Bytes::from(vec![b'x'; 400_000])));
        RequestBody::stream(http_body_util::StreamBody::new(futures::stream::iter((0..count).map(piece))))
    };
    for (method, path, body) in [
        ("POST", "/model/anthropic.claude-3%3A0/converse", RequestBody::full("{}")),
        ("POST", "/model/anthropic.claude-3:0/converse?b=2&a=1&a=0", RequestBody::full("{}")),
        ("GET", "/model", RequestBody::empty()),
        // Longer than what is collected of a request that is not signed.
        ("POST", "/model/x", pieces(5)),
    ] {
        let headers = [PLACEHOLDER, ("content-type", "application/json"), ("x-amz-target", "a  b"), ("x-other", "y")];
        client.read(request(method, &origin.url(path), &headers, body)).await.unwrap();
        let seen = origin.ledger().requests.pop().unwrap();
        assert_eq!(seen.header("transfer-encoding"), None);
        assert_signed(&Request {
            headers: seen.headers.iter().map(|(name, value)| (name.clone(), value.replace("  ", " "))).collect(),
            ..seen
        });
    }
}

/// V3: whatever header a dialect writes it in.
#[tokio::test]
async fn the_placeholder_may_stand_in_any_header() {
    let origin = hello().await;
    let client = signing(&origin, "").build();
    for name in ["x-api-key", "x-anything"] {
        let headers = [(name, "Bearer seaway-credential:aws"), ("authorization", "own")];
        client.read(request("POST", &origin.url("/model/x"), &headers, RequestBody::full("{}"))).await.unwrap();
        let seen = origin.ledger().requests.pop().unwrap();
        assert_eq!(seen.header(name), None);
        assert_signed(&seen);
    }
}

/// V3, V5: no signature leaves for anywhere else, nor one of a body that is too long to be collected.
#[tokio::test]
async fn what_may_not_be_signed_is_not_sent() {
    let origin = hello().await;
    let client = signing(&origin, "[body]\nmax_request = \"1KiB\"").build();
    let ask = |path: &str, body| client.read(request("POST", &origin.url(path), &[PLACEHOLDER], body));
    let error = ask("/other", RequestBody::full("{}")).await.unwrap_err();
    assert_eq!((error.stage(), error.kind()), (Stage::Credentials, Kind::CredentialDenied));
    let error = ask("/model", RequestBody::full(vec![0; 1025])).await.unwrap_err();
    assert_eq!((error.stage(), error.kind()), (Stage::Wire, Kind::RequestTooLarge(Some(1025))));
    let twice = [PLACEHOLDER, ("x-api-key", "seaway-credential:aws")];
    let error = client.read(request("POST", &origin.url("/model"), &twice, RequestBody::full("{}"))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::CredentialDenied);
    assert_eq!(origin.ledger().accepted, 0);
}

/// A key that is missing is named with the credential's key and its source.
#[tokio::test]
async fn a_missing_key_is_named() {
    let origin = hello().await;
    let client = signing(&origin, "").build();
    std::fs::remove_file(client.folder().path().join("token")).unwrap();
    let error =
        client.read(request("POST", &origin.url("/model"), &[PLACEHOLDER], RequestBody::empty())).await.unwrap_err();
    let words = ["credential `aws`: `token`: the file", "cannot be read"];
    seaway_tests::error::assert_says(&error, Stage::Credentials, Kind::SecretMissing, &words);
}
