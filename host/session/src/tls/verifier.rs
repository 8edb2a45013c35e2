//! Verification of the peer's certificate, as rustls and webpki do it; a refusal says whose certificate it was.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::policy;

/// webpki's verifier; only its refusals are retold.
#[derive(Debug)]
pub(super) struct Verifier(Arc<WebPkiServerVerifier>);

/// A certificate that was not accepted.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) cause: CertificateError,
    name: String,
    subject: String,
    issuer: String,
    /// The first and the last moment of its life.
    from: String,
    until: String,
}

/// The causes that have a remedy of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Issuer,
    Name,
    Time,
    Other,
}

impl Reason {
    pub(super) fn of(cause: &CertificateError) -> Self {
        use CertificateError as Cause;
        if matches!(cause, Cause::UnknownIssuer) {
            Self::Issuer
        } else if matches!(cause, Cause::NotValidForName | Cause::NotValidForNameContext { .. }) {
            Self::Name
        } else if matches!(
            cause,
            Cause::Expired | Cause::ExpiredContext { .. } | Cause::NotValidYet | Cause::NotValidYetContext { .. }
        ) {
            Self::Time
        } else {
            Self::Other
        }
    }
}

impl Verifier {
    pub(super) fn new(roots: RootCertStore, provider: &Arc<CryptoProvider>) -> Result<Self, policy::Error> {
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .build()
            .map(Self)
            .map_err(|error| policy::Error::key("tls.roots", error))
    }
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
        let result = self.0.verify_server_cert(certificate, intermediates, name, ocsp, now);
        result.map_err(|error| {
            let rustls::Error::InvalidCertificate(cause) = error else { return error };
            let refused = Refused::of(cause, certificate, name);
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refused))))
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

impl Refused {
    fn of(cause: CertificateError, certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> Self {
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
        match Reason::of(cause) {
            Reason::Issuer => write!(out, "the certificate's issuer is not known")?,
            Reason::Name => write!(out, "the certificate is not for `{name}`")?,
            Reason::Time if matches!(cause, CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
                write!(out, "the certificate expired on {until}")?;
            }
            Reason::Time => write!(out, "the certificate is not valid before {from}")?,
            Reason::Other => write!(out, "the certificate was not accepted: {cause}")?,
        }
        write!(out, " (subject `{subject}`, issuer `{issuer}`)")
    }
}

impl std::error::Error for Refused {}
