//! The commented file of `seaway policy init`: the session's keys, and behind them the host's own sections.
//!
//! The session writes its part from its list of keys. The host's part is a text, which a test holds against the types that
//! read it: neither has a key that the other lacks, and the values are the defaults.

use seaway_session::policy::{self, Preset};

/// The host's sections, each key with its meaning and its default.
const HOST: &str = include_str!("reference.toml");

/// A file that says what `preset` says, with every key that this version knows, its meaning and its value.
#[must_use]
pub fn reference(preset: Preset) -> String {
    [&policy::reference(preset), "\n", HOST].concat()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use seaway_guest::provider::{Model, Row};
    use seaway_session::Environment;

    use super::*;
    use crate::config::Config;
    use crate::serve;

    #[test]
    fn the_reference_file_is_what_the_code_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/reference.toml");
        let text = std::fs::read_to_string(path).unwrap();
        let advice = "write it anew: cargo run -- policy init --force host/policies/reference.toml";
        assert!(text == reference(Preset::Default), "{advice}");
    }

    #[test]
    fn its_values_are_the_defaults() {
        let read =
            Config::parse(Path::new("seaway.toml"), &reference(Preset::Default), &Environment::default()).unwrap();
        let none = Config::parse(Path::new("seaway.toml"), "", &Environment::default()).unwrap();
        assert_eq!((read.serve, read.limits, read.policy), (none.serve, none.limits, none.policy));
        assert!(read.warnings.is_empty(), "{:?}", read.warnings);
    }

    /// Its examples are as good as its values.
    #[test]
    fn what_is_commented_out_can_be_used() {
        let key = |line: &str| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).map(str::to_owned);
        let text: Vec<String> = HOST.lines().map(|line| key(line).unwrap_or_else(|| line.to_owned())).collect();
        let text = text.join("\n");
        let read = toml::from_str::<toml::Table>(&text).unwrap();
        let serve = read["serve"].clone().try_into::<serve::Settings>().unwrap();
        let row: Row = read["providers"]["gateway"].clone().try_into().unwrap();
        let model: Model = read["models"]["fast"].clone().try_into().unwrap();
        assert_eq!((row.dialect.as_deref(), model.provider.as_str()), (Some("openai"), "openai"));
        // Who adds a key adds it to the text, too, and here.
        let serve::Settings {
            listen: _,
            admin: Some(_),
            tls: Some(serve::Tls { cert: _, key: _, client_ca: Some(_) }),
            keys,
            calls: _,
            queue: _,
            queue_timeout: _,
            max_body: _,
            max_head: _,
            head_timeout: _,
            body_timeout: _,
            send_timeout: _,
            comments: _,
            log: _,
            egress_log: _,
            otel: Some(serve::Otel { endpoint: Some(_), propagate: _ }),
            given: _,
        } = serve
        else {
            panic!("a key of [serve] has no example")
        };
        assert_eq!(keys.len(), 1);
    }
}
