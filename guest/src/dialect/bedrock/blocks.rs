//! One block of content -> Converse's JSON.
//!
//! Before: `messages` has put the blocks in order. After: the same body. Invariant: bytes in base64 are passed on without
//! being decoded, and what has no block of its own is refused.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlock.html> (2026-11)

use std::borrow::Cow;

use crate::{
    bindings::{Audio, CacheControl, Error, File, Image, Part, ReasoningBlock, Source, ToolCall, ToolResult},
    dialect::{
        carry::{Carrier, arguments, bad, unsupported},
        content::{base64, put_base64},
        hash,
    },
    json::{self, Object},
};

/// One block of content.
pub(super) enum Block<'e> {
    Text(&'e str),
    Image(&'e Image),
    Audio(&'e Audio),
    /// A document, and its name there.
    Document(&'e File, String),
    Reasoning(&'e ReasoningBlock),
    ToolUse(&'e ToolCall),
    ToolResult(&'e ToolResult),
    /// Where the prompt's prefix may be cached.
    Cache(&'e CacheControl),
}

pub(super) fn write(carrier: &Carrier<'_>, out: &mut Vec<u8>, block: &Block<'_>) -> Result<(), Error> {
    json::object(out, |to| match block {
        Block::Text(text) => {
            to.set("text", text);
            Ok(())
        }
        Block::Image(image) => write_image(carrier, to, image),
        Block::Audio(audio) => write_audio(to, audio),
        Block::Document(file, name) => document(to, file, name),
        Block::Reasoning(block) => reasoning(to, block),
        Block::ToolUse(call) => to.object("toolUse", |to| {
            to.set("toolUseId", &*id(&call.id));
            to.set("name", &call.name);
            to.raw("input", arguments(&call.arguments, &call.id)?);
            Ok(())
        }),
        Block::ToolResult(said) => to.object("toolResult", |to| tool_result(carrier, to, said)),
        Block::Cache(mark) => cache(to, mark),
    })
}

/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CachePointBlock.html> (2026-11)
pub(super) fn cache(to: &mut Object<'_>, mark: &CacheControl) -> Result<(), Error> {
    to.object("cachePoint", |to| {
        to.set("type", "default");
        to.some("ttl", mark.ttl.map(|ttl| if ttl > 300_000_000_000 { "1h" } else { "5m" }));
        Ok(())
    })
}

fn write_image(carrier: &Carrier<'_>, to: &mut Object<'_>, image: &Image) -> Result<(), Error> {
    carrier.cannot("detail", image.detail.as_deref().is_some_and(|detail| detail != "auto"))?;
    let kind = image.media_type.as_deref().and_then(|kind| kind.strip_prefix("image/"));
    let format = match kind.or_else(|| extension(&image.source)) {
        Some("jpg") => "jpeg",
        Some(format @ ("png" | "jpeg" | "gif" | "webp")) => format,
        Some(other) => return Err(unsupported(&format!("image/{other}"))),
        None => return Err(untyped(&image.source, "image_url.url")),
    };
    to.object("image", |to| {
        to.set("format", format);
        source(to, &image.source, "image_url.url")
    })
}

/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_AudioBlock.html> (2026-11)
fn write_audio(to: &mut Object<'_>, audio: &Audio) -> Result<(), Error> {
    const FORMATS: &[&str] = &[
        "mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "mka", "x-aac", "m4a", "mpeg", "mpga", "pcm", "webm",
    ];
    let format = match audio.format.as_deref().or_else(|| extension(&audio.source)) {
        Some(format) if FORMATS.contains(&format) => format,
        Some(other) => return Err(unsupported(&format!("input_audio of format {other}"))),
        None => return Err(bad("`input_audio` needs its `format`")),
    };
    to.object("audio", |to| {
        to.set("format", format);
        source(to, &audio.source, "input_audio.url")
    })
}

fn document(to: &mut Object<'_>, file: &File, name: &str) -> Result<(), Error> {
    const FORMATS: &[(&str, &str)] = &[
        ("application/pdf", "pdf"),
        ("text/csv", "csv"),
        ("application/msword", "doc"),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
        ("application/vnd.ms-excel", "xls"),
        ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
        ("text/html", "html"),
        ("text/plain", "txt"),
        ("text/markdown", "md"),
    ];
    let kind = file.media_type.as_deref().map(|kind| kind.split(';').next().unwrap_or(kind).trim());
    let ending = || file.name.as_deref().and_then(|name| name.rsplit_once('.')).map(|(_, ending)| ending);
    let known = FORMATS.iter().find(|(media, _)| Some(*media) == kind);
    let format = known.map(|(_, format)| *format).or_else(ending).or_else(|| extension(&file.source));
    match format {
        Some(format) if FORMATS.iter().any(|(_, known)| *known == format) => to.object("document", |to| {
            to.set("format", format);
            to.set("name", name);
            source(to, &file.source, "file.url")
        }),
        Some(_) => Err(unsupported(&format!("file of type {}", kind.or(format).unwrap_or_default()))),
        None => Err(untyped(&file.source, "file.url")),
    }
}

/// Bytes, or an object in S3; no other address is fetched there.
fn source(to: &mut Object<'_>, source: &Source, what: &str) -> Result<(), Error> {
    let data = base64(source)?;
    to.object("source", |to| match (source, data) {
        (_, Some(data)) => {
            put_base64(to.key("bytes"), "", &data);
            Ok(())
        }
        (Source::Url(url), _) if url.starts_with("s3://") => to.object("s3Location", |to| {
            to.set("uri", url);
            Ok(())
        }),
        (Source::Url(_) | Source::Id(_) | Source::Bytes(_) | Source::Base64(_), None) => Err(unsupported(what)),
    })
}

/// The error of content whose type nobody said: at an address that is not taken anyway, that is what is wrong.
fn untyped(source: &Source, what: &str) -> Error {
    match source {
        Source::Url(_) | Source::Id(_) => unsupported(what),
        Source::Bytes(_) | Source::Base64(_) => bad("content that is sent along needs its media type"),
    }
}

/// What an address in S3 ends with.
fn extension(source: &Source) -> Option<&str> {
    match source {
        Source::Url(url) => url.strip_prefix("s3://").and_then(|path| path.rsplit_once('.')).map(|(_, ending)| ending),
        Source::Bytes(_) | Source::Base64(_) | Source::Id(_) => None,
    }
}

/// Thoughts go back as they came.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ReasoningContentBlock.html> (2026-11)
fn reasoning(to: &mut Object<'_>, block: &ReasoningBlock) -> Result<(), Error> {
    to.object("reasoningContent", |to| match block {
        ReasoningBlock::Open(open) => to.object("reasoningText", |to| {
            to.set("text", &open.text);
            to.some("signature", open.signature.as_ref());
            Ok(())
        }),
        ReasoningBlock::Redacted(data) => {
            to.set("redactedContent", data);
            Ok(())
        }
    })
}

/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolResultBlock.html> (2026-11)
fn tool_result(carrier: &Carrier<'_>, to: &mut Object<'_>, said: &ToolResult) -> Result<(), Error> {
    to.set("toolUseId", &*id(&said.call_id));
    let filled = said.parts.iter().filter(|part| !matches!(part, Part::Text(text) if text.text.is_empty()));
    to.list("content", filled, |out, part| {
        let (block, mark) = match part {
            Part::Text(part) => (Block::Text(&part.text), &part.cache_control),
            Part::Image(image) => (Block::Image(image), &image.cache_control),
            Part::File(file) => {
                (Block::Document(file, super::messages::name(file, &mut Vec::new())), &file.cache_control)
            }
            Part::Audio(_) => return Err(unsupported("audio in a tool's result")),
            Part::Refusal(_) | Part::Reasoning(_) | Part::ToolCall(_) => {
                return Err(bad("a tool's result holds text, images and files only"));
            }
        };
        carrier.cannot("cache_control", mark.is_some())?;
        write(carrier, out, &block)
    })?;
    if said.failed {
        to.set("status", "error");
    }
    Ok(())
}

/// A call's id as Converse wants it, 1 to 64 letters, digits, `_` and `-`: another provider's becomes a stable new one.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolUseBlock.html> (2026-11)
fn id(id: &str) -> Cow<'_, str> {
    let fits = (1..=64).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if fits { Cow::Borrowed(id) } else { Cow::Owned(format!("tooluse_{:016x}", hash(id.as_bytes()))) }
}
