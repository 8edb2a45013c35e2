//! Pins: keys that a server may show, whoever vouches for them.
//!
//! A pin is the SHA-256 of a certificate's SubjectPublicKeyInfo, as in RFC 7469, section 2.4; it outlives a renewal of
//! the certificate that keeps the key. It is the server's own certificate that is compared, and no other of its chain: a
//! peer sends the rest of the chain as it likes, and nothing says that what it sends took part in the verification.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::SupportedCipherSuite;
use rustls::crypto::CryptoProvider;
use rustls::crypto::hash::{Hash, HashAlgorithm};
use rustls::pki_types::CertificateDer;
use serde::Deserialize;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// `sha256/BASE64`: the hash of a certificate's public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Pin([u8; 32]);

/// The keys that a server may show.
pub(super) struct Pins {
    allowed: Vec<Pin>,
    sha256: &'static dyn Hash,
}

impl Pins {
    /// Absent where the provider lacks SHA-256, which none does that speaks TLS 1.3.
    pub(super) fn new(allowed: &[Pin], provider: &CryptoProvider) -> Option<Self> {
        let hashes = provider.cipher_suites.iter().map(|suite| match suite {
            SupportedCipherSuite::Tls13(suite) => suite.common.hash_provider,
            SupportedCipherSuite::Tls12(suite) => suite.common.hash_provider,
        });
        let sha256 = hashes.into_iter().find(|hash| hash.algorithm() == HashAlgorithm::SHA256)?;
        Some(Self { allowed: allowed.to_vec(), sha256 })
    }

    /// # Errors
    /// The pin of a certificate that has none of the keys; absent if it cannot be read.
    pub(super) fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Option<Pin>> {
        if self.allowed.is_empty() {
            return Ok(());
        }
        let presented = self.of(certificate);
        match presented.is_some_and(|presented| self.allowed.contains(&presented)) {
            true => Ok(()),
            false => Err(presented),
        }
    }

    fn of(&self, certificate: &CertificateDer<'_>) -> Option<Pin> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        self.sha256.hash(parsed.public_key().raw).as_ref().try_into().ok().map(Pin)
    }
}

impl fmt::Debug for Pins {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.allowed.fmt(out)
    }
}

impl FromStr for Pin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = text.strip_prefix("sha256/").and_then(|base64| STANDARD.decode(base64).ok());
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or_else(|| {
            format!(
                "`{text}` is not a pin: \"sha256/\" and, in base64, the 32 bytes that `openssl x509 -in cert.pem -pubkey \
                 -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64` prints"
            )
        })
    }
}

impl TryFrom<String> for Pin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "sha256/{}", STANDARD.encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_what_it_was_written_as() {
        let text = "sha256/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        assert_eq!(text.parse::<Pin>().unwrap().to_string(), text);
        for bad in ["", "sha256/", "sha1/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "sha256/AAEC", &text[7..]] {
            assert!(bad.parse::<Pin>().unwrap_err().contains("is not a pin"), "{bad}");
        }
    }
}
