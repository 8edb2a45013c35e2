//! Proxies: who stands between us and an origin, and the way through.
//!
//! Which proxy applies is decided before the pool ([`Proxies::choose`]), because a connection through one is another than
//! a direct one, and with other credentials another again. The tunnel runs after `tcp` and before `tls`. It fails closed: a
//! proxy that is named and cannot be used is an error, never a direct connection.

mod address;
mod login;
mod headers;
mod bypass;
mod env;
mod choice;
mod tunnel;
mod connect;
mod socks;
mod stream;

use std::path::PathBuf;

use serde::Deserialize;

use crate::credentials::Source;
use crate::policy::Error;
use crate::policy::units::Period;
pub use address::Address;
pub(crate) use address::Server;
pub use bypass::Bypass;
pub(crate) use choice::Proxies;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use connect::{Failure, Verdict, connect};
pub use headers::Headers;
pub(crate) use stream::Stream;
#[cfg(test)]
pub(crate) use tunnel::tests::proxy;
pub(crate) use tunnel::{Proxy, accept, forwarding};

/// `[proxy]`: whether a proxy stands between.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where the proxy comes from. Default env.
    pub mode: Mode,
    /// The proxy of `http` origins, under `explicit` only. Absent: that of `all`.
    pub http: Option<Address>,
    /// The proxy of `https` origins, under `explicit` only. Absent: that of `all`.
    pub https: Option<Address>,
    /// The proxy of origins that have none of their scheme, under `explicit` only. Absent: they are reached directly.
    pub all: Option<Address>,
    /// Destinations that are reached directly, under `explicit` only. Default none.
    pub no_proxy: Bypass,
    /// `user:password` for each of the proxies, under `explicit` only. Absent: what their URLs say.
    pub auth: Option<Source>,
    /// Header fields of each `CONNECT`. Default none.
    pub headers: Headers,
    /// Files of roots, in PEM, that vouch for `https://` proxies. Empty, the default: those of `[tls]`.
    pub ca: Vec<PathBuf>,
    /// Deadline of the way through a connected proxy: TLS to it, and its answer. Default 10 s.
    pub timeout: Period,
    /// Open sockets to one proxy, at most, beside the limits of `[pool]`. 0 is no limit, the default.
    pub limit: usize,
}

/// Where the proxy comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The usual variables of the environment that the caller hands over, read once, at load.
    #[default]
    Env,
    /// The keys of the policy, and no variable.
    Explicit,
    /// Never a proxy.
    Off,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::Env,
            http: None,
            https: None,
            all: None,
            no_proxy: Bypass::default(),
            auth: None,
            headers: Headers::default(),
            ca: Vec::new(),
            timeout: Period::seconds(10),
            limit: 0,
        }
    }
}

impl Settings {
    /// What no single key can see: keys that need or exclude one another.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let Self { mode, http, https, all, no_proxy, auth, .. } = self;
        let named = [("proxy.http", http), ("proxy.https", https), ("proxy.all", all)];
        let named = named.into_iter().filter_map(|(key, address)| Some((key, address.as_ref()?)));
        match mode {
            Mode::Explicit if named.clone().next().is_none() => {
                Err(Error::key("proxy.mode", "\"explicit\" names no proxy; write one of `http`, `https` and `all`"))
            }
            Mode::Explicit => match named.clone().find(|(_, address)| auth.is_some() && address.login.is_some()) {
                Some((key, _)) => Err(Error::key("proxy.auth", format!("a login is in `{key}` too; keep one of them"))),
                None => Ok(()),
            },
            Mode::Env | Mode::Off => {
                let bypass = (!no_proxy.is_empty()).then_some("proxy.no_proxy");
                let mut keys = named.map(|(key, _)| key).chain(bypass).chain(auth.as_ref().map(|_| "proxy.auth"));
                let message = "is for mode = \"explicit\"; write that, or take this key out";
                keys.next().map_or(Ok(()), |key| Err(Error::key(key, message)))
            }
        }
    }

    /// Keys that hold a secret themselves.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &'static str> {
        let Self { http, https, all, auth, .. } = self;
        let named = [("proxy.http", http), ("proxy.https", https), ("proxy.all", all)];
        let has_login = |address: &Option<Address>| address.as_ref().is_some_and(|address| address.login.is_some());
        let urls = named.map(|(key, address)| has_login(address).then_some(key));
        let value = matches!(auth, Some(Source::Value(_))).then_some("proxy.auth");
        urls.into_iter().chain([value]).flatten()
    }
}
