//! Every kind and source of a secret, through successes and failures, with all logs on: none of it shows anywhere.

use seaway_session::{Call, Record};
use seaway_tests::answer::{Answer, Then};
use seaway_tests::client::{Client, collect};
use seaway_tests::error::{MARKS, SECRET};
use seaway_tests::log::Log;
use seaway_tests::origin::Origin;
use seaway_tests::request::Request;

use super::{PLACEHOLDER, ask};

/// `[credentials.corp]` with each kind and source, and whether it can be used.
fn kinds() -> Vec<(String, bool)> {
    let sources =
        [format!("{{ value = \"{SECRET}\" }}"), "{ env = \"CORP_KEY\" }".to_owned(), "{ file = \"key\" }".to_owned()];
    let signed = |source: &String, region: &str| {
        format!(
            "kind = \"sigv4\"\naccess_key = {{ value = \"AKID\" }}\nsecret_key = {source}\ntoken = {source}\nregion = \"{region}\"\nservice = \"bedrock\""
        )
    };
    let scope = "kind = \"sigv4\"\nregion = \"eu-central-1\"\nservice = \"bedrock\"";
    let told = format!("{{\"Version\": 1, \"AccessKeyId\": \"AKID\", \"SecretAccessKey\": \"{SECRET}\"}}");
    let keys = [
        (format!("{scope}\nfile = \"aws\""), true),
        (format!("{scope}\nfile = \"aws\"\nprofile = \"broken\""), false),
        (format!("{scope}\ncommand = [\"echo\", '{told}']"), true),
        (format!("{scope}\ncommand = [\"echo\", '[{told}]']"), false),
        ("env = \"CORP_KEY\"".to_owned(), true),
        ("file = \"key\"".to_owned(), true),
        (format!("value = \"{SECRET}\""), true),
        (format!("command = [\"echo\", \"{SECRET}\"]"), true),
        (format!("command = [\"echo\", '{{\"status\": {{\"token\": \"{SECRET}\"}}}}']"), true),
        // And what goes wrong with them.
        ("file = \"broken\"".to_owned(), false),
        (format!("value = \"{SECRET}\\n{SECRET}\""), false),
        (format!("command = [\"sh\", \"-c\", \"echo {SECRET}; echo {SECRET} >&2; exit 1\"]"), false),
        (format!("command = [\"echo\", '{{\"token\": \"{SECRET}\"}}']"), false),
        (signed(&format!("{{ value = \"{SECRET}\\n{SECRET}\" }}"), "eu-central-1"), false),
    ];
    keys.into_iter().chain(sources.iter().map(|source| (signed(source, "eu-central-1"), true))).collect()
}

/// V2: logs at every level, errors with their hints and sources, `Debug` of the session, its policy, its figures and a
/// record.
#[tokio::test]
async fn no_secret_shows_in_logs_errors_records_or_debug() {
    let (log, _guard) = Log::listen();
    let origin = Origin::plain(|request: &Request| match request.target.as_str() {
        "/v1/reset" => Answer::none().then(Then::Reset),
        "/v1/cut" => Answer::raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").then(Then::Close),
        "/v1/garbage" => Answer::raw("SSH-2.0-OpenSSH\r\n\r\n").then(Then::Close),
        _ => Answer::ok("hello"),
    });
    let origin = origin.await;
    for (kind, usable) in kinds() {
        let policy = format!("[credentials.corp]\n{kind}\nurls = [\"{}\"]\n", origin.url("/v1"));
        let client = Client::under(&policy).to(&origin).variable("CORP_KEY", SECRET).file("key", SECRET);
        let aws = |name: &str, end: &str| {
            format!(
                "[{name}]\naws_access_key_id = AKID\naws_secret_access_key = {SECRET}{end}\naws_session_token = {SECRET}\n"
            )
        };
        let client = client.file("aws", aws("default", "") + &aws("broken", "\u{1}"));
        let client = client.file("broken", format!("{SECRET}\n{SECRET}")).build();
        let record = Record::new();
        let mut answered = 0;
        for path in ["/v1/ok", "/v1/reset", "/v1/cut", "/v1/garbage", "/v2/denied", "/v1/ok?q=QUERY-MARK"] {
            let own = [PLACEHOLDER, ("x-api-key", "HEADER-MARK"), ("x-mark", "HEADER-MARK")];
            let call = Call { record: record.clone(), ..Call::default() };
            // Errors are searched by the client itself.
            if let Ok(answer) = client.call(ask(&origin.url(path), &own), call).await {
                answered += usize::from(collect(answer.into_body()).await.is_ok());
            }
        }
        assert_eq!(answered, if usable { 2 } else { 0 }, "{kind}");
        let session = &client.session;
        let shown =
            format!("{session:?} {session:#?} {:?} {:?} {:?}", session.policy(), client.figures(), record.timings());
        for mark in MARKS {
            assert!(!shown.contains(mark), "{kind}: `{mark}` shows in {shown}");
        }
    }
    let log = log.text();
    assert!(
        log.contains("key that the guest set itself") && log.contains("DEBUG credentials"),
        "the log was not listened to: {log}"
    );
    for mark in MARKS {
        assert!(!log.contains(mark), "`{mark}` shows in {log}");
    }
}
