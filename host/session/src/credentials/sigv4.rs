//! `kind = "sigv4"`: a signature of the final request in the placeholder's place (AWS Signature Version 4,
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>).
//!
//! The keys ([`Keys`]) are looked up with all other secrets; the signature is made once the request is as it leaves: method, host,
//! path, query, the headers that AWS reads, and the SHA-256 of the whole body. No key is ever in the request itself.

mod keys;
mod profile;
mod process;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use aws_credential_types::Credentials as Identity;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4::SigningParams;
use futures::future::BoxFuture;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderName, HeaderValue};

pub use self::keys::Keys;
pub use self::profile::{Place, Profile};
use super::source::Absent;
use crate::Environment;
use crate::error::{Error, Kind};
use crate::route::Origin;
use crate::stage::Stage;

/// `[credentials.NAME]` with `kind = "sigv4"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the keys come from.
    pub keys: Keys,
    /// The region that the request is for: `eu-central-1`.
    pub region: String,
    /// The service that it is for: `bedrock`.
    pub service: String,
}

/// Headers that are the signature's own: what a guest set there would be signed beside it.
const OWN: [HeaderName; 4] = [
    AUTHORIZATION,
    HeaderName::from_static("x-amz-date"),
    HeaderName::from_static("x-amz-security-token"),
    HeaderName::from_static("x-amz-content-sha256"),
];

/// A credential that signs, with its keys held ready.
#[derive(Debug)]
pub(super) struct Signer {
    keys: keys::HeldKeys,
    region: String,
    service: String,
}

impl Signer {
    /// What a command told `previous` is taken over.
    pub(super) fn new(settings: Settings, environment: &Environment, previous: Option<&Self>) -> Self {
        let Settings { keys, region, service } = settings;
        Self { keys: keys::HeldKeys::new(keys, environment, previous), region, service }
    }

    /// True if a command tells the keys.
    pub(super) fn asks(&self) -> bool {
        matches!(self.keys, keys::HeldKeys::Command(_))
    }

    /// What there is to wait for until [`Signer::ready`] knows an answer. Absent: it does.
    pub(super) fn due(&self) -> Option<BoxFuture<'static, ()>> {
        match &self.keys {
            keys::HeldKeys::Command(asked) => asked.due(),
            keys::HeldKeys::Each(_) | keys::HeldKeys::Profile(_) => None,
        }
    }

    /// The keys as they are now.
    pub(super) fn ready(self: &Arc<Self>) -> Result<Signing, Absent> {
        Ok(Signing { identity: self.keys.identity()?, signer: Arc::clone(self) })
    }
}

/// A signature that is to be made.
pub(crate) struct Signing {
    identity: Identity,
    signer: Arc<Signer>,
}

impl Signing {
    /// Signs a request to `origin` that leaves as it is now; `body` is absent if it is not whole.
    ///
    /// # Errors
    /// What of the request cannot be signed.
    pub(crate) fn sign(&self, origin: &Origin, head: &mut Parts, body: Option<&[u8]>) -> Result<(), Error> {
        let body = body.ok_or_else(|| unfit("it has trailers, which no signature covers"))?;
        self.sign_at(SystemTime::now(), origin, head, body)
    }

    fn sign_at(&self, now: SystemTime, origin: &Origin, head: &mut Parts, body: &[u8]) -> Result<(), Error> {
        for name in OWN {
            head.headers.remove(name);
        }
        let made = {
            let signed = head.headers.iter().filter(|(name, _)| covered(name));
            let signed: Vec<(&str, &str)> = signed
                .map(|(name, value)| value.to_str().map(|value| (name.as_str(), value)))
                .collect::<Result<_, _>>()
                .map_err(|_| unfit("a header that is signed is no text"))?;
            let uri = format!("{origin}{}", head.uri);
            self.headers(now, head.method.as_str(), &uri, &signed, body)?
        };
        for (name, value) in made {
            let mut value = HeaderValue::try_from(value).map_err(|_| unfit("its signature is no header"))?;
            value.set_sensitive(true);
            head.headers.insert(HeaderName::from_static(name), value);
        }
        Ok(())
    }

    /// The signature's headers.
    fn headers(
        &self,
        now: SystemTime,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Vec<(&'static str, String)>, Error> {
        let Signer { region, service, .. } = &*self.signer;
        let identity = self.identity.clone().into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(service)
            .time(now)
            .settings(settings(service))
            .build()
            .map_err(|error| unfit(&error.to_string()))?
            .into();
        // The signer tells the log of headers and keys at `trace`: nobody listens here.
        let made = tracing::dispatcher::with_default(&tracing::Dispatch::none(), || {
            let request = SignableRequest::new(method, uri, headers.iter().copied(), SignableBody::Bytes(body))?;
            sign(request, &params)
        });
        let (instructions, _signature) = made.map_err(|_| unfit("the signer refuses it"))?.into_parts();
        let (headers, _) = instructions.into_parts();
        Ok(headers.into_iter().map(|header| (header.name(), header.value().to_owned())).collect())
    }
}

impl fmt::Debug for Signing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Signing")
    }
}

/// True for headers that AWS wants signed. Others may be changed on the way.
fn covered(name: &HeaderName) -> bool {
    *name == CONTENT_TYPE || name.as_str().starts_with("x-amz-")
}

/// S3 alone takes paths as they are and wants the body's sum in a header
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>).
fn settings(service: &str) -> SigningSettings {
    let mut settings = SigningSettings::default();
    if service == "s3" {
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    }
    settings
}

fn unfit(why: &str) -> Error {
    Error::new(Stage::Credentials, Kind::RequestInvalid, format!("the request cannot be signed: {why}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::secret::Secret;
    use super::super::source::Source;
    use super::*;

    /// The keys, the time and the scope of AWS's test suite
    /// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-examples.html>).
    fn signing(token: Option<&str>) -> Signing {
        let value = |text: &str| Source::Value(Secret::new(text));
        let settings = Settings {
            keys: Keys::Each {
                access_key: value("AKIDEXAMPLE"),
                secret_key: value("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
                token: token.map(value),
            },
            region: "us-east-1".to_owned(),
            service: "service".to_owned(),
        };
        Arc::new(Signer::new(settings, &Environment::default(), None)).ready().unwrap()
    }

    /// 2015-08-30, 12:36:00 UTC.
    fn then() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160)
    }

    fn signed(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> http::HeaderMap {
        let mut request = http::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        let origin = Origin::parse("https://example.amazonaws.com").unwrap();
        signing(None).sign_at(then(), &origin, &mut head, body.as_bytes()).unwrap();
        head.headers
    }

    #[test]
    fn the_test_suites_requests_have_its_signatures() {
        let form = ("content-type", "application/x-www-form-urlencoded");
        let table = [
            (
                "GET",
                "/",
                &[][..],
                "",
                "host;x-amz-date",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "POST",
                "/",
                &[],
                "",
                "host;x-amz-date",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "GET",
                "/?Param2=value2&Param1=value1",
                &[],
                "",
                "host;x-amz-date",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "POST",
                "/",
                &[form],
                "Param1=value1",
                "content-type;host;x-amz-date",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
        ];
        for (method, path, headers, body, names, signature) in table {
            let expected = format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders={names}, Signature={signature}"
            );
            let headers = signed(method, path, headers, body);
            assert_eq!(
                (&headers["authorization"], &headers["x-amz-date"]),
                (&expected.parse().unwrap(), &"20150830T123600Z".parse().unwrap())
            );
            assert!(headers["authorization"].is_sensitive());
        }
    }

    #[test]
    fn what_a_guest_says_of_the_signature_is_not_signed() {
        let plain = signed("POST", "/", &[], "{}");
        let forged = [("x-amz-date", "20000101T000000Z"), ("x-amz-security-token", "x"), ("authorization", "x")];
        assert_eq!(signed("POST", "/", &forged, "{}"), plain);
    }

    #[test]
    fn a_body_that_is_not_whole_is_not_signed() {
        let (mut head, ()) = http::Request::get("/").body(()).unwrap().into_parts();
        let origin = Origin::parse("https://example.amazonaws.com").unwrap();
        let error = signing(Some("token")).sign(&origin, &mut head, None).unwrap_err();
        assert_eq!((error.stage(), error.kind()), (Stage::Credentials, Kind::RequestInvalid));
        signing(Some("token")).sign(&origin, &mut head, Some(b"")).unwrap();
        assert_eq!(head.headers["x-amz-security-token"], "token");
        assert!(head.headers["x-amz-security-token"].is_sensitive());
    }
}
