//! Verification of the peer's certificate, as rustls and webpki do it, then the pins; a refusal says whose certificate it
//! was.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::Settings;
use super::files::Trusted;
use super::pin::{Pin, Pins};
use crate::policy;

/// webpki's verifier, whose refusals are retold, and the pins after it.
#[derive(Debug)]
pub(super) struct Verifier {
    /// Absent under `tls.verify = false`: whoever answers is believed, if it holds the key that it shows.
    chain: Option<Arc<WebPkiServerVerifier>>,
    pins: Pins,
    algorithms: WebPkiSupportedAlgorithms,
}

/// A certificate that was not accepted.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) cause: Cause,
    name: String,
    subject: String,
    issuer: String,
    /// The first and the last moment of its life.
    from: String,
    until: String,
}

/// Why a certificate was not accepted.
#[derive(Debug)]
pub(super) enum Cause {
    /// What webpki says.
    Chain(CertificateError),
    /// Its key is none of `tls.pins`; the pin that it would need, where it could be read.
    Pin(Option<Pin>),
}

/// The causes that have a remedy of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Issuer,
    Name,
    Time,
    Revoked,
    Pin(Option<Pin>),
    Other,
}

impl Reason {
    pub(super) fn of(cause: &Cause) -> Self {
        use CertificateError as Chain;
        let cause = match cause {
            Cause::Pin(pin) => return Self::Pin(*pin),
            Cause::Chain(cause) => cause,
        };
        if matches!(cause, Chain::UnknownIssuer) {
            Self::Issuer
        } else if matches!(cause, Chain::NotValidForName | Chain::NotValidForNameContext { .. }) {
            Self::Name
        } else if matches!(cause, Chain::Revoked) {
            Self::Revoked
        } else if matches!(
            cause,
            Chain::Expired | Chain::ExpiredContext { .. } | Chain::NotValidYet | Chain::NotValidYetContext { .. }
        ) {
            Self::Time
        } else {
            Self::Other
        }
    }
}

impl Verifier {
    pub(super) fn new(
        settings: &Settings,
        trusted: Trusted,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, policy::Error> {
        let Trusted { roots, revoked, shown: _ } = trusted;
        let chain = settings.verify.then(|| {
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
                .with_crls(revoked)
                // An issuer without a list here revokes nothing that we could know of.
                .allow_unknown_revocation_status()
                .build()
                .map_err(|error| unusable(&error))
        });
        let pins = Pins::new(&settings.pins, provider)
            .ok_or_else(|| policy::Error::key("tls.pins", "this build of TLS lacks SHA-256"))?;
        Ok(Self { chain: chain.transpose()?, pins, algorithms: provider.signature_verification_algorithms })
    }
}

fn unusable(error: &VerifierBuilderError) -> policy::Error {
    if let VerifierBuilderError::InvalidCrl(cause) = error {
        return policy::Error::key("tls.ca", format!("a revocation list cannot be used: {cause:?}"));
    }
    policy::Error::key("tls.roots", error)
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let refuse = |cause| {
            let refused = Refused::of(cause, certificate, name);
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refused))))
        };
        if let Some(chain) = &self.chain {
            chain.verify_server_cert(certificate, intermediates, name, ocsp, now).map_err(|error| {
                let rustls::Error::InvalidCertificate(cause) = error else { return error };
                refuse(Cause::Chain(cause))
            })?;
        }
        self.pins.check(certificate).map_err(|presented| refuse(Cause::Pin(presented)))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl Refused {
    fn of(cause: Cause, certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> Self {
        let parsed = X509Certificate::from_der(certificate).ok().map(|(_, parsed)| parsed);
        // What a peer writes into its certificate may not break the line that shows it.
        let one_line = |text: String| text.chars().filter(|letter| !letter.is_control()).take(200).collect();
        let shown = |part: fn(&X509Certificate<'_>) -> String| {
            parsed.as_ref().map_or_else(|| "unreadable".to_owned(), |parsed| one_line(part(parsed)))
        };
        Self {
            cause,
            name: name.to_str().into_owned(),
            subject: shown(|parsed| parsed.subject().to_string()),
            issuer: shown(|parsed| parsed.issuer().to_string()),
            from: shown(|parsed| parsed.validity().not_before.to_string()),
            until: shown(|parsed| parsed.validity().not_after.to_string()),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cause, name, subject, issuer, from, until } = self;
        match (Reason::of(cause), cause) {
            (Reason::Issuer, _) => write!(out, "the certificate's issuer is not known")?,
            (Reason::Name, _) => write!(out, "the certificate is not for `{name}`")?,
            (Reason::Time, Cause::Chain(CertificateError::Expired | CertificateError::ExpiredContext { .. })) => {
                write!(out, "the certificate expired on {until}")?
            }
            (Reason::Time, _) => write!(out, "the certificate is not valid before {from}")?,
            (Reason::Revoked, _) => write!(out, "the certificate has been revoked by its issuer")?,
            (Reason::Pin(_), _) | (_, Cause::Pin(_)) => write!(out, "the certificate's key is none of `tls.pins`")?,
            (Reason::Other, Cause::Chain(cause)) => write!(out, "the certificate was not accepted: {cause}")?,
        }
        write!(out, " (subject `{subject}`, issuer `{issuer}`)")
    }
}

impl std::error::Error for Refused {}
