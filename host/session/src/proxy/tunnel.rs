//! One proxy, as a part of a route, and the way through it.
//!
//! Runs after `tcp` has reached the proxy and before `tls` shakes hands with the origin. It fails closed: whatever goes
//! wrong with a proxy is an error that names the proxy and what chose it, never a direct connection.

use std::fmt;
use std::net::IpAddr;

use http::header::{PROXY_AUTHENTICATE, PROXY_AUTHORIZATION};
use http::{HeaderValue, Response, StatusCode};

use super::address::{Scheme, Server};
use super::choice::Proxies;
use super::connect::{self, Failure, Verdict};
use super::headers::Headers;
use super::login::Login;
use super::socks;
use super::stream::Stream;
use crate::error::{Error, Kind};
use crate::monitor::{Record, Via};
use crate::policy::Policy;
use crate::route::{self, Origin, Route};
use crate::stage::Stage;
use crate::tcp;
use crate::tls::Identity;

/// A proxy, with everything that makes a connection through it what it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Proxy {
    /// The variable or the key that names it.
    pub(super) chosen_by: &'static str,
    pub(super) server: Server,
    pub(super) login: Option<Login>,
    pub(super) headers: Headers,
    /// How a TLS proxy is believed; absent for others.
    pub(super) tls: Option<Identity>,
}

impl Proxy {
    pub(crate) fn host(&self) -> &str {
        &self.server.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.port
    }

    /// Where it is and how it is spoken to, whoever we are to it.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// As a record names it, before it has answered.
    pub(crate) fn via(&self) -> Via {
        Via { proxy: self.server.to_string(), status: None, schemes: Vec::new() }
    }

    /// True if the proxy is told the origin's name; else it is told an address, which is for us to find.
    pub(crate) fn resolves(&self) -> bool {
        match self.server.scheme {
            Scheme::Http | Scheme::Https | Scheme::Socks5h => true,
            Scheme::Socks5 => false,
        }
    }

    /// True if requests to the origin are handed to the proxy one by one, rather than going through a tunnel.
    pub(crate) fn forwards(&self, origin: &Origin) -> bool {
        match (self.server.scheme, origin.scheme()) {
            (Scheme::Http | Scheme::Https, route::Scheme::Http) => true,
            (Scheme::Socks5 | Scheme::Socks5h, _) | (_, route::Scheme::Https) => false,
        }
    }

    /// What a request that the proxy forwards says of us, as `Proxy-Authorization`.
    pub(crate) fn authorization(&self) -> Option<&HeaderValue> {
        let written = || self.headers.iter().find(|(name, _)| *name == PROXY_AUTHORIZATION);
        self.login.as_ref().map(Login::basic).or_else(|| written().map(|(_, value)| value))
    }

    /// Says of a failure on the way to the proxy whose way it was.
    pub(crate) fn unreachable(&self, error: Error) -> Error {
        // Otherwise a caller would take the proxy's trouble for the origin's.
        let kind = match error.kind() {
            kind if [Kind::DnsTimeout, Kind::ConnectTimeout].contains(&kind) => Kind::ConnectTimeout,
            kind if kind == Kind::ConnectionLimit => kind,
            _other => Kind::Unavailable,
        };
        let message = format!("{self} cannot be reached: {}", error.message());
        let hint = match error.hint() {
            Some(hint) => hint.to_owned(),
            None => self.without(),
        };
        Error::new(Stage::Proxy, kind, message).with_source(error).with_hint(hint)
    }

    /// Adds to a deadline that passed whose it was.
    pub(crate) fn out_of_time(&self, error: Error) -> Error {
        match error.kind() == Kind::ConnectTimeout && error.hint().is_none() {
            true => error.with_hint(format!("{self} did not answer in time; `proxy.timeout` gives it longer")),
            false => error,
        }
    }

    /// # Errors
    /// Unavailable, unless the proxy agrees.
    pub(crate) fn judge(&self, verdict: Verdict, record: &Record) -> Result<(), Error> {
        let Verdict { status, schemes } = verdict;
        record.update(|timings| {
            timings.via = Some(Via { status: Some(status.as_u16()), schemes: schemes.clone(), ..self.via() });
        });
        if status.is_success() {
            return Ok(());
        }
        let offer = match schemes.is_empty() {
            true => String::new(),
            false => format!(", and takes {}", schemes.join(", ")),
        };
        let error = self.refused(format!("answered {status}{offer}"));
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            return Err(error.with_hint(self.who_we_are(&schemes)));
        }
        Err(error.with_hint(match status.is_server_error() {
            true => "the proxy could not reach the destination".to_owned(),
            false => format!("the proxy does not let this destination through; {}", self.without()),
        }))
    }

    /// What would have the proxy know us.
    fn who_we_are(&self, schemes: &[String]) -> String {
        let takes = |wanted: &str| schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case(wanted));
        let Self { chosen_by, server, .. } = self;
        if !schemes.is_empty() && !takes("Basic") && !self.headers.authorize() {
            return format!(
                "seaway says who it is in Basic only; a local helper that speaks the proxy's way (px, cntlm) can stand \
                 between: name it in `{chosen_by}`"
            );
        }
        match self.authorization() {
            Some(_) => format!("the user or the password of `{chosen_by}` is not the proxy's"),
            None => self.login_hint(server),
        }
    }

    /// The line that says who we are.
    pub(super) fn login_hint(&self, server: &Server) -> String {
        match self.is_of_policy() {
            true => "proxy.auth = { env = \"PROXY_AUTH\" }, with user:password in that variable".to_owned(),
            false => format!("{}={}", self.chosen_by, server.to_string().replacen("://", "://USER:PASSWORD@", 1)),
        }
    }

    /// How to do without the proxy.
    fn without(&self) -> String {
        match self.is_of_policy() {
            true => "proxy.mode = \"off\" connects directly, as does an entry of `proxy.no_proxy`".to_owned(),
            false => "proxy.mode = \"off\" connects directly, as does an entry of NO_PROXY".to_owned(),
        }
    }

    fn is_of_policy(&self) -> bool {
        self.chosen_by.contains('.')
    }

    /// An error of the proxy's own.
    pub(super) fn refused(&self, what: impl fmt::Display) -> Error {
        Error::new(Stage::Proxy, Kind::Unavailable, format!("{self} {what}"))
    }

    pub(crate) fn failed(&self, failure: Failure) -> Error {
        match failure {
            Failure::Io(error) => self.refused(format_args!("broke the connection: {error}")).with_source(error),
            Failure::Closed => self.refused("closed the connection before it answered"),
            Failure::TooLong => self.refused("answered with a head that is larger than 16 KiB"),
            Failure::Tls => {
                let hint = format!("the URL of a proxy that speaks TLS begins with https:// (in `{}`)", self.chosen_by);
                self.refused("does not answer in HTTP but in TLS").with_hint(hint)
            }
            Failure::NotHttp => self.refused("does not answer in HTTP").with_hint(format!(
                "the URL of a proxy that speaks SOCKS begins with socks5h:// (in `{}`)",
                self.chosen_by
            )),
        }
    }
}

impl fmt::Display for Proxy {
    /// ``http://proxy.corp.example:3128 of `HTTPS_PROXY` ``, without user information.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} of `{}`", self.server, self.chosen_by)
    }
}

/// Passes an answer, unless it comes from a proxy that was to forward the request and wants to know who we are: a 407 is
/// the proxy's own, whatever stands in it (RFC 9110, section 15.5.8).
///
/// # Errors
/// Unavailable, with what would change it.
pub(crate) fn accept<B>(route: &Route, answer: &Response<B>, record: &Record) -> Result<(), Error> {
    let (status, headers) = (answer.status(), answer.headers());
    match route.forwarder() {
        Some(proxy) if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            let offered = headers.get_all(PROXY_AUTHENTICATE).iter().map(HeaderValue::as_bytes);
            proxy.judge(Verdict { status, schemes: connect::schemes(offered) }, record)
        }
        Some(_) | None => Ok(()),
    }
}

/// Adds to a failed exchange that the peer was a proxy, where it was one.
pub(crate) fn forwarding(route: &Route, error: Error) -> Error {
    match route.forwarder() {
        Some(proxy) if error.hint().is_none() => error.with_hint(format!("the peer is {proxy}; {}", proxy.without())),
        Some(_) | None => error,
    }
}

impl Proxies {
    /// The way to the route's origin through its proxy, to which `stream` leads. `destination` are the addresses of an
    /// origin that is resolved here.
    ///
    /// Cancel safe: dropping it closes the connection.
    pub(crate) async fn tunnel(
        &self,
        proxy: &Proxy,
        route: &Route,
        destination: &[IpAddr],
        policy: &Policy,
        stream: tcp::Stream,
        record: &Record,
    ) -> Result<Stream, Error> {
        let origin = route.origin();
        let mut stream = match proxy.server.scheme {
            Scheme::Http => Stream::plain(stream),
            Scheme::Https => self.shake_hands(proxy, route, stream).await?,
            Scheme::Socks5 => return socks::through(proxy, origin, destination, policy, stream).await,
            Scheme::Socks5h => return socks::by_name(proxy, origin, stream).await,
        };
        if proxy.forwards(origin) {
            return Ok(stream);
        }
        let answer = connect::connect(&mut stream, proxy, origin).await;
        let (verdict, early) = answer.map_err(|failure| proxy.failed(failure))?;
        proxy.judge(verdict, record).map(|()| stream.behind(early))
    }

    async fn shake_hands(&self, proxy: &Proxy, route: &Route, stream: tcp::Stream) -> Result<Stream, Error> {
        let tls = self.tls().ok_or_else(|| proxy.refused("speaks TLS, for which there are no settings"))?;
        let stream = tls.connect(proxy.host(), route, stream).await.map_err(|error| {
            let message = format!("{proxy}: {}", error.message());
            let hint = error.hint().map(str::to_owned);
            let error = Error::new(Stage::Proxy, error.kind(), message).with_source(error);
            match hint {
                Some(hint) => error.with_hint(hint),
                None => error,
            }
        })?;
        Ok(Stream::tls(stream))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::proxy::address::Address;

    /// A proxy that `HTTPS_PROXY` names.
    pub(crate) fn proxy(text: &str) -> Proxy {
        let Address { server, login } = Address::parse(text).unwrap();
        Proxy { chosen_by: "HTTPS_PROXY", server, login, headers: Headers::default(), tls: None }
    }

    fn refusal(proxy: &Proxy, status: u16, schemes: &[&str]) -> (String, String) {
        let schemes = schemes.iter().map(|scheme| (*scheme).to_owned()).collect();
        let verdict = Verdict { status: StatusCode::from_u16(status).unwrap(), schemes };
        let error = proxy.judge(verdict, &Record::default()).unwrap_err();
        assert_eq!((error.stage(), error.kind()), (Stage::Proxy, Kind::Unavailable));
        (error.message().to_owned(), error.hint().unwrap_or_default().to_owned())
    }

    #[test]
    fn a_refusal_says_the_status_and_what_would_change_it() {
        let (anonymous, known) = (proxy("http://p:3128"), proxy("http://hidden:hidden@p:3128"));
        let of_policy = Proxy { chosen_by: "proxy.https", ..anonymous.clone() };
        let required = "answered 407 Proxy Authentication Required";
        let table: [(&Proxy, u16, &[&str], &str, &str); 9] = [
            (&anonymous, 407, &["Basic"], required, "HTTPS_PROXY=http://USER:PASSWORD@p:3128"),
            (&of_policy, 407, &["Basic"], required, "proxy.auth = { env = \"PROXY_AUTH\" }"),
            (&known, 407, &["Negotiate", "basic"], required, "the user or the password of `HTTPS_PROXY`"),
            (&known, 407, &["NTLM", "Negotiate"], "and takes NTLM, Negotiate", "(px, cntlm)"),
            (&anonymous, 407, &["Digest"], "and takes Digest", "(px, cntlm)"),
            (&anonymous, 407, &[], required, "HTTPS_PROXY="),
            (&anonymous, 403, &[], "answered 403 Forbidden", "an entry of NO_PROXY"),
            (&of_policy, 403, &[], "answered 403 Forbidden", "an entry of `proxy.no_proxy`"),
            (&anonymous, 502, &[], "answered 502 Bad Gateway", "could not reach the destination"),
        ];
        for (proxy, status, schemes, message, hint) in table {
            let found = refusal(proxy, status, schemes);
            assert!(found.0.starts_with("http://p:3128 of `"), "{found:?}");
            assert!(found.0.contains(message) && found.1.contains(hint), "{found:?}");
            assert!(!format!("{found:?}").contains("hidden"), "{found:?}");
        }
    }

    #[test]
    fn only_success_opens_a_tunnel() {
        for (status, opens) in [(200, true), (299, true), (101, false), (302, false), (400, false), (503, false)] {
            let verdict = Verdict { status: StatusCode::from_u16(status).unwrap(), schemes: Vec::new() };
            assert_eq!(proxy("http://p").judge(verdict, &Record::default()).is_ok(), opens, "{status}");
        }
    }

    #[test]
    fn who_resolves_and_who_forwards() {
        let (http, https) = (Origin::parse("http://a.test").unwrap(), Origin::parse("https://a.test").unwrap());
        // proxy, resolves, forwards http, forwards https
        let table = [
            ("http://p", true, true, false),
            ("https://p", true, true, false),
            ("socks5://p", false, false, false),
            ("socks5h://p", true, false, false),
        ];
        for (text, resolves, forwards_http, forwards_https) in table {
            let proxy = proxy(text);
            let found = (proxy.resolves(), proxy.forwards(&http), proxy.forwards(&https));
            assert_eq!(found, (resolves, forwards_http, forwards_https), "{text}");
        }
    }
}
