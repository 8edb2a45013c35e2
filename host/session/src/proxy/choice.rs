//! Which proxy, if any, stands between us and an origin.
//!
//! Made once, when a session is built; asked, purely, for every request before the pool, because who stands between is a
//! part of the route.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::address::{Address, Scheme};
use super::bypass::Bypass;
use super::login::Login;
use super::tunnel::Proxy;
use super::{Mode, Settings, env, socks};
use crate::Environment;
use crate::credentials::{Absent, Held, Source};
use crate::error::{Error, Kind};
use crate::monitor::Counters;
use crate::policy;
use crate::route::{self, Origin};
use crate::stage::Stage;
use crate::tls::{self, Identity, Tls};

/// The proxies that somebody wrote down, each with the variable or the key that names it.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) http: Option<(&'static str, Address)>,
    pub(super) https: Option<(&'static str, Address)>,
    pub(super) all: Option<(&'static str, Address)>,
    pub(super) bypass: Bypass,
}

/// The proxies of a policy.
#[derive(Debug)]
pub(crate) struct Proxies {
    http: Option<Named>,
    https: Option<Named>,
    all: Option<Named>,
    bypass: Bypass,
    /// How TLS proxies are believed; read again when its files change. Absent where there is none.
    tls: Option<ArcSwap<Tls>>,
    /// The variable or the key that names the first of them.
    named: Option<&'static str>,
    /// What was set and `off` ignores, so that an error can say so.
    ignored: Option<&'static str>,
}

/// A proxy that is named somewhere.
#[derive(Debug)]
enum Named {
    Fixed(Arc<Proxy>),
    /// Its login, or who vouches for it, is in files, which are read again when they change.
    Renewed {
        held: Option<Held>,
        current: Mutex<Arc<Proxy>>,
    },
}

impl Proxies {
    /// Reads the variables and files that the settings ask for. What TLS proxies have told `previous` stays where both say
    /// the same.
    ///
    /// # Errors
    /// A proxy that cannot be used; two spellings of a variable that disagree; keys that do not go together.
    pub(crate) fn new(
        settings: &Settings,
        tls: &tls::Settings,
        environment: &Environment,
        counters: &Arc<Counters>,
        previous: Option<&Self>,
    ) -> Result<Self, policy::Error> {
        settings.check()?;
        let key = |name, address: &Option<Address>| address.clone().map(|address| (name, address));
        let written = match settings.mode {
            Mode::Env => env::read(environment)?,
            Mode::Explicit => Written {
                http: key("proxy.http", &settings.http),
                https: key("proxy.https", &settings.https),
                all: key("proxy.all", &settings.all),
                bypass: settings.no_proxy.clone(),
            },
            Mode::Off => Written::default(),
        };
        let ignored = env::VARIABLES.into_iter().find(|name| environment.get(name).is_some());
        let Written { http, https, all, bypass } = written;
        let speaks_tls = |(_, address): &(_, Address)| address.server.scheme == Scheme::Https;
        let tls = match [&http, &https, &all].into_iter().flatten().any(speaks_tls) {
            true => {
                let previous = previous.and_then(|previous| Some(previous.tls.as_ref()?.load_full()));
                Some(Tls::for_proxies(tls, &settings.ca, environment, counters, previous.as_ref())?)
            }
            false => None,
        };
        let first = [&http, &https, &all].into_iter().flatten().map(|(name, _)| *name).next();
        let named = |written: Option<(&'static str, Address)>| {
            written.map(|(name, address)| Named::new(name, address, settings, tls.as_deref(), environment)).transpose()
        };
        Ok(Self {
            http: named(http)?,
            https: named(https)?,
            all: named(all)?,
            bypass,
            tls: tls.map(ArcSwap::new),
            named: first,
            ignored: ignored.filter(|_| settings.mode == Mode::Off),
        })
    }

    /// The variable or the key that names a proxy, whatever it is for. Absent where there is none.
    pub(crate) fn named_by(&self) -> Option<&'static str> {
        self.named
    }

    /// The proxy that a request to `origin` goes through. Absent: directly.
    ///
    /// # Errors
    /// The file with the proxy's login cannot be read any more.
    pub(crate) fn choose(&self, origin: &Origin) -> Result<Option<Arc<Proxy>>, Error> {
        let of_scheme = match origin.scheme() {
            route::Scheme::Http => &self.http,
            route::Scheme::Https => &self.https,
        };
        match of_scheme.as_ref().or(self.all.as_ref()).filter(|_| !self.bypass.covers(origin)) {
            Some(named) => named.now(|| self.tls().map(|tls| tls.identity())).map(Some),
            None => Ok(None),
        }
    }

    /// How TLS proxies are believed now.
    pub(super) fn tls(&self) -> Option<Arc<Tls>> {
        let current = self.tls.as_ref()?;
        if let Some(renewed) = current.load().renewed() {
            current.store(Arc::new(renewed));
        }
        Some(current.load_full())
    }

    /// Adds to a failure of a direct connection that a proxy was set and ignored.
    pub(crate) fn hint(&self, error: Error) -> Error {
        match self.ignored {
            Some(name) if error.hint().is_none() => {
                error.with_hint(format!("`{name}` is set, and proxy.mode = \"off\" ignores it"))
            }
            Some(_) | None => error,
        }
    }
}

impl Named {
    fn new(
        chosen_by: &'static str,
        address: Address,
        settings: &Settings,
        tls: Option<&Tls>,
        environment: &Environment,
    ) -> Result<Self, policy::Error> {
        let Address { server, login } = address;
        let held = settings.auth.clone().map(|source| Held::new(source, environment));
        let of_auth = held.as_ref().map(read).transpose();
        let of_auth = of_auth.map_err(|absent| policy::Error::key("proxy.auth", absent.message))?;
        let of_key = |reason| match chosen_by.contains('.') {
            true => policy::Error::key(chosen_by, format!("not a proxy that can be used: {reason}")),
            false => policy::Error::new(format!("{chosen_by} is not a proxy that can be used: {reason}")),
        };
        let login = of_auth.or(login);
        match (&login, server.scheme) {
            (Some(login), Scheme::Socks5 | Scheme::Socks5h) => socks::check(login).map_err(of_key)?,
            (Some(_), Scheme::Http | Scheme::Https) if settings.headers.authorize() => {
                return Err(policy::Error::key(
                    "proxy.headers",
                    format!("says who we are, and so does the login of `{chosen_by}`; keep one of them"),
                ));
            }
            (Some(_), Scheme::Http | Scheme::Https) | (None, _) => (),
        }
        let tls = tls.filter(|_| server.scheme == Scheme::Https).map(Tls::identity);
        let proxy = Arc::new(Proxy { chosen_by, server, login, headers: settings.headers.clone(), tls });
        let held = held.filter(|_| matches!(settings.auth, Some(Source::File(_))));
        Ok(match held.is_some() || tls.is_some() {
            true => Self::Renewed { held, current: Mutex::new(proxy) },
            false => Self::Fixed(proxy),
        })
    }

    fn now(&self, tls: impl FnOnce() -> Option<Identity>) -> Result<Arc<Proxy>, Error> {
        let (held, current) = match self {
            Self::Fixed(proxy) => return Ok(Arc::clone(proxy)),
            Self::Renewed { held, current } => (held, current),
        };
        let read = held.as_ref().map(read).transpose().map_err(|absent| {
            Error::new(Stage::Proxy, Kind::SecretMissing, format!("`proxy.auth`: {}", absent.message))
        })?;
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        let login = read.or_else(|| current.login.clone());
        let tls = current.tls.and_then(|_| tls());
        if (&current.login, current.tls) != (&login, tls) {
            *current = Arc::new(Proxy { login, tls, ..Proxy::clone(&current) });
        }
        Ok(Arc::clone(&current))
    }
}

fn read(held: &Held) -> Result<Login, Absent> {
    let unfit = |reason| Absent { message: format!("the login {reason}"), hint: None };
    let text = held.between(b"", b"")?.ok_or_else(|| unfit("does not fit into a header"))?;
    Login::parse(text.as_bytes()).map_err(unfit)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::policy::{Document, Preset};

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn proxies(section: &str, pairs: &[(&str, &str)]) -> Result<Proxies, String> {
        let document = Document::parse(Path::new("seaway.toml"), &format!("[proxy]\n{section}")).unwrap();
        let (policy, _) = document.policy(Preset::Default, &[]).map_err(|error| error.to_string())?;
        let proxies = Proxies::new(&policy.proxy, &policy.tls, &environment(pairs), &Arc::default(), None);
        proxies.map_err(|error| document.locate(error).to_string())
    }

    fn chosen(proxies: &Proxies, destination: &str) -> Option<Arc<Proxy>> {
        proxies.choose(&Origin::parse(destination).unwrap()).unwrap()
    }

    fn shown(proxies: &Proxies, destination: &str) -> String {
        chosen(proxies, destination).map_or_else(String::new, |proxy| proxy.to_string())
    }

    /// X4: the documented table. A variable in lower case and one in upper case are the same one, an empty one is absent,
    /// the scheme's own comes before the one for all, and a CGI server's `HTTP_PROXY` is none.
    #[test]
    fn the_variable_of_the_scheme_comes_before_the_one_for_all() {
        let (https, http) = ("https://api.test", "http://api.test");
        // environment, destination, proxy
        type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str);
        let table: [Row<'_>; 19] = [
            (&[], https, ""),
            (&[("https_proxy", "http://p:3128")], https, "http://p:3128 of `https_proxy`"),
            (&[("HTTPS_PROXY", "http://p:3128")], https, "http://p:3128 of `HTTPS_PROXY`"),
            (&[("HTTPS_PROXY", "http://p:3128")], http, ""),
            (&[("http_proxy", "http://p:3128")], http, "http://p:3128 of `http_proxy`"),
            (&[("HTTP_PROXY", "http://p:3128")], http, "http://p:3128 of `HTTP_PROXY`"),
            (&[("HTTP_PROXY", "http://p:3128")], https, ""),
            (&[("HTTP_PROXY", "http://p:3128"), ("REQUEST_METHOD", "GET")], http, ""),
            (
                &[("http_proxy", "http://p:1"), ("HTTP_PROXY", "http://q:2"), ("REQUEST_METHOD", "GET")],
                http,
                "http://p:1 of `http_proxy`",
            ),
            (&[("ALL_PROXY", "socks5://p")], https, "socks5://p:1080 of `ALL_PROXY`"),
            (&[("all_proxy", "socks5h://p"), ("https_proxy", "http://q:2")], https, "http://q:2 of `https_proxy`"),
            (&[("all_proxy", "socks5h://p"), ("https_proxy", "http://q:2")], http, "socks5h://p:1080 of `all_proxy`"),
            (&[("https_proxy", ""), ("HTTPS_PROXY", "http://p:1")], https, "http://p:1 of `HTTPS_PROXY`"),
            (&[("https_proxy", " "), ("all_proxy", "")], https, ""),
            (&[("https_proxy", "http://p:1"), ("HTTPS_PROXY", " http://p:1 ")], https, "http://p:1 of `https_proxy`"),
            (&[("https_proxy", "P.Corp:3128/")], https, "http://p.corp:3128 of `https_proxy`"),
            (&[("https_proxy", "user:pa@ss@[::1]:8080")], https, "http://[::1]:8080 of `https_proxy`"),
            (&[("https_proxy", "http://p:1"), ("NO_PROXY", "api.test")], https, ""),
            (&[("all_proxy", "http://p:1"), ("no_proxy", "*")], http, ""),
        ];
        for (pairs, destination, expected) in table {
            assert_eq!(shown(&proxies("", pairs).unwrap(), destination), expected, "{pairs:?} {destination}");
            assert_eq!(shown(&proxies("mode = 'off'", pairs).unwrap(), destination), "");
        }
    }

    #[test]
    fn explicit_takes_the_keys_and_no_variable() {
        let pairs = [("HTTPS_PROXY", "http://env:1"), ("NO_PROXY", "*"), ("AUTH", "user:hidden")];
        let section = "mode = 'explicit'\nhttp = 'http://a:1'\nall = 'socks5h://b'\nno_proxy = ['*.direct.test']\n\
                       auth = { env = 'AUTH' }";
        let proxies = proxies(section, &pairs).unwrap();
        assert_eq!(shown(&proxies, "http://api.test"), "http://a:1 of `proxy.http`");
        assert_eq!(shown(&proxies, "https://api.test"), "socks5h://b:1080 of `proxy.all`");
        assert_eq!(shown(&proxies, "https://x.direct.test"), "");
        let login = chosen(&proxies, "https://api.test").unwrap().login.clone().unwrap();
        assert_eq!(login.parts(), (&b"user"[..], &b"hidden"[..]));
        assert!(!format!("{proxies:?}").contains("hidden"));
    }

    #[test]
    fn keys_that_do_not_go_together_say_what_to_change() {
        let table = [
            ("http = 'http://hidden@p'", "seaway.toml:2: `proxy.http`: is for mode = \"explicit\""),
            ("mode = 'off'\nno_proxy = 'a.test'", "seaway.toml:3: `proxy.no_proxy`: is for mode = \"explicit\""),
            ("auth = { value = 'u:hidden' }", "seaway.toml:2: `proxy.auth`: is for mode = \"explicit\""),
            ("mode = 'explicit'", "seaway.toml:2: `proxy.mode`: \"explicit\" names no proxy"),
            ("mode = 'explicit'\nno_proxy = 'a'", "seaway.toml:2: `proxy.mode`: \"explicit\" names no proxy"),
            (
                "mode = 'explicit'\nall = 'hidden://p'",
                "seaway.toml:3: `proxy.all`: not a proxy that can be used: its scheme",
            ),
            ("mode = 'explicit'\nall = ''", "seaway.toml:3: `proxy.all`: not a proxy that can be used: it has no host"),
            (
                "mode = 'explicit'\nall = 'u:hidden@p'\nauth = { value = 'u:hidden' }",
                "seaway.toml:4: `proxy.auth`: a login is in `proxy.all` too; keep one of them",
            ),
            (
                "mode = 'explicit'\nall = 'p'\nauth = { value = 'hidden' }",
                "seaway.toml:4: `proxy.auth`: the login is not user:password",
            ),
            (
                "mode = 'explicit'\nall = 'p'\nauth = { env = 'ABSENT' }",
                "seaway.toml:4: `proxy.auth`: the variable ABSENT is not set",
            ),
            (
                "mode = 'explicit'\nall = 'p'\nauth = { file = '/nowhere/login' }",
                "seaway.toml:4: `proxy.auth`: the file /nowhere/login cannot be read",
            ),
            (
                "mode = 'explicit'\nall = 'p'\nauth = { file = 'a', env = 'B' }",
                "seaway.toml:4: `proxy.auth`: has several secrets; keep one of `env`, `file` and `value`",
            ),
            (
                "mode = 'explicit'\nall = 'socks5://u@p'",
                "seaway.toml:3: `proxy.all`: not a proxy that can be used: SOCKS needs a user and a password",
            ),
            (
                "mode = 'explicit'\nall = 'u:hidden@p'\nheaders = { Proxy-Authorization = 'Bearer hidden' }",
                "seaway.toml:4: `proxy.headers`: says who we are, and so does the login of `proxy.all`",
            ),
            ("headers = { Host = 'hidden' }", "seaway.toml:2: `proxy.headers`: `Host` is the session's own to write"),
            ("no_proxy = ['10.0.0.0/99']", "seaway.toml:2: `proxy.no_proxy`: `10.0.0.0/99` is no name"),
            ("timeout = 'off'", "seaway.toml:2: `proxy.timeout`: `off` is not a number with a unit"),
        ];
        for (section, expected) in table {
            let error = proxies(section, &[]).map(|_| section).unwrap_err();
            assert!(error.starts_with(expected), "{error}\n{expected}");
            assert!(!error.contains("hidden") && !error.contains('\n'), "{error}");
        }
    }

    /// X15: who we are to the proxy is a part of the route; so is what else a tunnel is asked for with.
    #[test]
    fn other_credentials_are_another_proxy() {
        let of =
            |section: &str| chosen(&proxies(&format!("mode = 'explicit'\n{section}"), &[]).unwrap(), "https://a.test");
        assert_eq!(of("https = 'http://u:a@p'"), of("https = 'http://u:a@p:80'"));
        let others = [
            "https = 'http://u:a@p'",
            "https = 'http://u:b@p'",
            "https = 'http://v:a@p'",
            "https = 'http://p'",
            "https = 'http://u:a@p:81'",
            "https = 'http://u:a@q'",
            "https = 'socks5://u:a@p:80'",
            "https = 'http://u:a@p'\nheaders = { x = '1' }",
            "https = 'http://u:a@p'\nheaders = { x = '2' }",
        ];
        for (at, one) in others.iter().enumerate() {
            assert!(others[at + 1..].iter().all(|other| of(one) != of(other)), "{one}");
        }
    }
}
