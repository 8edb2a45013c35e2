//! Whom we believe, and who we are: the handshake with the origin.
//!
//! Runs after `tcp` (and, later, `proxy`) on `https` routes, before `wire`. The settings are read once, when a session is
//! built, and numbered; the number is part of the route, so that a connection made under one client certificate is never
//! lent to another. Verification cannot be switched off.

mod files;
mod verifier;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig};
use serde::Deserialize;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Environment;
use crate::error::{Error, Kind};
use crate::policy;
use crate::policy::units::Period;
use crate::route::Origin;
use crate::stage::Stage;
use crate::tcp::Stream;
use verifier::{Reason, Refused, Verifier};

/// `[tls]`: whom we believe, and who we are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where trust comes from. Default platform.
    pub roots: Roots,
    /// Files of further roots, in PEM. Default none.
    pub ca: Vec<PathBuf>,
    /// Our certificate chain, in PEM. Needs `client_key`.
    pub client_cert: Option<PathBuf>,
    /// The key of `client_cert`, in PEM, unencrypted.
    pub client_key: Option<PathBuf>,
    /// The name that the certificate must have, sent as SNI, in the place of the host's. Default the host.
    pub server_name: Option<String>,
    /// Deadline of the handshake. Default 10 s.
    pub timeout: Period,
}

/// Where trust comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Roots {
    /// The operating system's store, `SSL_CERT_FILE` and `SSL_CERT_DIR` of the environment added.
    #[default]
    Platform,
    /// Only the files of `ca`.
    None,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            roots: Roots::Platform,
            ca: Vec::new(),
            client_cert: None,
            client_key: None,
            server_name: None,
            timeout: Period::seconds(10),
        }
    }
}

/// What of the TLS settings makes a connection what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    /// Counts the sets of settings that this process has read.
    generation: u64,
}

/// TLS settings, read and checked.
#[derive(Debug)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
    identity: Identity,
    /// "149 platform roots", for an error.
    roots: String,
}

static GENERATIONS: AtomicU64 = AtomicU64::new(1);

impl Tls {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// A file that cannot be used, an empty platform store, a certificate without its key, a name that is none.
    pub(crate) fn new(settings: &Settings, environment: &Environment) -> Result<Self, policy::Error> {
        let server_name = settings.server_name.as_ref().map(|name| {
            ServerName::try_from(name.clone())
                .map_err(|_| policy::Error::key("tls.server_name", format!("`{name}` is not a host name")))
        });
        let (store, roots) = files::roots(settings, environment)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new(store, &provider)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| policy::Error::new(format!("tls: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match files::client(settings)? {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| policy::Error::key("tls.client_key", format!("the key does not fit: {error}")))?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            server_name: server_name.transpose()?,
            identity: Identity { generation: GENERATIONS.fetch_add(1, Ordering::Relaxed) },
            roots,
        })
    }

    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// Shakes hands with the origin. Cancel safe: dropping it closes the socket.
    pub(crate) async fn connect(&self, origin: &Origin, stream: Stream) -> Result<TlsStream<Stream>, Error> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(origin.host().to_owned()).map_err(|_| {
                Error::new(Stage::Tls, Kind::Certificate, "the host is no name that a certificate can have")
            })?,
        };
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect(name, stream).await.map_err(|error| self.failed(error, "during the handshake"))
    }

    fn failed(&self, error: io::Error, when: &str) -> Error {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(cause)) => self.refused(cause).with_source(error),
            Some(rustls::Error::AlertReceived(alert)) => alert_received(*alert, when).with_source(error),
            Some(rustls::Error::InvalidMessage(_)) => {
                Error::new(Stage::Tls, Kind::TlsProtocol, "the peer does not answer in TLS")
                    .with_source(error)
                    .with_hint("if the port speaks plain HTTP, the URL begins with http://")
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
    fn refused(&self, cause: &CertificateError) -> Error {
        let CertificateError::Other(other) = cause else {
            return Error::new(Stage::Tls, Kind::Certificate, format!("the certificate was not accepted: {cause}"));
        };
        let refused = other.0.downcast_ref::<Refused>();
        let message = match refused {
            Some(refused) => format!("{refused}; in use: {}", self.roots),
            None => format!("the certificate was not accepted: {cause}; in use: {}", self.roots),
        };
        let hint = match refused.map_or(Reason::Other, |refused| Reason::of(&refused.cause)) {
            Reason::Issuer => "tls.ca = [\"issuer.pem\"], with the certificate of that issuer in the file, trusts it",
            Reason::Name => "tls.server_name = \"name\" expects another name than the host's",
            Reason::Time => "the peer needs a new certificate, or this machine's clock is wrong",
            Reason::Other => "the peer needs another certificate",
        };
        Error::new(Stage::Tls, Kind::Certificate, message).with_hint(hint)
    }
}

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
    } else {
        error
    }
}
