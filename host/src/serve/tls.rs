//! `[serve] tls`: who the server is to its clients, and who its clients have to be.
//!
//! Read with the keys, whenever a file is put in force or one of them changes; runs between accept and the first byte of HTTP. Invariant: where
//! `client_ca` is there, nobody gets as far as HTTP without a certificate that it vouches for.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use seaway_session::policy::{Document, Error};
use seaway_session::tls::files;
use serde::Deserialize;
use tokio_rustls::TlsAcceptor;

use super::listen::Stream;

/// `[serve] tls`. Its files are read again when they change, for connections that come later.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The server's certificate, and those that lead from it to a root, in PEM.
    pub cert: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
    /// Roots, and lists of what they have revoked, in PEM: clients need a certificate that leads to one. Absent: nobody needs
    /// one. It takes the place of no key: `keys` say who may call.
    pub client_ca: Option<PathBuf>,
}

/// What is agreed on, the preferred one first: <https://www.rfc-editor.org/rfc/rfc7301>.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

impl Tls {
    /// Paths of the file start at its folder.
    pub(super) fn rebase(&mut self, document: &Document) {
        let Self { cert, key, client_ca } = self;
        [Some(cert), Some(key), client_ca.as_mut()]
            .into_iter()
            .flatten()
            .for_each(|path| *path = document.resolve(path));
    }

    /// Reads the files.
    pub(super) fn read(&self) -> Result<Arc<ServerConfig>, Error> {
        let Self { cert, key, client_ca } = self;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| Error::key("serve.tls", error))?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                let revoked = files::authorities("serve.tls.client_ca", path, &mut roots)?;
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .with_crls(revoked)
                    // An issuer without a list here revokes nothing that we could know of.
                    .allow_unknown_revocation_status()
                    .build();
                let unusable = |error| format!("`{}` cannot be used: {error}", path.display());
                builder.with_client_cert_verifier(
                    verifier.map_err(|error| Error::key("serve.tls.client_ca", unusable(error)))?,
                )
            }
        };
        let (chain, key) = (files::chain("serve.tls.cert", cert)?, files::private_key("serve.tls.key", key)?);
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| Error::key("serve.tls.key", format!("the key does not fit: {error}")))?;
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
        Ok(Arc::new(config))
    }
}

/// Shakes hands with a client. A client that will not is no news, but whoever looks for the reason finds it.
pub(super) async fn accept(socket: Box<dyn Stream>, config: Arc<ServerConfig>) -> io::Result<Box<dyn Stream>> {
    let accepted = TlsAcceptor::from(config).accept(socket).await;
    let stream = accepted.inspect_err(|error| tracing::debug!("no TLS with a client: {error}"))?;
    Ok(Box::new(stream))
}
