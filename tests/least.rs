//! A component that does the least that one exchange through `wasi:http` takes: no dialect, no JSON, no check.
//!
//! What it costs is the price of the component model's own machinery, below which no guest of this world can be. The
//! benchmark puts it beside the real component. A model named `post AUTHORITY` makes the exchange, any other none.
#![cfg(target_family = "wasm")]

mod generated {
    wit_bindgen::generate!({ path: "../wit", world: "completer", generate_all });
}

use std::future::{Future, poll_fn};

use generated::exports::seaway::completion::completions::{Completion, Delta, Error, Finish, Guest, Request};
use generated::exports::wasi::http::handler;
use generated::seaway::completion::types::ErrorKind;
use generated::wasi::http::client;
use generated::wasi::http::types::{ErrorCode, Fields, Method, Request as Outgoing, Response, Scheme};
use generated::{wit_future, wit_stream};

struct Least;

#[expect(unsafe_code, reason = "the canonical ABI; generated code")]
mod entry {
    use super::Least;
    super::generated::export!(Least with_types_in super::generated);
}

type Deltas = (wit_bindgen::StreamReader<Delta>, wit_bindgen::FutureReader<Result<Finish, Error>>);

impl Guest for Least {
    async fn complete(request: Request) -> Result<Completion, Error> {
        match request.model.strip_prefix("post ") {
            Some(authority) => Err(said(post(authority).await.unwrap_or_default())),
            None => Err(said(0)),
        }
    }

    async fn stream(_request: Request) -> Result<Deltas, Error> {
        Err(said(0))
    }
}

impl handler::Guest for Least {
    async fn handle(_request: Outgoing) -> Result<Response, ErrorCode> {
        Err(ErrorCode::InternalError(None))
    }
}

/// Tells how many bytes came.
fn said(bytes: usize) -> Error {
    Error {
        kind: ErrorKind::Provider,
        message: bytes.to_string(),
        provider: None,
        status: None,
        provider_type: None,
        provider_code: None,
        param: None,
        retry_after: None,
        code: None,
    }
}

/// Posts 200 bytes, and reads an answer in one read.
async fn post(authority: &str) -> Option<usize> {
    let fields = [("content-length".to_owned(), b"200".to_vec())];
    let fields = Fields::from_list(&fields).ok()?;
    let (mut writer, contents) = wit_stream::new::<u8>();
    let (trailers, no_trailers) = wit_future::new(|| Ok(None));
    let (request, _transmitted) = Outgoing::new(fields, Some(contents), no_trailers, None);
    request.set_method(&Method::Post).ok()?;
    request.set_scheme(Some(&Scheme::Http)).ok()?;
    request.set_authority(Some(authority)).ok()?;
    request.set_path_with_query(Some("/small/v1/chat/completions")).ok()?;
    let mut write = Box::pin(async move {
        writer.write_all(vec![b'x'; 200]).await;
    });
    let mut send = std::pin::pin!(client::send(request));
    let mut written = false;
    let response = poll_fn(|context| {
        written = written || write.as_mut().poll(context).is_ready();
        send.as_mut().poll(context)
    })
    .await
    .ok()?;
    let (read, result) = wit_future::new::<Result<(), ErrorCode>>(|| Ok(()));
    let (mut bytes, ended) = Response::consume_body(response, result);
    let (_, body) = bytes.read(Vec::with_capacity(16 << 10)).await;
    drop((bytes, ended, trailers, read));
    Some(body.len())
}
