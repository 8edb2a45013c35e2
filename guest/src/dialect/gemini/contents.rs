//! The conversation -> Google's `contents` and `systemInstruction`.
//! <https://ai.google.dev/api/caching#Content> (2026-11)
//!
//! Before: `encode`. After: the same body. Invariant: content is written or refused, never dropped; neighbours of one role
//! are one content; and a signature goes back on a part like the one it came with.

use std::{borrow::Cow, collections::VecDeque};

use super::config::{resolution, thinks_in_tokens};
use crate::{
    bindings::{
        AssistantMessage, Audio, CacheControl, Error, File, Image, Message, OpenReasoning, Part, ReasoningBlock,
        Source, TextPart, ToolCall, ToolResult,
    },
    dialect::{
        carry::{Carrier, arguments, bad, unsupported},
        content::{base64, put_base64},
    },
    json::{self, Any, Object},
};

/// How an id begins that `decode` made up: Google has not seen it, and does not get it back.
pub(super) const MADE_UP: &str = "call_gm_";

/// What stands for the signature of a call that another model made, or whose client lost it: newer models refuse a call
/// without one. <https://ai.google.dev/gemini-api/docs/thought-signatures#faqs> (2026-11)
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// What is said, in Google's order.
pub(super) struct Conversation<'c> {
    carrier: &'c Carrier<'c>,
    instructions: Vec<&'c str>,
    turns: Vec<Turn<'c>>,
    /// The names of the functions that were called, by the call's id.
    called: Vec<(&'c str, &'c str)>,
}

/// What one role says until the other speaks.
struct Turn<'c> {
    role: &'static str,
    parts: Vec<Signed<'c>>,
}

/// A part, and the signature that it came with.
struct Signed<'c> {
    piece: Piece<'c>,
    signature: Option<&'c str>,
}

impl<'c> Signed<'c> {
    /// A signature that no part with content follows: Google's streams end with such a part.
    fn nothing(signature: &'c str) -> Self {
        Self { piece: Piece::Text(""), signature: Some(signature) }
    }
}

enum Piece<'c> {
    Text(&'c str),
    Thought(&'c str),
    Media(Media<'c>),
    Call(&'c ToolCall),
    Result { said: &'c ToolResult, name: &'c str },
}

struct Media<'c> {
    source: &'c Source,
    media_type: Option<Cow<'c, str>>,
    resolution: Option<&'static str>,
}

impl<'c> Conversation<'c> {
    /// Reads the request's messages.
    pub(super) fn of(carrier: &'c Carrier<'c>) -> Result<Self, Error> {
        let mut all = Self { carrier, instructions: Vec::new(), turns: Vec::new(), called: Vec::new() };
        for (place, message) in carrier.request.messages.iter().enumerate() {
            all.message(message).map_err(|error| match error.param {
                Some(_) => error,
                None => error.about(format!("messages[{place}]")),
            })?;
        }
        if all.turns.is_empty() {
            return Err(bad("the provider needs a message that is no instruction").about("messages"));
        }
        Ok(all)
    }

    fn message(&mut self, message: &'c Message) -> Result<(), Error> {
        match message {
            Message::System(said) | Message::Developer(said) => {
                self.carrier.cannot("name", said.name.is_some())?;
                for part in &said.parts {
                    let text = self.text(part)?;
                    self.instructions.push(text);
                }
            }
            Message::User(said) => {
                self.carrier.cannot("name", said.name.is_some())?;
                for part in &said.parts {
                    let piece = self.user_part(part)?;
                    self.say("user", Signed { piece, signature: None });
                }
            }
            Message::Assistant(said) => self.assistant(said)?,
            Message::Tool(said) => {
                self.unmarked(said.cache_control.as_ref())?;
                let called = self.called.iter().rev().find(|(id, _)| *id == said.call_id).map(|(_, name)| *name);
                let name = called.or(said.name.as_deref());
                let Some(name) = name else {
                    return Err(bad(format!(
                        "no message before this one has the tool call `{}`; give the tool's `name`",
                        said.call_id
                    )));
                };
                self.say("user", Signed { piece: Piece::Result { said, name }, signature: None });
            }
        }
        Ok(())
    }

    fn say(&mut self, role: &'static str, part: Signed<'c>) {
        match self.turns.last_mut() {
            Some(turn) if turn.role == role => turn.parts.push(part),
            _ => self.turns.push(Turn { role, parts: vec![part] }),
        }
    }

    fn unmarked(&self, mark: Option<&CacheControl>) -> Result<(), Error> {
        self.carrier.cannot("cache_control", mark.is_some())
    }

    fn text(&self, part: &'c TextPart) -> Result<&'c str, Error> {
        self.unmarked(part.cache_control.as_ref())?;
        Ok(&part.text)
    }

    fn user_part(&self, part: &'c Part) -> Result<Piece<'c>, Error> {
        match part {
            Part::Text(part) => self.text(part).map(Piece::Text),
            Part::Image(image) => self.image(image).map(Piece::Media),
            Part::Audio(audio) => sound(audio).map(Piece::Media),
            Part::File(file) => self.file(file).map(Piece::Media),
            Part::Refusal(_) | Part::Reasoning(_) | Part::ToolCall(_) => {
                Err(bad("a user message holds text, images, audio and files only"))
            }
        }
    }

    /// What the model said before. A block of thoughts with a signature is what `decode` made of the thoughts and of the
    /// signature of a part after them; a form that keeps thoughts apart from the rest still has both in their order.
    fn assistant(&mut self, said: &'c AssistantMessage) -> Result<(), Error> {
        self.carrier.cannot("name", said.name.is_some())?;
        let mut parts: Vec<Signed<'c>> = Vec::new();
        let mut waiting: VecDeque<&'c str> = VecDeque::new();
        for part in &said.parts {
            let piece = match part {
                Part::Reasoning(ReasoningBlock::Open(OpenReasoning { text, signature })) => {
                    let thoughts = Some(Piece::Thought(text)).filter(|_| !text.is_empty());
                    parts.extend(thoughts.map(|piece| Signed { piece, signature: None }));
                    waiting.extend(signature.as_deref());
                    continue;
                }
                Part::Reasoning(ReasoningBlock::Redacted(_)) => {
                    self.carrier.cannot("redacted reasoning", true)?;
                    continue;
                }
                Part::Refusal(text) => Piece::Text(text),
                Part::ToolCall(call) => {
                    self.called.push((&call.id, &call.name));
                    if let Some(own) = &call.signature {
                        parts.extend(waiting.drain(..).map(Signed::nothing));
                        waiting.push_back(own);
                    }
                    Piece::Call(call)
                }
                Part::Text(_) | Part::Image(_) | Part::Audio(_) | Part::File(_) => self.user_part(part)?,
            };
            parts.push(Signed { piece, signature: waiting.pop_front() });
        }
        parts.extend(waiting.into_iter().map(Signed::nothing));
        self.sign(&mut parts);
        parts.into_iter().for_each(|part| self.say("model", part));
        Ok(())
    }

    /// Newer models want a signature on the first of a message's calls.
    fn sign(&self, parts: &mut [Signed<'c>]) {
        let is_call = |part: &&mut Signed<'c>| matches!(part.piece, Piece::Call(_));
        if let Some(first) = parts.iter_mut().find(is_call)
            && !thinks_in_tokens(self.carrier)
        {
            first.signature = first.signature.or(Some(NO_SIGNATURE));
        }
    }

    fn image(&self, image: &'c Image) -> Result<Media<'c>, Error> {
        self.unmarked(image.cache_control.as_ref())?;
        // Older models take it for the whole request: see `config`.
        let resolution = match thinks_in_tokens(self.carrier) {
            true => None,
            false => resolution(self.carrier, image.detail.as_deref())?,
        };
        let media_type = media_type(&image.source, image.media_type.as_deref());
        Ok(Media { source: &image.source, media_type, resolution })
    }

    /// Its name is a label that the provider has no place for.
    fn file(&self, file: &'c File) -> Result<Media<'c>, Error> {
        self.unmarked(file.cache_control.as_ref())?;
        let media_type = media_type(&file.source, file.media_type.as_deref());
        Ok(Media { source: &file.source, media_type, resolution: None })
    }

    pub(super) fn write(&self, to: &mut Object<'_>) -> Result<(), Error> {
        if !self.instructions.is_empty() {
            to.object("systemInstruction", |to| {
                to.list("parts", &self.instructions, |out, text| {
                    json::object(out, |to| {
                        to.set("text", text);
                        Ok::<_, Error>(())
                    })
                })
            })?;
        }
        to.list("contents", &self.turns, |out, turn| {
            json::object(out, |to| {
                to.set("role", turn.role);
                to.list("parts", &turn.parts, |out, part| json::object(out, |to| self.part(to, part)))
            })
        })
    }

    fn part(&self, to: &mut Object<'_>, part: &Signed<'c>) -> Result<(), Error> {
        match &part.piece {
            Piece::Text(text) => to.set("text", text),
            Piece::Thought(text) => {
                to.set("text", text);
                to.set("thought", &true);
            }
            Piece::Media(media) => self.media(to, media)?,
            Piece::Call(call) => to.object("functionCall", |to| {
                self.id(to, &call.id);
                to.set("name", &call.name);
                to.raw("args", arguments(&call.arguments, &call.id)?);
                Ok::<_, Error>(())
            })?,
            Piece::Result { said, name } => to.object("functionResponse", |to| self.result(to, said, name))?,
        }
        to.some("thoughtSignature", part.signature);
        Ok(())
    }

    /// A call's id, where it may be the provider's own.
    fn id(&self, to: &mut Object<'_>, id: &str) {
        if !id.starts_with(MADE_UP) && self.carrier.target.takes("tool_call_id") {
            to.set("id", id);
        }
    }

    fn media(&self, to: &mut Object<'_>, media: &Media<'c>) -> Result<(), Error> {
        if let Some(data) = base64(media.source)? {
            to.object("inlineData", |to| blob(to, media, &data))?;
        } else {
            to.object("fileData", |to| {
                to.some("mimeType", media.media_type.as_deref());
                to.set("fileUri", &*self.address(media.source));
                Ok::<_, Error>(())
            })?;
        }
        let Some(level) = media.resolution else { return Ok(()) };
        to.object("mediaResolution", |to| {
            to.set("level", level);
            Ok(())
        })
    }

    /// Where something is that is not here; a name of the provider's own stands for an address below its base URL.
    /// <https://ai.google.dev/api/files#File> (2026-11)
    fn address(&self, source: &'c Source) -> Cow<'c, str> {
        match source {
            Source::Id(id) if !id.contains("://") => {
                let base = self.carrier.target.base_url.trim_end_matches('/');
                Cow::Owned(format!("{base}/files/{}", id.trim_start_matches("files/")))
            }
            Source::Url(at) | Source::Id(at) | Source::Base64(at) => Cow::Borrowed(at),
            Source::Bytes(_) => Cow::Borrowed(""),
        }
    }

    /// <https://ai.google.dev/api/caching#FunctionResponse>: an object; where it has neither `output` nor `error`, all of it is
    /// the function's output (2026-11)
    fn result(&self, to: &mut Object<'_>, said: &ToolResult, name: &str) -> Result<(), Error> {
        self.id(to, &said.call_id);
        to.set("name", name);
        let mut texts = Vec::new();
        let mut others = Vec::new();
        for part in &said.parts {
            match self.user_part(part)? {
                Piece::Text(text) => texts.push(text),
                Piece::Media(media) => others.push(media),
                Piece::Thought(_) | Piece::Call(_) | Piece::Result { .. } => {
                    return Err(bad("a tool's result holds text, images, audio and files only"));
                }
            }
        }
        let text = texts.join("\n");
        let object = text.trim_start().starts_with('{') && json::read::<Any<'_>>(&text).is_ok();
        match (object, said.failed) {
            (true, false) => to.raw("response", &text),
            (true, true) => to.object("response", |to| {
                to.raw("error", &text);
                Ok::<_, Error>(())
            })?,
            (false, failed) => to.object("response", |to| {
                to.set(if failed { "error" } else { "output" }, &text);
                Ok::<_, Error>(())
            })?,
        }
        if others.is_empty() {
            return Ok(());
        }
        // https://ai.google.dev/gemini-api/docs/function-calling#multimodal: only what is sent along (2026-11)
        to.list("parts", others, |out, media| {
            json::object(out, |to| {
                let Some(data) = base64(media.source)? else { return Err(unsupported("addresses in a tool's result")) };
                to.object("inlineData", |to| blob(to, &media, &data))
            })
        })
    }
}

fn blob(to: &mut Object<'_>, media: &Media<'_>, data: &str) -> Result<(), Error> {
    let Some(media_type) = media.media_type.as_deref() else {
        return Err(bad("content that is sent along needs its media type"));
    };
    to.set("mimeType", media_type);
    put_base64(to.key("data"), "", data);
    Ok(())
}

/// <https://ai.google.dev/gemini-api/docs/audio#supported-formats> (2026-11)
fn sound(audio: &Audio) -> Result<Media<'_>, Error> {
    let given = match (&audio.source, audio.format.as_deref()) {
        (Source::Id(_), _) => return Err(unsupported("assistant audio by its id")),
        (_, Some("pcm16")) => Some(Cow::Borrowed("audio/L16;rate=24000")),
        (_, Some(format)) => Some(Cow::Owned(format!("audio/{format}"))),
        (_, None) => None,
    };
    let media_type = given.or_else(|| media_type(&audio.source, None));
    Ok(Media { source: &audio.source, media_type, resolution: None })
}

/// The media type that is given, or what the end of an address says: Google does not ask the server for it.
/// <https://ai.google.dev/gemini-api/docs/file-input-methods> (2026-11)
fn media_type<'c>(source: &Source, given: Option<&'c str>) -> Option<Cow<'c, str>> {
    const ENDS: &[(&str, &str)] = &[
        ("png", "image/png"),
        ("jpg", "image/jpeg"),
        ("jpeg", "image/jpeg"),
        ("webp", "image/webp"),
        ("gif", "image/gif"),
        ("heic", "image/heic"),
        ("heif", "image/heif"),
        ("pdf", "application/pdf"),
        ("txt", "text/plain"),
        ("md", "text/markdown"),
        ("html", "text/html"),
        ("csv", "text/csv"),
        ("wav", "audio/wav"),
        ("mp3", "audio/mp3"),
        ("flac", "audio/flac"),
        ("ogg", "audio/ogg"),
        ("mp4", "video/mp4"),
        ("mov", "video/quicktime"),
        ("webm", "video/webm"),
    ];
    let (Source::Url(at) | Source::Id(at)) = source else { return given.map(Cow::Borrowed) };
    let path = at.split(['?', '#']).next().unwrap_or_default();
    let end = path.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase()).unwrap_or_default();
    let guess = || ENDS.iter().find(|(known, _)| *known == end).map(|(_, kind)| Cow::Borrowed(*kind));
    given.map(Cow::Borrowed).or_else(guess)
}
