//! The keys of a signature: where they come from, and as they are held ready.
//!
//! Looked up with all other secrets of a request. Whatever the source, what comes of it is an identity whose parts fit into
//! a header, or one line that says what is missing, without a byte of a key.

use std::sync::Arc;

use super::super::command::{self, Asked};
use super::super::secret::{Ready, Secret};
use super::super::source::{Absent, Held, Source};
use super::profile::{Profile, Shared};
use super::{Identity, Signer};
use crate::Environment;

/// Where the keys of a signature come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Each from a source of its own.
    Each {
        /// The access key's ID.
        access_key: Source,
        /// The access key's secret.
        secret_key: Source,
        /// The session token of temporary keys. Absent: the keys are not temporary.
        token: Option<Source>,
    },
    /// A profile of the file that AWS's tools share.
    Profile(Profile),
    /// What a command prints, as AWS's `credential_process` has it.
    Command(command::Settings),
}

/// The keys, as they are held ready.
#[derive(Debug)]
pub(super) enum HeldKeys {
    Each(Box<Each>),
    Profile(Shared),
    Command(Arc<Asked<Identity>>),
}

/// Keys that each have a source of their own.
#[derive(Debug)]
pub(super) struct Each {
    access_key: Held,
    secret_key: Held,
    token: Option<Held>,
}

impl HeldKeys {
    /// What a command told `previous` is taken over.
    pub(super) fn new(keys: Keys, environment: &Environment, previous: Option<&Signer>) -> Self {
        let held = |source| Held::new(source, environment);
        match keys {
            Keys::Each { access_key, secret_key, token } => {
                let token = token.map(held);
                Self::Each(Box::new(Each { access_key: held(access_key), secret_key: held(secret_key), token }))
            }
            Keys::Profile(profile) => Self::Profile(Shared::new(&profile, environment)),
            Keys::Command(settings) => {
                let previous = previous.and_then(|previous| match &previous.keys {
                    Self::Command(asked) => Some(asked),
                    Self::Each(_) | Self::Profile(_) => None,
                });
                Self::Command(Asked::anew(settings, previous))
            }
        }
    }

    /// The keys as they are now.
    pub(super) fn identity(&self) -> Result<Identity, Absent> {
        match self {
            Self::Each(each) => each.identity(),
            Self::Profile(shared) => shared.identity(),
            Self::Command(asked) => asked.told(),
        }
    }
}

impl Each {
    fn identity(&self) -> Result<Identity, Absent> {
        let text = |held: &Held, key: &str| {
            held.text().map_err(|Absent { message, hint }| Absent { message: format!("`{key}`: {message}"), hint })
        };
        let (access_key, secret_key) = (text(&self.access_key, "access_key")?, text(&self.secret_key, "secret_key")?);
        let token = self.token.as_ref().map(|token| text(token, "token")).transpose()?;
        let token = token.map(|token| token.to_string());
        Ok(Identity::new(access_key.as_str(), secret_key.as_str(), token, None, PROVIDER))
    }
}

/// Who provides an identity, for the signer's own use.
const PROVIDER: &str = "policy";

/// An identity of keys that were read elsewhere, each with its name there. An empty token is none. Of what is wrong, what
/// follows "whose" in a sentence.
pub(super) fn identity(
    access_key: (&str, &Secret),
    secret_key: (&str, &Secret),
    token: (&str, Option<&Secret>),
) -> Result<Identity, String> {
    let fit = |(name, secret): (&str, &Secret)| match Ready::new(secret) {
        Ok(_) => Ok(secret.text().to_owned()),
        Err(reason) => Err(format!("`{name}` {reason}")),
    };
    let (name, token) = token;
    let token = token.filter(|token| !token.text().is_empty()).map(|token| fit((name, token))).transpose()?;
    Ok(Identity::new(fit(access_key)?, fit(secret_key)?, token, None, PROVIDER))
}
