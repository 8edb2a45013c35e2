//! What a prompt takes from files: images, tools, a schema.
//!
//! Invariant: a file that cannot be read, or holds something else, is one line that names the option and the file.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::super::Failure;
use crate::runtime::types;

/// An image: an address that the provider fetches, or the content itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Image {
    Address(String),
    Content { media_type: &'static str, bytes: Vec<u8> },
}

impl Image {
    /// # Errors
    /// If it is a file that cannot be read, or holds no image that providers know.
    pub(in crate::cli) fn load(place: &str) -> Result<Self, Failure> {
        if ["http://", "https://", "data:"].iter().any(|scheme| place.starts_with(scheme)) {
            return Ok(Self::Address(place.to_owned()));
        }
        let bytes = read_bytes(Path::new(place), "--image")?;
        match media_type(&bytes) {
            Some(media_type) => Ok(Self::Content { media_type, bytes }),
            None => Err(Failure::usage(format_args!("--image {place}: it is no PNG, JPEG, GIF or WebP"))),
        }
    }

    pub(super) fn wit(self) -> types::Part {
        let (source, media_type) = match self {
            Self::Address(address) => (types::Source::Url(address), None),
            Self::Content { media_type, bytes } => (types::Source::Bytes(bytes), Some(media_type.to_owned())),
        };
        types::Part::Image(types::Image { source, media_type, detail: None, cache_control: None })
    }

    pub(super) fn address(&self) -> String {
        match self {
            Self::Address(address) => address.clone(),
            Self::Content { media_type, bytes } => format!("data:{media_type};base64,{}", base64(bytes)),
        }
    }
}

/// What a file's first bytes say it is (<https://mimesniff.spec.whatwg.org/#matching-an-image-type-pattern>).
fn media_type(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

/// Base64 with padding (RFC 4648, section 4, <https://www.rfc-editor.org/rfc/rfc4648#section-4>).
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0_usize, |group, byte| group << 8 | usize::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            text.push(match place <= chunk.len() {
                true => char::from(LETTERS[group >> (18 - 6 * place) & 63]),
                false => '=',
            });
        }
    }
    text
}

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) struct Tool {
    name: String,
    description: Option<String>,
    parameters: Option<Value>,
    strict: Option<bool>,
}

impl Tool {
    /// The tools of a file: OpenAI's `{"type": "function", "function": {...}}`, the function alone, or a list of either.
    ///
    /// # Errors
    /// If the file cannot be read, is no JSON, or an entry has no name.
    pub(in crate::cli) fn load(path: &Path) -> Result<Vec<Self>, Failure> {
        let file = read_json(path, "--tool")?;
        let entries = file.as_array().map_or_else(|| std::slice::from_ref(&file), Vec::as_slice);
        entries.iter().map(|entry| Self::parse(entry).ok_or_else(|| Self::unlike(path))).collect()
    }

    fn parse(entry: &Value) -> Option<Self> {
        let function = entry.get("function").unwrap_or(entry);
        Some(Self {
            name: function.get("name")?.as_str()?.to_owned(),
            description: function.get("description").and_then(Value::as_str).map(str::to_owned),
            parameters: function.get("parameters").cloned(),
            strict: function.get("strict").and_then(Value::as_bool),
        })
    }

    fn unlike(path: &Path) -> Failure {
        let form = r#"{"name": "...", "description": "...", "parameters": {a JSON schema}}"#;
        Failure::usage(format_args!("--tool {}: it holds an entry that is no function with a name", path.display()))
            .with_hint(Some(format!("a tool is {form}, alone or as OpenAI's \"function\", or a list of these")))
    }

    pub(super) fn json(&self) -> Value {
        let Self { name, description, parameters, strict } = self;
        let mut function = Map::new();
        function.insert("name".to_owned(), json!(name));
        insert(&mut function, "description", description.as_ref());
        insert(&mut function, "parameters", parameters.as_ref());
        insert(&mut function, "strict", strict.as_ref());
        json!({ "type": "function", "function": function })
    }

    pub(super) fn wit(self) -> types::Tool {
        let Self { name, description, parameters, strict } = self;
        let schema_json = parameters.map(|schema| schema.to_string());
        types::Tool::Function(types::FunctionTool { name, description, schema_json, strict, cache_control: None })
    }
}

/// A JSON schema that the answer has to fit.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) struct Schema {
    pub(super) name: String,
    pub(super) schema: Value,
}

impl Schema {
    /// # Errors
    /// If the file cannot be read or holds no JSON object.
    pub(in crate::cli) fn load(path: &Path) -> Result<Self, Failure> {
        let schema = read_json(path, "--schema")?;
        if !schema.is_object() {
            return Err(Failure::usage(format_args!("--schema {}: a schema is a JSON object", path.display())));
        }
        // The provider wants a name of letters, digits, `_` and `-`; the file's own says most.
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("answer");
        let name = stem
            .chars()
            .map(|letter| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' })
            .collect();
        Ok(Self { name, schema })
    }
}

/// Puts a key in, if there is a value for it.
pub(super) fn insert(into: &mut Map<String, Value>, key: &str, value: Option<impl serde::Serialize>) {
    if let Some(value) = value {
        into.insert(key.to_owned(), json!(value));
    }
}

/// A file's text; `-` is stdin.
///
/// # Errors
/// If it cannot be read or is no text; `option` says for what it was wanted.
pub(in crate::cli) fn read_text(path: &Path, option: &str) -> Result<String, Failure> {
    String::from_utf8(read_bytes(path, option)?)
        .map_err(|_| Failure::usage(format_args!("{option} {}: it is no UTF-8 text", path.display())))
}

fn read_bytes(path: &Path, option: &str) -> Result<Vec<u8>, Failure> {
    let bytes = match path.as_os_str() == "-" {
        true => {
            let mut bytes = Vec::new();
            io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
        }
        false => fs::read(path),
    };
    bytes.map_err(|error| Failure::usage(format_args!("{option} {}: cannot be read: {error}", path.display())))
}

fn read_json(path: &Path, option: &str) -> Result<Value, Failure> {
    serde_json::from_str(&read_text(path, option)?)
        .map_err(|error| Failure::usage(format_args!("{option} {}: it is no JSON: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_padding() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn a_tool_is_a_function_with_or_without_its_envelope() {
        let bare = json!({ "name": "now", "parameters": { "type": "object" } });
        let tool = Tool::parse(&bare).unwrap();
        assert_eq!(Tool::parse(&json!({ "type": "function", "function": bare })), Some(tool.clone()));
        assert_eq!(tool.json()["function"]["name"], json!("now"));
        assert_eq!(Tool::parse(&json!({ "type": "web_search" })), None);
    }
}
