//! The requests of the benchmark, in OpenAI's documented shape
//! (<https://platform.openai.com/docs/api-reference/chat/create>, 2026-11).

use bytes::Bytes;
use serde_json::{Value, json};

pub(crate) const PROMPT: &str = "Say something in fifty words.";

/// One short message.
pub(crate) fn small(stream: bool) -> Bytes {
    let mut request = json!({
        "model": "bench",
        "messages": [{ "role": "user", "content": PROMPT }],
        "temperature": 0.7,
    });
    if stream {
        request["stream"] = Value::Bool(true);
    }
    bytes(&request)
}

/// Forty messages and thirty tools, about 100 KB.
pub(crate) fn large() -> Bytes {
    let text = "The quick brown fox jumps over the lazy dog, and \"quotes\" it.\n".repeat(27);
    let messages: Vec<Value> = (0..40)
        .map(|turn| json!({ "role": if turn % 2 == 0 { "user" } else { "assistant" }, "content": text }))
        .chain([json!({ "role": "user", "content": "Go on." })])
        .collect();
    let tools: Vec<Value> = (0..30)
        .map(|number| {
            let fields: serde_json::Map<String, Value> = (0..8)
                .map(|field| (format!("field_{field}"), json!({ "type": "string", "description": "What to look for, in words." })))
                .collect();
            let parameters = json!({ "type": "object", "properties": fields, "required": ["field_0"] });
            let name = format!("tool_{number}");
            json!({ "type": "function", "function": { "name": name, "description": "Looks something up.", "parameters": parameters } })
        })
        .collect();
    bytes(&json!({ "model": "bench", "messages": messages, "tools": tools }))
}

/// A picture of 5 MB in base64.
pub(crate) fn image() -> Bytes {
    let data = "iVBORw0KGgoAAAANSUhEUgAA".repeat(5 * 1024 * 1024 / 24);
    bytes(&json!({
        "model": "bench",
        "messages": [{ "role": "user", "content": [
            { "type": "text", "text": "What is this?" },
            { "type": "image_url", "image_url": { "url": format!("data:image/png;base64,{data}") } },
        ] }],
    }))
}

fn bytes(request: &Value) -> Bytes {
    serde_json::to_vec(request).expect("JSON").into()
}
