//! The binary as a person runs it: what it prints, and the one clear line for everything that goes wrong.
//!
//! Exit codes: 0 an answer, 1 none or not all of it, 2 the command line, the file or the environment is wrong.

use seaway_tests::answer::{Answer, Gate, Then, chunk};
use seaway_tests::cargo;
use seaway_tests::certificates::Authority;
use seaway_tests::error::SECRET;
use seaway_tests::host::file;
use seaway_tests::origin::Origin;
use seaway_tests::program::{Program, Said};
use seaway_tests::provider::{begun, error, streamed, whole};
use seaway_tests::request::Request;

/// Answers whole or streamed, as it is asked.
async fn provider() -> Origin {
    let gate = Gate::shut();
    gate.open(1000);
    Origin::plain(move |request: &Request| match body(request)["stream"].as_bool() {
        Some(true) => streamed(&gate, &["hel", "lo"]),
        _ => whole("hello"),
    })
    .await
}

fn body(request: &Request) -> serde_json::Value {
    serde_json::from_slice(&request.body).unwrap()
}

/// A folder whose file makes an origin the provider `test`.
fn at(origin: &Origin, more: &str) -> Program {
    Program::new().file("seaway.toml", format!("{more}\n{}", file(origin))).variable("TEST_KEY", SECRET)
}

async fn ask(program: &Program) -> Said {
    let said = program.run(&["complete", "-m", "test/m-1", "Why?"]).await;
    assert!(!said.err.contains(SECRET) && !said.out.contains(SECRET), "{said:?}");
    said
}

/// The main job, streamed and whole, as text.
#[tokio::test]
async fn complete_prints_the_answer() {
    let origin = provider().await;
    let program = at(&origin, "");
    for stream in ["--stream", "--no-stream"] {
        let said = program.run(&["complete", "-m", "test/m-1", stream, "Why?"]).await.fine();
        assert_eq!((said.out.as_str(), said.err.as_str()), ("hello\n", ""));
    }
    let streams: Vec<_> = origin.ledger().requests.iter().map(|request| body(request)["stream"].as_bool()).collect();
    assert!(streams[0] == Some(true) && streams[1] != Some(true), "{streams:?}");
}

/// Each option arrives at the provider.
#[tokio::test]
async fn each_option_of_complete_arrives() {
    let origin = provider().await;
    let program = at(&origin, "[complete]\nmodel = \"test/m-2\"")
        .file("tool.json", r#"{"name":"look","description":"d","parameters":{"type":"object","properties":{}}}"#)
        .file("schema.json", r#"{"title":"row","type":"object","properties":{}}"#)
        .file("dot.png", b"\x89PNG\r\n\x1a\n");
    let arguments = [
        "complete",
        "--system",
        "Be brief.",
        "--max-tokens",
        "7",
        "--temperature",
        "0.5",
        "--top-p",
        "0.25",
        "--seed",
        "11",
        "--stop",
        "END",
        "--image",
        "dot.png",
        "--image",
        "https://a.example/b.png",
        "--tool",
        "tool.json",
        "--schema",
        "schema.json",
        "-",
    ];
    program.run_on("from stdin", &arguments).await.fine();
    let seen = body(&origin.ledger().requests[0]);
    assert_eq!(seen["model"], "m-2", "`[complete] model` names it");
    assert_eq!((&seen["temperature"], &seen["top_p"], &seen["seed"]), (&0.5.into(), &0.25.into(), &11.into()));
    let text = seen.to_string();
    for word in [
        "Be brief.",
        "from stdin",
        "\"END\"",
        "data:image/png;base64,",
        "https://a.example/b.png",
        "\"look\"",
        "json_schema",
    ] {
        assert!(text.contains(word), "`{word}` is not in {text}");
    }
    assert!(seen["max_tokens"] == 7 || seen["max_completion_tokens"] == 7, "{text}");
}

/// `--json` prints OpenAI's own shapes; `--request` sends a body as it is written.
#[tokio::test]
async fn json_prints_openais_shapes() {
    let origin = provider().await;
    let request = r#"{"model":"test/m-1","messages":[{"role":"user","content":"x"}],"stream":true,"seed":5}"#;
    let program = at(&origin, "").file("request.json", request);
    let whole = program.run(&["complete", "-m", "test/m-1", "--json", "Why?"]).await.fine();
    let answer: serde_json::Value = serde_json::from_str(&whole.out).unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], "hello");
    let from_file = program.run(&["complete", "--request", "request.json"]).await.fine();
    let from_stdin = program.run_on(request, &["complete", "--request", "-"]).await.fine();
    for said in [from_file, from_stdin] {
        let chunks: Vec<serde_json::Value> = said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let text: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(text, "hello");
    }
    assert_eq!(body(&origin.ledger().requests[1])["seed"], 5);
}

/// `--timings` draws each stage on standard error, and leaves standard output alone.
#[tokio::test]
async fn timings_are_drawn_on_stderr() {
    let origin = provider().await;
    let said = at(&origin, "").run(&["complete", "-m", "test/m-1", "--timings", "Why?"]).await.fine();
    assert_eq!(said.out, "hello\n");
    for word in ["tcp", "first byte", "body"] {
        assert!(said.err.contains(word), "`{word}` is not in {}", said.err);
    }
    assert!(said.err.contains(&origin.url("")), "{}", said.err);
}

/// OPENAI_BASE_URL moves the built-in provider, without a file, and `--timings` says so.
#[tokio::test]
async fn openai_works_without_a_file() {
    let origin = provider().await;
    let program = Program::new().variable("OPENAI_API_KEY", SECRET).variable("OPENAI_BASE_URL", &origin.url("/v1"));
    let said = program.run(&["complete", "--timings", "Why?"]).await.fine();
    assert_eq!(said.out, "hello\n");
    assert!(said.err.contains("OPENAI_BASE_URL") && said.err.contains(&origin.url("/v1")), "{}", said.err);
    assert_eq!(origin.ledger().requests[0].header("authorization"), Some(format!("Bearer {SECRET}")));
}

/// Bad input: a missing key.
#[tokio::test]
async fn a_missing_key_names_its_variable() {
    let none = Program::new().run(&["complete", "Why?"]).await;
    none.assert_fails(2, &["no model is named", "OPENAI_API_KEY", "-m"]);
    let several = Program::new().variable("OPENAI_API_KEY", SECRET).variable("MISTRAL_API_KEY", SECRET);
    several.run(&["complete", "Why?"]).await.assert_fails(2, &["several", "-m openai/", "-m mistral/"]);
    let origin = provider().await;
    let program = Program::new().file("seaway.toml", file(&origin));
    program
        .run(&["complete", "-m", "test/m-1", "Why?"])
        .await
        .assert_fails(2, &["TEST_KEY is not set", "hint: set TEST_KEY"]);
    assert_eq!(origin.ledger().accepted, 0);
}

/// Bad input: an unknown provider, with the nearest name.
#[tokio::test]
async fn an_unknown_provider_names_the_nearest() {
    let program = Program::new().variable("OPENAI_API_KEY", SECRET);
    let said = program.run(&["complete", "-m", "opnai/gpt-4o", "Why?"]).await;
    assert!(said.code == Some(1) || said.code == Some(2), "{said:?}");
    assert_eq!(said.out, "");
    said.assert_one_error(&["opnai", "`openai"]);
    let said = program.run(&["complete", "-m", "gpt-4o", "Why?"]).await;
    assert_ne!(said.code, Some(0));
    said.assert_one_error(&["gpt-4o", "provider/model"]);
}

/// Bad input: a typo in the file, by its line and with the nearest word, for every command alike.
#[tokio::test]
async fn a_typo_in_the_file_names_line_and_nearest_word() {
    for (text, words) in [
        ("[pool]\nlimt = 3\n", &["seaway.toml:2: ", "`pool.limt`", "`pool.limit`"][..]),
        ("total = 30\n", &["seaway.toml:1: ", "`total`", "\"30s\""]),
        ("[pool]\nlimit = \n", &["seaway.toml:2: "]),
        ("[pol]\nlimit = 1\n", &["seaway.toml:1: ", "`pol`", "`pool`"]),
        ("preset = \"prodution\"\n", &["seaway.toml:1: ", "production"]),
        (
            "[pool]\nforce_close = true\nkeepalive = \"5s\"\n",
            &["seaway.toml:2: ", "`pool.force_close`", "`pool.keepalive`"],
        ),
        ("[retry]\nmax = 0\n", &["seaway.toml:2: ", "`retry.max`", "`retry.status = \"off\"`"]),
        ("[retry]\nstale = \"of\"\n", &["seaway.toml:2: ", "`retry.stale`", "`off`"]),
        ("[tls]\nclient_cert = \"c.pem\"\n", &["seaway.toml:2: ", "`tls.client_cert`", "client_key"]),
        ("[tls]\nca = [\"gone.pem\"]\n", &["`tls.ca`", "gone.pem", "cannot be read"]),
    ] {
        let program = Program::new().file("seaway.toml", text);
        for arguments in [&["policy", "check"][..], &["complete", "-m", "openai/x", "Why?"]] {
            program.run(arguments).await.assert_fails(2, words);
        }
    }
    Program::new().run(&["policy", "check", "gone.toml"]).await.assert_fails(2, &["gone.toml", "cannot be read"]);
}

/// Bad input: a host that no rule names, and one whose address no rule allows.
#[tokio::test]
async fn a_refused_host_and_a_denied_address_say_what_would_allow_them() {
    let origin = provider().await;
    let denied = Program::new()
        .file("seaway.toml", "[egress]\nallow = [\"https://a.example\"]\n")
        .variable("OPENAI_API_KEY", SECRET);
    let said = denied.run(&["complete", "-m", "openai/x", "Why?"]).await;
    said.assert_fails(1, &["egress: no rule allows https://api.openai.com", "hint: egress.allow = ["]);
    let metadata = "[providers.meta]\ndialect = \"openai\"\nbase_url = \"http://169.254.169.254/v1\"\n[credentials.meta]\nvalue = \"k\"\nurls = [\"http://169.254.169.254/v1\"]";
    let said = Program::new().file("seaway.toml", metadata).run(&["complete", "-m", "meta/x", "Why?"]).await;
    said.assert_fails(1, &["egress: 169.254.169.254 is a metadata service's address", "no policy allows"]);
    assert_eq!(origin.ledger().accepted, 0);
}

/// Bad input: a certificate that nobody here vouches for.
#[tokio::test]
async fn a_wrong_certificate_names_its_issuer_and_the_line_that_trusts_it() {
    let (trusted, other) = (Authority::new("Trusted CA"), Authority::new("Inspection CA"));
    let origin = Origin::tls(other.leaf(&["localhost"]).server(), |_: &_| whole("hello")).await;
    let roots = "[tls]\nroots = \"none\"\nca = [\"ca.pem\"]";
    let said = ask(&at(&origin, roots).file("ca.pem", trusted.pem())).await;
    said.assert_fails(1, &["tls: ", "issuer `CN=Inspection CA`", "ca.pem", "hint: tls.ca = [", &origin.url("")]);
    ask(&at(&origin, roots).file("ca.pem", other.pem())).await.fine().assert_no_talk();
}

/// Bad input: nobody there, an answer that is a web page, an answer that is no HTTP, no answer, a provider's refusal.
#[tokio::test]
async fn what_goes_wrong_on_the_way_is_one_line() {
    let closed = provider().await;
    let program = at(&closed, "");
    let url = closed.url("");
    drop(closed);
    ask(&program).await.assert_fails(1, &["tcp: ", "refused the connection", &url]);
    let page = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head>\n<body>Please sign in</body></html>\n";
    for (status, word) in [("200 OK", "HTML"), ("502 Bad Gateway", "502")] {
        let origin = Origin::plain(move |_: &_| Answer::whole(status, &[("content-type", "text/html")], page)).await;
        ask(&at(&origin, "")).await.assert_fails(1, &["test: provider error", word, "Sign in"]);
    }
    let origin = Origin::plain(|_: &_| Answer::raw("SSH-2.0-OpenSSH_9.2\r\n").then(Then::Close)).await;
    ask(&at(&origin, "")).await.assert_fails(1, &["wire: the peer does not answer in HTTP", &origin.url("")]);
    let origin = Origin::plain(|_: &_| Answer::none()).await;
    ask(&at(&origin, "total = \"300ms\"")).await.assert_fails(1, &["`total` of 300ms passed", &origin.url("")]);
    let origin = Origin::plain(|_: &_| error("401 Unauthorized", &[], "no such\nkey")).await;
    ask(&at(&origin, "")).await.assert_fails(1, &["test: authentication (401): no such key"]);
}

/// Bad input: an error in the midst of a stream, of a kind that would be ours if nothing had been sent.
#[tokio::test]
async fn an_error_in_a_stream_is_the_completions() {
    let gate = Gate::shut();
    gate.open(100);
    let origin = Origin::plain(move |_: &_| {
        let told = "data: {\"error\":{\"message\":\"no such thing\",\"type\":\"invalid_request_error\"}}\n\n";
        begun(&gate, &["half"]).write(chunk(told)).write("0\r\n\r\n")
    })
    .await;
    let said = ask(&at(&origin, "")).await;
    assert_eq!((said.code, said.out.as_str()), (Some(1), "half\n"), "{said:?}");
    said.assert_one_error(&["no such thing"]);
}

/// Bad input: a stream that is cut in the middle. What came is printed; the cut is an error.
#[tokio::test]
async fn a_stream_that_is_cut_prints_what_came_and_fails() {
    let gate = Gate::shut();
    gate.open(100);
    let origin = Origin::plain(move |_: &_| begun(&gate, &["half ", "an answer"]).then(Then::Close)).await;
    let said = ask(&at(&origin, "")).await;
    assert_eq!((said.code, said.out.as_str()), (Some(1), "half an answer\n"));
    said.assert_one_error(&["body: the answer was cut before its end", &origin.url("")]);
    let said = at(&origin, "").run(&["complete", "-m", "test/m-1", "--json", "--stream", "Why?"]).await;
    assert_eq!(said.code, Some(1));
    said.assert_one_error(&["body: the answer was cut before its end"]);
}

/// Bad input: a component that is none, and one that spins, allocates without end or traps.
#[tokio::test]
async fn a_bad_component_is_one_line() {
    let origin = provider().await;
    let limits = "[runtime]\ncpu = \"300ms\"\nmemory = \"64MiB\"";
    let program = at(&origin, limits).file("text.wasm", "not wasm").file("module.wasm", b"\0asm\x01\0\0\0");
    for (file, words) in [
        ("text.wasm", &["`text.wasm` is not WebAssembly", "hint: "][..]),
        ("module.wasm", &["is a core WebAssembly module and no component", "hint: "]),
        ("gone.wasm", &["`gone.wasm` cannot be read"]),
    ] {
        program.run(&["complete", "-m", "test/m-1", "--component", file, "Why?"]).await.assert_fails(2, words);
    }
    let hostile = cargo::hostile().to_str().unwrap();
    for (word, words) in [
        ("spin", &["used its 300ms of processor time up", "hint: ", "runtime.cpu"][..]),
        ("allocate", &["64 MiB (`runtime.memory`)", "hint: runtime.memory = "]),
        ("trap", &["the component failed"]),
    ] {
        let said = program.run(&["complete", "-m", word, "--no-stream", "--component", hostile, "Why?"]).await;
        said.assert_fails(1, words);
    }
    let said = program.run(&["complete", "-m", "x", "--json", "--component", hostile, "Why?"]).await;
    assert_ne!(said.code, Some(0));
    said.assert_one_error(&[]);
}

/// Bad input on the command line itself.
#[tokio::test]
async fn files_of_the_command_line_that_are_no_good_are_named() {
    let origin = provider().await;
    let wrong = r#"{ "model": "test/m-1", "messages": [], "n": "many" }"#;
    let program = at(&origin, "").file("text.txt", "not json").file("list.json", "[]").file("wrong.json", wrong);
    for (arguments, words) in [
        (&["--image", "gone.png", "Why?"][..], &["--image gone.png", "cannot be read"][..]),
        (&["--schema", "text.txt", "Why?"], &["--schema text.txt", "no JSON"]),
        (&["--tool", "text.txt", "Why?"], &["--tool text.txt", "no JSON"]),
        (&["--request", "text.txt"], &["--request", "no JSON"]),
        (&["--request", "list.json"], &["--request", "JSON object"]),
        (&["--request", "gone.json"], &["gone.json", "cannot be read"]),
        (&["--request", "wrong.json"], &["`n`"]),
        (&["-m", "nosuch/m-1", "Why?"], &["there is no provider `nosuch`"]),
    ] {
        let model: &[&str] = if arguments.contains(&"-m") { &[] } else { &["-m", "test/m-1"] };
        let all: Vec<_> = ["complete"].iter().chain(model).chain(arguments).copied().collect();
        program.run(&all).await.assert_fails(2, words);
    }
    assert_eq!(program.run(&["complete"]).await.code, Some(2));
    assert_eq!(program.run(&["complte"]).await.code, Some(2));
    assert_eq!(origin.ledger().accepted, 0);
}

/// `policy init` writes a file for each preset that `policy check` finds fine, and replaces none unasked.
#[tokio::test]
async fn policy_init_writes_what_policy_check_accepts() {
    for preset in ["development", "default", "production", "high-throughput"] {
        let program = Program::new();
        program.run(&["policy", "init", "--preset", preset]).await.fine();
        let checked = program.run(&["policy", "check"]).await.fine();
        assert!(checked.out.contains(&format!("fine; preset {preset}")), "{checked:?}");
        program.run(&["policy", "init"]).await.assert_fails(2, &["seaway.toml is there already", "hint: --force"]);
        program.run(&["policy", "init", "--force"]).await.fine();
    }
    let printed = Program::new().run(&["policy", "init", "-"]).await.fine();
    assert!(printed.out.contains("[pool]") && printed.out.contains('#'));
}

/// `demo`: no key, no network, answers and figures.
#[tokio::test]
async fn demo_runs_without_a_key_or_a_network() {
    let said = Program::new().run(&["demo"]).await.fine();
    for word in
        ["Why is the sea salt?", "Rain dissolves", "tls", "reused", "8 of 8, none failed", "4 open before, 2 after"]
    {
        assert!(said.out.contains(word), "`{word}` is not in {}", said.out);
    }
    assert_eq!(said.err, "");
}

/// `policy check` says what would keep `serve` from starting: its files are read, a variable may be set elsewhere.
#[tokio::test]
async fn policy_check_reads_what_serve_would() {
    for (section, says) in [
        ("listen = \"0.0.0.0:4000\"", "serve.listen"),
        ("tls = { cert = \"gone.pem\", key = \"gone.key\" }", "gone.pem"),
    ] {
        let program = Program::new().file("seaway.toml", format!("[serve]\n{section}\n"));
        program.run(&["policy", "check"]).await.assert_fails(2, &[says]);
    }
    let program = Program::new().file("seaway.toml", "[serve]\nkeys = [{ env = \"NOWHERE\" }]\n");
    let said = program.run(&["policy", "check"]).await;
    assert!(said.out.contains("fine") && said.err.contains("NOWHERE is not set"), "{said:?}");
}
