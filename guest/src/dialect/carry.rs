//! What every encoder does with a request: refuse by name, drop where that is asked for, escape, merge.
//!
//! Before: a dialect's `encode`. After: the exchange. Invariant: a parameter that is there is carried, refused, or dropped
//! because somebody asked for that; content is never dropped.

use std::{borrow::Cow, collections::BTreeMap};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, value::RawValue};

use super::{Exchange, Url, exchange::FORBIDDEN};
use crate::{
    bindings::{Error, ErrorKind, Request, Source},
    json::Object,
    provider::Target,
};

/// A request on its way to a target.
#[derive(Clone, Copy)]
pub(super) struct Carrier<'e> {
    pub(super) target: &'e Target<'e>,
    pub(super) request: &'e Request,
}

impl<'e> Carrier<'e> {
    /// The exchange with a JSON body, to a path below the base URL.
    pub(super) fn exchange(&self, path: &str, body: Vec<u8>) -> Result<Exchange, Error> {
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        headers.extend(Exchange::key_header(self.target)?);
        for header in &self.request.extra_headers {
            let name = header.name.to_ascii_lowercase();
            // A placeholder in a header of the caller's own would have the host put a key where no dialect wants one.
            if FORBIDDEN.contains(&name.as_str()) || header.value.contains("seaway-credential:") {
                let message = format!("the header `{name}` cannot be set by a request");
                return Err(Error::new(ErrorKind::BadRequest, message).about("extra_headers"));
            }
            headers.push((name, header.value.clone()));
        }
        let base = self.base_url()?;
        Ok(Exchange { url: Url::parse(&format!("{}{path}", base.trim_end_matches('/')))?, headers, body })
    }

    /// The base URL, with what belongs into its places.
    fn base_url(&self) -> Result<Cow<'e, str>, Error> {
        let base = self.request.base_url.as_deref().unwrap_or(&self.target.base_url);
        if base.is_empty() {
            let message = format!("provider `{}` needs a `base_url`", self.target.provider);
            return Err(Error::new(ErrorKind::Configuration, message).from(self.target.provider));
        }
        self.target.place(base)
    }

    /// Refuses a parameter that is there, unless it may be dropped.
    pub(super) fn cannot(&self, parameter: &str, there: bool) -> Result<(), Error> {
        let dropped = self.request.drop_unsupported || self.target.drop_unsupported;
        if !there || dropped {
            return Ok(());
        }
        let message = format!("the provider cannot take `{parameter}`; leave it out, or set `drop_unsupported`");
        Err(Error::new(ErrorKind::Unsupported, message).about(parameter))
    }

    /// Refuses those parameters that are there, unless they may be dropped.
    pub(super) fn cannot_any(&self, parameters: &[(&str, bool)]) -> Result<(), Error> {
        parameters.iter().try_for_each(|(parameter, there)| self.cannot(parameter, *there))
    }

    /// Whether a parameter that is there is to be written: what the row says that its provider lacks is not.
    pub(super) fn carries(&self, parameter: &str, there: bool) -> Result<bool, Error> {
        if !there || self.target.takes(parameter) {
            return Ok(there);
        }
        self.cannot(parameter, true).map(|()| false)
    }
}

/// The error of content that the provider cannot take. It is never dropped.
pub(super) fn unsupported(content: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("the provider cannot take `{content}`")).about(content)
}

/// The error of a request that makes no sense.
pub(super) fn bad(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::BadRequest, message)
}

/// JSON that goes in as it is, once it has been seen to be JSON.
pub(super) fn parsed<'j>(json: &'j str, parameter: &str) -> Result<&'j str, Error> {
    let raw: &RawValue = serde_json::from_str(json)
        .map_err(|error| bad(format!("a schema in `{parameter}` is no JSON: {error}")).about(parameter))?;
    Ok(raw.get())
}

/// A tool call's arguments, for a provider that wants an object: none are an empty one.
pub(super) fn arguments<'j>(json: &'j str, id: &str) -> Result<&'j str, Error> {
    let json = json.trim();
    if json.is_empty() {
        return Ok("{}");
    }
    match serde_json::from_str::<&RawValue>(json) {
        Ok(raw) if json.starts_with('{') => Ok(raw.get()),
        Ok(_) | Err(_) => {
            Err(bad(format!("the arguments of tool call `{id}` are no JSON object, which the provider needs")))
        }
    }
}

/// Percent-encoded for one segment of a path. <https://www.rfc-editor.org/rfc/rfc3986#section-2.3>
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// Content in base64, if it is here and not at an address or with the provider.
pub(super) fn base64(source: &Source) -> Result<Option<Cow<'_, str>>, Error> {
    match source {
        Source::Bytes(bytes) => Ok(Some(Cow::Owned(BASE64_STANDARD.encode(bytes)))),
        Source::Base64(text) => {
            // It goes into the body without being escaped.
            let clean = text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_'));
            if clean { Ok(Some(Cow::Borrowed(text))) } else { Err(bad("content is said to be base64, and is not")) }
        }
        Source::Url(_) | Source::Id(_) => Ok(None),
    }
}

/// Writes a string of clean base64 without looking at it again.
pub(super) fn put_base64(out: &mut Vec<u8>, data: &str) {
    out.push(b'"');
    out.extend_from_slice(data.as_bytes());
    out.push(b'"');
}

/// JSON that is merged into the body last: what the request says, and what the model's row adds where the caller said nothing.
pub(super) struct Extra<'e> {
    asked: BTreeMap<String, &'e RawValue>,
    row: Map<String, Value>,
}

impl<'e> Extra<'e> {
    /// Reads it. The request may not name a key of `owned`, which the dialect writes itself.
    pub(super) fn of(carrier: &Carrier<'e>, owned: &[&str]) -> Result<Self, Error> {
        let asked = match &carrier.request.extra_json {
            Some(extra) => object(extra, "extra-json", owned)?,
            None => BTreeMap::new(),
        };
        Ok(Self { asked, row: carrier.target.extra.cloned().unwrap_or_default() })
    }

    /// Takes out the object `name`, which the dialect shares with the caller but for the keys of `owned`.
    pub(super) fn within(&mut self, name: &str, owned: &[&str]) -> Result<Self, Error> {
        let asked = match self.asked.remove(name) {
            Some(raw) => object(raw.get(), name, owned)?,
            None => BTreeMap::new(),
        };
        let row = match self.row.remove(name) {
            Some(Value::Object(row)) => row,
            None => Map::new(),
            Some(_) => {
                let message = format!("`extra.{name}` of the model is no object");
                return Err(Error::new(ErrorKind::Configuration, message));
            }
        };
        Ok(Self { asked, row })
    }

    /// Whether there is nothing to merge.
    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.row.is_empty()
    }

    /// Merges it into an object that has the keys of `written`.
    pub(super) fn write(&self, to: &mut Object<'_>, written: &[&str]) {
        for (key, value) in &self.asked {
            to.raw(key, value.get());
        }
        for (key, value) in &self.row {
            if !written.contains(&key.as_str()) && !self.asked.contains_key(key) {
                to.set(key, value);
            }
        }
    }
}

fn object<'j>(json: &'j str, name: &str, owned: &[&str]) -> Result<BTreeMap<String, &'j RawValue>, Error> {
    let object: BTreeMap<String, &RawValue> =
        serde_json::from_str(json).map_err(|error| bad(format!("`{name}` is no JSON object: {error}")).about(name))?;
    match object.keys().find(|key| owned.contains(&key.as_str())) {
        Some(key) => {
            Err(bad(format!("`{name}` may not set `{key}`, which is a parameter of its own")).about(key.as_str()))
        }
        None => Ok(object),
    }
}
