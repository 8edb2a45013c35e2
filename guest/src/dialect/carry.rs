//! What every encoder does with a request: refuse by name, drop where that is asked for, escape, merge, address.
//!
//! Before: a dialect's `encode`. After: the exchange. Invariant: a parameter that is there is carried, refused, or dropped
//! because somebody asked for that; content is never dropped.

use std::borrow::Cow;

use serde_json::{Map, Value, value::RawValue};

use super::{Exchange, Url, exchange::FORBIDDEN};
use crate::{
    bindings::{Error, ErrorKind, Request},
    json::{self, Any, Object, Pairs},
    provider::Target,
};

/// A request on its way to a target.
#[derive(Clone, Copy)]
pub(super) struct Carrier<'e> {
    pub(super) target: &'e Target<'e>,
    pub(super) request: &'e Request,
}

impl<'e> Carrier<'e> {
    /// The exchange with a JSON body: the key's header field, the dialect's own and the caller's.
    pub(super) fn exchange(&self, url: Url, own: &[(&str, &str)], body: Vec<u8>) -> Result<Exchange, Error> {
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        headers.extend(Exchange::key_header(self.target)?);
        headers.extend(own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        for header in &self.request.extra_headers {
            let name = header.name.to_ascii_lowercase();
            let taken = FORBIDDEN.contains(&name.as_str()) || own.iter().any(|(own, _)| *own == name);
            // A placeholder in a header of the caller's own would have the host put a key where no dialect wants one.
            if taken || header.value.contains("seaway-credential:") {
                return Err(bad(format!("the header `{name}` cannot be set by a request")).about("extra_headers"));
            }
            headers.push((name, header.value.clone()));
        }
        Ok(Exchange { url, headers, body })
    }

    /// The address of a path behind the base URL.
    pub(super) fn below(&self, path: &str) -> Result<Url, Error> {
        Url::parse(&format!("{}{path}", self.base_url()?.trim_end_matches('/')))
    }

    /// The same for a path that is the API's version and what follows it. Other programs' variables for the base URL hold
    /// none of it, or all: what is there already is not repeated.
    pub(super) fn below_version(&self, version: &str, method: &str) -> Result<Url, Error> {
        let base = self.base_url()?;
        let base = base.trim_end_matches('/');
        match self.target.path {
            Some(path) => self.below(path),
            None if base.ends_with(&format!("{version}{method}")) => Url::parse(base),
            None if base.ends_with(version) => self.below(method),
            None => self.below(&format!("{version}{method}")),
        }
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
    #[inline(never)]
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
    #[inline(never)]
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

/// JSON that is merged into the body last: what the request says, and what the model's row adds where the caller said nothing.
pub(super) struct Extra<'e> {
    asked: Vec<(String, Any<'e>)>,
    row: Map<String, Value>,
}

impl<'e> Extra<'e> {
    /// Reads it. The request may not name a key of `owned`, which the dialect writes itself.
    pub(super) fn of(carrier: &Carrier<'e>, owned: &[&str]) -> Result<Self, Error> {
        let asked = match &carrier.request.extra_json {
            Some(extra) => object(extra, "extra-json", owned)?,
            None => Vec::new(),
        };
        Ok(Self { asked, row: carrier.target.extra.cloned().unwrap_or_default() })
    }

    /// Takes out the object `name`, which the dialect shares with the caller but for the keys of `owned`.
    pub(super) fn within(&mut self, name: &str, owned: &[&str]) -> Result<Self, Error> {
        let asked = match self.asked.iter().position(|(key, _)| key == name) {
            Some(place) => object(self.asked.remove(place).1.get(), name, owned)?,
            None => Vec::new(),
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
            if !written.contains(&key.as_str()) && !self.asked.iter().any(|(asked, _)| asked == key) {
                to.set(key, value);
            }
        }
    }
}

fn object<'j>(json: &'j str, name: &str, owned: &[&str]) -> Result<Vec<(String, Any<'j>)>, Error> {
    let Pairs(object) =
        json::read(json).map_err(|error| bad(format!("`{name}` is no JSON object: {error}")).about(name))?;
    match object.iter().find(|(key, _)| owned.contains(&key.as_str())) {
        Some((key, _)) => {
            Err(bad(format!("`{name}` may not set `{key}`, which is a parameter of its own")).about(key.as_str()))
        }
        None => Ok(object),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bindings::{Header, Message},
        provider::{Table, resolve},
    };

    /// The exchange of a request with these: its address, or why there is none.
    fn address(base: &str, headers: &[(&str, &str)]) -> Result<String, ErrorKind> {
        let table = Table::from_json(r#"{"credentials": "placeholder"}"#).unwrap();
        let target = resolve(&table, "anthropic/m").unwrap();
        let header = |(name, value): &(&str, &str)| Header { name: (*name).into(), value: (*value).into() };
        let request = Request {
            base_url: Some(base.to_owned()),
            extra_headers: headers.iter().map(header).collect(),
            ..Request::new("anthropic/m", vec![Message::user("x")])
        };
        let carrier = Carrier { target: &target, request: &request };
        let url = carrier.below_version("/v1", "/messages").map_err(|error| error.kind)?;
        let exchange = carrier.exchange(url, &[("anthropic-version", "2023-06-01")], Vec::new());
        exchange.map(|exchange| exchange.url.to_string()).map_err(|error| error.kind)
    }

    #[test]
    fn a_base_url_holds_none_of_the_path_or_its_version_or_all_of_it() {
        for base in ["https://x", "https://x/", "https://x/v1", "https://x/v1/", "https://x/v1/messages"] {
            assert_eq!(address(base, &[]).as_deref(), Ok("https://x/v1/messages"), "{base}");
        }
        assert_eq!(address("https://x/anthropic", &[]).as_deref(), Ok("https://x/anthropic/v1/messages"));
        assert_eq!(address("", &[]), Err(ErrorKind::Configuration));
    }

    #[test]
    fn a_header_that_is_not_the_callers_is_refused() {
        assert!(address("https://x", &[("Anthropic-Beta", "context-1m")]).is_ok());
        for (name, value) in
            [("X-Api-Key", "k"), ("anthropic-version", "1"), ("Host", "y"), ("x-note", "seaway-credential:anthropic")]
        {
            assert_eq!(address("https://x", &[(name, value)]), Err(ErrorKind::BadRequest), "{name}");
        }
    }
}
