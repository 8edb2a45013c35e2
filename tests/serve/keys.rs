//! Who may call, and what with.

use seaway_tests::folder::Folder;
use seaway_tests::gateway::Gateway;
use seaway_tests::host::file;
use seaway_tests::program::Program;

use super::{HELLO, VARIABLES, assert_error, before, hello};

const KEYS: &str = "[serve]\nkeys = [{ value = \"sk-all\" }, { env = \"ONE\", models = [\"fast\", \"test/m-2*\"], name = \"one\" }]\n\
                    [models.fast]\nprovider = \"test\"\nmodel = \"m-1\"\n[models.slow]\nprovider = \"test\"\nmodel = \"m-9\"";

async fn closed(origin: &seaway_tests::origin::Origin) -> Gateway {
    let variables = [VARIABLES[0], ("ONE", "sk-one")];
    Gateway::start(&format!("{KEYS}\n{}", file(origin)), &variables).await
}

#[tokio::test]
async fn a_caller_without_a_key_is_refused_before_anything() {
    let origin = hello().await;
    let gateway = closed(&origin).await;
    let reply = gateway.ask("POST", "/v1/chat/completions", &[], HELLO).await;
    assert_error(&reply, 401, "authorization: Bearer KEY");
    assert_eq!(reply.header("www-authenticate"), Some("bearer"));
    assert_error(&gateway.complete("sk-al", HELLO).await, 401, "none of this server's");
    for path in ["/v1/models", "/metrics", "/nowhere"] {
        assert_eq!(gateway.ask("GET", path, &[], "").await.status, 401, "{path}");
    }
    assert_eq!(gateway.ask("GET", "/healthz", &[], "").await.status, 200);
    assert_eq!(origin.ledger().accepted, 0);
    assert_eq!(gateway.complete("sk-all", HELLO).await.status, 200);
    assert!(!format!("{}{}", gateway.said(), gateway.logged()).contains("sk-al"), "{}", gateway.logged());
}

/// The component refuses what the host tells it that the key may not use; a client cannot tell it anything.
#[tokio::test]
async fn a_key_is_good_for_its_models() {
    let origin = hello().await;
    let gateway = closed(&origin).await;
    for (model, status) in [("fast", 200), ("test/m-2", 200), ("test/m-22", 200), ("test/m-1", 403), ("slow", 403)] {
        let reply = gateway.complete("sk-one", &HELLO.replace("test/m-1", model)).await;
        assert_eq!(reply.status, status, "{model}: {reply:?}");
    }
    let headers = [("authorization", "Bearer sk-one"), ("seaway-models", "[\"*\"]")];
    let chat = r#"{"model": "slow", "message": "hi"}"#;
    assert_error(&gateway.ask("POST", "/chat", &headers, chat).await, 403, "slow");
    let names = |list: serde_json::Value| -> Vec<String> {
        let models = list["data"].as_array().unwrap().iter();
        models.map(|model| model["id"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(names(gateway.ask("GET", "/v1/models", &headers, "").await.json()), ["fast"]);
    assert_error(&gateway.ask("GET", "/v1/models/slow", &headers, "").await, 403, "slow");
    let all = gateway.ask("GET", "/v1/models", &[("api-key", "sk-all"), ("seaway-models", "[]")], "").await;
    assert_eq!(names(all.json()), ["fast", "slow"]);
}

/// A file with a key is read again when it changes; one that is empty changes nothing.
#[tokio::test]
async fn a_key_in_a_file_may_change() {
    let origin = hello().await;
    let keys = Folder::new();
    keys.write("key", "sk-old\n");
    let path = keys.path().join("key");
    let gateway = before(&origin, &format!("[serve]\nkeys = [{{ file = {path:?} }}]")).await;
    assert_eq!(gateway.complete("sk-old", HELLO).await.status, 200);
    keys.write("key", "");
    gateway.says("the old keys and certificates stay in force: `serve.keys`: keys[0]: the key is empty").await;
    assert_eq!(gateway.complete("sk-old", HELLO).await.status, 200);
    keys.write("key", "sk-new\n");
    gateway.until("the new key is good", async || gateway.complete("sk-new", HELLO).await.status == 200).await;
    assert_error(&gateway.complete("sk-old", HELLO).await, 401, "none of this server's");
}

#[tokio::test]
async fn without_keys_strangers_find_nobody_listening() {
    let program = Program::new().file("seaway.toml", "[serve]\nlisten = \"0.0.0.0:0\"");
    program.run(&["serve"]).await.assert_fails(2, &["0.0.0.0:0", "keys = [{ env = \"SEAWAY_KEY\" }]"]);
    Program::new().run(&["serve", "--listen", "[::]:0"]).await.assert_fails(2, &["[::]:0", "SEAWAY_KEY"]);
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why_on_one_line() {
    let said = |file: &'static str| async move { Program::new().file("seaway.toml", file).run(&["serve"]).await };
    said("[serve]\nkeys = [{ env = \"SEAWAY_KEY\" }]").await.assert_fails(2, &["SEAWAY_KEY is not set"]);
    said("[serve]\nkeys = [{ file = \"gone\" }]").await.assert_fails(2, &["keys[0]", "gone"]);
    said("[serve]\nkeys = [{}]").await.assert_fails(2, &["seaway.toml:2", "`env`, `file` and `value`"]);
    said("[serve]\nlimit = 3").await.assert_fails(2, &["serve.limit"]);
    said("[serve]\nlisten = \"unix:seaway.toml\"").await.assert_fails(2, &["seaway.toml", "no socket"]);
    let wrong = Program::new().run(&["serve", "--listen", "4000"]).await;
    assert!(wrong.code == Some(2) && wrong.err.contains("write \"127.0.0.1:4000\""), "{wrong:?}");
    let origin = hello().await;
    let gateway = before(&origin, "").await;
    let taken = gateway.address().to_string();
    Program::new().run(&["serve", "--listen", &taken]).await.assert_fails(2, &[&taken, "in use"]);
}
