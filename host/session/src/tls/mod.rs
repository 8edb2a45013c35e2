//! Whom we believe, and who we are: the handshake with the origin.
//!
//! Runs after `tcp` or `proxy` on `https` routes, before `wire`; and within `proxy`, for one that speaks TLS itself. The
//! settings are read when a session is built, and again when one of their files changes, and each reading is numbered; the
//! number is part of the route, so that a connection made under one client certificate is never lent to another.
//! Verification is switched off by two keys only.

pub mod files;
mod pin;
mod sessions;
mod verifier;
mod watch;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::pki_types::ServerName;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion,
    SupportedProtocolVersion,
};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Environment;
use crate::error::{Error, Kind};
use crate::monitor::{Counters, Handshake};
use crate::policy;
use crate::policy::units::Period;
use crate::proxy::Proxy;
use crate::route::Route;
use crate::stage::Stage;
use files::Trusted;
pub use pin::Pin;
use sessions::Sessions;
use verifier::{Reason, Refused, Verifier};
use watch::Watch;

/// `[tls]`: whom we believe, and who we are. Its files are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where trust comes from. Default platform.
    pub roots: Roots,
    /// Files of further roots, and of revocation lists (X509 CRL), in PEM. Default none.
    pub ca: Vec<PathBuf>,
    /// Our certificate chain, in PEM. Needs `client_key`.
    pub client_cert: Option<PathBuf>,
    /// The key of `client_cert`, in PEM, unencrypted.
    pub client_key: Option<PathBuf>,
    /// The name that the certificate must have, sent as SNI, in the place of the host's. Default the host.
    pub server_name: Option<String>,
    /// Keys of which the server's own certificate must have one, beside all else. Default empty: any key.
    pub pins: Vec<Pin>,
    /// The lowest version that is spoken. Default 1.2.
    pub min: Version,
    /// The highest version that is spoken. Default 1.3.
    pub max: Version,
    /// Whether the server's certificate is verified. Default true. With false, whoever is on the way can read and change
    /// everything, secrets included; it needs `danger = true`, warns at load, and is counted. Pins still hold.
    pub verify: bool,
    /// Says that `verify = false` is meant. Default false.
    pub danger: bool,
    /// The protocols that servers are offered (ALPN, RFC 7301), the preferred one first. Default h2, http/1.1. None: HTTP/1.1.
    pub alpn: Vec<Alpn>,
    /// Deadline of the handshake. Default 10 s.
    pub timeout: Period,
}

/// A protocol that TLS may agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum Alpn {
    /// HTTP/2.
    #[serde(rename = "h2")]
    H2,
    /// HTTP/1.1.
    #[serde(rename = "http/1.1")]
    Http11,
}

impl Alpn {
    /// The protocol's registered name.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::H2 => "h2",
            Self::Http11 => "http/1.1",
        }
    }
}

impl std::fmt::Display for Alpn {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.word())
    }
}

/// Where trust comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Roots {
    /// The operating system's store, `SSL_CERT_FILE` and `SSL_CERT_DIR` of the environment added.
    #[default]
    Platform,
    /// Mozilla's roots as they were when this program was built.
    Webpki,
    /// Only the files of `ca`.
    None,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
pub enum Version {
    /// RFC 5246.
    #[serde(rename = "1.2")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    Tls13,
}

impl Version {
    /// The version as the file writes it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }

    fn speaks(self) -> &'static SupportedProtocolVersion {
        match self {
            Self::Tls12 => &rustls::version::TLS12,
            Self::Tls13 => &rustls::version::TLS13,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            roots: Roots::Platform,
            ca: Vec::new(),
            client_cert: None,
            client_key: None,
            server_name: None,
            pins: Vec::new(),
            min: Version::Tls12,
            max: Version::Tls13,
            verify: true,
            danger: false,
            alpn: vec![Alpn::H2, Alpn::Http11],
            timeout: Period::seconds(10),
        }
    }
}

/// Refuses keys that exclude or need one another.
///
/// # Errors
/// A certificate without its key, a range without a version, no verification without a word about it.
pub(crate) fn check(settings: &Settings) -> Result<(), policy::Error> {
    let Settings { client_cert, client_key, min, max, verify, danger, .. } = settings;
    let (key, what) = match (client_cert, client_key) {
        (Some(_), None) => ("tls.client_cert", "needs its key; write `client_key` beside it".to_owned()),
        (None, Some(_)) => ("tls.client_key", "needs its certificate; write `client_cert` beside it".to_owned()),
        (Some(_), Some(_)) | (None, None) if min > max => {
            ("tls.min", format!("{} is above `tls.max`, which is {}", min.word(), max.word()))
        }
        (Some(_), Some(_)) | (None, None) if !verify && !danger => (
            "tls.verify",
            "false lets anybody on the way read and change everything, secrets included; write `danger = true` beside it \
             if that is meant, else name the server's roots in `tls.ca`"
                .to_owned(),
        ),
        (Some(_), Some(_)) | (None, None) => return Ok(()),
    };
    Err(policy::Error::key(key, what))
}

/// What of the TLS settings makes a connection what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(test, derive(Default))]
pub(crate) struct Identity {
    /// Counts the sets of settings that this process has read.
    generation: u64,
}

/// TLS settings, read and checked.
#[derive(Debug)]
pub(crate) struct Tls {
    sessions: Sessions,
    server_name: Option<ServerName<'static>>,
    identity: Identity,
    /// "149 platform roots", for an error.
    roots: String,
    source: Arc<Source>,
    watch: Watch,
}

/// What the settings are read from again when their files change.
#[derive(Debug)]
struct Source {
    settings: Settings,
    base: Trusted,
    counters: Arc<Counters>,
    peer: Peer,
}

/// Whom we shake hands with, which decides what a message advises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Origin,
    Proxy,
}

impl Peer {
    /// The key that trusts further roots.
    const fn ca(self) -> &'static str {
        match self {
            Self::Origin => "tls.ca",
            Self::Proxy => "proxy.ca",
        }
    }
}

static GENERATIONS: AtomicU64 = AtomicU64::new(1);

impl Tls {
    /// Reads the files that the settings name; `previous` itself, with what it can resume, where it says the same.
    ///
    /// # Errors
    /// As [`check`]; a file that cannot be used, an empty platform store, a name that is none.
    pub(crate) fn new(
        settings: &Settings,
        environment: &Environment,
        counters: &Arc<Counters>,
        previous: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, policy::Error> {
        check(settings)?;
        if !settings.verify {
            tracing::warn!("{UNVERIFIED}");
        }
        Self::load(settings.clone(), Peer::Origin, environment, counters, previous)
    }

    /// For proxies that speak TLS: believed by the roots of `ca`, else as the settings say. Such a proxy is shown no
    /// certificate of ours, and must have the name of its own URL, whatever the settings expect of origins.
    ///
    /// # Errors
    /// As [`Tls::new`].
    pub(crate) fn for_proxies(
        settings: &Settings,
        ca: &[PathBuf],
        environment: &Environment,
        counters: &Arc<Counters>,
        previous: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, policy::Error> {
        let of_origins = Settings { client_cert: None, client_key: None, server_name: None, ..settings.clone() };
        let mut settings = Settings { pins: Vec::new(), alpn: vec![Alpn::Http11], ..of_origins };
        if !ca.is_empty() {
            settings = Settings { roots: Roots::None, ca: ca.to_vec(), verify: true, ..settings };
        }
        Self::load(settings, Peer::Proxy, environment, counters, previous)
    }

    fn load(
        settings: Settings,
        peer: Peer,
        environment: &Environment,
        counters: &Arc<Counters>,
        previous: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, policy::Error> {
        let base = files::base(&settings, environment)?;
        let same = |previous: &&Arc<Self>| {
            let Self { source, watch, .. } = &***previous;
            source.settings == settings && source.base.agrees(&base) && watch.is_as_read()
        };
        if let Some(previous) = previous.filter(same) {
            return Ok(Arc::clone(previous));
        }
        Self::read(Arc::new(Source { settings, base, counters: Arc::clone(counters), peer })).map(Arc::new)
    }

    fn read(source: Arc<Source>) -> Result<Self, policy::Error> {
        let Source { settings, base, counters: _, peer } = &*source;
        let named = settings.ca.iter().chain(&settings.client_cert).chain(&settings.client_key);
        let watch = Watch::new(named.cloned().collect());
        let server_name = settings.server_name.as_ref().map(|name| {
            ServerName::try_from(name.clone())
                .map_err(|_| policy::Error::key("tls.server_name", format!("`{name}` is not a host name")))
        });
        let trusted = files::trusted(settings, peer.ca(), base)?;
        let roots = trusted.shown.clone();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new(settings, trusted, &provider)?;
        let versions = [Version::Tls13, Version::Tls12].into_iter();
        let versions = versions.filter(|version| (settings.min..=settings.max).contains(version));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions.map(Version::speaks).collect::<Vec<_>>())
            .map_err(|error| policy::Error::new(format!("tls: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match files::client(settings)? {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| policy::Error::key("tls.client_key", format!("the key does not fit: {error}")))?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = settings.alpn.iter().map(|alpn| alpn.word().as_bytes().to_vec()).collect();
        Ok(Self {
            sessions: Sessions::new(config),
            server_name: server_name.transpose()?,
            identity: Identity { generation: GENERATIONS.fetch_add(1, Ordering::Relaxed) },
            roots,
            source,
            watch,
        })
    }

    /// True if it is time to look whether a file has changed.
    pub(crate) fn is_due(&self) -> bool {
        self.watch.is_due()
    }

    /// The settings read anew, with nothing to resume, if one of their files has changed. One that cannot be used changes
    /// nothing, and is a warning.
    pub(crate) fn renewed(&self) -> Option<Self> {
        if !self.watch.changed() {
            return None;
        }
        match Self::read(Arc::clone(&self.source)) {
            Ok(renewed) => Some(renewed),
            Err(error) => {
                tracing::warn!("a file of [tls] has changed and cannot be used; what was read before stays: {error}");
                None
            }
        }
    }

    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// Shakes hands with `host`, the route's origin or its proxy, over a stream that leads to it. Cancel safe: dropping it
    /// closes the socket.
    pub(crate) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: &str,
        route: &Route,
        stream: S,
    ) -> Result<TlsStream<S>, Error> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned()).map_err(|_| {
                Error::new(Stage::Tls, Kind::Certificate, "the host is no name that a certificate can have")
            })?,
        };
        // A proxy is not reached through itself.
        let via = route.proxy().filter(|_| self.source.peer == Peer::Origin);
        let connector = TlsConnector::from(self.sessions.of(route.domain(), route.isolation()));
        let stream = connector.connect(name, stream).await.map_err(|error| self.failed(error, via))?;
        if !self.source.settings.verify {
            self.source.counters.add(|tally| &tally.unverified);
        }
        Ok(stream)
    }

    fn failed(&self, error: io::Error, via: Option<&Proxy>) -> Error {
        let when = "during the handshake";
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(cause)) => self.refused(cause, via).with_source(error),
            Some(rustls::Error::AlertReceived(alert)) => alert_received(*alert, when).with_source(error),
            Some(rustls::Error::InvalidMessage(_)) => {
                Error::new(Stage::Tls, Kind::TlsProtocol, "the peer does not answer in TLS")
                    .with_source(error)
                    .with_hint("if the port speaks plain HTTP, the URL begins with http://")
            }
            Some(rustls::Error::PeerIncompatible(cause)) => {
                Error::new(Stage::Tls, Kind::TlsProtocol, format!("the peer speaks another TLS than we do: {cause:?}"))
                    .with_source(error)
                    .with_hint(VERSIONS)
            }
            Some(cause) => Error::new(Stage::Tls, Kind::TlsProtocol, cause.to_string()).with_source(error),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                Error::new(Stage::Tls, Kind::TlsProtocol, format!("the peer closed the connection {when}"))
                    .with_source(error)
            }
            None => Error::new(Stage::Tls, Kind::TlsProtocol, format!("the connection failed {when}: {error}"))
                .with_source(error),
        }
    }

    /// A certificate that we do not accept: who it is, who vouches for it, whom we believe, and what would change that.
    fn refused(&self, cause: &CertificateError, via: Option<&Proxy>) -> Error {
        let CertificateError::Other(other) = cause else {
            return Error::new(Stage::Tls, Kind::Certificate, format!("the certificate was not accepted: {cause}"));
        };
        let refused = other.0.downcast_ref::<Refused>();
        let mut message = match refused {
            Some(refused) => format!("{refused}; in use: {}", self.roots),
            None => format!("the certificate was not accepted: {cause}; in use: {}", self.roots),
        };
        let reason = refused.map_or(Reason::Other, |refused| Reason::of(&refused.cause));
        if let (Some(proxy), Reason::Issuer) = (via, &reason) {
            message.push_str(&format!("; the way leads through {proxy}: something there may inspect TLS"));
        }
        let peer = self.source.peer;
        let hint = match reason {
            Reason::Issuer => {
                let ca = peer.ca();
                format!("{ca} = [\"issuer.pem\"], with the certificate of that issuer in the file, trusts it")
            }
            Reason::Name if peer == Peer::Proxy => "the proxy's URL needs a name that its certificate has".to_owned(),
            Reason::Name => "tls.server_name = \"name\" expects another name than the host's".to_owned(),
            Reason::Time => "the peer needs a new certificate, or this machine's clock is wrong".to_owned(),
            Reason::Pin(Some(presented)) => {
                format!(
                    "tls.pins = [..., \"{presented}\"] accepts the key that was shown; make sure that it is the right one"
                )
            }
            Reason::Revoked | Reason::Pin(None) | Reason::Other => "the peer needs another certificate".to_owned(),
        };
        Error::new(Stage::Tls, Kind::Certificate, message).with_hint(hint)
    }
}

/// What a handshake that is done came to.
pub(crate) fn handshake(connection: &ClientConnection) -> Handshake {
    // Nothing older than 1.2 is spoken.
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => Version::Tls13,
        Some(_) | None => Version::Tls12,
    };
    let alpn = match connection.alpn_protocol() {
        Some(b"http/1.1") => Some("http/1.1"),
        Some(b"h2") => Some("h2"),
        Some(_) | None => None,
    };
    Handshake { version, alpn, resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed) }
}

/// What changes which versions are spoken.
const VERSIONS: &str = "tls.min and tls.max say which versions are spoken";

/// What `verify = false` means.
pub(crate) const UNVERIFIED: &str = "`tls.verify = false`: no server has to prove who it is; whoever is on the way can \
                                     read and change everything, secrets included";

/// The TLS cause of a failure that showed only on the connection's first read: in TLS 1.3 a server refuses a client
/// certificate after the client's side of the handshake is over (RFC 8446, section 4.4.2.4).
pub(crate) fn late_alert(error: &io::Error) -> Option<Error> {
    let rustls::Error::AlertReceived(alert) = error.get_ref()?.downcast_ref::<rustls::Error>()? else { return None };
    Some(alert_received(*alert, "after the handshake"))
}

fn alert_received(alert: AlertDescription, when: &str) -> Error {
    let error =
        Error::new(Stage::Tls, Kind::TlsAlert(alert.into()), format!("the peer sent the alert {alert:?} {when}"));
    let ours = [
        AlertDescription::CertificateRequired,
        AlertDescription::BadCertificate,
        AlertDescription::UnknownCA,
        AlertDescription::CertificateUnknown,
        AlertDescription::AccessDenied,
    ];
    if ours.contains(&alert) {
        error.with_hint("tls.client_cert and tls.client_key present a certificate that the peer accepts")
    } else if alert == AlertDescription::UnrecognisedName {
        error.with_hint("tls.server_name says which name is asked for")
    } else if alert == AlertDescription::ProtocolVersion {
        error.with_hint(VERSIONS)
    } else {
        error
    }
}
