//! What a file says, key by key, to be set beside what another says.
//!
//! Made when a file is read, for who wants to know what a swap would change. Invariant: what may be shown holds no secret;
//! that a secret is another one now is known by a fingerprint.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;

use toml::de::{DeTable, DeValue};

use super::explain::segment;
use super::keys::{KEYS, Value};
use super::{Document, Policy};

/// What a file says together with the preset beneath it, as it may be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said(BTreeMap<String, Shown>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    text: String,
    /// Of the value itself.
    print: u64,
}

/// A key whose value is another now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// With dots; places of a list in brackets.
    pub key: String,
    /// As TOML; absent where the old file did not have the key. In the place of a secret stands that it is one.
    pub old: Option<String>,
    /// The same, of the new file.
    pub new: Option<String>,
}

/// What stands for a secret.
const HIDDEN: &str = "(not shown)";

/// Names below which secrets may be: a source's value, what tells one, and what a caller is free to fill.
const SECRET: [&str; 7] = ["value", "command", "headers", "extra", "token", "secret_key", "auth"];

/// Names below those that are no secrets themselves: they say where one is.
const PLACES: [&str; 2] = ["env", "file"];

impl Said {
    /// What `policy` says, and of `document` what is not in it.
    #[must_use]
    pub fn of(document: Option<&Document>, policy: &Policy) -> Self {
        let mut said = BTreeMap::new();
        if let Some(document) = document {
            said = document.said();
        }
        for key in KEYS {
            if let Value::Of(value) = &key.value {
                let below = format!("{}.", key.name);
                said.retain(|name, _| name != key.name && !name.starts_with(&below));
                said.insert(key.name.to_owned(), Shown::plain(value(policy)));
            }
        }
        Self(said)
    }

    /// The keys whose values are others in `new`.
    #[must_use]
    pub fn changes(&self, new: &Self) -> Vec<Change> {
        let shown = |said: &Self, key| said.0.get(key).map(|shown: &Shown| shown.text.clone());
        let keys = self.0.keys().chain(new.0.keys().filter(|key| !self.0.contains_key(*key)));
        let changed = keys.filter(|key| self.0.get(*key) != new.0.get(*key));
        let mut changes: Vec<_> = changed
            .map(|key| Change { key: key.clone(), old: shown(self, key.as_str()), new: shown(new, key.as_str()) })
            .collect();
        changes.sort_by(|one, other| one.key.cmp(&other.key));
        changes
    }
}

impl Shown {
    fn plain(text: String) -> Self {
        Self { print: print(&text), text }
    }
}

impl Document {
    fn said(&self) -> BTreeMap<String, Shown> {
        let mut said = BTreeMap::new();
        table(&self.root(), "", false, &mut said);
        said
    }
}

fn table(within: &DeTable<'_>, path: &str, secret: bool, said: &mut BTreeMap<String, Shown>) {
    for (name, inner) in within {
        let name = name.get_ref().as_ref();
        let dot = if path.is_empty() { "" } else { "." };
        let secret = (secret || SECRET.contains(&name)) && !PLACES.contains(&name);
        value(inner.get_ref(), format!("{path}{dot}{}", segment(name)), secret, said);
    }
}

/// Tables are told key by key, and lists of tables place by place.
fn value(told: &DeValue<'_>, path: String, secret: bool, said: &mut BTreeMap<String, Shown>) {
    match told {
        DeValue::Table(inner) => table(inner, &path, secret, said),
        DeValue::Array(list) if list.iter().any(|inner| inner.get_ref().is_table()) => {
            for (place, inner) in list.iter().enumerate() {
                value(inner.get_ref(), format!("{path}[{place}]"), secret, said);
            }
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_) => {
            let text = if secret { HIDDEN.to_owned() } else { toml(told, true) };
            said.insert(path, Shown { text, print: print(&toml(told, false)) });
        }
    }
}

/// A value as TOML; `safe` leaves out what of an address is nobody's business.
fn toml(value: &DeValue<'_>, safe: bool) -> String {
    match value {
        DeValue::String(text) if safe => format!("{:?}", address(text)),
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(bit) => bit.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(list) => {
            let list: Vec<_> = list.iter().map(|inner| toml(inner.get_ref(), safe)).collect();
            format!("[{}]", list.join(", "))
        }
        DeValue::Table(table) => {
            let pairs = table
                .iter()
                .map(|(name, inner)| format!("{} = {}", segment(name.get_ref()), toml(inner.get_ref(), safe)));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
    }
}

/// An address without user information and query; any other text as it is.
fn address(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (rest, query) = match rest.find(['?', '#']) {
        Some(at) => (&rest[..at], HIDDEN),
        None => (rest, ""),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or_else(|| authority.to_owned(), |(_, host)| format!("{HIDDEN}@{host}"));
    format!("{scheme}://{host}{path}{query}")
}

/// Tells a value from another within this process; nobody else can try values with it.
fn print(text: &str) -> u64 {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    KEY.get_or_init(RandomState::new).hash_one(text)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::policy::Preset;

    fn said(text: &str) -> Said {
        let document = Document::parse(Path::new("seaway.toml"), text).unwrap();
        let (policy, _) = document.policy(Preset::Default, &["serve", "models"]).unwrap();
        Said::of(Some(&document), &policy)
    }

    fn changes(old: &str, new: &str) -> Vec<(String, String, String)> {
        let text = |shown: Option<String>| shown.unwrap_or_else(|| "-".to_owned());
        let changes = said(old).changes(&said(new)).into_iter();
        changes.map(|Change { key, old, new }| (key, text(old), text(new))).collect()
    }

    fn change(key: &str, old: &str, new: &str) -> (String, String, String) {
        (key.to_owned(), old.to_owned(), new.to_owned())
    }

    #[test]
    fn a_key_that_is_not_written_has_its_presets_value() {
        assert_eq!(changes("", "[pool]\nlimit = 7"), [change("pool.limit", "100", "7")]);
        assert_eq!(changes("pool.limit = 100", ""), []);
        let preset = changes("", "preset = \"development\"");
        assert!(preset.contains(&change("total", "\"5m\"", "\"1m\"")), "{preset:?}");
        assert_eq!(changes("[tcp]\nkeepalive = { idle = \"1m\" }", ""), []);
    }

    #[test]
    fn what_has_no_value_until_it_is_written_is_new() {
        let told = changes("", "[egress]\nallow = [ \"https://a.example\" ]\n[models.x]\nprovider = \"y\"");
        assert_eq!(
            told,
            [change("egress.allow", "-", "[\"https://a.example\"]"), change("models.x.provider", "-", "\"y\""),]
        );
        let origin = "[origin.\"https://a.example\"]\ntls.min = \"1.3\"";
        assert_eq!(changes(origin, ""), [change("origin.\"https://a.example\".tls.min", "\"1.3\"", "-")]);
    }

    #[test]
    fn a_secret_changes_and_is_not_shown() {
        let file = |secret: &str| {
            format!(
                "[credentials.a]\nvalue = \"{secret}\"\nurls = [\"https://a.example\"]\n[credentials.b]\n\
                 command = [\"tell\", \"{secret}\"]\nurls = [\"https://a.example\"]\n[credentials.c]\nkind = \"sigv4\"\n\
                 access_key = {{ value = \"{secret}\" }}\nsecret_key = {{ value = \"{secret}\" }}\nregion = \"r\"\n\
                 service = \"s\"\nurls = [\"https://a.example\"]\n[proxy]\nmode = \"explicit\"\nall = \"http://p.example\"\n\
                 auth = {{ value = \"{secret}:{secret}\" }}\nheaders = {{ X-Key = \"{secret}\" }}\n[models.m]\n\
                 base_url = \"https://a:{secret}@a.example/v1?key={secret}\"\n[[serve.keys]]\nvalue = \"{secret}\""
            )
        };
        let told = changes(&file("sk-one"), &file("sk-two"));
        let keys: Vec<_> = told.iter().map(|(key, ..)| key.as_str()).collect();
        let expected = [
            "credentials.a.value",
            "credentials.b.command",
            "credentials.c.access_key.value",
            "credentials.c.secret_key.value",
            "models.m.base_url",
            "proxy.auth.value",
            "proxy.headers.X-Key",
            "serve.keys[0].value",
        ];
        assert_eq!(keys, expected);
        assert!(!format!("{told:?}{:?}", said(&file("sk-one"))).contains("sk-"), "{told:?}");
        let moved = changes(
            "[proxy]\nmode = \"explicit\"\nall = \"http://p.example\"\nauth = { env = \"A\" }",
            "proxy = { mode = \"explicit\", all = \"http://p.example\", auth = { env = \"B\" } }",
        );
        assert_eq!(moved, [change("proxy.auth.env", "\"A\"", "\"B\"")]);
    }
}
