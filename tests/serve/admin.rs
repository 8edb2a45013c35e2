//! `/admin/policy`: another policy in the place of the one in force, and what that would do.

use seaway_tests::answer::Gate;
use seaway_tests::cargo;
use seaway_tests::gateway::{Gateway, Reply, Wire};
use seaway_tests::host::file;
use seaway_tests::kernel;

use super::{HELLO, STREAM, VARIABLES, assert_error, before, hello, streaming};

const ADMIN: &str = "[serve]\nadmin = \"127.0.0.1:0\"\n";

/// Asks where the server is administered.
async fn ask(gateway: &Gateway, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    gateway.says("administered on ").await;
    let said = gateway.said();
    let address = said.lines().find_map(|line| line.strip_prefix("administered on ")).unwrap().parse().unwrap();
    let mut wire = Wire::to(address).await;
    wire.send(method, target, headers, body).await;
    wire.reply().await
}

#[tokio::test]
async fn a_dry_run_says_what_would_change_and_changes_nothing() {
    let origin = hello().await;
    let gateway = before(&origin, ADMIN).await;
    assert_eq!(gateway.complete("none", HELLO).await.status, 200);
    let new = format!("{ADMIN}\n{}[pool]\nlimit = 7\n", file(&origin).replace("TEST_KEY", "OTHER"));
    let told = ask(&gateway, "POST", "/admin/policy?dry-run=true", &[], &new).await;
    assert_eq!((told.status, told.header("content-type")), (200, Some("application/json")), "{told:?}");
    let told = told.json();
    let change = |key: &str, old: &str, new: &str| serde_json::json!({ "key": key, "old": old, "new": new });
    let expected = [change("credentials.test.env", "\"TEST_KEY\"", "\"OTHER\""), change("pool.limit", "1000", "7")];
    assert_eq!((&told["changes"], &told["dry_run"]), (&expected.as_slice().into(), &true.into()), "{told}");
    assert_eq!((&told["retiring"], &told["generation"]), (&serde_json::json!([]), &0.into()), "{told}");
    assert_eq!(told["warnings"], serde_json::json!([]), "{told}");
    let now = ask(&gateway, "GET", "/admin/policy", &[], "").await.json();
    assert_eq!((&now["generation"], &now["source"]), (&0.into(), &"file".into()), "{now}");
    assert_eq!(gateway.complete("none", HELLO).await.status, 200);
}

/// A connection is retired by what would open it otherwise; and what runs over it ends first.
#[tokio::test]
async fn a_policy_that_is_posted_is_in_force_under_running_calls() {
    let gate = Gate::shut();
    let origin = streaming(&gate).await;
    let gateway = before(&origin, ADMIN).await;
    let mut wire = gateway.connect().await;
    wire.send("POST", "/v1/chat/completions", &[], STREAM).await;
    gate.open(1);
    wire.until("one ").await.unwrap();
    let new = format!("{ADMIN}keys = [{{ value = \"sk-posted\" }}]\n{}[tcp]\nnodelay = false\n", file(&origin));
    let mut told = Vec::new();
    for target in ["/admin/policy?dry-run=true", "/admin/policy"] {
        told.push(ask(&gateway, "POST", target, &[], &new).await.json());
    }
    let retiring = serde_json::json!([{ "origin": origin.url(""), "proxy": null, "connections": 1 }]);
    for told in &told {
        assert_eq!(told["retiring"], retiring, "{told}");
        let changes = told["changes"].to_string();
        assert!(changes.contains("serve.keys[0].value") && changes.contains("tcp.nodelay"), "{changes}");
        assert!(!changes.contains("sk-posted"), "{changes}");
    }
    assert_eq!((&told[0]["generation"], &told[1]["generation"]), (&0.into(), &1.into()));
    let now = ask(&gateway, "GET", "/admin/policy", &[], "").await.json();
    assert_eq!((&now["generation"], &now["source"]), (&1.into(), &"admin".into()), "{now}");
    assert_error(&gateway.complete("none", STREAM).await, 401, "none of this server's");
    gate.open(1);
    wire.until("two").await.unwrap();
    gate.open(10);
    wire.until("[DONE]").await.unwrap();
    seaway_tests::eventually("the connection is retired", || kernel::sockets_to(origin.port()) == 0).await;
    assert_eq!(gateway.complete("sk-posted", STREAM).await.status, 200);
    gateway.signal("HUP");
    gateway.until("the file is in force again", async || gateway.complete("none", STREAM).await.status == 200).await;
    gateway.says("serve.keys are gone: nobody needs a key any more").await;
}

#[tokio::test]
async fn a_bad_policy_changes_nothing_and_is_told_as_policy_check_would() {
    let origin = hello().await;
    let gateway = before(&origin, ADMIN).await;
    let folder = gateway.folder().path().to_owned();
    for (bad, says) in [
        ("[pool]\nlimt = 1\n", "pool.limit"),
        ("[pool\n", "the posted policy:1"),
        ("[tls]\nca = [\"gone.pem\"]\n", "gone.pem"),
        ("[serve]\nlog = \"xml\"\n", "serve.log"),
    ] {
        gateway.folder().write("bad.toml", bad);
        let told = ask(&gateway, "POST", "/admin/policy", &[], bad).await;
        assert!(told.status == 400 && told.body.contains(says), "{told:?}");
        let mut check = std::process::Command::new(cargo::binary());
        let checked = check.args(["policy", "check", "bad.toml"]).current_dir(&folder).env_clear().output().unwrap();
        let checked = String::from_utf8_lossy(&checked.stderr).replace("bad.toml", "the posted policy");
        assert_eq!(checked, format!("error: {}", told.body));
    }
    for nothing in ["", " \n"] {
        let told = ask(&gateway, "POST", "/admin/policy", &[], nothing).await;
        assert!(told.status == 400 && told.body.contains("the posted policy: is empty"), "{told:?}");
    }
    let now = ask(&gateway, "GET", "/admin/policy", &[], "").await.json();
    assert_eq!((&now["generation"], &now["source"]), (&0.into(), &"file".into()), "{now}");
    assert_eq!(gateway.complete("none", HELLO).await.status, 200);
}

#[tokio::test]
async fn it_is_on_its_own_listener_and_no_page_in_a_browser_reaches_it() {
    let origin = hello().await;
    let gateway = before(&origin, ADMIN).await;
    assert_eq!(gateway.ask("GET", "/admin/policy", &[], "").await.status, 404);
    for (method, target, headers, status) in [
        ("GET", "/", &[][..], 404),
        ("POST", "/admin/policy", &[("origin", "http://evil.example")][..], 403),
        ("POST", "/admin/policy?dry_run=true", &[][..], 400),
        ("PUT", "/admin/policy", &[][..], 405),
    ] {
        assert_eq!(ask(&gateway, method, target, headers, "").await.status, status, "{method} {target}");
    }
    let silent = Gateway::start(&file(&origin), &VARIABLES).await;
    assert_eq!(silent.complete("none", HELLO).await.status, 200);
    assert!(!silent.said().contains("administered"), "{}", silent.said());
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_for_it_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let origin = hello().await;
    let mut gateway = before(&origin, "[serve]\nadmin = \"unix:admin.sock\"\n").await;
    let path = gateway.folder().path().join("admin.sock");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    gateway.signal("TERM");
    assert_eq!((gateway.ended().await, path.exists()), (Some(0), false));
}
