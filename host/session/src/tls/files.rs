//! The files of `[tls]`: roots, revocation lists, client certificate, key. Read when a session is built, before anything
//! connects, and again when they change.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls_native_certs::{CertificateResult, load_certs_from_paths, load_native_certs};

use super::{Roots, Settings};
use crate::Environment;
use crate::policy::Error;

/// Where the bundles of the Linux distributions and the BSDs lie. They are read directly, because the variables that
/// would replace them are to be read from the environment that the caller hands over, and to add to them.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Whom the settings believe: roots, revocation lists, and how an error counts the roots.
#[derive(Clone, Debug)]
pub(super) struct Trusted {
    pub(super) roots: RootCertStore,
    pub(super) revoked: Vec<CertificateRevocationListDer<'static>>,
    pub(super) shown: String,
}

impl Trusted {
    /// True if both believe the same.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        self.roots.roots == other.roots.roots && self.revoked == other.revoked
    }
}

/// The roots of `tls.roots`, which are read once, at load.
pub(super) fn base(settings: &Settings, environment: &Environment) -> Result<Trusted, Error> {
    let mut roots = RootCertStore::empty();
    let word = match settings.roots {
        Roots::Platform => {
            roots.add_parsable_certificates(platform(environment).certs);
            if roots.is_empty() {
                return Err(Error::key(
                    "tls.roots",
                    "this machine's certificate store is empty; install it (the package is usually \
                    called ca-certificates), or write roots = \"webpki\", or \"none\" with ca = [files]",
                ));
            }
            "platform"
        }
        Roots::Webpki => {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            "webpki"
        }
        Roots::None => return Ok(Trusted { roots, revoked: Vec::new(), shown: String::new() }),
    };
    let shown = format!("{} {word} roots", roots.len());
    Ok(Trusted { roots, revoked: Vec::new(), shown })
}

/// Adds the files of `settings.ca`, which the key `ca` names.
pub(super) fn trusted(settings: &Settings, ca: &str, base: &Trusted) -> Result<Trusted, Error> {
    let Trusted { mut roots, mut revoked, mut shown } = base.clone();
    for path in &settings.ca {
        let before = roots.len();
        revoked.extend(authorities(ca, path, &mut roots)?);
        let and = if shown.is_empty() { "" } else { " and " };
        shown.push_str(&format!("{and}{} of {}", roots.len() - before, path.display()));
    }
    if roots.is_empty() && settings.verify {
        return Err(Error::key("tls.roots", "`none` without `tls.ca` believes nobody; name a file of roots"));
    }
    Ok(Trusted { roots, revoked, shown })
}

/// Adds a file's roots, and says which revocation lists it holds; `name` is the key of the file that names the file.
///
/// # Errors
/// What is wrong with it, and what would make it right.
pub fn authorities(
    name: &str,
    path: &Path,
    roots: &mut RootCertStore,
) -> Result<Vec<CertificateRevocationListDer<'static>>, Error> {
    let bytes = read(name, path)?;
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    let lists = lists.map_err(|error| unusable(name, path, &error))?;
    for certificate in certificates(name, path, &bytes, !lists.is_empty())? {
        roots.add(certificate).map_err(|error| unusable(name, path, &error))?;
    }
    Ok(lists)
}

/// A certificate with those that lead from it to a root; `name` is the key of the file that names the file.
///
/// # Errors
/// What is wrong with it, and what would make it right.
pub fn chain(name: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = read(name, path)?;
    certificates(name, path, &bytes, false)
}

fn platform(environment: &Environment) -> CertificateResult {
    let bundle = BUNDLES.iter().map(Path::new).find(|path| path.is_file());
    let mut found = match bundle {
        Some(bundle) => load_certs_from_paths(Some(bundle), None),
        None => load_native_certs(),
    };
    let file = environment.get("SSL_CERT_FILE").map(Path::new).filter(|file| Some(*file) != bundle);
    let inside = |folder: &Path| bundle.is_some_and(|bundle| bundle.parent() == Some(folder));
    let folders = environment.get("SSL_CERT_DIR").unwrap_or_default();
    let folders =
        std::env::split_paths(folders).filter(|folder| folder.is_dir() && !inside(folder)).collect::<Vec<_>>();
    if file.is_some() {
        found.certs.extend(load_certs_from_paths(file, None).certs);
    }
    for folder in folders {
        found.certs.extend(load_certs_from_paths(None, Some(&folder)).certs);
    }
    found.certs.sort_by(|one, other| one.as_ref().cmp(other.as_ref()));
    found.certs.dedup();
    found
}

/// Our certificate and its key, where the settings name them.
pub(super) fn client(
    settings: &Settings,
) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, Error> {
    match (&settings.client_cert, &settings.client_key) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(Error::key("tls.client_cert", "needs `tls.client_key` beside it")),
        (None, Some(_)) => Err(Error::key("tls.client_key", "needs `tls.client_cert` beside it")),
        (Some(chain), Some(key)) => {
            Ok(Some((self::chain("tls.client_cert", chain)?, private_key("tls.client_key", key)?)))
        }
    }
}

fn certificates(
    name: &str,
    path: &Path,
    bytes: &[u8],
    may_be_empty: bool,
) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match found {
        Ok(found) if found.is_empty() && !may_be_empty => {
            Err(Error::key(name, format!("`{}` holds no certificate in PEM", path.display())))
        }
        Ok(found) => Ok(found),
        Err(error) => Err(unusable(name, path, &error)),
    }
}

/// The key of a certificate; `name` is the key of the file that names the file.
///
/// # Errors
/// What is wrong with it, and what would make it right.
pub fn private_key(name: &str, path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let bytes = read(name, path)?;
    let shown = path.display();
    let text = String::from_utf8_lossy(&bytes);
    if text.contains("ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(Error::key(
            name,
            format!("`{shown}` is encrypted; `openssl pkey -in {shown} -out plain.key` makes one that is not"),
        ));
    }
    PrivateKeyDer::from_pem_slice(&bytes)
        .map_err(|_| Error::key(name, format!("`{shown}` holds no private key in PEM (PKCS#8, PKCS#1 or SEC1)")))
}

fn read(name: &str, path: &Path) -> Result<Vec<u8>, Error> {
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|error| Error::key(name, format!("`{shown}` cannot be read: {error}")))?;
    // A DER SEQUENCE where PEM text belongs: a certificate in DER, or a PKCS#12 container, which holds an INTEGER first.
    match bytes.as_slice() {
        [0x30, length, rest @ ..] => {
            let skip = if length & 0x80 == 0 { 0 } else { usize::from(length & 0x7f) };
            let way = match rest.get(skip) {
                Some(0x02) => format!("`openssl pkcs12 -in {shown} -nodes -out client.pem`"),
                _ => format!("`openssl x509 -inform der -in {shown} -out client.pem`"),
            };
            Err(Error::key(name, format!("`{shown}` is not PEM; {way} converts it")))
        }
        _ => Ok(bytes),
    }
}

fn unusable(name: &str, path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::key(name, format!("`{}` cannot be used: {error}", path.display()))
}
