//! The `wasi:http` handler: OpenAI's API over the same completions.
//!
//! Before: a host's server, or its command line. After: `api` reads the request and writes the answer. Invariant: what fails
//! before the first delta has a status of its own; what fails later is an error event, and the stream then ends without `[DONE]`.
//! What the host wants to know of an answer is in its trailers.

use wit_bindgen::{FutureWriter, StreamReader, StreamResult};

use super::{Component, aim, code, complete, pump::Pump, send::buffer, table};
use crate::{
    api::{self, Allowed, Chat, Chunks, Incoming, Report, Route},
    bindings::{
        Completion, Delta, Error, ErrorKind,
        generated::{
            exports,
            wasi::http::types::{ErrorCode, Fields, Method, Request, Response, Trailers},
            wit_future, wit_stream,
        },
    },
};

impl exports::wasi::http::handler::Guest for Component {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let mut report = None;
        Ok(match answer(request, &path, &mut report).await {
            Ok(response) => response,
            Err(error) => {
                let told = match report {
                    Some(mut report) => {
                        report.fail(&error);
                        report.trailers()
                    }
                    None => Report::without_provider(&error),
                };
                let failure = api::failure(&error);
                let mut fields = json(failure.body.len());
                fields
                    .extend(failure.retry_after.map(|wait| ("retry-after".to_owned(), wait.to_string().into_bytes())));
                let allow = failure.status == 405;
                fields.extend(allow.then(|| ("allow".to_owned(), api::methods(&path).as_bytes().to_vec())));
                whole(failure.status, &fields, failure.body, told)
            }
        })
    }
}

/// Notes in `report` whom it asks, once that is known.
async fn answer(request: Request, path: &str, report: &mut Option<Report>) -> Result<Response, Error> {
    let method = request.get_method();
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
    let route = api::route(method, path)?;
    let fields = request.get_headers();
    let allowed = Allowed::parse(fields.get(Allowed::HEADER).first().map(Vec::as_slice))?;
    let (incoming, form) = match route {
        Route::Models => return Ok(found(api::models(table()?, &allowed), Vec::new())),
        Route::Model(id) => return Ok(found(api::model(table()?, &id, &allowed)?, Vec::new())),
        Route::Completions => (api::parse(&read(request).await?)?, Form::OpenAi),
        Route::Chat => {
            let streams = fields.get("accept").iter().any(|accept| asks_for_events(accept));
            (api::parse_chat(&read(request).await?, streams)?, Form::Chat)
        }
    };
    drop(fields);
    let Incoming { request, stream } = incoming;
    allowed.check(&request.model)?;
    let (target, dialect) = aim(&request.model)?;
    let report = report.insert(Report::new(target.provider, target.model));
    if stream {
        let pump = Pump::open(&target, dialect, &request).await?;
        return streamed(pump, form.events(&request), report.clone()).await;
    }
    let completion = complete(&target, dialect, &request).await?;
    let told = report.clone().of(&completion).trailers();
    Ok(found(form.whole(&completion, &request.model), told))
}

/// How an answer is written.
#[derive(Clone, Copy)]
enum Form {
    /// As OpenAI does.
    OpenAi,
    /// As `/chat` does.
    Chat,
}

impl Form {
    fn whole(self, completion: &Completion, model: &str) -> Vec<u8> {
        match self {
            Self::OpenAi => api::answer(completion, model),
            Self::Chat => api::chat_answer(completion, model),
        }
    }

    fn events(self, request: &crate::bindings::Request) -> Events {
        match self {
            Self::OpenAi => {
                let usage = request.stream_options.as_ref().is_some_and(|options| options.include_usage);
                Events::OpenAi(Chunks::new(&request.model, usage))
            }
            Self::Chat => Events::Chat(Chat::new(&request.model)),
        }
    }
}

/// The writer of a stream.
enum Events {
    OpenAi(Chunks),
    Chat(Chat),
}

impl Events {
    /// Writes what came, and says whether it was the last.
    fn write(&mut self, next: Result<Option<Vec<Delta>>, Error>, out: &mut Vec<u8>) -> bool {
        let last = !matches!(next, Ok(Some(_)));
        match (self, next) {
            (Self::OpenAi(chunks), Ok(Some(deltas))) => chunks.write(deltas, out),
            (Self::OpenAi(chunks), Ok(None)) => chunks.end(out),
            (Self::OpenAi(chunks), Err(error)) => chunks.fail(&error, out),
            (Self::Chat(chat), Ok(Some(deltas))) => chat.write(deltas, out),
            (Self::Chat(chat), Ok(None)) => chat.end(out),
            (Self::Chat(chat), Err(error)) => chat.fail(&error, out),
        }
        last
    }
}

/// True if an `Accept` names events. One that takes anything asks for none.
fn asks_for_events(accept: &[u8]) -> bool {
    let ranges = accept.split(|byte| *byte == b',');
    let mut kinds = ranges.map(|range| range.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii());
    kinds.any(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"))
}

/// A streamed answer: its head is sent with the first chunks, so that an error before them still has its status.
async fn streamed(mut pump: Pump, mut events: Events, mut report: Report) -> Result<Response, Error> {
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
            match &next {
                Ok(Some(deltas)) => report.note(deltas),
                Ok(None) => {}
                Err(error) => report.fail(error),
            }
            let last = events.write(next, &mut out);
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
        tell(trailers, report.trailers()).await;
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

/// A good answer, as JSON.
fn found(body: Vec<u8>, told: Vec<(String, Vec<u8>)>) -> Response {
    whole(200, &json(body.len()), body, told)
}

/// An answer whose body goes in one write.
fn whole(status: u16, fields: &[(String, Vec<u8>)], body: Vec<u8>, told: Vec<(String, Vec<u8>)>) -> Response {
    let (mut writer, contents) = wit_stream::new::<u8>();
    let (trailers, no_trailers) = wit_future::new::<Result<Option<Trailers>, ErrorCode>>(|| Ok(None));
    let response = respond(status, fields, contents, no_trailers);
    wit_bindgen::spawn_local(async move {
        writer.write_all(body).await;
        drop(writer);
        tell(trailers, told).await;
    });
    response
}

/// Ends an answer whose body is told: the trailers are the host's. Where nothing is told there are none.
async fn tell(trailers: FutureWriter<Result<Option<Trailers>, ErrorCode>>, told: Vec<(String, Vec<u8>)>) {
    if told.is_empty() {
        return;
    }
    let fields = Fields::from_list(&told).expect("names and values are such as a header can have");
    // Nobody is there any more who wants to know.
    let _ = trailers.write(Ok(Some(fields))).await;
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
