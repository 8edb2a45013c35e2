//! `[credentials.NAME]`: as it is written, and as it is meant.
//!
//! Read at load. Which keys go together depends on `kind`; what does not belong is refused by name.

use std::path::{Path, PathBuf};

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

    /// Where its secrets come from, each with the name of its key; a secret by itself has none. What a command or a profile
    /// holds has no source of its own.
    pub fn sources(&self) -> impl Iterator<Item = (Option<&'static str>, &Source)> {
        let (key, signed) = match &self.kind {
            Sort::Key(source) => (Some((None, source)), None),
            Sort::Command(_) => (None, None),
            Sort::Sigv4(sigv4) => (None, Some(&sigv4.keys)),
        };
        let signed = signed.into_iter().flat_map(|keys| match keys {
            sigv4::Keys::Each { access_key, secret_key, token } => {
                let token = token.as_ref().map(|token| (Some("token"), token));
                [Some((Some("access_key"), access_key)), Some((Some("secret_key"), secret_key)), token]
            }
            sigv4::Keys::Profile(_) | sigv4::Keys::Command(_) => [None, None, None],
        });
        key.into_iter().chain(signed.flatten())
    }

    /// Puts each path to where `resolve` says that it is.
    pub(crate) fn rebase(&mut self, resolve: impl Fn(&Path) -> PathBuf) {
        let file = |source: &mut Source| match source {
            Source::File(path) => *path = resolve(path),
            Source::Env(_) | Source::Value(_) => (),
        };
        match &mut self.kind {
            Sort::Key(source) => file(source),
            Sort::Command(command) => command.rebase(&resolve),
            Sort::Sigv4(sigv4) => match &mut sigv4.keys {
                sigv4::Keys::Each { access_key, secret_key, token } => {
                    [access_key, secret_key].into_iter().chain(token).for_each(file);
                }
                sigv4::Keys::Profile(profile) => profile.file.iter_mut().for_each(|path| *path = resolve(path)),
                sigv4::Keys::Command(command) => command.rebase(&resolve),
            },
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
    profile: Option<String>,
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
        if keys.command.is_none() && keys.expires.is_some() {
            return Err("expires without a `command` that tells it anew; a `file` is read again when it changes");
        }
        let (urls, plain_proxy) = (keys.urls.clone(), keys.plain_proxy);
        let kind = match keys.kind {
            Kind::Key => keys.secret()?,
            Kind::Sigv4 => Sort::Sigv4(Box::new(keys.signature()?)),
        };
        Ok(Self { kind, urls, plain_proxy })
    }
}

impl Keys {
    /// `kind = "key"`.
    fn secret(self) -> Result<Sort, &'static str> {
        let Self { env, file, value, command, expires, access_key, secret_key, token, profile, .. } = self;
        let signs = access_key.is_some() || secret_key.is_some() || token.is_some() || profile.is_some();
        if signs || self.region.is_some() || self.service.is_some() {
            return Err("has keys of a signature; write `kind = \"sigv4\"` beside them");
        }
        match command {
            None => Source::one_of(env, file, value).map(Sort::Key),
            Some(_) if env.is_some() || file.is_some() || value.is_some() => {
                Err("has several secrets; keep one of `env`, `file`, `value` and `command`")
            }
            Some(argv) => told(argv, expires).map(Sort::Command),
        }
    }

    /// `kind = "sigv4"`.
    fn signature(self) -> Result<sigv4::Settings, &'static str> {
        let Self { env, file, value, command, expires, access_key, secret_key, token, profile, .. } = self;
        if env.is_some() || value.is_some() {
            return Err(
                "signs, for which one secret is not enough; write `access_key` and `secret_key`, each as { env = \"...\" }, \
                 or a `profile` of AWS's shared file, or a `command`",
            );
        }
        let each = access_key.is_some() || secret_key.is_some() || token.is_some();
        let profiled = profile.is_some() || file.is_some();
        if usize::from(each) + usize::from(profiled) + usize::from(command.is_some()) > 1 {
            return Err(
                "has several keys to sign with; keep `access_key` and `secret_key`, or a `profile` with its `file`, or a \
                 `command`",
            );
        }
        let keys = match (access_key, secret_key, command) {
            (Some(access_key), Some(secret_key), None) => sigv4::Keys::Each { access_key, secret_key, token },
            (None, None, Some(argv)) => sigv4::Keys::Command(told(argv, expires)?),
            (None, None, None) if profile.as_ref().is_some_and(String::is_empty) => {
                return Err("has a `profile` without a name; write it as in `profile = \"default\"`");
            }
            (None, None, None) if profiled => sigv4::Keys::Profile(sigv4::Profile { file, name: profile }),
            _ => {
                return Err(
                    "lacks a key to sign with; write `access_key` and `secret_key`, each as { env = \"...\" }, or a \
                     `profile` of AWS's shared file, or a `command`",
                );
            }
        };
        let scope = |text: Option<String>| text.filter(|text| is_scope(text));
        let (Some(region), Some(service)) = (scope(self.region), scope(self.service)) else {
            return Err(
                "signs for a region and a service, as in `region = \"eu-central-1\"` and `service = \"bedrock\"`",
            );
        };
        Ok(sigv4::Settings { keys, region, service })
    }
}

/// A command that is written.
fn told(argv: Vec<String>, expires: Option<Timeout>) -> Result<command::Settings, &'static str> {
    if argv.first().is_none_or(String::is_empty) {
        return Err("has a `command` without a program; write it as in [\"pass\", \"show\", \"openai\"]");
    }
    let expires = expires.unwrap_or(command::Settings::EXPIRES);
    Ok(command::Settings { argv, expires, folder: PathBuf::new() })
}

/// True for what can be a part of a signature's scope.
fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}
