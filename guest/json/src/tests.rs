//! Reading, by structs of every kind of field.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::{Loose, Pairs, Raws, read};

crate::reader! {
    [strict]
    struct Order<'a> {
        [needed] "name" => name: Cow<'a, str>,
        "count" | "amount" => count: Option<u32>,
        "tags" => tags: Vec<String>,
        "parts" => parts: Vec<Part>,
        "schema" => schema: Option<&'a RawValue>,
        "notes" => notes: Raws<'a>,
        "labels" => labels: Pairs<f64>,
        "hint" => hint: Option<Loose>,
    }
}

crate::reader! {
    #[derive(Debug, PartialEq)]
    struct Part {
        "size" => size: Option<i64>,
    }
}

fn wrong(text: &str) -> String {
    read::<Order<'_>>(text).err().unwrap().to_string()
}

#[test]
fn every_kind_of_value_finds_its_place() {
    let text = r#"{"n\u0061me": "x", "amount": 3, "tags": ["a", "b"], "parts": [{"size": -1, "more": [{}]}, {}],
        "schema": {"b": 1.0, "a": 1e2}, "notes": [1, null, "c"], "labels": {"u": 1, "v": 0.5, "u": 2}, "hint": {"k": []}}"#;
    let order: Order<'_> = read(text).unwrap();
    assert_eq!((&*order.name, order.count), ("x", Some(3)));
    assert_eq!(order.tags, ["a", "b"]);
    assert_eq!(order.parts, [Part { size: Some(-1) }, Part { size: None }]);
    assert_eq!(order.schema.unwrap().get(), r#"{"b": 1.0, "a": 1e2}"#);
    assert_eq!(order.notes.into_iter().map(RawValue::get).collect::<Vec<_>>(), ["1", "\"c\""]);
    assert_eq!(order.labels.0, [("u".to_owned(), 2.0), ("v".to_owned(), 0.5)]);
    assert!(order.hint.is_some());
}

#[test]
fn a_text_is_borrowed_where_it_has_no_escape() {
    let borrowed = |text: &str| matches!(read::<Order<'_>>(text).unwrap().name, Cow::Borrowed(_));
    assert!(borrowed(r#"{"name": "plain"}"#));
    assert!(!borrowed(r#"{"name": "line\nfeed"}"#));
}

#[test]
fn null_is_nothing_where_nothing_may_be() {
    let order: Order<'_> = read(r#"{"name": "x", "count": null, "schema": null, "hint": null}"#).unwrap();
    assert!(order.count.is_none() && order.schema.is_none() && order.hint.is_none());
    assert_eq!(wrong(r#"{"name": null}"#), "`name` is not a text");
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    assert_eq!(wrong(r#"{"count": 1}"#), "missing field `name`");
    assert_eq!(wrong(r#"{"name": "x", "colour": 1}"#), "unknown field `colour`");
    assert_eq!(wrong(r#"{"name": "x", "parts": [{"size": "big"}]}"#), "`parts.size` is not a whole number");
    assert_eq!(wrong(r#"{"name": "x", "count": 4294967296}"#), "`count` is not a whole number");
    assert_eq!(wrong("[]"), "it is not an object");
    assert!(wrong(r#"{"name": "x""#).starts_with("EOF while parsing"));
    assert!(wrong(r#"{"name": "x"} {"#).starts_with("trailing characters"));
}

#[test]
fn what_nobody_asks_for_may_be_as_deep_as_it_likes() {
    let deep = format!(r#"{{"size": 1, "more": {}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(read::<Part>(&deep).unwrap(), Part { size: Some(1) });
}
