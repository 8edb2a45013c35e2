//! The models, in OpenAI's form. <https://platform.openai.com/docs/api-reference/models> (2026-11)
//!
//! Before: the tables. After: the client. Invariant: only names that a request may use; a provider is not asked what it has.

use super::{Allowed, answer::Written};
use crate::{
    bindings::Error,
    json::{self, Object},
    provider::{Table, resolve},
};

/// `GET /v1/models`: the configured names, and those that the caller's list spells out.
pub fn models(table: &Table, allowed: &Allowed) -> Vec<u8> {
    let configured = table.models.keys().map(String::as_str).filter(|name| allowed.has(name));
    let told = allowed.names().filter(|name| !table.models.contains_key(*name));
    let known = configured.chain(told).filter_map(|name| Some((name, resolve(table, name).ok()?.provider)));
    let mut body = Vec::with_capacity(1024);
    let written: Written = json::object(&mut body, |to| {
        to.set("object", "list");
        to.list("data", known, |out, (name, provider)| {
            json::object(out, |to| {
                write(to, name, provider);
                Ok(())
            })
        })
    });
    let Ok(()) = written;
    body
}

/// `GET /v1/models/{id}`: a configured name, or `provider/model` of a provider that is known.
///
/// # Errors
/// As a completion with this model would be refused.
pub fn model(table: &Table, id: &str, allowed: &Allowed) -> Result<Vec<u8>, Error> {
    allowed.check(id)?;
    let provider = resolve(table, id)?.provider;
    let mut body = Vec::with_capacity(128);
    let written: Written = json::object(&mut body, |to| {
        write(to, id, provider);
        Ok(())
    });
    let Ok(()) = written;
    Ok(body)
}

/// When a model was made is known to its provider alone; clients want a number.
fn write(to: &mut Object<'_>, id: &str, provider: &str) {
    to.set("id", id);
    to.set("object", "model");
    to.set("created", &0);
    to.set("owned_by", provider);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn table() -> Table {
        Table::from_json(
            r#"{"models": {"fast": {"provider": "openai", "model": "m"}, "lost": {"provider": "nobody", "model": "m"}}}"#,
        )
        .unwrap()
    }

    fn read(body: &[u8]) -> Value {
        serde_json::from_slice(body).unwrap()
    }

    #[test]
    fn the_list_has_what_can_be_asked_for() {
        let fast = json!({ "id": "fast", "object": "model", "created": 0, "owned_by": "openai" });
        assert_eq!(read(&models(&table(), &Allowed::default())), json!({ "object": "list", "data": [fast] }));
        let allowed = Allowed::parse(Some(br#"["groq/llama", "lost", "x*"]"#)).unwrap();
        let groq = json!({ "id": "groq/llama", "object": "model", "created": 0, "owned_by": "groq" });
        assert_eq!(read(&models(&table(), &allowed))["data"], json!([groq]));
    }

    #[test]
    fn one_model_is_told_or_refused() {
        let all = Allowed::default();
        assert_eq!(read(&model(&table(), "fast", &all).unwrap())["id"], "fast");
        assert_eq!(read(&model(&table(), "groq/llama", &all).unwrap())["owned_by"], "groq");
        assert!(model(&table(), "lost", &all).is_err() && model(&table(), "gone", &all).is_err());
        assert!(model(&table(), "fast", &Allowed::parse(Some(b"[]")).unwrap()).is_err());
    }
}
