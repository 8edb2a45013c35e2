//! Requests that a proxy takes one by one: each names its whole URI, and us.
//!
//! What is said to the proxy is put in last, on a connection that leads to that proxy; no other connection ever sees it.

use http::header::PROXY_AUTHORIZATION;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Uri};

use super::Outgoing;
use crate::error::{Error, Kind};
use crate::proxy::Proxy;
use crate::stage::Stage;

/// What every request of a connection tells its proxy.
#[derive(Debug)]
pub(super) struct Forward {
    authority: Authority,
    authorization: Option<HeaderValue>,
}

impl Forward {
    pub(super) fn new(proxy: &Proxy, host: &HeaderValue) -> Result<Self, Error> {
        let authority = Authority::try_from(host.as_bytes())
            .map_err(|_| Error::new(Stage::Wire, Kind::RequestInvalid, "the host cannot be written in a URI"))?;
        Ok(Self { authority, authorization: proxy.authorization().cloned() })
    }

    /// Puts the URI into absolute form (RFC 9112, section 3.2.2), and our name beside it. Doing so again changes nothing.
    pub(super) fn address(&self, request: &mut Outgoing) {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        *request.uri_mut() = Uri::from_parts(parts).expect("a prepared request has a path");
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(PROXY_AUTHORIZATION, authorization.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::proxy::proxy;
    use crate::wire::WireBody;

    /// V4, X11: a proxy that forwards gets the whole URI and our name, also the second time.
    #[test]
    fn a_request_names_its_origin_and_us() {
        for (text, host, path, target, authorization) in [
            ("http://u:p@p", "a.example", "/v1?x=1", "http://a.example/v1?x=1", Some("Basic dTpw")),
            ("https://u:p@p", "[::1]:8080", "/", "http://[::1]:8080/", Some("Basic dTpw")),
            ("http://p", "a.example:8080", "/x", "http://a.example:8080/x", None),
        ] {
            let forward = Forward::new(&proxy(text), &HeaderValue::from_str(host).unwrap()).unwrap();
            let mut request = Request::get(path).body(WireBody::full(None)).unwrap();
            for _ in 0..2 {
                forward.address(&mut request);
                assert_eq!(request.uri(), target);
                let said: Vec<_> = request.headers().get_all(PROXY_AUTHORIZATION).iter().collect();
                assert_eq!(said, authorization.into_iter().collect::<Vec<_>>());
                assert!(said.iter().all(|value| value.is_sensitive()));
            }
        }
    }
}
