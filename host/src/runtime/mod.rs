//! The runtime: the component as three calls.
//!
//! Runs between who wants a completion and the component; the component's requests leave by `outbound`. A call is
//! admitted, gets an instance to itself, runs, and gives it back (`instances`). Invariant: one call's trap, limit or
//! cancellation costs that call and no other.

mod error;
mod limits;
mod engine;
mod component;
mod bindings;
mod record;
mod figures;
mod stderr;
mod instances;
mod body;
mod deltas;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::Full;
use seaway_session::Session;
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p3::Request as WasiRequest;

pub use bindings::seaway::completion::types;
pub use body::Body;
pub use component::Source;
pub use deltas::{Deltas, Event};
pub use error::{CallError, StartError};
pub use figures::Figures;
pub use limits::Limits;
pub use record::CallRecord;
#[cfg(feature = "otel")]
pub(crate) use record::Watch;

use body::first;
use deltas::{Channel, guest_error};
use figures::Cpu;
use instances::{Ending, Instances};

/// How often the guest holds a request, measured: as values, as text, and as the bytes that it sends; what comes as a
/// body is read into a buffer that grows by doubling.
const TYPED_COPIES: u64 = 3;
const HTTP_COPIES: u64 = 4;

/// The component, ready to be called. Cheap to clone; clones share instances and limits.
#[derive(Clone)]
pub struct Runtime {
    instances: Arc<Instances>,
}

impl Runtime {
    /// Compiles the component, or finds it in wasmtime's cache, and makes room for its instances.
    ///
    /// `models` is the guest's configuration: the JSON document of the merged provider and model tables, which it reads
    /// from `SEAWAY_MODELS`. It holds no secret.
    ///
    /// # Errors
    /// If the component cannot be read, is not a component, or is none of ours.
    pub fn new(limits: Limits, source: &Source, session: Session, models: String) -> Result<Self, StartError> {
        Ok(Self { instances: Arc::new(Instances::new(limits, source, session, models)?) })
    }

    /// Puts other provider and model tables in the place of those that it was made with. Calls that run end under the old
    /// ones; their instances are thrown away.
    pub fn configure(&self, models: String) {
        self.instances.configure(models);
    }

    /// The session that requests leave through.
    #[must_use]
    pub fn session(&self) -> &Session {
        self.instances.session()
    }

    /// The instances that there are.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.instances.figures()
    }

    /// What calls take of the processor.
    pub(crate) fn cpu(&self) -> &Cpu {
        self.instances.cpu()
    }

    /// Lets requests leave by wasmtime's own sender and not by the session: a connection each, no policy. For the
    /// benchmark that compares the two, before the first call.
    #[cfg(feature = "default-sender")]
    #[must_use]
    pub fn with_default_sender(self) -> Self {
        self.instances.default_sender.store(true, std::sync::atomic::Ordering::Relaxed);
        self
    }

    /// Makes a completion and returns the whole answer.
    ///
    /// Must run in a tokio runtime. Dropping the future cancels the call: its connection to the provider closes at once.
    ///
    /// # Errors
    /// The session's error, the provider's, or what stopped the component.
    pub async fn complete(&self, request: types::Request, record: &CallRecord) -> Result<types::Completion, CallError> {
        self.refuse_oversized(size(&request), TYPED_COPIES)?;
        let seat = self.instances.check_out(record).await?;
        let call = Box::pin(seat.run(Ending::Brief, async |accessor, guest| {
            guest.seaway_completion_completions().call_complete(accessor, request).await
        }));
        call.await?.map_err(|error| guest_error(error, record))
    }

    /// Makes a completion and returns its answer as it comes; resolves when the provider has begun to answer.
    ///
    /// Must run in a tokio runtime. Dropping the future or the stream cancels the call.
    ///
    /// # Errors
    /// As [`Runtime::complete`]; what fails later is the stream's last item.
    pub async fn stream(&self, request: types::Request, record: &CallRecord) -> Result<Deltas, CallError> {
        self.refuse_oversized(size(&request), TYPED_COPIES)?;
        let seat = self.instances.check_out(record).await?;
        let channel = Channel::default();
        let begun = Arc::new(Mutex::new(None));
        let (deltas, finish) = channel.ends();
        let told = Arc::clone(&begun);
        let call = Box::pin(seat.run(Ending::Awaited, async move |accessor, guest| {
            let answer = match guest.seaway_completion_completions().call_stream(accessor, request).await? {
                Ok((stream, future)) => accessor.with(|mut access| {
                    stream.pipe(&mut access, deltas)?;
                    future.pipe(&mut access, finish)?;
                    wasmtime::error::Ok(Ok(()))
                })?,
                Err(error) => Err(error),
            };
            *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
            Ok(())
        }));
        let (answer, call) = first(call, &begun).await?;
        answer.map_err(|error| guest_error(error, record))?;
        Ok(Deltas::new(channel, call, record.clone()))
    }

    /// Hands an HTTP request to the component's own server: OpenAI's API. Resolves with the head of the answer.
    ///
    /// The path is what counts; scheme and authority may be missing. Must run in a tokio runtime. Dropping the future or
    /// the body cancels the call.
    ///
    /// # Errors
    /// What stopped the component, or a full queue. A provider's error is an answer with its status, in OpenAI's shape;
    /// the session's own error behind one is in `record`.
    pub async fn handle(
        &self,
        request: http::Request<Bytes>,
        record: &CallRecord,
    ) -> Result<http::Response<Body>, CallError> {
        self.refuse_oversized(request.body().len() as u64, HTTP_COPIES)?;
        let seat = self.instances.check_out(record).await?;
        let begun = Arc::new(Mutex::new(None));
        let told = Arc::clone(&begun);
        let call = Box::pin(seat.run(Ending::Awaited, async move |accessor, guest| {
            let request = accessor.with(|mut access| {
                let view = access.data_mut().http();
                let (request, _transmitted) = WasiRequest::from_http(view.hooks, request.map(Full::new));
                view.table.push(request)
            })?;
            let answer = match guest.wasi_http_handler().call_handle(accessor, request).await? {
                Ok(answer) => accessor.with(|mut access| {
                    let answer = access.data_mut().http().table.delete(answer)?;
                    wasmtime::error::Ok(Ok(answer.into_http(&mut access, std::future::ready(Ok(())))?))
                })?,
                Err(code) => Err(code.to_string()),
            };
            *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
            Ok(())
        }));
        let (answer, call) = first(call, &begun).await?;
        match answer {
            Ok(answer) => Ok(answer.map(|body| Body::new(body, call, record.clone()))),
            Err(code) => Err(record.error().map_or(CallError::Http(code), CallError::Session)),
        }
    }

    /// Says no, with both numbers, to what would only end as a guest without memory.
    fn refuse_oversized(&self, body: u64, copies: u64) -> Result<(), CallError> {
        let limit = self.instances.limits().memory;
        match Limits::needed(body, copies) {
            needed if needed > limit => Err(CallError::Memory { needed, limit }),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Runtime").field("limits", self.instances.limits()).finish_non_exhaustive()
    }
}

/// The bytes of a request that count: texts, images, tools. The rest is small beside the guest's own memory.
fn size(request: &types::Request) -> u64 {
    let messages = request.messages.iter().map(message_size).sum::<usize>();
    let tools = request.tools.iter().map(|tool| match tool {
        types::Tool::Function(tool) => tool.schema_json.as_ref().map_or(0, String::len),
        types::Tool::Custom(tool) => tool.grammar.as_ref().map_or(0, |grammar| grammar.definition.len()),
    });
    let schema = match &request.response_format {
        Some(types::ResponseFormat::JsonSchema(schema)) => schema.schema_json.len(),
        Some(types::ResponseFormat::Text | types::ResponseFormat::JsonObject) | None => 0,
    };
    (messages + tools.sum::<usize>() + schema + request.extra_json.as_ref().map_or(0, String::len)) as u64
}

fn message_size(message: &types::Message) -> usize {
    match message {
        types::Message::System(said) | types::Message::Developer(said) => {
            said.parts.iter().map(|part| part.text.len()).sum()
        }
        types::Message::User(said) => said.parts.iter().map(part_size).sum(),
        types::Message::Assistant(said) => said.parts.iter().map(part_size).sum(),
        types::Message::Tool(result) => result.parts.iter().map(part_size).sum(),
    }
}

fn part_size(part: &types::Part) -> usize {
    match part {
        types::Part::Text(text) => text.text.len(),
        types::Part::Image(image) => source_size(&image.source),
        types::Part::Audio(audio) => source_size(&audio.source),
        types::Part::File(file) => source_size(&file.source),
        types::Part::Refusal(text) | types::Part::Reasoning(types::ReasoningBlock::Redacted(text)) => text.len(),
        types::Part::Reasoning(types::ReasoningBlock::Open(thoughts)) => thoughts.text.len(),
        types::Part::ToolCall(call) => call.arguments.len(),
    }
}

fn source_size(source: &types::Source) -> usize {
    match source {
        types::Source::Url(text) | types::Source::Base64(text) | types::Source::Id(text) => text.len(),
        types::Source::Bytes(bytes) => bytes.len().div_ceil(3) * 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls are made from tasks of any executor thread. It is the compiler that tests this.
    #[expect(dead_code, reason = "compiled, never called")]
    fn a_call_can_move_between_threads(
        runtime: &'static Runtime,
        request: types::Request,
        record: &'static CallRecord,
    ) {
        fn moves(_: impl Send + 'static) {}
        moves(runtime.complete(request.clone(), record));
        moves(runtime.stream(request, record));
        moves(runtime.handle(http::Request::new(Bytes::new()), record));
        moves(None::<Body>);
        moves(None::<Deltas>);
    }
}
