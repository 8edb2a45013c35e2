//! Credentials: the secret takes its placeholder's place, if the secret may go where the request goes.
//!
//! Runs after egress has admitted the request and before anything of it leaves. The guest writes
//! `seaway-credential:NAME` where a key belongs and never sees the key; what it set itself in a header that carries keys
//! is taken out. No secret is attached to a request that the credential's `urls` do not cover.

mod secret;
mod source;
mod url;
mod redact;
pub mod command;
pub mod sigv4;
mod settings;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use crate::Environment;
use crate::error::{Error, Kind};
use crate::monitor::Header;
use crate::policy;
use crate::route::{Origin, Route, Scheme};
use crate::stage::Stage;
use command::Asked;
use futures::FutureExt as _;
use futures::future::join_all;
use http::{HeaderMap, HeaderValue, Uri};
use redact::Redact;
pub use secret::Secret;
pub(crate) use secret::sensitive;
pub use settings::{Settings, Sort};
use sigv4::Signer;
pub(crate) use sigv4::Signing;
pub use source::Source;
pub(crate) use source::{Absent, Held};
pub use url::Prefix;

/// What stands in a header, before the credential's name, for a secret.
pub const PLACEHOLDER: &str = "seaway-credential:";

/// Says whether a credential may be called `name`: the name must be able to stand in a placeholder.
pub(crate) fn check_name(name: &str) -> Result<(), policy::Error> {
    if !name.is_empty() && name.bytes().all(is_of_name) {
        return Ok(());
    }
    let key = format!("credentials.\"{}\"", name.escape_default());
    Err(policy::Error::key(key, "a credential's name is made of letters, digits, `-`, `_` and `.`"))
}

/// The stage: secrets made ready to be put in.
#[derive(Debug)]
pub struct Credentials {
    redact: Redact,
    named: BTreeMap<String, Credential>,
    /// True if a command is to be asked, for some of them.
    asks: bool,
}

#[derive(Debug)]
struct Credential {
    urls: Vec<Prefix>,
    plain_proxy: bool,
    held: Ready,
}

/// What takes the place of a placeholder, or of its header.
#[derive(Debug)]
enum Ready {
    Key(Held),
    Command(Arc<Asked<secret::Ready>>),
    Sigv4(Arc<Signer>),
}

impl Ready {
    /// True if a command tells it.
    fn asks(&self) -> bool {
        match self {
            Self::Key(_) => false,
            Self::Command(_) => true,
            Self::Sigv4(signer) => signer.asks(),
        }
    }

    fn asked(&self) -> Option<&Arc<Asked<secret::Ready>>> {
        match self {
            Self::Command(asked) => Some(asked),
            Self::Key(_) | Self::Sigv4(_) => None,
        }
    }

    fn signer(&self) -> Option<&Signer> {
        match self {
            Self::Sigv4(signer) => Some(signer),
            Self::Key(_) | Self::Command(_) => None,
        }
    }
}

impl Credentials {
    /// The stage with these credentials; `redact` are the headers in which a guest may set nothing itself. What the commands
    /// of `previous` have told is taken over. Variables are read here, once; a secret that is missing is an error of the
    /// requests that need it, not of the policy.
    ///
    /// # Errors
    /// A name that no placeholder can hold.
    pub fn new(
        settings: BTreeMap<String, Settings>,
        redact: &[Header],
        environment: &Environment,
        previous: Option<&Self>,
    ) -> Result<Self, policy::Error> {
        settings.keys().try_for_each(|name| check_name(name))?;
        let credentials = settings.into_iter().map(|(name, Settings { kind, urls, plain_proxy })| {
            // What a command told is as good under this policy.
            let previous = previous.and_then(|previous| previous.named.get(&name)).map(|previous| &previous.held);
            let held = match kind {
                Sort::Key(source) => Ready::Key(Held::new(source, environment)),
                Sort::Command(settings) => Ready::Command(Asked::anew(settings, previous.and_then(Ready::asked))),
                Sort::Sigv4(settings) => {
                    Ready::Sigv4(Arc::new(Signer::new(*settings, environment, previous.and_then(Ready::signer))))
                }
            };
            (name, Credential { urls, plain_proxy, held })
        });
        let named: BTreeMap<_, _> = credentials.collect();
        let asks = named.values().any(|credential| credential.held.asks());
        Ok(Self { redact: Redact::new(redact), named, asks })
    }

    /// The names in a head's placeholders.
    pub(crate) fn named(&self, headers: &HeaderMap) -> Vec<String> {
        let named = headers.values().filter_map(|value| find(value.as_bytes()).map(|placeholder| placeholder.name));
        named.filter(|name| self.named.contains_key(*name)).map(str::to_owned).collect()
    }

    /// What there is to wait for until [`Credentials::apply`] knows all secrets of a request: commands that tell some of
    /// them. Absent, mostly, if there is none. A secret that may not go there is not asked for.
    pub(crate) fn due(
        &self,
        route: &Route,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Option<impl Future<Output = ()> + use<>> {
        if !self.asks {
            return None;
        }
        let named = headers.values().filter_map(|value| find(value.as_bytes()).map(|placeholder| placeholder.name));
        let credentials = named.filter_map(|name| Some((name, self.named.get(name)?)));
        let due = credentials.filter_map(|(name, credential)| match &credential.held {
            held if !held.asks() || credential.admit(name, route, uri).is_err() => None,
            Ready::Command(asked) => asked.due(),
            Ready::Sigv4(signer) => signer.due(),
            Ready::Key(_) => None,
        });
        let due: Vec<_> = due.collect();
        (!due.is_empty()).then(|| join_all(due).map(drop))
    }

    /// Takes out keys that the guest set itself and puts secrets in the place of placeholders. What comes back is the
    /// signature that the request needs once it is as it leaves.
    ///
    /// # Errors
    /// Credential denied, if a placeholder names no credential or one that may not go there, or not that way; secret
    /// missing. The request must not be sent then: some headers may hold secrets already.
    pub(crate) fn apply(&self, route: &Route, uri: &Uri, headers: &mut HeaderMap) -> Result<Option<Signing>, Error> {
        if uri.path_and_query().is_some_and(|path| find(path.as_str().as_bytes()).is_some()) {
            return Err(refused("the URI holds a placeholder; a secret goes into a header only"));
        }
        self.redact.strip(headers);
        let mut signing = None;
        for (name, value) in headers.iter_mut() {
            let Some(placeholder) = find(value.as_bytes()) else { continue };
            match self.fill(&placeholder, route, uri)? {
                Filled::Value(filled) => *value = filled,
                Filled::Signing(_) if signing.is_some() => {
                    return Err(refused("two headers hold placeholders of signatures; a request is signed once"));
                }
                Filled::Signing(filled) => signing = Some((name.clone(), filled)),
            }
        }
        let Some((name, signing)) = signing else { return Ok(None) };
        headers.remove(name);
        Ok(Some(signing))
    }

    fn fill(&self, placeholder: &Placeholder<'_>, route: &Route, uri: &Uri) -> Result<Filled, Error> {
        let origin = route.origin();
        let Placeholder { before, name, after } = *placeholder;
        if find(after).is_some() {
            return Err(refused("a header holds two placeholders; one secret goes into a header"));
        }
        let Some(credential) = self.named.get(name) else { return Err(self.unknown(name, origin, uri)) };
        credential.admit(name, route, uri)?;
        let missing = |Absent { message, hint }| {
            let error = Error::new(Stage::Credentials, Kind::SecretMissing, format!("credential `{name}`: {message}"));
            match hint {
                Some(hint) => error.with_hint(hint),
                None => error,
            }
        };
        let unfit = || Absent { message: "its secret does not fit into the header".to_owned(), hint: None };
        let value = |filled: Result<Option<HeaderValue>, Absent>| {
            filled.and_then(|filled| filled.ok_or_else(unfit)).map(Filled::Value).map_err(missing)
        };
        match &credential.held {
            Ready::Key(held) => value(held.between(before, after)),
            Ready::Command(asked) => value(asked.told().map(|ready| ready.between(before, after))),
            Ready::Sigv4(signer) => signer.ready().map(Filled::Signing).map_err(missing),
        }
    }

    fn unknown(&self, name: &str, origin: &Origin, uri: &Uri) -> Error {
        let name = if name.is_empty() { "NAME" } else { name };
        let near = |known: &&String| strsim::normalized_damerau_levenshtein(known, name);
        let nearest = self.named.keys().max_by(|one, other| near(one).total_cmp(&near(other)));
        let nearest = nearest.map(|nearest| format!("; nearest: `{nearest}`")).unwrap_or_default();
        let message = format!("no credential is called `{name}`{nearest}");
        Error::new(Stage::Credentials, Kind::CredentialDenied, message)
            .with_hint(format!("[credentials.{name}] with env = \"...\" and urls = [\"{origin}{}\"]", uri.path()))
    }
}

impl Credential {
    /// Says whether it may go there, and that way.
    fn admit(&self, name: &str, route: &Route, uri: &Uri) -> Result<(), Error> {
        let origin = route.origin();
        if !self.urls.iter().any(|url| url.covers(origin, uri.path())) {
            return Err(denied(name, origin, uri));
        }
        // Over https there is a tunnel, which a proxy cannot look into.
        if let (Some(proxy), Scheme::Http, false) = (route.proxy(), origin.scheme(), self.plain_proxy) {
            return Err(refused(format!("`credentials.{name}` would be read by {proxy} on its way to {origin}"))
                .with_hint(format!("credentials.{name}.plain_proxy = true lets it; https keeps it from the proxy")));
        }
        Ok(())
    }
}

/// What a placeholder came to.
enum Filled {
    Value(HeaderValue),
    Signing(Signing),
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(Stage::Credentials, Kind::CredentialDenied, message)
}

fn denied(name: &str, origin: &Origin, uri: &Uri) -> Error {
    let path = uri.path();
    match url::is_ambiguous(path) {
        true => refused(format!(
            "`credentials.{name}` may not go to {origin}{path}: no entry of `urls` matches dot segments, nor one with a path \
             encoded slashes"
        )),
        false => refused(format!("`credentials.{name}` may not go to {origin}{path}"))
            .with_hint(format!("credentials.{name}.urls = [..., \"{origin}{path}\"]")),
    }
}

/// A placeholder within a header's value.
struct Placeholder<'v> {
    before: &'v [u8],
    name: &'v str,
    after: &'v [u8],
}

fn find(value: &[u8]) -> Option<Placeholder<'_>> {
    // Asked of every header of every request: the mark's last byte is one that few values have.
    let (before, rest) = memchr::memchr_iter(b':', value).find_map(|at| {
        let (head, rest) = value.split_at(at + 1);
        head.strip_suffix(PLACEHOLDER.as_bytes()).map(|before| (before, rest))
    })?;
    let end = rest.iter().position(|byte| !is_of_name(*byte)).unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    Some(Placeholder { before, name: std::str::from_utf8(name).expect("a name is ASCII"), after })
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

#[cfg(test)]
mod tests;
