//! What every encoder does with a request's parameters: carry, refuse by name, or leave out where that is allowed.
//!
//! Before: a target and a request. After: a dialect's JSON, its address and its headers. Invariant: no parameter is left
//! out silently, and neither the caller's own JSON nor its headers can say what belongs to the dialect.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Serialize;
use serde_json::value::RawValue;

use super::{Exchange, Url, exchange::FORBIDDEN};
use crate::{
    bindings::{Error, ErrorKind, Request},
    json::Object,
    provider::Target,
};

/// The parameters of one request on their way into a body.
pub(super) struct Parameters<'e> {
    pub(super) target: &'e Target<'e>,
    pub(super) request: &'e Request,
    /// The keys that the body has.
    written: Vec<&'static str>,
}

impl<'e> Parameters<'e> {
    pub(super) fn new(target: &'e Target<'e>, request: &'e Request) -> Self {
        Self { target, request, written: Vec::with_capacity(16) }
    }

    /// Writes a key of the dialect's own.
    pub(super) fn put(&mut self, body: &mut Object<'_>, key: &'static str, value: &(impl Serialize + ?Sized)) {
        self.note(key);
        body.set(key, value);
    }

    /// Writes a parameter, named as OpenAI does, under the dialect's key, if it is there.
    pub(super) fn some(
        &mut self,
        body: &mut Object<'_>,
        parameter: &str,
        key: &'static str,
        value: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<(), Error> {
        if let Some(value) = value
            && self.carries(parameter, true)?
        {
            self.put(body, key, value);
        }
        Ok(())
    }

    /// Notes that a key has been written, so that the model's own JSON stands back.
    pub(super) fn note(&mut self, key: &'static str) {
        self.written.push(key);
    }

    /// Whether a parameter is to be written: `Err` if it is there, the provider cannot take it, and it may not be dropped.
    #[inline(never)]
    pub(super) fn carries(&self, parameter: &str, there: bool) -> Result<bool, Error> {
        if !there || self.target.takes(parameter) {
            return Ok(there);
        }
        self.cannot(parameter, true).map(|()| false)
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

    /// Merges the request's and the model's own JSON, last: the request's may not name an owned key, and the model's
    /// stands back where the caller has said something.
    pub(super) fn extra(&self, body: &mut Object<'_>, owned: &[&str]) -> Result<(), Error> {
        type Extra<'j> = BTreeMap<Cow<'j, str>, &'j RawValue>;
        let mut named: Vec<String> = Vec::new();
        if let Some(extra) = &self.request.extra_json {
            let extra: Extra<'_> = serde_json::from_str(extra)
                .map_err(|error| bad(format!("`extra-json` is no JSON object: {error}")).about("extra-json"))?;
            for (key, value) in extra {
                if owned.contains(&&*key) {
                    let message = format!("`extra-json` may not set `{key}`, which is a parameter of its own");
                    return Err(bad(message).about(key));
                }
                body.raw(&key, value.get());
                named.push(key.into_owned());
            }
        }
        for (key, value) in self.target.extra.into_iter().flatten() {
            if !self.written.contains(&key.as_str()) && !named.contains(key) {
                body.set(key, value);
            }
        }
        Ok(())
    }

    /// The exchange around a body: the dialect's path behind the base URL, the key, the dialect's own header fields and
    /// the caller's. The path is the API's version and what follows it. Other programs' variables for the base URL hold
    /// none of it, or all: what is there already is not repeated.
    pub(super) fn exchange(
        &self,
        (version, method): (&str, &str),
        own: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Exchange, Error> {
        let (target, request) = (self.target, self.request);
        let base = request.base_url.as_deref().unwrap_or(&target.base_url);
        if base.is_empty() {
            let message = format!("provider `{}` needs a `base_url`", target.provider);
            return Err(Error::new(ErrorKind::Configuration, message).from(target.provider));
        }
        let base = base.trim_end_matches('/');
        let url = Url::parse(&match target.path {
            Some(path) => format!("{base}{path}"),
            None if base.ends_with(&format!("{version}{method}")) => base.to_owned(),
            None if base.ends_with(version) => format!("{base}{method}"),
            None => format!("{base}{version}{method}"),
        })?;
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        headers.extend(Exchange::key_header(target)?);
        headers.extend(own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        for header in &request.extra_headers {
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
pub(super) fn parsed<'j>(json: &'j str, parameter: &str) -> Result<&'j RawValue, Error> {
    serde_json::from_str(json)
        .map_err(|error| bad(format!("a schema in `{parameter}` is no JSON: {error}")).about(parameter))
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
        let given = Parameters::new(&target, &request);
        let exchange = given.exchange(("/v1", "/messages"), &[("anthropic-version", "2023-06-01")], Vec::new());
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
