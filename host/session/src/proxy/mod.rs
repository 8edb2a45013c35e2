//! Proxies: which one stands between us and an origin.
//!
//! Decided before the pool, for a connection through a proxy is another one than a direct connection. This version knows
//! when a proxy applies and cannot use one yet: it fails closed. A request that a proxy should carry is an error with the
//! proxy's name, never a direct connection.

pub(crate) mod env;

use serde::Deserialize;

use crate::Environment;
use crate::error::{Error, Kind};
use crate::policy;
use crate::route::Origin;
use crate::stage::Stage;

/// `[proxy]`: whether a proxy stands between.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where the proxy comes from. Default env.
    pub mode: Mode,
}

/// Where the proxy comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The usual variables of the environment that the caller hands over, read once, at load.
    #[default]
    Env,
    /// Never a proxy.
    Off,
}

/// The proxies of a policy.
#[derive(Debug)]
pub(crate) enum Proxies {
    /// Those that the environment names.
    Env(env::Proxies),
    /// None; what was set and ignored, so that an error can say so.
    Off { ignored: Option<&'static str> },
}

impl Proxies {
    /// Reads the environment, once.
    ///
    /// # Errors
    /// Under `mode = "env"`: a variable that is no proxy, or two spellings of one that disagree.
    pub(crate) fn new(settings: &Settings, environment: &Environment) -> Result<Self, policy::Error> {
        Ok(match settings.mode {
            Mode::Env => Self::Env(env::Proxies::from_env(environment)?),
            Mode::Off => Self::Off { ignored: env::VARIABLES.into_iter().find(|name| environment.get(name).is_some()) },
        })
    }

    /// Passes an origin that no proxy is set for.
    ///
    /// # Errors
    /// Unavailable, with the variable that names the proxy.
    pub(crate) fn none_for(&self, origin: &Origin) -> Result<(), Error> {
        let Self::Env(proxies) = self else { return Ok(()) };
        let Some(proxy) = proxies.choose(origin) else { return Ok(()) };
        let message =
            format!("`{}` puts a proxy before this destination, and this version cannot use one yet", proxy.variable);
        Err(Error::new(Stage::Proxy, Kind::Unavailable, message).with_hint(format!(
            "proxy.mode = \"off\" connects directly, as does NO_PROXY={} in the environment",
            origin.host()
        )))
    }

    /// Adds to a failure of a direct connection that a proxy was set and ignored.
    pub(crate) fn hint(&self, error: Error) -> Error {
        match self {
            Self::Off { ignored: Some(name) } if error.hint().is_none() => {
                error.with_hint(format!("`{name}` is set, and proxy.mode = \"off\" ignores it"))
            }
            Self::Off { .. } | Self::Env(_) => error,
        }
    }
}
