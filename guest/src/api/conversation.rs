//! OpenAI's messages -> the conversation.
//!
//! Before: `request` has read the keys. After: the request. Invariant: content is kept or refused, never dropped; bytes in
//! base64 stay base64.

use std::borrow::Cow;

use super::{parameters::unknown, request::bad};
use crate::bindings::{
    AssistantMessage, Audio, CacheControl, Error, File, Image, Instructions, Message as Turn, OpenReasoning, Part,
    ReasoningBlock, Source, TextPart, ToolCall, ToolKind, ToolResult, UserMessage,
};
use crate::json::{self, Field, Loose, Rules, Scalar, Slot};

json::reader! {
    [strict]
    pub(super) struct Message<'a> {
        [needed] "role" => role: String,
        "content" => content: ContentBody<'a>,
        "name" => name: Option<String>,
        "tool_calls" => tool_calls: Option<Vec<ToolCallBody>>,
        "tool_call_id" => tool_call_id: Option<String>,
        "refusal" => refusal: Option<String>,
        "audio" => audio: Option<AudioId>,
        "reasoning_content" => reasoning_content: Option<String>,
        "reasoning" => reasoning: Option<String>,
        "thinking_blocks" => thinking_blocks: Option<Vec<ThinkingBlock>>,
        "cache_control" => cache_control: Option<CacheControlBody>,
        // What answers carry and clients send back with them: it says nothing that a provider takes.
        "annotations" => _annotations: Option<Loose>,
        "reasoning_details" => _reasoning_details: Option<Loose>,
        "provider_specific_fields" => _provider_specific_fields: Option<Loose>,
        /// The forerunner of `tool_calls`; clients send it as null.
        "function_call" => function_call: Option<Loose>,
        /// As answers carry them: see `answer::write_image`.
        "images" => images: Option<Vec<ImageBody<'a>>>,
    }
}

json::reader! {
    struct ImageBody<'a> {
        [needed] "image_url" => image_url: ImageUrl<'a>,
    }
}

/// A content: text, or parts.
pub(super) type ContentBody<'a> = json::Content<PartBody<'a>>;

json::reader! {
    [strict]
    pub(super) struct PartBody<'a> {
        [needed] "type" => kind: String,
        "text" => text: Option<String>,
        "refusal" => refusal: Option<String>,
        "image_url" => image_url: Option<ImageUrl<'a>>,
        "input_audio" => input_audio: Option<InputAudio<'a>>,
        "file" => file: Option<FileBody<'a>>,
        "cache_control" => cache_control: Option<CacheControlBody>,
    }
}

/// An address, or an object around one.
#[derive(Default)]
struct ImageUrl<'a> {
    url: Cow<'a, str>,
    detail: Option<String>,
}

json::reader! {
    [strict]
    struct InputAudio<'a> {
        [needed] "data" => data: Cow<'a, str>,
        [needed] "format" => format: String,
    }
}

json::reader! {
    [strict]
    struct FileBody<'a> {
        "file_data" => file_data: Cow<'a, str>,
        "file_id" => file_id: Option<String>,
        "filename" => filename: Option<String>,
    }
}

json::reader! {
    [strict]
    pub(super) struct CacheControlBody {
        [needed] "type" => kind: String,
        "ttl" => ttl: Option<String>,
    }
}

json::reader! {
    [strict]
    struct ToolCallBody {
        [needed] "id" => id: String,
        "type" => kind: Option<String>,
        "function" => function: Option<FunctionBody>,
        "custom" => custom: Option<CustomBody>,
        /// Streams number their calls, and clients send the number back.
        "index" => _index: Option<u32>,
        "extra_content" => extra_content: Option<ExtraContent>,
        "provider_specific_fields" => provider_specific_fields: Option<Signature>,
    }
}

json::reader! {
    /// The signature of a call, as answers carry it. <https://ai.google.dev/gemini-api/docs/thought-signatures#openai> (2026-11)
    struct ExtraContent {
        "google" => google: Option<Signature>,
    }
}

json::reader! {
    /// The same, as LiteLLM's clients have it. <https://docs.litellm.ai/blog/gemini_3> (2026-11)
    struct Signature {
        "thought_signature" => thought_signature: Option<String>,
    }
}

json::reader! {
    [strict]
    struct FunctionBody {
        [needed] "name" => name: String,
        [needed] "arguments" => arguments: String,
        "provider_specific_fields" => provider_specific_fields: Option<Signature>,
    }
}

json::reader! {
    [strict]
    struct CustomBody {
        [needed] "name" => name: String,
        [needed] "input" => input: String,
    }
}

json::reader! {
    struct AudioId {
        [needed] "id" => id: String,
    }
}

json::reader! {
    struct ThinkingBlock {
        "thinking" => thinking: Option<String>,
        "signature" => signature: Option<String>,
        "data" => data: Option<String>,
    }
}

/// One turn.
pub(super) fn message(message: Message<'_>, place: usize) -> Result<Turn, Error> {
    let param = format!("messages[{place}]");
    let for_assistants = message.tool_calls.is_some()
        || message.refusal.is_some()
        || message.audio.is_some()
        || message.reasoning_content.is_some()
        || message.thinking_blocks.is_some()
        || message.images.is_some();
    if message.function_call.is_some() {
        return Err(bad(&param, "`function_call` is not understood; use `tool_calls`"));
    }
    if message.role != "assistant" && for_assistants {
        return Err(bad(&param, format!("a {} message has a key that only an assistant's can have", message.role)));
    }
    match message.role.as_str() {
        "system" | "developer" => {
            let mut parts = texts(message.content, &param)?;
            mark_text(parts.last_mut(), cache_control(message.cache_control)?);
            let said = Instructions { parts, name: message.name };
            Ok(if message.role == "system" { Turn::System(said) } else { Turn::Developer(said) })
        }
        "user" => {
            let mut parts = parts(message.content, &param)?;
            if parts.is_empty() {
                return Err(bad(&param, "a user message needs `content`"));
            }
            mark(parts.last_mut(), cache_control(message.cache_control)?);
            Ok(Turn::User(UserMessage { parts, name: message.name }))
        }
        "assistant" => assistant(message, &param),
        "tool" => {
            let Some(call_id) = message.tool_call_id else {
                return Err(bad(&param, "a tool message needs `tool_call_id`"));
            };
            Ok(Turn::Tool(ToolResult {
                call_id,
                parts: parts(message.content, &param)?,
                name: message.name,
                failed: false,
                cache_control: cache_control(message.cache_control)?,
            }))
        }
        other => Err(unknown("role", other, &["system", "developer", "user", "assistant", "tool"])),
    }
}

fn assistant(message: Message<'_>, param: &str) -> Result<Turn, Error> {
    let mut all = Vec::new();
    let thoughts = message.reasoning_content.or(message.reasoning).filter(|text| !text.is_empty());
    match (message.thinking_blocks.filter(|blocks| !blocks.is_empty()), thoughts) {
        (Some(blocks), _) => all.extend(blocks.into_iter().map(|block| {
            Part::Reasoning(match block.data {
                Some(data) => ReasoningBlock::Redacted(data),
                None => ReasoningBlock::Open(OpenReasoning {
                    text: block.thinking.unwrap_or_default(),
                    signature: block.signature,
                }),
            })
        })),
        (None, Some(text)) => all.push(Part::Reasoning(ReasoningBlock::Open(OpenReasoning { text, signature: None }))),
        (None, None) => {}
    }
    let mut content = parts(message.content, param)?;
    content.retain(|part| !matches!(part, Part::Text(text) if text.text.is_empty()));
    mark(content.last_mut(), cache_control(message.cache_control)?);
    all.append(&mut content);
    all.extend(message.images.into_iter().flatten().map(|ImageBody { image_url: ImageUrl { url, detail } }| {
        let (source, media_type) = Source::at(url);
        Part::Image(Image { source, media_type, detail, cache_control: None })
    }));
    all.extend(message.refusal.filter(|text| !text.is_empty()).map(Part::Refusal));
    all.extend(message.audio.map(|audio| {
        let source = Source::Id(audio.id);
        Part::Audio(Audio { source, format: None, id: None, transcript: None, expires_at: None })
    }));
    for call in message.tool_calls.into_iter().flatten() {
        all.push(Part::ToolCall(tool_call(call, param)?));
    }
    Ok(Turn::Assistant(AssistantMessage { parts: all, annotations: Vec::new(), name: message.name }))
}

fn tool_call(call: ToolCallBody, param: &str) -> Result<ToolCall, Error> {
    let signed = call.extra_content.and_then(|extra| extra.google).or(call.provider_specific_fields);
    let (kind, name, arguments, signed) = match (call.kind.as_deref().unwrap_or("function"), call.function, call.custom)
    {
        ("function", Some(function), None) => {
            (ToolKind::Function, function.name, function.arguments, signed.or(function.provider_specific_fields))
        }
        ("custom", None, Some(custom)) => (ToolKind::Custom, custom.name, custom.input, signed),
        _ => return Err(bad(param, "a tool call needs either `function` or `custom`, as its type says")),
    };
    let signature = signed.and_then(|signed| signed.thought_signature).filter(|signature| !signature.is_empty());
    Ok(ToolCall { id: call.id, kind, name, arguments, signature })
}

/// Text only.
pub(super) fn texts(content: ContentBody<'_>, param: &str) -> Result<Vec<TextPart>, Error> {
    let text = |part| match part {
        Part::Text(text) => Ok(text),
        Part::Image(_) | Part::Audio(_) | Part::File(_) | Part::Refusal(_) | Part::Reasoning(_) | Part::ToolCall(_) => {
            Err(bad(param, format!("`{param}` holds text only")))
        }
    };
    parts(content, param)?.into_iter().map(text).collect()
}

fn parts(content: ContentBody<'_>, param: &str) -> Result<Vec<Part>, Error> {
    match content {
        ContentBody::None => Ok(Vec::new()),
        ContentBody::Text(text) => Ok(vec![Part::Text(TextPart::new(text))]),
        ContentBody::Parts(parts) => parts.into_iter().map(|body| part(body, param)).collect(),
    }
}

fn part(part: PartBody<'_>, param: &str) -> Result<Part, Error> {
    let cache_control = cache_control(part.cache_control)?;
    let lacks = |key: &str| bad(param, format!("a part of type `{}` needs `{key}`", part.kind));
    Ok(match part.kind.as_str() {
        "text" => Part::Text(TextPart { text: part.text.ok_or_else(|| lacks("text"))?, cache_control }),
        "refusal" => Part::Refusal(part.refusal.ok_or_else(|| lacks("refusal"))?),
        "image_url" => {
            let ImageUrl { url, detail } = part.image_url.ok_or_else(|| lacks("image_url"))?;
            let (source, media_type) = Source::at(url);
            Part::Image(Image { source, media_type, detail, cache_control })
        }
        "input_audio" => {
            let InputAudio { data, format } = part.input_audio.ok_or_else(|| lacks("input_audio"))?;
            let source = Source::Base64(data.into_owned());
            Part::Audio(Audio { source, format: Some(format), id: None, transcript: None, expires_at: None })
        }
        "file" => {
            let FileBody { file_data, file_id, filename: name } = part.file.ok_or_else(|| lacks("file"))?;
            let (source, media_type) = match file_id {
                Some(id) => (Source::Id(id), None),
                None if file_data.is_empty() => return Err(lacks("file.file_data")),
                None => Source::at(file_data),
            };
            Part::File(File { source, media_type, name, cache_control })
        }
        other => return Err(unknown("type", other, &["text", "image_url", "input_audio", "file", "refusal"])),
    })
}

pub(super) fn cache_control(mark: Option<CacheControlBody>) -> Result<Option<CacheControl>, Error> {
    let Some(CacheControlBody { kind, ttl }) = mark else { return Ok(None) };
    if kind != "ephemeral" {
        return Err(unknown("cache_control.type", &kind, &["ephemeral"]));
    }
    let ttl = match ttl.as_deref() {
        None => None,
        Some("5m") => Some(300_000_000_000),
        Some("1h") => Some(3_600_000_000_000),
        Some(other) => return Err(unknown("cache_control.ttl", other, &["5m", "1h"])),
    };
    Ok(Some(CacheControl { ttl }))
}

/// A mark on a message is one on its last part.
fn mark(part: Option<&mut Part>, mark: Option<CacheControl>) {
    let (Some(part), Some(_)) = (part, mark) else { return };
    match part {
        Part::Text(part) => part.cache_control = mark,
        Part::Image(part) => part.cache_control = mark,
        Part::File(part) => part.cache_control = mark,
        Part::Audio(_) | Part::Refusal(_) | Part::Reasoning(_) | Part::ToolCall(_) => {}
    }
}

fn mark_text(part: Option<&mut TextPart>, mark: Option<CacheControl>) {
    if let (Some(part), Some(_)) = (part, mark) {
        part.cache_control = mark;
    }
}

impl<'a> Slot<'a> for ImageUrl<'a> {
    fn what(&self) -> &'static str {
        "an address, or an object with a `url`"
    }

    fn put(&mut self, value: Scalar<'a>) -> bool {
        self.url.put(value)
    }

    fn open(&mut self, list: bool) -> Option<&'static Rules> {
        (!list).then_some(&Rules { strict: true, needed: &["url"] })
    }

    fn field(&mut self, key: &str) -> Field<'_, 'a> {
        match key {
            "url" => self.url.place(),
            "detail" => self.detail.place(),
            _ => Field::Unknown,
        }
    }
}
