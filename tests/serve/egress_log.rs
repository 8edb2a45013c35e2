//! The egress log: what left, where it went, and by which rule.

use std::collections::BTreeSet;

use seaway_tests::eventually;
use seaway_tests::gateway::Gateway;
use serde_json::Value;

use super::{HELLO, before, file, hello};

/// The lines so far, once there are as many.
async fn lines(gateway: &Gateway, count: usize) -> Vec<Value> {
    eventually("the lines are written", || gateway.logged().lines().count() >= count).await;
    gateway.logged().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn an_exchange_is_a_line_of_json_without_a_secret() {
    let origin = hello().await;
    let gateway = before(&origin, "[serve]\nlog = \"off\"\negress_log = \"json\"").await;
    let headers = [("x-request-id", "r-1")];
    let reply = gateway.ask("POST", "/v1/chat/completions?key=sk-query", &headers, HELLO).await;
    assert_eq!(reply.status, 200);
    let line = lines(&gateway, 1).await.remove(0);
    let keys: BTreeSet<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "log",
        "time",
        "id",
        "guest",
        "origin",
        "path",
        "generation",
        "rule",
        "credentials",
        "proxy",
        "attempts",
        "reused",
        "status",
        "bytes",
        "milliseconds",
        "stages",
        "error",
        "tokens",
    ];
    assert_eq!(keys, BTreeSet::from(expected));
    assert_eq!((&line["log"], &line["id"], &line["status"]), (&"egress".into(), &"r-1".into(), &200.into()));
    assert_eq!((line["path"].as_str(), line["rule"].as_str()), (Some("/v1/chat/completions"), Some("base_url")));
    assert_eq!(line["origin"].as_str(), Some(origin.url("").as_str()), "{line}");
    assert_eq!((line["generation"].as_u64(), line["credentials"][0].as_str()), (Some(0), Some("test")));
    assert_eq!(line["tokens"], serde_json::json!({ "prompt": 3, "completion": 5 }));
    assert!(line["bytes"].as_u64() > Some(100) && line["stages"]["wire"].as_f64() > Some(0.0), "{line}");
    assert!(line["error"].is_null() && line["proxy"].is_null() && line["guest"].is_string(), "{line}");
    let logged = gateway.logged();
    assert!(!logged.contains("sk-upstream") && !logged.contains("sk-query"), "{logged}");
}

/// An entry of the list, and none; and the generation that a reload makes.
#[tokio::test]
async fn a_line_says_which_rule_and_which_policy_it_was() {
    let origin = hello().await;
    let url = origin.url("");
    let more = format!(
        "[serve]\nlog = \"off\"\negress_log = \"json\"\n[egress]\nallow = [\"https://other.example\", \"{url}\"]"
    );
    let gateway = before(&origin, &more).await;
    assert_eq!(gateway.complete("none", HELLO).await.status, 200);
    assert_ne!(gateway.complete("none", &HELLO.replace("test/m-1", "ollama/m-1")).await.status, 200);
    let told = lines(&gateway, 2).await;
    assert_eq!(told[0]["rule"], "egress.allow[1]", "{}", told[0]);
    assert_eq!(
        (&told[1]["rule"], &told[1]["error"]),
        (&"none".into(), &"egress: address_denied".into()),
        "{}",
        told[1]
    );
    assert!(told[1]["status"].is_null() && told[1]["origin"] == "http://127.0.0.1:11434", "{}", told[1]);
    gateway.folder().write("seaway.toml", format!("{more}\n{}[pool]\nlimit = 7\n", file(&origin)));
    gateway.signal("HUP");
    let later = async || {
        assert_eq!(gateway.complete("none", HELLO).await.status, 200);
        let logged = gateway.logged();
        logged.lines().any(|line| serde_json::from_str::<Value>(line).unwrap()["generation"] == 1)
    };
    gateway.until("an exchange is under the next policy", later).await;
}

#[tokio::test]
async fn an_exchange_may_be_a_line_of_words() {
    let origin = hello().await;
    let gateway = before(&origin, "[serve]\negress_log = \"text\"").await;
    assert_eq!(gateway.complete("none", HELLO).await.status, 200);
    eventually("both lines are written", || gateway.logged().lines().count() == 2).await;
    let logged = gateway.logged();
    let line = logged.lines().nth(1).unwrap();
    assert!(line.contains(" egress http://127.0.0.1:") && line.contains("/v1/chat/completions 200 "), "{line}");
    assert!(
        line.contains(" rule=base_url credentials=test proxy=- attempts=1 reused=false ")
            && line.ends_with(" completion=5"),
        "{line}"
    );
}
