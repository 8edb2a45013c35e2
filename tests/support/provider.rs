//! Answers in the shape of OpenAI's chat completions, for an origin to give.
//!
//! https://platform.openai.com/docs/api-reference/chat (2026-11)

use crate::answer::{Answer, Gate, chunk};

/// A whole answer.
#[must_use]
pub fn whole(text: &str) -> Answer {
    let body = serde_json::json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m-1",
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8 },
    });
    Answer::whole("200 OK", &[("content-type", "application/json")], &body.to_string())
}

/// A streamed answer; each piece of the text waits at the gate, and so does the end.
#[must_use]
pub fn streamed(gate: &Gate, pieces: &[&str]) -> Answer {
    let end = begun(gate, pieces).wait(gate).write(event(&delta("", Some("stop"))));
    let usage = serde_json::json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m-1", "choices": [],
        "usage": { "prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8 },
    });
    end.write(event(&usage)).write(chunk("data: [DONE]\n\n")).write("0\r\n\r\n")
}

/// A streamed answer that has begun: its pieces, without an end.
#[must_use]
pub fn begun(gate: &Gate, pieces: &[&str]) -> Answer {
    let head = Answer::head_of_chunks(&[("content-type", "text/event-stream")]);
    pieces.iter().fold(head, |answer, piece| answer.wait(gate).write(event(&delta(piece, None))))
}

/// An error in OpenAI's shape.
#[must_use]
pub fn error(status: &str, headers: &[(&str, &str)], message: &str) -> Answer {
    let body =
        serde_json::json!({ "error": { "message": message, "type": "test_error", "param": null, "code": null } });
    let headers: Vec<_> = [("content-type", "application/json")].into_iter().chain(headers.iter().copied()).collect();
    Answer::whole(status, &headers, &body.to_string())
}

fn delta(text: &str, finish: Option<&str>) -> serde_json::Value {
    serde_json::json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m-1",
        "choices": [{ "index": 0, "delta": { "role": "assistant", "content": text }, "finish_reason": finish }],
    })
}

fn event(data: &serde_json::Value) -> String {
    chunk(&format!("data: {data}\n\n"))
}
