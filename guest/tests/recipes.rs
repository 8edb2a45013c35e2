//! The README's recipe, done: a provider of a known dialect is one row, and no code.

#![expect(clippy::unwrap_used, clippy::result_large_err, reason = "a test that cannot go on has failed")]

use seaway_guest::{
    bindings::{Error, Message, Request},
    dialect::{self, Exchange, by_name},
    provider::{Table, resolve},
};
use serde_json::json;

const README: &str = include_str!("../../README.md");

/// The request that a model's name leads to, with keys as Seaway's host wants them.
fn encoded(document: &Table, model: &str) -> Result<Exchange, Error> {
    let placeholder = Table::from_json(r#"{"credentials": "placeholder"}"#).unwrap();
    let table = Table::built_in().clone().merge(document.clone()).merge(placeholder);
    let target = resolve(&table, model)?;
    by_name(target.dialect)?.encode(&target, &Request::new(model, vec![Message::user("Say hello.")]), false)
}

fn keys(exchange: &Exchange) -> Vec<&str> {
    exchange
        .headers
        .iter()
        .map(|(_, value)| value.as_str())
        .filter(|value| value.contains("seaway-credential:"))
        .collect()
}

#[test]
fn a_provider_of_a_known_dialect_is_one_row() {
    assert!(
        README.contains("**A provider of a known dialect**: a row in `guest/providers.toml`, or `[providers.NAME]`")
    );
    for (name, _) in dialect::ALL {
        let row = json!({ "providers": { "acme": { "dialect": name, "base_url": "https://llm.acme.example/base" } } });
        let exchange = encoded(&Table::from_json(&row.to_string()).unwrap(), "acme/small").unwrap();
        let url = exchange.url.to_string();
        assert!(url.starts_with("https://llm.acme.example/base/"), "{name}: {url}");
        let keys = keys(&exchange);
        assert!(matches!(keys[..], [key] if key.ends_with("seaway-credential:acme")), "{name}: {keys:?}");
    }
}

#[test]
fn the_readmes_own_row_and_model_lead_where_they_say() {
    let row = README.split_once("[providers.corp]").unwrap().1;
    let lines = row.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
    let text: String = lines.fold("[providers.corp]\n".to_owned(), |all, line| all + line.trim() + "\n");
    let table: serde_json::Value = toml::from_str(&text).unwrap();
    let exchange = encoded(&Table::from_json(&table.to_string()).unwrap(), "fast").unwrap();
    assert_eq!(exchange.url.to_string(), "https://llm.corp.example/v1/chat/completions");
    assert_eq!(keys(&exchange), ["Bearer seaway-credential:corp"]);
    let body: serde_json::Value = serde_json::from_slice(&exchange.body).unwrap();
    assert_eq!(body["model"], "llama-3.3-70b");
}
