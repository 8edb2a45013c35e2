//! OpenAI's HTTP API <-> the WIT types, purely.
//! <https://platform.openai.com/docs/api-reference/chat> (2026-11)
//!
//! Before: `component` has read a request to its `wasi:http` handler. After: `provider` finds the target; the answer comes
//! back here to be written. Invariant: a parameter is understood or refused by name, and a stream keeps OpenAI's rules.

mod request;
mod parameters;
mod conversation;
mod answer;
mod chunk;
mod error;

pub use answer::answer;
pub use chunk::Chunks;
pub use error::{Failure, failure};
pub use request::{Incoming, parse};

use crate::bindings::{Error, ErrorKind};

/// Whether there is something at a path, for a method.
///
/// # Errors
/// `not-found` for another path, `bad-request` with status 405 for another method.
pub fn route(method: &str, path: &str) -> Result<(), Error> {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    if path != "/v1/chat/completions" {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("there is nothing at {path}; try POST /v1/chat/completions"),
        ));
    }
    if method != "POST" {
        let message = format!("{path} takes POST, not {method}");
        return Err(Error { status: Some(405), ..Error::new(ErrorKind::BadRequest, message) });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_path_and_one_method() {
        assert_eq!(route("POST", "/v1/chat/completions?api-version=1"), Ok(()));
        assert_eq!(route("POST", "/v1/completions").map_err(|error| failure(&error).status), Err(404));
        assert_eq!(route("GET", "/v1/chat/completions").map_err(|error| failure(&error).status), Err(405));
    }
}
