//! JSON that is rewritten with its keys in their order, which a schema's properties are answered in.
//! <https://ai.google.dev/gemini-api/docs/structured-output> (2026-11)
//!
//! Before: the caller's schema, or a model's arguments. After: `tools`, `config` and `decode`. Invariant: nothing but the
//! keys that are named here is taken out, and a property is never taken for a keyword of its name.

use crate::{
    bindings::Error,
    dialect::carry::bad,
    json::{self, Any, Object, Pairs, Slot},
};

/// How deep a schema may nest: as deep as `serde_json` reads other JSON.
const DEPTH: usize = 128;

/// Keywords whose value is a schema, or a list of schemas.
const SCHEMAS: &[&str] = &[
    "items",
    "prefixItems",
    "additionalProperties",
    "anyOf",
    "oneOf",
    "allOf",
    "not",
    "if",
    "then",
    "else",
    "contains",
    "propertyNames",
];

/// Keywords whose value names schemas.
const NAMED: &[&str] = &["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];

/// An object's keys in their order.
type Ordered<'a> = Pairs<Any<'a>>;

/// Writes the schema of a function's arguments: without `$schema`, and without `additionalProperties` where that only says
/// whether there may be others.
pub(super) fn arguments(out: &mut Vec<u8>, schema: &str) -> Result<(), Error> {
    if !schema.contains("additionalProperties") && !schema.contains("$schema") {
        out.extend_from_slice(schema.as_bytes());
        return Ok(());
    }
    strip(out, schema, DEPTH)
}

fn strip(out: &mut Vec<u8>, schema: &str, depth: usize) -> Result<(), Error> {
    if depth == 0 {
        return Err(bad(format!("a schema in `tools` nests deeper than {DEPTH}")).about("tools"));
    }
    if schema.starts_with('[') {
        let list: Vec<Any<'_>> = parse(schema)?;
        return json::list(out, list, |out, schema| strip(out, schema.get(), depth - 1));
    }
    if !schema.starts_with('{') {
        out.extend_from_slice(schema.as_bytes());
        return Ok(());
    }
    let Pairs(keys): Ordered<'_> = parse(schema)?;
    json::object(out, |to| {
        for (key, value) in keys {
            match &*key {
                "$schema" => {}
                "additionalProperties" if matches!(value.get(), "true" | "false") => {}
                key if SCHEMAS.contains(&key) => strip(to.key(key), value.get(), depth - 1)?,
                key if NAMED.contains(&key) => named(to.key(key), value.get(), depth - 1)?,
                key => to.raw(key, value.get()),
            }
        }
        Ok(())
    })
}

/// Schemas by name.
fn named(out: &mut Vec<u8>, schemas: &str, depth: usize) -> Result<(), Error> {
    if !schemas.starts_with('{') {
        out.extend_from_slice(schemas.as_bytes());
        return Ok(());
    }
    let Pairs(keys): Ordered<'_> = parse(schemas)?;
    json::object(out, |to| keys.into_iter().try_for_each(|(key, value)| strip(to.key(&key), value.get(), depth)))
}

/// Writes the schema of an answer; what it is for goes into it, where it does not say that itself.
pub(super) fn described(to: &mut Object<'_>, key: &str, schema: &str, description: Option<&str>) -> Result<(), Error> {
    let Some(description) = description.filter(|_| schema.starts_with('{')) else {
        to.raw(key, schema);
        return Ok(());
    };
    let Pairs(keys): Ordered<'_> = parse(schema)?;
    to.object(key, |to| {
        if !keys.iter().any(|(key, _)| key == "description") {
            to.set("description", description);
        }
        keys.iter().for_each(|(key, value)| to.raw(key, value.get()));
        Ok(())
    })
}

fn parse<'j, T: Slot<'j> + Default>(schema: &'j str) -> Result<T, Error> {
    json::read(schema).map_err(|error| bad(format!("a schema cannot be read: {error}")))
}

/// JSON without the white space between its tokens, so that a whole answer and a streamed one say the same.
pub(super) fn compact(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    let (mut quoted, mut escaped) = (false, false);
    for letter in json.chars() {
        if !quoted && letter.is_ascii_whitespace() {
            continue;
        }
        text.push(letter);
        quoted ^= letter == '"' && !escaped;
        escaped = quoted && letter == '\\' && !escaped;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(schema: &str) -> String {
        let mut out = Vec::new();
        arguments(&mut out, schema).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn keywords_go_and_properties_of_their_name_stay_in_order() {
        let schema = r##"{"$schema":"x","type":"object","properties":{"z":{"type":"object","additionalProperties":false},
            "additionalProperties":{"type":"string"},"$schema":{"type":"array","items":{"$schema":1}}},
            "additionalProperties":true,"enum":[{"additionalProperties":false}],"anyOf":[{"additionalProperties":false}]}"##;
        assert_eq!(
            compact(&stripped(schema)),
            r##"{"type":"object","properties":{"z":{"type":"object"},"additionalProperties":{"type":"string"},"$schema":{"type":"array","items":{}}},"enum":[{"additionalProperties":false}],"anyOf":[{}]}"##
        );
    }

    #[test]
    fn a_schema_of_the_other_properties_stays() {
        let schema = r#"{"additionalProperties":{"type":"object","additionalProperties":false}}"#;
        assert_eq!(stripped(schema), r#"{"additionalProperties":{"type":"object"}}"#);
    }

    #[test]
    fn a_schema_that_nests_without_end_is_refused() {
        let schema = format!("{}{}", r#"{"$schema":1,"items":"#.repeat(5000), "}".repeat(5000)).replace(":}", ":{}}");
        let error = arguments(&mut Vec::new(), &schema).unwrap_err();
        assert!(error.message.contains("128"), "{}", error.message);
    }

    #[test]
    fn white_space_goes_only_between_tokens() {
        assert_eq!(compact("{ \"a\\\" b\" :\n [1, \"c \\\\\" , 2] }"), r#"{"a\" b":[1,"c \\",2]}"#);
    }
}
