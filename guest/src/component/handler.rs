//! The `wasi:http` handler: OpenAI's API over the same completions.
//!
//! Before: a host's server, or its command line. After: `api` reads the request and writes the answer. Invariant: what fails
//! before the first delta has a status of its own; what fails later is an error event, and the stream then ends without `[DONE]`.

use wit_bindgen::{StreamReader, StreamResult};

use super::{Component, code, complete, pump::Pump, send::buffer};
use crate::{
    api::{self, Chunks, Incoming},
    bindings::{
        Error, ErrorKind,
        generated::{
            exports,
            wasi::http::types::{ErrorCode, Fields, Method, Request, Response, Trailers},
            wit_future, wit_stream,
        },
    },
};

impl exports::wasi::http::handler::Guest for Component {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        Ok(match answer(request).await {
            Ok(response) => response,
            Err(error) => {
                let failure = api::failure(&error);
                let mut fields = json(failure.body.len());
                fields
                    .extend(failure.retry_after.map(|wait| ("retry-after".to_owned(), wait.to_string().into_bytes())));
                let allow = failure.status == 405;
                fields.extend(allow.then(|| ("allow".to_owned(), b"POST".to_vec())));
                whole(failure.status, &fields, failure.body)
            }
        })
    }
}

async fn answer(request: Request) -> Result<Response, Error> {
    let method = request.get_method();
    let path = request.get_path_with_query().unwrap_or_default();
    let method = match &method {
        Method::Post => "POST",
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(other) => other,
    };
    api::route(method, &path)?;
    let body = read(request).await?;
    let Incoming { request, stream } = api::parse(&body)?;
    drop(body);
    if stream {
        return streamed(&request).await;
    }
    let completion = complete(&request).await?;
    let body = api::answer(&completion, &request.model);
    Ok(whole(200, &json(body.len()), body))
}

/// A streamed answer: its head is sent with the first chunks, so that an error before them still has its status.
async fn streamed(request: &crate::bindings::Request) -> Result<Response, Error> {
    let usage = request.stream_options.as_ref().is_some_and(|options| options.include_usage);
    let mut chunks = Chunks::new(&request.model, usage);
    let mut pump = Pump::open(request).await?;
    let first = pump.more().await?.unwrap_or_default();
    let fields = [
        ("content-type".to_owned(), b"text/event-stream; charset=utf-8".to_vec()),
        ("cache-control".to_owned(), b"no-cache".to_vec()),
    ];
    let (mut writer, contents) = wit_stream::new::<u8>();
    let (trailers, no_trailers) = wit_future::new::<Result<Option<Trailers>, ErrorCode>>(|| Ok(None));
    let response = respond(200, &fields, contents, no_trailers);
    wit_bindgen::spawn_local(async move {
        let mut next = Ok(Some(first));
        let mut out = Vec::with_capacity(4096);
        loop {
            let last = match next {
                Ok(Some(deltas)) => {
                    chunks.write(deltas, &mut out);
                    false
                }
                Ok(None) => {
                    chunks.end(&mut out);
                    true
                }
                Err(error) => {
                    chunks.fail(&error, &mut out);
                    true
                }
            };
            // Deltas that become no chunk, such as a usage that nobody asked for, are no write.
            if !out.is_empty() {
                out = writer.write_all(out).await;
                if !out.is_empty() {
                    // Nobody reads any more: leave, which closes the connection to the provider.
                    return;
                }
            }
            if last {
                break;
            }
            next = pump.more().await;
        }
        drop(pump);
        drop(writer);
        drop(trailers);
    });
    Ok(response)
}

/// The whole body of a request.
async fn read(request: Request) -> Result<Vec<u8>, Error> {
    let (done, result) = wit_future::new::<Result<(), ErrorCode>>(|| Ok(()));
    let (mut bytes, trailers) = Request::consume_body(request, result);
    let mut body = buffer();
    loop {
        if body.len() == body.capacity() && body.try_reserve(body.len()).is_err() {
            let message = format!("the request is larger than this component's memory, at {} bytes", body.len());
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        let result;
        (result, body) = bytes.read(body).await;
        if !matches!(result, StreamResult::Complete(_)) {
            break;
        }
    }
    drop(bytes);
    // A request that was cut off must not be taken for a short one.
    trailers.await.map_err(|code| code::error(&code))?;
    drop(done);
    Ok(body)
}

fn json(length: usize) -> Vec<(String, Vec<u8>)> {
    vec![
        ("content-type".to_owned(), b"application/json".to_vec()),
        ("content-length".to_owned(), length.to_string().into_bytes()),
    ]
}

/// An answer whose body goes in one write.
fn whole(status: u16, fields: &[(String, Vec<u8>)], body: Vec<u8>) -> Response {
    let (mut writer, contents) = wit_stream::new::<u8>();
    let (trailers, no_trailers) = wit_future::new::<Result<Option<Trailers>, ErrorCode>>(|| Ok(None));
    let response = respond(status, fields, contents, no_trailers);
    wit_bindgen::spawn_local(async move {
        writer.write_all(body).await;
        drop(writer);
        drop(trailers);
    });
    response
}

fn respond(
    status: u16,
    fields: &[(String, Vec<u8>)],
    contents: StreamReader<u8>,
    trailers: wit_bindgen::FutureReader<Result<Option<Trailers>, ErrorCode>>,
) -> Response {
    let fields = Fields::from_list(fields).expect("names and values are our own");
    let (response, transmitted) = Response::new(fields, Some(contents), trailers);
    drop(transmitted);
    if status != 200 {
        response.set_status_code(status).expect("a status between 400 and 599");
    }
    response
}
