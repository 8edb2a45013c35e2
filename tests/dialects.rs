//! Providers that speak a dialect of their own, asked by the binary as a person runs it.

use seaway::runtime::CallRecord;
use seaway_tests::PATIENCE;
use seaway_tests::answer::Answer;
use seaway_tests::error::SECRET;
use seaway_tests::host::{Host, prompt};
use seaway_tests::origin::Origin;
use seaway_tests::program::Program;
use seaway_tests::request::Request;
use tokio::time::Instant;

use crate::credentials::sigv4::recomputed;

/// CRC-32 as zlib has it, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
    })
}

/// One message of AWS's event stream: an `event` or an `exception`.
fn message(kind: &str, name: &str, payload: &str) -> Vec<u8> {
    let mut headers = Vec::new();
    for (name, value) in [(":message-type".to_owned(), kind), (format!(":{kind}-type"), name)] {
        headers.push(u8::try_from(name.len()).unwrap());
        headers.extend(name.bytes());
        headers.push(7);
        headers.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        headers.extend(value.bytes());
    }
    let mut all = Vec::new();
    all.extend(u32::try_from(headers.len() + payload.len() + 16).unwrap().to_be_bytes());
    all.extend(u32::try_from(headers.len()).unwrap().to_be_bytes());
    all.extend(crc32(&all).to_be_bytes());
    all.extend(headers);
    all.extend(payload.bytes());
    all.extend(crc32(&all).to_be_bytes());
    all
}

fn delta(text: &str) -> Vec<u8> {
    message("event", "contentBlockDelta", &format!(r#"{{"contentBlockIndex":0,"delta":{{"text":"{text}"}}}}"#))
}

/// The messages as a whole answer.
fn answer(messages: &[Vec<u8>]) -> Answer {
    let body = messages.concat();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\nx-amzn-requestid: r-1\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    Answer::raw([head.into_bytes(), body].concat())
}

fn converse() -> Answer {
    Answer::whole(
        "200 OK",
        &[("content-type", "application/json"), ("x-amzn-requestid", "r-2")],
        r#"{"output":{"message":{"role":"assistant","content":[{"text":"hello"}]}},"stopReason":"end_turn","usage":{"inputTokens":5,"outputTokens":3,"totalTokens":8}}"#,
    )
}

/// Streams if it is asked to.
async fn bedrock() -> Origin {
    Origin::plain(|request: &Request| {
        if !request.target.ends_with("/converse-stream") {
            return converse();
        }
        let stop = message("event", "messageStop", r#"{"stopReason":"end_turn"}"#);
        let usage = message("event", "metadata", r#"{"usage":{"inputTokens":5,"outputTokens":3,"totalTokens":8}}"#);
        answer(&[message("event", "messageStart", r#"{"role":"assistant"}"#), delta("hel"), delta("lo"), stop, usage])
    })
    .await
}

/// A folder without a file, and AWS's variables.
fn aws(origin: &Origin) -> Program {
    Program::new()
        .variable("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", &origin.url(""))
        .variable("AWS_REGION", "eu-central-1")
        .variable("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .variable("AWS_SECRET_ACCESS_KEY", SECRET)
}

const MODEL: &str = "bedrock/us.amazon.nova-micro-v1:0";

/// Bedrock needs no file: AWS's own variables say where it is and sign what goes there, as another program would.
#[tokio::test]
async fn bedrock_is_signed_and_streams_without_a_file() {
    let origin = bedrock().await;
    let program = aws(&origin).variable("AWS_SESSION_TOKEN", "TOKEN-OF-THE-TEST");
    const PROFILE: &str =
        "bedrock/arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.amazon.nova-micro-v1:0";
    for (model, how, path) in [
        (MODEL, "--stream", "us.amazon.nova-micro-v1%3A0/converse-stream"),
        (MODEL, "--no-stream", "us.amazon.nova-micro-v1%3A0/converse"),
        (
            PROFILE,
            "--stream",
            "arn%3Aaws%3Abedrock%3Aeu-central-1%3A123456789012%3Ainference-profile%2Feu.amazon.nova-micro-v1%3A0/converse-stream",
        ),
    ] {
        let said = program.run(&["complete", "-m", model, how, "Why?"]).await.fine();
        assert_eq!((said.out.as_str(), said.err.as_str()), ("hello\n", ""));
        let seen = origin.ledger().requests.pop().unwrap();
        assert_eq!(seen.target, format!("/model/{path}"));
        assert_eq!(seen.header("x-amz-security-token").as_deref(), Some("TOKEN-OF-THE-TEST"));
        let authorization = seen.header("authorization").unwrap();
        assert!(authorization.contains("/eu-central-1/bedrock/aws4_request, "), "{authorization}");
        assert!(!seen.head.contains(SECRET) && !seen.head.contains("seaway-credential"), "{}", seen.head);
        if let Some(expected) = recomputed(&seen, SECRET) {
            assert_eq!(authorization.rsplit_once("Signature=").unwrap().1, expected, "{}", seen.head);
        }
    }
}

/// Where no variable holds the keys, they are those that AWS's tools have in the home folder; a missing file says what would
/// bring them.
#[tokio::test]
async fn bedrock_is_signed_with_awss_shared_file() {
    let origin = bedrock().await;
    let program = Program::new().variable("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", &origin.url(""));
    let program = program.variable("AWS_REGION", "eu-central-1");
    let said = program.run(&["complete", "-m", MODEL, "Why?"]).await;
    said.assert_fails(
        2,
        &[".aws/credentials cannot be read", "set AWS_ACCESS_KEY_ID", "aws configure --profile default"],
    );
    std::fs::create_dir(program.folder().path().join(".aws")).unwrap();
    let profiles = format!(
        "[default]\naws_access_key_id = AKIDHOME\naws_secret_access_key = {SECRET}\n[temporary]\n\
         aws_access_key_id = AKIDTEMP\naws_secret_access_key = {SECRET}\naws_session_token = TOKEN-OF-THE-TEST\n"
    );
    let program = program.file(".aws/credentials", profiles);
    let check = async |program: &Program, id: &str, token: Option<&str>| {
        let said = program.run(&["complete", "-m", MODEL, "Why?"]).await.fine();
        assert_eq!((said.out.as_str(), said.err.as_str()), ("hello\n", ""));
        let seen = origin.ledger().requests.pop().unwrap();
        let authorization = seen.header("authorization").unwrap();
        assert!(authorization.starts_with(&format!("AWS4-HMAC-SHA256 Credential={id}/")), "{authorization}");
        assert_eq!(seen.header("x-amz-security-token").as_deref(), token);
        if let Some(expected) = recomputed(&seen, SECRET) {
            assert_eq!(authorization.rsplit_once("Signature=").unwrap().1, expected, "{}", seen.head);
        }
    };
    check(&program, "AKIDHOME", None).await;
    check(&program.variable("AWS_PROFILE", "temporary"), "AKIDTEMP", Some("TOKEN-OF-THE-TEST")).await;
}

/// A bearer key goes before a signature, and the head of the answer names it.
#[tokio::test]
async fn bedrock_takes_a_bearer_key() {
    let origin = bedrock().await;
    let program = aws(&origin).variable("AWS_BEARER_TOKEN_BEDROCK", "bearer-key");
    for (how, id) in [("--stream", "r-1"), ("--no-stream", "r-2")] {
        let said = program.run(&["complete", "-m", MODEL, how, "--json", "Why?"]).await.fine();
        let first: serde_json::Value = serde_json::from_str(said.out.lines().next().unwrap()).unwrap();
        assert_eq!(first["id"], id);
        assert_eq!(
            origin.ledger().requests.pop().unwrap().header("authorization").as_deref(),
            Some("Bearer bearer-key")
        );
    }
}

/// What goes wrong at Bedrock is one clear line with Bedrock's own words, within a stream too.
#[tokio::test]
async fn bedrocks_failures_are_told_in_its_words() {
    let origin = Origin::plain(|request: &Request| match String::from_utf8_lossy(&request.body).as_ref() {
        body if body.contains("throttle") => {
            answer(&[delta("hel"), message("exception", "throttlingException", r#"{"message":"Slow down, please."}"#)])
        }
        body if body.contains("damage") => {
            let mut damaged = delta("hel");
            damaged[60] ^= 1;
            answer(&[damaged])
        }
        body if body.contains("stop early") => answer(&[delta("hel")]),
        _ => Answer::whole(
            "403 Forbidden",
            &[("x-amzn-errortype", "AccessDeniedException:http://internal.amazon.com/")],
            r#"{"message":"No access to this model."}"#,
        ),
    })
    .await;
    let program = aws(&origin);
    for (prompt, out, words) in [
        ("throttle", "hel\n", "Slow down, please."),
        ("damage", "", "checksum"),
        ("stop early", "hel\n", "before the answer was complete"),
        ("refuse", "", "No access to this model."),
    ] {
        let said = program.run(&["complete", "-m", MODEL, "--stream", prompt]).await;
        assert_eq!((said.code, said.out.trim_end()), (Some(1), out.trim_end()), "{prompt}: {said:?}");
        said.assert_one_error(&[words]);
    }
}

/// Without a region nothing is sent, and the line says which variable to set.
#[tokio::test]
async fn bedrock_without_a_region_names_the_variable() {
    let program = Program::new().variable("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").variable("AWS_SECRET_ACCESS_KEY", SECRET);
    program.run(&["complete", "-m", MODEL, "Why?"]).await.assert_fails(2, &["needs a region", "AWS_REGION"]);
}

/// Ollama needs no key, and its lines come one by one.
#[tokio::test]
async fn ollama_streams_without_a_key() {
    let origin = Origin::plain(|request: &Request| {
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        let line = |text: &str, done: &str| {
            format!(
                r#"{{"model":"m","created_at":"2026-11-25T08:30:00Z","message":{{"role":"assistant","content":"{text}"}},"done":{done}}}"#
            )
        };
        let last = r#"true,"done_reason":"stop","prompt_eval_count":5,"eval_count":3"#;
        match body["stream"].as_bool() {
            Some(true) => {
                let lines = [line("hel", "false") + "\n", line("lo", "false") + "\n", line("", last) + "\n"];
                let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
                Answer::chunked(&[("content-type", "application/x-ndjson")], &lines)
            }
            _ => Answer::ok(&line("hello", last)),
        }
    })
    .await;
    let program = Program::new().variable("OLLAMA_API_BASE", &origin.url(""));
    for how in ["--stream", "--no-stream"] {
        let said = program.run(&["complete", "-m", "ollama/llama3.2", how, "Why?"]).await.fine();
        assert_eq!((said.out.as_str(), said.err.as_str()), ("hello\n", ""));
        let seen = origin.ledger().requests.pop().unwrap();
        assert_eq!((seen.target.as_str(), seen.header("authorization")), ("/api/chat", None));
    }
}

/// Answers as vertex does, streamed if it is asked to.
async fn vertex() -> Origin {
    Origin::plain(|request: &Request| {
        let part = |text: &str, more: &str| {
            format!(r#"{{"candidates":[{{"content":{{"role":"model","parts":[{{"text":"{text}"}}]}}{more}}}]}}"#)
        };
        let last = r#","finishReason":"STOP""#;
        match request.target.contains(":streamGenerateContent") {
            true => {
                let events = [part("hel", ""), part("lo", last)].map(|event| format!("data: {event}\r\n\r\n"));
                let events: Vec<&str> = events.iter().map(String::as_str).collect();
                Answer::chunked(&[("content-type", "text/event-stream")], &events)
            }
            false => Answer::whole("200 OK", &[("content-type", "application/json")], &part("hello", last)),
        }
    })
    .await
}

/// The file that moves vertex to an origin, with a command that tells its token, and counts its runs.
fn token_by_command(origin: &Origin, script: &str) -> String {
    let base = origin.url("/v1/projects/{project}/locations/{region}/publishers/google");
    format!(
        "[providers.vertex]\nbase_url = \"{base}\"\nproject = \"acme-1\"\nregion = \"europe-west4\"\n\
         [credentials.vertex]\ncommand = [\"sh\", \"-c\", '''echo run >> runs; {script}''']\nexpires = \"50m\"\n"
    )
}

const VERTEX: &str = "vertex/gemini-2.5-flash";

/// Vertex's token is what a command tells, as `gcloud auth print-access-token` does, or what a file holds.
#[tokio::test]
async fn vertex_gets_its_token_from_a_command_or_a_file() {
    let origin = vertex().await;
    let told = token_by_command(&origin, &format!("echo {SECRET}"));
    let (table, _) = told.split_once("[credentials").unwrap();
    let held = format!("{table}[credentials.vertex]\nfile = \"token\"\n");
    for text in [told, held] {
        let program = Program::new().file("seaway.toml", text).file("token", format!("{SECRET}\n"));
        for (how, method) in [("--stream", ":streamGenerateContent?alt=sse"), ("--no-stream", ":generateContent")] {
            let said = program.run(&["complete", "-m", VERTEX, how, "Why?"]).await.fine();
            assert_eq!((said.out.as_str(), said.err.as_str()), ("hello\n", ""));
            let seen = origin.ledger().requests.pop().unwrap();
            let model = "/v1/projects/acme-1/locations/europe-west4/publishers/google/models/gemini-2.5-flash";
            assert_eq!(seen.target, format!("{model}{method}"));
            assert_eq!(seen.header("authorization"), Some(format!("Bearer {SECRET}")));
        }
    }
    let program = Program::new().file("seaway.toml", token_by_command(&origin, "echo not logged in >&2; exit 1"));
    let said = program.run(&["complete", "-m", VERTEX, "Why?"]).await;
    said.assert_fails(2, &["credential `vertex`: its `command` failed: exit status: 1", "hint: run it by hand"]);
}

/// A token that ends is told anew before it does, under one session and one component.
#[tokio::test]
async fn vertexs_token_is_told_again_before_it_ends() {
    let origin = vertex().await;
    // Half of what is left is the margin.
    let script = r#"printf '{"status": {"token": "token-%s", "expirationTimestamp": "%s"}}' $(wc -l < runs) $(date -u -d '+4 seconds' +%Y-%m-%dT%H:%M:%SZ)"#;
    let host = Host::of(&origin, &token_by_command(&origin, script));
    let start = Instant::now();
    let mut told = Vec::new();
    while told.last().map(String::as_str) != Some("Bearer token-3") {
        assert!(start.elapsed() < PATIENCE, "it was not told again: {told:?}");
        host.runtime.complete(prompt(VERTEX, "Why?"), &CallRecord::new()).await.unwrap();
        told.extend(origin.ledger().requests.pop().and_then(|seen| seen.header("authorization")));
        told.dedup();
    }
    assert_eq!(told, ["Bearer token-1", "Bearer token-2", "Bearer token-3"]);
}
