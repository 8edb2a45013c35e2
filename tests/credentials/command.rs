//! Secrets that a command tells.

use std::time::Duration;

use seaway_session::{Kind, Stage};
use seaway_tests::client::{Builder, Client};
use seaway_tests::error::{SECRET, assert_says};
use seaway_tests::log::Log;
use seaway_tests::origin::Origin;
use tokio::time::Instant;

use super::{PLACEHOLDER, ask, hello};

/// A client whose secret a script beside the policy file tells; the script counts its runs in the folder.
fn telling(origin: &Origin, script: &str, more: &str) -> Builder {
    let urls = origin.url("/v1");
    let policy =
        format!("[credentials.corp]\ncommand = [\"sh\", \"tell.sh\", \"{SECRET}\"]\n{more}\nurls = [\"{urls}\"]\n");
    Client::under(&policy).to(origin).file("tell.sh", format!("echo run >> runs\n{script}"))
}

fn runs(client: &Client) -> usize {
    std::fs::read_to_string(client.folder().path().join("runs")).map_or(0, |text| text.lines().count())
}

/// V3: it runs in the policy file's folder, once for all who need it, and again under another policy only if it is
/// another.
#[tokio::test]
async fn a_command_tells_the_secret_once_for_all() {
    let origin = hello().await;
    let client = telling(&origin, "echo \"$1\"", "").build();
    let url = origin.url("/v1/chat");
    let all = futures::future::join_all((0..20).map(|_| client.read(ask(&url, &[PLACEHOLDER])))).await;
    assert!(all.iter().all(Result::is_ok));
    let ledger = origin.ledger();
    assert!(ledger.requests.iter().all(|seen| seen.header("authorization") == Some(format!("Bearer {SECRET}"))));
    assert_eq!((ledger.requests.len(), runs(&client)), (20, 1));
    let same = format!(
        "[credentials.corp]\ncommand = [\"sh\", \"tell.sh\", \"{SECRET}\"]\nurls = [\"{url}\"]\ntotal = \"9s\""
    );
    let same = same.replace("total", "[tcp]\ntimeout");
    client.swap(&same).unwrap();
    client.read(ask(&url, &[PLACEHOLDER])).await.unwrap();
    assert_eq!(runs(&client), 1);
    client.swap(&same.replace("urls", "expires = \"1h\"\nurls")).unwrap();
    client.read(ask(&url, &[PLACEHOLDER])).await.unwrap();
    assert_eq!(runs(&client), 2);
}

/// `expires` is how long it is used; an ExecCredential may say less.
#[tokio::test]
async fn a_command_is_run_again_when_its_secret_has_expired() {
    let origin = hello().await;
    let client = telling(&origin, "echo key-$(wc -l < runs)", "expires = \"1ms\"").build();
    let start = Instant::now();
    let mut told = Vec::new();
    while told.last().map(String::as_str) != Some("Bearer key-3") {
        assert!(start.elapsed() < Duration::from_secs(10), "it was not run again: {told:?}");
        client.read(ask(&origin.url("/v1"), &[PLACEHOLDER])).await.unwrap();
        told.extend(origin.ledger().requests.last().and_then(|seen| seen.header("authorization")));
        told.dedup();
    }
    assert_eq!(told, ["Bearer key-1", "Bearer key-2", "Bearer key-3"]);
}

/// V5: what may not go there is not asked for.
#[tokio::test]
async fn a_command_is_not_run_for_a_request_that_may_not_have_its_secret() {
    let origin = hello().await;
    let client = telling(&origin, "echo \"$1\"", "").build();
    let error = client.read(ask(&origin.url("/v2"), &[PLACEHOLDER])).await.unwrap_err();
    assert_eq!(error.kind(), Kind::CredentialDenied);
    client.get(&origin.url("/v1")).await.unwrap();
    assert_eq!(runs(&client), 0);
}

/// V2: a failure says how it ended, and neither what was printed nor what it was run with.
#[tokio::test]
async fn a_command_that_fails_says_how_and_nothing_it_said() {
    let (log, _guard) = Log::listen();
    let origin = hello().await;
    for (script, words) in [
        ("echo \"$1\"; echo \"$1\" >&2; exit 7", &["credential `corp`", "exit status: 7", "run it by hand"][..]),
        ("echo \"$1\"; echo \"$1\"", &["line break"]),
        ("echo '{}'", &["status.token"]),
    ] {
        let client = telling(&origin, script, "").build();
        let error = client.read(ask(&origin.url("/v1"), &[PLACEHOLDER])).await.unwrap_err();
        assert_says(&error, Stage::Credentials, Kind::SecretMissing, words);
        let shown = format!("{:?} {:?} {}", client.session, client.session.policy(), log.text());
        assert!(!shown.contains(SECRET), "{shown}");
    }
    assert_eq!(origin.ledger().accepted, 0);
}
