//! A method and a path -> what is asked for.
//!
//! Before: the head of a request. After: its body is read, or the models are listed. Invariant: another path is a 404, and
//! another method a 405; both name what there is.

use crate::bindings::{Error, ErrorKind};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `POST /v1/chat/completions`.
    Completions,
    /// `POST /chat`: a prompt and a text.
    Chat,
    /// `GET /v1/models`.
    Models,
    /// `GET /v1/models/{id}`, with the id as it is meant.
    Model(String),
}

/// What there is at a path, for a method.
///
/// # Errors
/// `not-found` for another path, `bad-request` with status 405 for another method.
pub fn route(method: &str, path: &str) -> Result<Route, Error> {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let route = match path {
        "/v1/chat/completions" => Route::Completions,
        "/chat" => Route::Chat,
        "/v1/models" => Route::Models,
        _ => match path.strip_prefix("/v1/models/").filter(|id| !id.is_empty()) {
            Some(id) => Route::Model(decoded(id)),
            None => {
                let message = format!("there is nothing at {path}; try POST /v1/chat/completions");
                return Err(Error {
                    provider_code: Some("not_found".to_owned()),
                    ..Error::new(ErrorKind::NotFound, message)
                });
            }
        },
    };
    let wanted = methods(path);
    if method != wanted {
        let message = format!("{path} takes {wanted}, not {method}");
        return Err(Error { status: Some(405), ..Error::new(ErrorKind::BadRequest, message) });
    }
    Ok(route)
}

/// The method that a path takes.
pub fn methods(path: &str) -> &'static str {
    if path.starts_with("/v1/models") { "GET" } else { "POST" }
}

/// A segment of a path as it is meant. <https://www.rfc-editor.org/rfc/rfc3986#section-2.1>
fn decoded(segment: &str) -> String {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, more @ ..] = rest {
        let digit = |at: usize| more.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        rest = match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.extend(u8::try_from(high * 16 + low));
                &more[2..]
            }
            _ => {
                bytes.push(*first);
                more
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::failure;

    #[test]
    fn every_path_has_its_method() {
        assert_eq!(route("POST", "/v1/chat/completions?api-version=1"), Ok(Route::Completions));
        assert_eq!(route("POST", "/chat"), Ok(Route::Chat));
        assert_eq!(route("GET", "/v1/models"), Ok(Route::Models));
        for (method, path, status) in [
            ("POST", "/v1/completions", 404),
            ("GET", "/v1/models/", 404),
            ("GET", "/v1/chat/completions", 405),
            ("POST", "/v1/models", 405),
            ("DELETE", "/v1/models/m", 405),
            ("GET", "/chat", 405),
        ] {
            assert_eq!(route(method, path).map_err(|error| failure(&error).status), Err(status), "{method} {path}");
        }
        assert_eq!((methods("/chat"), methods("/v1/models/m")), ("POST", "GET"));
    }

    #[test]
    fn a_models_name_may_hold_slashes_and_percents() {
        for (path, id) in [
            ("/v1/models/fast", "fast"),
            ("/v1/models/openai/gpt-4o", "openai/gpt-4o"),
            ("/v1/models/openai%2Fgpt-4o?x=1", "openai/gpt-4o"),
            ("/v1/models/100%", "100%"),
            ("/v1/models/%e2%82%ac%2", "\u{20ac}%2"),
        ] {
            assert_eq!(route("GET", path), Ok(Route::Model(id.to_owned())), "{path}");
        }
    }
}
