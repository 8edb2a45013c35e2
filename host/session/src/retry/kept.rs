//! What is held of a request while it is sent, so that it can be sent again.
//!
//! hyper takes a request apart as it sends it. Nearly every request is held and hardly one is sent again, so its head is
//! copied into memory that the connection keeps from one exchange to the next.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use crate::error::{Error, Kind};
use crate::stage::Stage;
use crate::wire::{Outgoing, WireBody};

/// A request as it was before it was sent.
pub(crate) struct Kept {
    method: Method,
    uri: Uri,
    version: Version,
    head: Memory,
    body: Option<Bytes>,
}

/// Header fields, one behind the other; or the memory of those that are gone.
#[derive(Default)]
pub(crate) struct Memory {
    text: Vec<u8>,
    fields: Vec<Field>,
}

/// Lengths in bytes of a field's parts.
struct Field {
    name: usize,
    value: usize,
    is_sensitive: bool,
}

/// A head that was larger leaves no memory behind.
const LARGE: usize = 16 * 1024;

impl Kept {
    /// Holds a request, of which `body` is the whole body.
    pub(super) fn of(request: &Outgoing, body: Option<Bytes>, mut memory: Memory) -> Self {
        for (name, value) in request.headers() {
            let (name, text) = (name.as_str().as_bytes(), value.as_bytes());
            memory.text.extend_from_slice(name);
            memory.text.extend_from_slice(text);
            let is_sensitive = value.is_sensitive();
            memory.fields.push(Field { name: name.len(), value: text.len(), is_sensitive });
        }
        let (method, uri, version) = (request.method().clone(), request.uri().clone(), request.version());
        Self { method, uri, version, head: memory, body }
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    /// The request.
    ///
    /// # Errors
    /// A field of it can be written only by who has written it once.
    pub(super) fn again(self) -> Result<Outgoing, Error> {
        self.rebuilt().ok_or_else(|| {
            Error::new(Stage::Wire, Kind::RequestInvalid, "a header field of the request cannot be written again")
        })
    }

    fn rebuilt(self) -> Option<Outgoing> {
        let Self { method, uri, version, head: Memory { text, fields }, body } = self;
        let mut headers = HeaderMap::with_capacity(fields.len());
        let mut rest = &text[..];
        for Field { name, value, is_sensitive } in fields {
            let (name, after) = rest.split_at_checked(name)?;
            let (value, after) = after.split_at_checked(value)?;
            let mut value = HeaderValue::from_bytes(value).ok()?;
            value.set_sensitive(is_sensitive);
            headers.append(HeaderName::from_bytes(name).ok()?, value);
            rest = after;
        }
        let mut request = Request::new(WireBody::full(body));
        (*request.method_mut(), *request.uri_mut(), *request.version_mut()) = (method, uri, version);
        *request.headers_mut() = headers;
        Some(request)
    }

    /// Nobody wants the request again: its memory, for the next one.
    pub(super) fn forget(self) -> Memory {
        let Memory { mut text, mut fields } = self.head;
        if text.capacity() > LARGE {
            return Memory::default();
        }
        text.clear();
        fields.clear();
        Memory { text, fields }
    }
}

impl fmt::Debug for Kept {
    /// Without the fields, among which are secrets.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Kept({} {})", self.method, self.uri.path())
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Memory({} fields)", self.fields.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(value: &'static [u8]) -> Outgoing {
        let mut secret = HeaderValue::from_static("Bearer s3cret");
        secret.set_sensitive(true);
        Request::post("/v1/chat?x=1")
            .header("x-odd", HeaderValue::from_bytes(value).unwrap())
            .header("authorization", secret)
            .header("x-two", "1")
            .header("x-two", "")
            .body(WireBody::full(body()))
            .unwrap()
    }

    fn body() -> Option<Bytes> {
        Some(Bytes::from_static(b"{}"))
    }

    #[test]
    fn what_is_sent_again_is_what_was_sent() {
        let first = request(b" \xe4:\t, ");
        let kept = Kept::of(&first, body(), Memory::default());
        assert!(!format!("{kept:?}").contains("s3cret"));
        let again = kept.again().unwrap();
        assert_eq!((again.method(), again.uri(), again.version()), (first.method(), first.uri(), first.version()));
        assert_eq!(again.headers(), first.headers());
        assert!(again.headers()["authorization"].is_sensitive());
        assert_eq!(again.body().whole().unwrap(), b"{}");
    }

    #[test]
    fn memory_is_used_again_and_holds_nothing_of_the_request_before() {
        let memory = Kept::of(&request(b"the first, which is longer"), body(), Memory::default()).forget();
        let held = memory.text.capacity();
        let next = Kept::of(&request(b"the second"), body(), memory);
        assert_eq!(next.head.text.capacity(), held);
        assert_eq!(next.again().unwrap().headers(), request(b"the second").headers());
        let large: &'static [u8] = &[b'x'; 2 * LARGE];
        assert_eq!(Kept::of(&request(large), body(), Memory::default()).forget().text.capacity(), 0);
    }
}
