//! Content that is sent along, as base64 in JSON.
//!
//! Before: a request's images, sounds and files. After: a dialect's body. Invariant: base64 is passed on without being
//! decoded, and what goes into JSON without being escaped has been seen to need no escape.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD};

use super::carry::bad;
use crate::bindings::{Error, Message, Part, ReasoningBlock, Request, Source, Tool};

/// Roughly how long a request's body gets, in bytes, so that it is allocated once.
pub(super) fn weight(request: &Request) -> usize {
    fn source(source: &Source) -> usize {
        match source {
            Source::Url(text) | Source::Base64(text) | Source::Id(text) => text.len(),
            Source::Bytes(bytes) => bytes.len() / 3 * 4 + 4,
        }
    }
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let part = |part: &Part| {
        let content = match part {
            Part::Text(part) => part.text.len(),
            Part::Image(image) => source(&image.source),
            Part::Audio(audio) => source(&audio.source),
            Part::File(file) => source(&file.source),
            Part::Refusal(text) | Part::Reasoning(ReasoningBlock::Redacted(text)) => text.len(),
            Part::Reasoning(ReasoningBlock::Open(open)) => open.text.len() + length(&open.signature),
            // Arguments are JSON, and go as text to some.
            Part::ToolCall(call) => 128 + call.arguments.len() / 4 * 5,
        };
        content + 64
    };
    let message = |message: &Message| match message {
        Message::System(said) | Message::Developer(said) => said.parts.iter().map(|part| 64 + part.text.len()).sum(),
        Message::User(said) => said.parts.iter().map(part).sum(),
        Message::Assistant(said) => said.parts.iter().map(part).sum(),
        Message::Tool(said) => said.parts.iter().map(part).sum::<usize>() + 128,
    };
    let tool = |tool: &Tool| match tool {
        Tool::Function(tool) => 128 + length(&tool.schema_json) + length(&tool.description),
        Tool::Custom(tool) => 256 + length(&tool.description),
    };
    let all = request.messages.iter().map(message).sum::<usize>() + request.tools.iter().map(tool).sum::<usize>();
    // Escapes make text longer: quotes and line feeds are a few in a hundred.
    all / 16 * 17 + request.messages.len() * 64 + 1024
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

/// The text of a document that is sent along.
pub(super) fn text(source: &Source) -> Result<Option<String>, Error> {
    let bytes = match source {
        Source::Bytes(bytes) => bytes.clone(),
        Source::Base64(text) => {
            BASE64_STANDARD.decode(text).map_err(|_| bad("content is said to be base64, and is not"))?
        }
        Source::Url(_) | Source::Id(_) => return Ok(None),
    };
    String::from_utf8(bytes).map(Some).map_err(|_| bad("a text document is not UTF-8"))
}

/// Writes a string of clean base64 without looking at it again.
pub(super) fn put_base64(out: &mut Vec<u8>, prefix: &str, data: &str) {
    out.push(b'"');
    out.extend_from_slice(prefix.as_bytes());
    out.extend_from_slice(data.as_bytes());
    out.push(b'"');
}

/// The beginning of a `data:` URL. <https://www.rfc-editor.org/rfc/rfc2397>
pub(super) fn prefix(media_type: Option<&str>) -> Result<String, Error> {
    match media_type {
        Some(kind) if kind.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b',')) => {
            Ok(format!("data:{kind};base64,"))
        }
        Some(_) => Err(bad("a media type has characters that none can have")),
        None => Err(bad("content that is sent along needs its media type")),
    }
}

/// A media type that JSON needs not escape, in lower case and without its parameters.
pub(super) fn media_type(kind: Option<&str>) -> Result<String, Error> {
    let Some(kind) = kind else { return Err(bad("content that is sent along needs its media type")) };
    let kind = kind.split(';').next().unwrap_or(kind).trim().to_ascii_lowercase();
    let clean = kind.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b','));
    if clean && !kind.is_empty() { Ok(kind) } else { Err(bad("a media type has characters that none can have")) }
}
