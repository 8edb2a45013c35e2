//! What makes a connection what it is.
//!
//! Runs after credentials and before the pool, whose key the route is. Two requests share a connection only when their
//! routes are equal; so the route holds everything that makes a connection what it is, derives its identity, and is
//! built by taking the policy apart field by field: a new key does not compile until someone says whether it belongs.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::Uri;
use http::uri::Scheme as UriScheme;
use smol_str::{SmolStr, StrExt as _};

use crate::dns::{Addresses, Family, Hosts};
use crate::egress::{Egress, Trust};
use crate::error::{Error, Kind};
use crate::policy::Policy;
use crate::policy::units::{Period, Size};
use crate::pool::{Domain, Isolation, Sharing};
use crate::proxy::Proxy;
use crate::stage::Stage;
use crate::tcp::Keepalive;
use crate::tls::Identity;
use crate::{body, dns, drain, egress, monitor, pool, proxy, retry, tcp, tls, wire};

/// `http` or `https`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// Plain text.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// The scheme as a URI spells it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that a URI without one means.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Scheme, host and port (RFC 6454): where a request goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    scheme: Scheme,
    /// Lower case, without a trailing dot, an IPv6 address without its brackets. Most names fit in without an allocation.
    host: SmolStr,
    port: u16,
}

impl Origin {
    /// The origin of an absolute URI.
    ///
    /// # Errors
    /// A line that says what the URI lacks: a scheme that is `http` or `https`, a host, no user information, a port that
    /// is a number.
    pub fn of(uri: &Uri) -> Result<Self, String> {
        let scheme = match uri.scheme() {
            Some(scheme) if *scheme == UriScheme::HTTPS => Scheme::Https,
            Some(scheme) if *scheme == UriScheme::HTTP => Scheme::Http,
            Some(scheme) => return Err(format!("scheme `{scheme}` is neither http nor https")),
            None => return Err("the URI has no scheme".to_owned()),
        };
        let authority = uri.authority().ok_or("the URI has no host")?;
        if authority.as_str().contains('@') {
            return Err("the URI holds user information before its host".to_owned());
        }
        let host = authority.host();
        let after = &authority.as_str()[host.len()..];
        let port = match after.strip_prefix(':') {
            None | Some("") => scheme.default_port(),
            Some(digits) => match digits.parse::<u16>() {
                Ok(port) if port != 0 && digits.bytes().all(|byte| byte.is_ascii_digit()) => port,
                _ => return Err(format!("port `{digits}` is not a number between 1 and 65535")),
            },
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase_smolstr();
        if host.is_empty() {
            return Err("the URI has no host".to_owned());
        }
        Ok(Self { scheme, host, port })
    }

    /// Parses `scheme://host[:port]`, with or without a path behind it.
    ///
    /// # Errors
    /// As [`Origin::of`].
    pub fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|_| format!("`{text}` is not a URI"))?;
        Self::of(&uri)
    }

    /// `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host: lower case, without brackets or a trailing dot.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, also where the URI had none.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port: what `limit_per_host` counts by.
    pub(crate) fn host_port(&self) -> HostPort {
        HostPort { host: self.host.clone(), port: self.port }
    }

    /// The host as an address, where it is one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl fmt::Display for Origin {
    /// As a URI: without the scheme's own port, with brackets around an IPv6 address.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port } = self;
        write!(out, "{}://", scheme.word())?;
        match host.contains(':') {
            true => write!(out, "[{host}]")?,
            false => out.write_str(host)?,
        }
        match *port == scheme.default_port() {
            true => Ok(()),
            false => write!(out, ":{port}"),
        }
    }
}

/// A host and a port, whatever the scheme.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HostPort {
    host: SmolStr,
    port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(out, "[{}]:{}", self.host, self.port),
            false => write!(out, "{}:{}", self.host, self.port),
        }
    }
}

/// Where a request goes.
///
/// # Errors
/// The URI is not absolute, or holds what has no place in one.
pub(crate) fn destination(uri: &Uri) -> Result<Origin, Error> {
    Origin::of(uri).map_err(|what| Error::new(Stage::Egress, Kind::RequestInvalid, what))
}

/// The identity of a connection, and the pool's key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Route {
    origin: Origin,
    /// What the addresses behind the origin may be: a connection to a private one is not lent to who may not have one.
    trust: Trust,
    /// Who stands between, with all that we say to it: another login is another way. Absent: nobody.
    proxy: Option<Arc<Proxy>>,
    /// What `dns.hosts` says of the host and the proxy's: who writes another address there wants no connection to the old
    /// one.
    written: [Option<Addresses>; 2],
    /// Who may share the connection.
    domain: Domain,
    shape: Arc<Shape>,
}

impl std::hash::Hash for Route {
    /// The origin and the domain tell nearly all routes apart that one pool holds; equality looks at the rest.
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.origin.hash(state);
        self.domain.hash(state);
    }
}

/// What a policy says of every connection that is opened under it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    socket: Socket,
    /// An address that was only counted is none for who enforces.
    egress: egress::Mode,
    /// A connection that was anybody's is nobody's own.
    isolation: Isolation,
    tls: Identity,
    max_headers: usize,
    max_header_bytes: Size,
    http: wire::Http,
    h2: wire::H2,
    /// What HTTP over TLS may turn out to be.
    tls_sharing: Sharing,
}

/// What a policy says of sockets.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Socket {
    family: Family,
    keepalive: Keepalive,
    nodelay: bool,
    /// A firewall may know us by it.
    local_address: Option<IpAddr>,
    user_timeout: Option<Period>,
}

impl Route {
    pub(crate) fn new(
        origin: Origin,
        trust: Trust,
        proxy: Option<Arc<Proxy>>,
        domain: Domain,
        hosts: &Hosts,
        shape: &Arc<Shape>,
    ) -> Self {
        let written = [Some(origin.host()), proxy.as_deref().map(Proxy::host)];
        let written = written.map(|host| hosts.of(host?).cloned());
        Self { origin, trust, proxy, written, domain, shape: Arc::clone(shape) }
    }

    /// Who may share the connection.
    pub(crate) fn domain(&self) -> Domain {
        self.domain
    }

    /// The bounds within which a connection is shared.
    pub(crate) fn isolation(&self) -> Isolation {
        self.shape.isolation
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Who stands between.
    pub(crate) fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_deref()
    }

    /// The proxy that requests are handed to one by one, each with its whole URI; absent where they go through a tunnel
    /// or directly.
    pub(crate) fn forwarder(&self) -> Option<&Proxy> {
        self.proxy().filter(|proxy| proxy.forwards(&self.origin))
    }

    /// How many exchanges a connection of this route carries at once, as far as that can be known before there is one.
    pub(crate) fn sharing(&self) -> Sharing {
        match self.origin.scheme() {
            Scheme::Https => self.shape.tls_sharing,
            Scheme::Http if self.shape.http == wire::Http::Two && self.forwarder().is_none() => Sharing::Shared,
            Scheme::Http => Sharing::Exclusive,
        }
    }

    /// True if the origin's addresses are ours to find, and egress's to judge.
    pub(crate) fn is_resolved_here(&self) -> bool {
        self.proxy().is_none_or(|proxy| !proxy.resolves())
    }

    /// The addresses that a connection of this route may be made to.
    ///
    /// # Errors
    /// Egress refuses every one of them; the first refusal stands for all.
    pub(crate) fn admit(&self, egress: &Egress, addresses: &Addresses) -> Result<Addresses, Error> {
        let mut refused = None;
        let mut admit = |address: &IpAddr| match egress.admit_address(&self.origin, self.trust, *address) {
            Ok(()) => true,
            Err(error) => {
                refused.get_or_insert(error);
                false
            }
        };
        let admitted: Vec<IpAddr> = addresses.iter().copied().filter(&mut admit).collect();
        match refused {
            None => Ok(Arc::clone(addresses)),
            Some(error) if admitted.is_empty() => Err(error),
            Some(_) => Ok(admitted.into()),
        }
    }
}

impl Shape {
    /// Takes the policy apart: what makes a connection what it is stays, and for the rest the reason stands beside it.
    pub(crate) fn of(policy: &Policy, tls: Identity) -> Self {
        let Policy {
            // A name for a set of the values below, deadlines, and what is decided before there is a connection.
            preset: _,
            total: _,
            stream_total: _,
            connect: _,
            egress: egress::Settings { allow: _, addresses: _, private: _, methods: _, mode },
            credentials: _,
            pool,
            dns,
            tcp,
            proxy,
            tls: tls_settings,
            wire,
            body,
            // What follows when an exchange has failed.
            retry: retry::Settings { stale: _, status: _, max: _, budget: _, max_body: _ },
            // What a guest may say, and what is told.
            monitor: monitor::Settings { signals: _, redact: _ },
            drain: drain::Settings { grace: _, queued: _ },
            // Each origin's own has been chosen before.
            origins: _,
        } = policy;
        // The proxy that applies to an origin is a part of the route itself.
        let proxy::Settings {
            mode: _,
            http: _,
            https: _,
            all: _,
            no_proxy: _,
            auth: _,
            headers: _,
            ca: _,
            timeout: _,
            limit: _,
        } = proxy;
        let wire::Settings { timeout: _, max_headers, max_header_bytes, http, h2 } = wire;
        let offered = policy.offered();
        let tls_sharing = match offered.contains(&tls::Alpn::H2) {
            false => Sharing::Exclusive,
            true if offered.len() == 1 => Sharing::Shared,
            true => Sharing::Unknown,
        };
        // Belongs to an exchange.
        let body::Settings { timeout: _, max_request: _, max_response: _ } = body;
        no_part_of_it(pool, tls_settings);
        Self {
            socket: Socket::of(dns, tcp),
            egress: *mode,
            isolation: pool.isolation,
            tls,
            max_headers: *max_headers,
            max_header_bytes: *max_header_bytes,
            http: *http,
            h2: *h2,
            tls_sharing,
        }
    }
}

impl Socket {
    fn of(dns: &dns::Settings, tcp: &tcp::Settings) -> Self {
        // How an address is found; only its family shows in the connection. What `hosts` says of a name is the route's.
        let dns::Settings {
            servers: _,
            ttl: _,
            ttl_min: _,
            ttl_max: _,
            timeout: _,
            negative_ttl: _,
            stale_if_error: _,
            max_entries: _,
            hosts: _,
            family,
        } = dns;
        let tcp::Settings {
            // How long connecting takes, and in which order.
            timeout: _,
            happy_eyeballs: _,
            interleave: _,
            keepalive,
            nodelay,
            local_address,
            user_timeout,
        } = tcp;
        Self {
            family: *family,
            keepalive: *keepalive,
            nodelay: *nodelay,
            local_address: *local_address,
            user_timeout: *user_timeout,
        }
    }
}

/// Sections of which no key makes a connection another one.
fn no_part_of_it(pool: &pool::Settings, tls: &tls::Settings) {
    // How many connections there are, and how long they are kept.
    let pool::Settings {
        limit: _,
        limit_per_host: _,
        keepalive: _,
        force_close: _,
        cleanup_closed: _,
        timeout: _,
        max_waiters: _,
        wait_warn: _,
        max_lifetime: _,
        max_requests: _,
        descriptors: _,
        // Stands in the shape.
        isolation: _,
    } = pool;
    // Each set of TLS settings is numbered when it is read: the number stands for it, and for what its files held.
    let tls::Settings {
        roots: _,
        ca: _,
        client_cert: _,
        client_key: _,
        server_name: _,
        pins: _,
        min: _,
        max: _,
        verify: _,
        danger: _,
        alpn: _,
        timeout: _,
    } = tls;
}

#[cfg(test)]
impl Route {
    /// A route under the default policy.
    pub(crate) fn to(origin: Origin, proxy: Option<Proxy>) -> Self {
        let shape = Arc::new(Shape::of(&Policy::default(), Identity::default()));
        Self::new(origin, Trust::Public, proxy.map(Arc::new), Domain::default(), &Hosts::default(), &shape)
    }
}
