//! A component that does what no honest one does, on request: the name of the model says what.
//!
//! It speaks the world that the host expects, so that the host can start it. What it finds out it tells as the message of
//! an error, which reaches the test as it is.
#![cfg(target_family = "wasm")]

mod generated {
    wit_bindgen::generate!({ path: "../wit", world: "completer", generate_all });
}

use std::net::TcpStream;

use generated::exports::seaway::completion::completions::{Completion, Delta, Error, Finish, Guest, Request};
use generated::exports::wasi::http::handler;
use generated::seaway::completion::types::{ErrorKind, TextDelta};
use generated::wasi::http::client;
use generated::wasi::http::types::{ErrorCode, Fields, Method, Request as Outgoing, Response, Scheme};
use generated::{wit_future, wit_stream};

struct Hostile;

#[expect(unsafe_code, reason = "the canonical ABI; generated code")]
mod entry {
    use super::Hostile;
    super::generated::export!(Hostile with_types_in super::generated);
}

type Deltas = (wit_bindgen::StreamReader<Delta>, wit_bindgen::FutureReader<Result<Finish, Error>>);

impl Guest for Hostile {
    async fn complete(request: Request) -> Result<Completion, Error> {
        Err(said(act(&request.model).await))
    }

    async fn stream(request: Request) -> Result<Deltas, Error> {
        let (mut writer, reader) = wit_stream::new::<Delta>();
        let (ended, end) = wit_future::new::<Result<Finish, Error>>(|| Err(said("the default".to_owned())));
        let model = request.model;
        wit_bindgen::spawn_local(async move {
            let delta = Delta::Text(TextDelta { choice: 0, text: "first".to_owned() });
            writer.write_all(vec![delta]).await;
            if model == "stop" {
                // Ends the stream and never says why.
                std::mem::forget(ended);
                return;
            }
            let message = act(&model).await;
            drop(writer);
            let _ = ended.write(Err(said(message))).await;
        });
        Ok((reader, end))
    }
}

impl handler::Guest for Hostile {
    async fn handle(_request: Outgoing) -> Result<Response, ErrorCode> {
        Err(ErrorCode::InternalError(Some("two\nlines\r\nof talk".to_owned())))
    }
}

fn said(message: String) -> Error {
    Error {
        kind: ErrorKind::Provider,
        message,
        provider: None,
        status: None,
        provider_type: None,
        provider_code: None,
        param: None,
        retry_after: None,
        code: None,
    }
}

/// Does what the word says, and tells what came of it.
async fn act(model: &str) -> String {
    let (word, rest) = model.split_once(' ').unwrap_or((model, ""));
    match word {
        "spin" => loop {
            std::hint::black_box(());
        },
        "trap" => panic!("on purpose"),
        "allocate" => {
            let mut all: Vec<Vec<u8>> = Vec::new();
            loop {
                all.push(vec![1; 1 << 20]);
            }
        }
        "environment" => {
            let all = std::env::vars().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
            all.join("\n")
        }
        "files" => {
            let read = ["/", ".", "/etc", "/etc/passwd"]
                .map(|path| std::fs::read_dir(path).is_ok() || std::fs::read(path).is_ok());
            format!("{read:?}")
        }
        "sockets" => format!("{}", TcpStream::connect(rest).is_ok()),
        "fetch" => fetch(rest).await,
        _ => "fine".to_owned(),
    }
}

/// GETs a URL with keys of its own and a placeholder in a header; tells status, header fields and the code of a failure.
async fn fetch(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let fields = [("authorization", "Bearer seaway-credential:test"), ("x-api-key", "the guest's own")];
    let fields = fields.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
    let fields = match Fields::from_list(&fields) {
        Ok(fields) => fields,
        Err(error) => return format!("fields: {error:?}"),
    };
    let (trailers, no_trailers) = wit_future::new(|| Ok(None));
    drop(trailers);
    let (request, transmitted) = Outgoing::new(fields, None, no_trailers, None);
    drop(transmitted);
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    let set = request.set_method(&Method::Get).is_ok()
        && request.set_scheme(Some(&scheme)).is_ok()
        && request.set_authority(Some(authority)).is_ok()
        && request.set_path_with_query(Some(path)).is_ok();
    if !set {
        return "not a request".to_owned();
    }
    match client::send(request).await {
        Err(code) => format!("{code:?}"),
        Ok(response) => {
            let fields = response.get_headers().copy_all();
            let fields = fields.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value)));
            format!("{} {}", response.get_status_code(), fields.collect::<Vec<_>>().join("; "))
        }
    }
}
