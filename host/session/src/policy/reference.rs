//! The commented policy file of `seaway policy init`: every key of this version, its meaning and its value.
//!
//! Written from the list of keys and a preset's own values; a test reads it back and compares.

use super::keys::{KEYS, Key, Value};
use super::{Policy, Preset, origins};

const WIDTH: usize = 110;

/// A policy file that says what `preset` says, with every key that this version knows, its meaning and its value.
#[must_use]
pub fn reference(preset: Preset) -> String {
    let policy = Policy::preset(preset);
    let mut file = String::new();
    comment(
        &mut file,
        "The session's policy. Durations and sizes carry units (\"250ms\", \"15s\", \"5m\", \"1h\"; \"16KiB\", \"32MiB\"); \
         \"off\" switches a deadline off. Every key is here with its value; a key that is left out has the preset's. \
         Relative paths start at this file's folder.",
    );
    let mut section = "";
    for key in KEYS {
        let (within, _) = key.name.rsplit_once('.').unwrap_or_default();
        file.push('\n');
        if within != section {
            section = within;
            heading(&mut file, section);
        }
        entry(&mut file, key, &policy);
    }
    file.push('\n');
    let names = origins::names();
    comment(
        &mut file,
        &format!(
            "[origin.\"scheme://host[:port]\"]: what differs for one origin, laid upon the keys above. May differ: {names}. \
             Such a host may be loopback, private or shared, where a rule allows it."
        ),
    );
    file.push_str("#[origin.\"https://llm.corp.example\"]\n#proxy.mode = \"off\"\n#tls.ca = [\"corp-ca.pem\"]\n");
    file
}

fn heading(file: &mut String, section: &str) {
    match section.split_once(".*") {
        None => file.push_str(&format!("[{section}]\n")),
        Some((section, _)) => {
            comment(
                file,
                &format!(
                    "[{section}.NAME]: a secret, and where it may go. It takes the place of `seaway-credential:NAME` in a \
                     header. A section of a built-in provider's name replaces the built-in credential whole."
                ),
            );
            file.push_str(&format!("#[{section}.openai]\n"));
        }
    }
}

fn entry(file: &mut String, key: &Key, policy: &Policy) {
    let name = key.name.rsplit('.').next().unwrap_or(key.name);
    comment(file, key.meaning);
    match &key.value {
        Value::Of(value) => file.push_str(&format!("{name} = {}\n", value(policy))),
        Value::Example(example) => file.push_str(&format!("#{name} = {example}\n")),
    }
}

/// Adds sentences as comment lines of at most [`WIDTH`] characters.
fn comment(file: &mut String, text: &str) {
    let mut length = 0;
    for word in text.split(' ') {
        if length == 0 || length + 1 + word.len() > WIDTH {
            file.push_str(if length == 0 { "#" } else { "\n#" });
            length = 1;
        }
        file.push(' ');
        file.push_str(word);
        length += 1 + word.len();
    }
    file.push('\n');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use serde::de::{self, Deserialize, Deserializer, Visitor};

    use super::*;
    use crate::policy::Document;
    use crate::{body, credentials, dns, drain, egress, monitor, pool, proxy, retry, tcp, tls, wire};

    /// A source of values that has none: it only notes which fields a type asks for.
    struct Fields<'a>(&'a mut &'static [&'static str]);

    impl<'de> Deserializer<'de> for Fields<'_> {
        type Error = de::value::Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(de::Error::custom("not a struct"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = fields;
            Err(de::Error::custom("noted"))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    fn fields<T: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
        let mut fields: &'static [&'static str] = &[];
        assert!(T::deserialize(Fields(&mut fields)).is_err());
        fields
    }

    #[test]
    fn the_list_has_every_key_of_the_structs_and_no_other() {
        let sections = [
            ("egress", fields::<egress::Settings>()),
            ("credentials.*", fields::<credentials::Settings>()),
            ("pool", fields::<pool::Settings>()),
            ("dns", fields::<dns::Settings>()),
            ("tcp", fields::<tcp::Settings>()),
            ("proxy", fields::<proxy::Settings>()),
            ("tls", fields::<tls::Settings>()),
            ("wire", fields::<wire::Settings>()),
            ("body", fields::<body::Settings>()),
            ("retry", fields::<retry::Settings>()),
            ("monitor", fields::<monitor::Settings>()),
            ("drain", fields::<drain::Settings>()),
        ];
        let known: BTreeSet<&str> = sections.iter().map(|(section, _)| section.split('.').next().unwrap()).collect();
        let mut expected: BTreeSet<String> = BTreeSet::new();
        for field in fields::<Policy>() {
            if !known.contains(field) {
                expected.insert((*field).to_owned());
            }
        }
        for (section, fields) in sections {
            assert!(!fields.is_empty(), "{section}");
            expected.extend(fields.iter().map(|field| format!("{section}.{field}")));
        }
        let listed: BTreeSet<String> = KEYS.iter().map(|key| key.name.to_owned()).collect();
        assert_eq!(listed, expected);
    }

    #[test]
    fn the_file_of_a_preset_reads_as_the_preset() {
        for preset in Preset::ALL {
            let document = Document::parse(Path::new("seaway.toml"), &reference(preset)).unwrap();
            // Upon the preset that is furthest away: every value must be in the file itself.
            let text = reference(preset).replace(&format!("preset = \"{preset}\"\n"), "");
            let bare = Document::parse(Path::new("seaway.toml"), &text).unwrap();
            for base in Preset::ALL {
                let (policy, warnings) = document.policy(base, &[]).unwrap();
                assert_eq!((policy, warnings), (Policy::preset(preset), vec![]), "{preset}");
                let (policy, _) = bare.policy(base, &[]).unwrap();
                assert_eq!(policy, Policy { preset: base, ..Policy::preset(preset) }, "{preset} upon {base}");
            }
        }
    }

    #[test]
    fn every_example_is_one_that_loads() {
        // One secret of a kind.
        let others = [
            "file",
            "value",
            "command",
            "expires",
            "access_key",
            "secret_key",
            "token",
            "profile",
            "region",
            "service",
        ];
        let text = others.iter().fold(reference(Preset::Production).replace("\n#", "\n"), |text, key| {
            text.replace(&format!("\n{key} = "), "\n#")
        });
        let text = text.replace("mode = \"env\"", "mode = \"explicit\"");
        let text: Vec<&str> = text.lines().filter(|line| !line.starts_with(' ')).collect();
        let document = Document::parse(Path::new("/etc/seaway/seaway.toml"), &text.join("\n")).unwrap();
        let (policy, _) = document.policy(Preset::Default, &[]).unwrap();
        assert_eq!(policy.tls.client_cert.as_deref(), Some(Path::new("/etc/seaway/client.pem")));
        assert_eq!(policy.credentials.len(), 1);
    }

    #[test]
    fn no_line_is_wider_than_a_screen() {
        let file = reference(Preset::HighThroughput);
        assert_eq!(file.lines().find(|line| line.chars().count() > 120), None);
    }
}
