//! Keys to sign with that AWS's own tools hold: a profile of the file that they share, and what a command tells.

use std::time::Duration;

use seaway_session::{Kind, RequestBody, Stage};
use seaway_tests::client::{Builder, Client, request};
use seaway_tests::error::{SECRET, assert_says};
use seaway_tests::log::Log;
use seaway_tests::origin::Origin;
use seaway_tests::request::Request;
use tokio::time::Instant;

use super::hello;
use super::sigv4::recomputed;

const PLACEHOLDER: (&str, &str) = ("authorization", "seaway-credential:aws");

/// A client whose credential `aws` has these keys.
fn signing(origin: &Origin, keys: &str) -> Builder {
    Client::under(&policy(origin, keys)).to(origin)
}

fn policy(origin: &Origin, keys: &str) -> String {
    let urls = origin.url("/model");
    format!(
        "[credentials.aws]\nkind = \"sigv4\"\n{keys}\nregion = \"eu-central-1\"\nservice = \"bedrock\"\nurls = [\"{urls}\"]\n"
    )
}

/// The file that AWS's tools share, with one profile.
fn shared(profile: &str, id: &str, token: Option<&str>) -> String {
    let token = token.map(|token| format!("aws_session_token = {token}\n")).unwrap_or_default();
    format!(
        "[other]\naws_access_key_id = OTHER\naws_secret_access_key = x\n\n[{profile}]\naws_access_key_id = {id}\naws_secret_access_key = {SECRET}\n{token}"
    )
}

/// What arrives for a request.
async fn sent(client: &Client, origin: &Origin) -> Request {
    let request = request("POST", &origin.url("/model/x/converse"), &[PLACEHOLDER], RequestBody::full("{}"));
    client.read(request).await.unwrap();
    origin.ledger().requests.pop().unwrap()
}

/// Asserts that a request is signed with these keys, as another program would sign it.
fn assert_signed(seen: &Request, id: &str, token: Option<&str>) {
    let authorization = seen.header("authorization").unwrap();
    assert!(authorization.starts_with(&format!("AWS4-HMAC-SHA256 Credential={id}/")), "{authorization}");
    assert_eq!(seen.header("x-amz-security-token").as_deref(), token);
    assert!(!seen.head.contains(SECRET), "{}", seen.head);
    if let Some(expected) = recomputed(seen, SECRET) {
        assert_eq!(authorization.rsplit_once("Signature=").unwrap().1, expected, "{}", seen.head);
    }
}

/// V3: the policy names file and profile, or AWS's variables do, or both are where AWS's tools have them.
#[tokio::test]
async fn a_profile_of_the_shared_file_signs() {
    let origin = hello().await;
    let folder = |client: Builder| client.file("aws", shared("work", "AKID-WORK", Some("TOKEN-OF-THE-TEST")));
    let named = folder(signing(&origin, "file = \"aws\"\nprofile = \"work\"")).variable("AWS_PROFILE", "other").build();
    assert_signed(&sent(&named, &origin).await, "AKID-WORK", Some("TOKEN-OF-THE-TEST"));
    let by_variable = folder(signing(&origin, "file = \"aws\"")).variable("AWS_PROFILE", "work").build();
    assert_signed(&sent(&by_variable, &origin).await, "AKID-WORK", Some("TOKEN-OF-THE-TEST"));
    let home = seaway_tests::folder::Folder::new();
    std::fs::create_dir(home.path().join(".aws")).unwrap();
    home.write(".aws/credentials", shared("default", "AKID-HOME", None));
    let at_home = signing(&origin, "profile = \"default\"").variable("HOME", home.path().to_str().unwrap()).build();
    assert_signed(&sent(&at_home, &origin).await, "AKID-HOME", None);
    let elsewhere = home.write("elsewhere", shared("default", "AKID-ELSEWHERE", None));
    let moved = signing(&origin, "profile = \"default\"").variable("HOME", home.path().to_str().unwrap());
    let moved = moved.variable("AWS_SHARED_CREDENTIALS_FILE", elsewhere.to_str().unwrap()).build();
    assert_signed(&sent(&moved, &origin).await, "AKID-ELSEWHERE", None);
}

/// Temporary keys are renewed in the file, and later requests have the new ones.
#[tokio::test]
async fn a_profile_that_changed_is_read_again() {
    let origin = hello().await;
    let client = signing(&origin, "file = \"aws\"").file("aws", shared("default", "AKID-1", Some("token-1"))).build();
    assert_signed(&sent(&client, &origin).await, "AKID-1", Some("token-1"));
    let next = client.folder().write("next", shared("default", "AKID-2", Some("token-2")));
    std::fs::rename(next, client.folder().path().join("aws")).unwrap();
    let start = Instant::now();
    loop {
        let seen = sent(&client, &origin).await;
        if seen.header("x-amz-security-token").as_deref() == Some("token-2") {
            return assert_signed(&seen, "AKID-2", Some("token-2"));
        }
        assert!(start.elapsed() < Duration::from_secs(10), "the new file was not read");
    }
}

/// V2: a profile that is not there, or holds no keys, says what would change it, and shows nothing that the file holds.
#[tokio::test]
async fn a_profile_without_keys_says_what_would_bring_them() {
    let (log, _guard) = Log::listen();
    let origin = hello().await;
    let file = format!(
        "[sso]\nsso_session = corp\n[half]\naws_secret_access_key = {SECRET}\n[odd]\naws_access_key_id = a\naws_secret_access_key = {SECRET}\u{1}\n"
    );
    for (keys, words) in [
        ("profile = \"none\"", &["has no profile `none`", "aws configure --profile none"][..]),
        (
            "profile = \"sso\"",
            &["profile `sso` without `aws_access_key_id`", "\"export-credentials\", \"--profile\", \"sso\""],
        ),
        ("profile = \"half\"", &["without `aws_access_key_id`"]),
        ("profile = \"odd\"", &["whose `aws_secret_access_key` holds a control character"]),
        ("profile = \"sso\"\nfile = \"gone\"", &["gone cannot be read: No such file"]),
    ] {
        let keys = if keys.contains("\nfile") { keys.to_owned() } else { format!("{keys}\nfile = \"aws\"") };
        let client = signing(&origin, &keys).file("aws", &file).build();
        let request = request("POST", &origin.url("/model"), &[PLACEHOLDER], RequestBody::empty());
        let error = client.read(request).await.unwrap_err();
        assert_says(&error, Stage::Credentials, Kind::SecretMissing, words);
        let shown = format!("{:?} {:?} {}", client.session, client.session.policy(), log.text());
        assert!(!shown.contains(SECRET), "{shown}");
    }
    let homeless = signing(&origin, "profile = \"default\"").build();
    let request = request("POST", &origin.url("/model"), &[PLACEHOLDER], RequestBody::empty());
    let error = homeless.read(request).await.unwrap_err();
    assert_says(&error, Stage::Credentials, Kind::SecretMissing, &["HOME is not set", "AWS_SHARED_CREDENTIALS_FILE"]);
    assert_eq!(origin.ledger().accepted, 0);
}

/// A script that prints keys as a `credential_process` does, and counts its runs.
fn telling(id: &str, more: &str) -> String {
    format!(
        "echo run >> runs\nprintf '{{\"Version\": 1, \"AccessKeyId\": \"{id}\", \"SecretAccessKey\": \"%s\"{more}}}' \"$1\"\n"
    )
}

fn command(more: &str) -> String {
    format!("command = [\"sh\", \"tell.sh\", \"{SECRET}\"]\n{more}")
}

fn runs(client: &Client) -> usize {
    std::fs::read_to_string(client.folder().path().join("runs")).map_or(0, |text| text.lines().count())
}

/// V3: one run is for all who need the keys, and for a later policy that says the same.
#[tokio::test]
async fn a_command_tells_the_keys_once_for_all() {
    let origin = hello().await;
    let script = telling("AKID", ", \"SessionToken\": \"TOKEN-OF-THE-TEST\", \"Expiration\": \"2999-01-01T00:00:00Z\"");
    let client = signing(&origin, &command("")).file("tell.sh", script).build();
    let ask = || request("POST", &origin.url("/model/x"), &[PLACEHOLDER], RequestBody::full("{}"));
    let all = futures::future::join_all((0..20).map(|_| client.read(ask()))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    origin.ledger().requests.iter().for_each(|seen| assert_signed(seen, "AKID", Some("TOKEN-OF-THE-TEST")));
    client.swap(&(policy(&origin, &command("")) + "[tcp]\ntimeout = \"9s\"\n")).unwrap();
    sent(&client, &origin).await;
    assert_eq!(runs(&client), 1);
    client.swap(&policy(&origin, &command("expires = \"1h\""))).unwrap();
    sent(&client, &origin).await;
    assert_eq!(runs(&client), 2);
}

/// Keys say themselves when they end, and are told anew before that; `expires` may say less.
#[tokio::test]
async fn keys_are_told_again_before_they_end() {
    let origin = hello().await;
    // Half of what is left is the margin.
    let script = r#"
echo run >> runs
ends=$(date -u -d '+4 seconds' +%Y-%m-%dT%H:%M:%SZ)
printf '{"Version": 1, "AccessKeyId": "AKID-%s", "SecretAccessKey": "%s", "Expiration": "%s"}' "$(wc -l < runs)" "$1" "$ends"
"#;
    let client = signing(&origin, &command("expires = \"off\"")).file("tell.sh", script).build();
    let start = Instant::now();
    while runs(&client) < 3 {
        assert!(start.elapsed() < Duration::from_secs(20), "it was not run again");
        let seen = sent(&client, &origin).await;
        assert_signed(&seen, &format!("AKID-{}", runs(&client)), None);
    }
}

/// V5, V2: a request that may not have a signature runs nothing; a failure repeats nothing.
#[tokio::test]
async fn a_command_that_tells_no_keys_says_how_and_nothing_it_said() {
    let (log, _guard) = Log::listen();
    let origin = hello().await;
    for (script, words) in [
        ("echo \"$1\"; exit 7".to_owned(), &["credential `aws`", "exit status: 7", "run it by hand"][..]),
        ("echo \"$1\"".to_owned(), &["printed no keys as `credential_process` has them"]),
        (telling("", ""), &["whose `AccessKeyId` is empty"]),
        (telling("AKID", ", \"Expiration\": \"2020-01-01T00:00:00Z\""), &["has expired"]),
    ] {
        let client = signing(&origin, &command("")).file("tell.sh", script).build();
        let ask = |path: &str| request("POST", &origin.url(path), &[PLACEHOLDER], RequestBody::empty());
        let error = client.read(ask("/other")).await.unwrap_err();
        assert_eq!((error.kind(), runs(&client)), (Kind::CredentialDenied, 0));
        let error = client.read(ask("/model")).await.unwrap_err();
        assert_says(&error, Stage::Credentials, Kind::SecretMissing, words);
        let shown = format!("{:?} {:?} {}", client.session, client.session.policy(), log.text());
        assert!(!shown.contains(SECRET), "{shown}");
    }
    assert_eq!(origin.ledger().accepted, 0);
}
