//! `[credentials.NAME]`: as it is written, and as it is meant.
//!
//! Read at load. Which keys go together depends on `kind`; what does not belong is refused by name.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Prefix, Secret, Source, command, sigv4};
use crate::policy::units::Timeout;

/// `[credentials.NAME]`: a secret, and where it may go.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Keys")]
pub struct Settings {
    /// What becomes of the placeholder.
    pub kind: Sort,
    /// Where it may go. Empty: nowhere, unless the host knows a provider of the credential's name.
    pub urls: Vec<Prefix>,
    /// True if a proxy may read it, on its way to an `http` origin. Default false.
    pub plain_proxy: bool,
}

/// What becomes of the placeholder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sort {
    /// The secret takes its place.
    Key(Source),
    /// What a command tells takes its place.
    Command(command::Settings),
    /// A signature of the request takes the place of its header.
    Sigv4(Box<sigv4::Settings>),
}

impl Settings {
    /// A secret that takes the placeholder's place.
    #[must_use]
    pub fn key(source: Source, urls: Vec<Prefix>) -> Self {
        Self { kind: Sort::Key(source), urls, plain_proxy: false }
    }

    /// Where its secrets come from, each with the name of its key; a secret by itself has none.
    pub fn sources(&self) -> impl Iterator<Item = (Option<&'static str>, &Source)> {
        let (key, signed) = match &self.kind {
            Sort::Key(source) => (Some((None, source)), None),
            Sort::Command(_) => (None, None),
            Sort::Sigv4(sigv4) => (None, Some(&**sigv4)),
        };
        let signed = signed.into_iter().flat_map(|sigv4::Settings { access_key, secret_key, token, .. }| {
            let keys = [(Some("access_key"), access_key), (Some("secret_key"), secret_key)];
            keys.into_iter().chain(token.iter().map(|token| (Some("token"), token)))
        });
        key.into_iter().chain(signed)
    }

    /// The same, to be changed.
    pub(crate) fn sources_mut(&mut self) -> Vec<&mut Source> {
        match &mut self.kind {
            Sort::Key(source) => vec![source],
            Sort::Command(_) => Vec::new(),
            Sort::Sigv4(sigv4) => {
                let sigv4::Settings { access_key, secret_key, token, .. } = &mut **sigv4;
                [access_key, secret_key].into_iter().chain(token).collect()
            }
        }
    }
}

/// `[credentials.NAME]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    env: Option<String>,
    file: Option<PathBuf>,
    value: Option<Secret>,
    command: Option<Vec<String>>,
    expires: Option<Timeout>,
    #[serde(default)]
    kind: Kind,
    access_key: Option<Source>,
    secret_key: Option<Source>,
    token: Option<Source>,
    region: Option<String>,
    service: Option<String>,
    #[serde(default)]
    urls: Vec<Prefix>,
    #[serde(default)]
    plain_proxy: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Key,
    Sigv4,
}

impl TryFrom<Keys> for Settings {
    type Error = &'static str;

    fn try_from(keys: Keys) -> Result<Self, &'static str> {
        let Keys { env, file, value, command, expires, kind, urls, plain_proxy, .. } = keys;
        let Keys { access_key, secret_key, token, region, service, .. } = keys;
        let one = env.is_some() || file.is_some() || value.is_some();
        if command.is_none() && expires.is_some() {
            return Err("expires without a `command` that tells it anew; a `file` is read again when it changes");
        }
        let kind = match kind {
            Kind::Key => {
                let signs = access_key.is_some() || secret_key.is_some() || token.is_some();
                if signs || region.is_some() || service.is_some() {
                    return Err("has keys of a signature; write `kind = \"sigv4\"` beside them");
                }
                match command {
                    None => Sort::Key(Source::one_of(env, file, value)?),
                    Some(_) if one => {
                        return Err("has several secrets; keep one of `env`, `file`, `value` and `command`");
                    }
                    Some(argv) if argv.first().is_none_or(String::is_empty) => {
                        return Err(
                            "has a `command` without a program; write it as in [\"pass\", \"show\", \"openai\"]",
                        );
                    }
                    Some(argv) => {
                        let expires = expires.unwrap_or(command::Settings::EXPIRES);
                        Sort::Command(command::Settings { argv, expires, folder: PathBuf::new() })
                    }
                }
            }
            Kind::Sigv4 => {
                if one || command.is_some() {
                    return Err(
                        "signs, for which one secret is not enough; write `access_key` and `secret_key`, each as { env = \"...\" }",
                    );
                }
                let (Some(access_key), Some(secret_key)) = (access_key, secret_key) else {
                    return Err(
                        "lacks a key to sign with; write `access_key` and `secret_key`, each as { env = \"...\" }",
                    );
                };
                let (Some(region), Some(service)) =
                    (region.filter(|text| is_scope(text)), service.filter(|text| is_scope(text)))
                else {
                    return Err(
                        "signs for a region and a service, as in `region = \"eu-central-1\"` and `service = \"bedrock\"`",
                    );
                };
                Sort::Sigv4(Box::new(sigv4::Settings { access_key, secret_key, token, region, service }))
            }
        };
        Ok(Self { kind, urls, plain_proxy })
    }
}

/// True for what can be a part of a signature's scope.
fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}
