//! Certificates for tests: an authority of our own, good leaves, and bad ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams, SerialNumber,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

/// Who signs.
pub struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
pub struct Leaf {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
    pem: String,
    serial: u64,
}

const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

impl Authority {
    /// An authority called `name`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).expect("an authority signs itself");
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// Its certificate.
    #[must_use]
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// A server's certificate for these names and addresses.
    #[must_use]
    pub fn leaf(&self, names: &[&str]) -> Leaf {
        self.sign(names, |_| ())
    }

    /// A server's certificate that expired on 2 January 2020.
    #[must_use]
    pub fn expired(&self, names: &[&str]) -> Leaf {
        self.sign(names, |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 1, 2);
        })
    }

    /// A client's certificate, whose subject is `name`.
    #[must_use]
    pub fn client(&self, name: &str) -> Leaf {
        self.sign(&[], |params| {
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    }

    /// A list that revokes this certificate of ours.
    #[must_use]
    pub fn revoking(&self, leaf: &Leaf) -> String {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(leaf.serial),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2099, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).and_then(|list| list.pem()).expect("the authority can sign a list")
    }

    fn sign(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = params(names);
        let serial = next_serial();
        params.serial_number = Some(SerialNumber::from(serial));
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("the authority can sign");
        Leaf { chain: vec![certificate.der().clone()], pem: certificate.pem(), key, serial }
    }
}

fn next_serial() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("the names are names");
    params.distinguished_name.push(DnType::CommonName, "test leaf");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

impl Leaf {
    /// A certificate that vouches for itself.
    #[must_use]
    pub fn self_signed(names: &[&str]) -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params(names).self_signed(&key).expect("a key can sign its own certificate");
        Self { chain: vec![certificate.der().clone()], pem: certificate.pem(), key, serial: 0 }
    }

    /// The certificate, as it is sent.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.chain[0]
    }

    /// The certificate.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Its key.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// A server that shows it.
    #[must_use]
    pub fn server(&self) -> ServerConfig {
        self.server_of(VERSIONS, None)
    }

    /// A server that shows it and speaks one version only.
    #[must_use]
    pub fn server_speaking(&self, version: &'static SupportedProtocolVersion) -> ServerConfig {
        self.server_of(&[version], None)
    }

    /// A server that shows it, and wants a client's certificate from `authority`.
    #[must_use]
    pub fn server_asking(&self, authority: &Authority) -> ServerConfig {
        self.server_of(VERSIONS, Some(authority))
    }

    fn server_of(&self, versions: &[&'static SupportedProtocolVersion], asking: Option<&Authority>) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .expect("ring speaks these versions");
        let builder = match asking {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.certificate.der().clone()).expect("an authority's certificate is a root");
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.expect("there is a root"))
            }
        };
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).expect("the key is PKCS#8");
        let mut config = builder.with_single_cert(self.chain.clone(), key).expect("the key fits its certificate");
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config
    }
}
