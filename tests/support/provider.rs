//! Answers in the shape of OpenAI's chat completions, for an origin to give.
//!
//! https://platform.openai.com/docs/api-reference/chat (2026-11)

use crate::answer::{Answer, Gate, chunk};

/// The body of a whole answer.
#[must_use]
pub fn whole_body(text: &str) -> String {
    let body = serde_json::json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m-1",
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8 },
    });
    body.to_string()
}

/// A whole answer.
#[must_use]
pub fn whole(text: &str) -> Answer {
    Answer::whole("200 OK", &[("content-type", "application/json")], &whole_body(text))
}

/// A streamed answer; each piece of the text waits at the gate, and so does the end.
#[must_use]
pub fn streamed(gate: &Gate, pieces: &[&str]) -> Answer {
    ended(begun(gate, pieces).wait(gate))
}

/// The end of a streamed answer, with what it took.
#[must_use]
pub fn ended(answer: Answer) -> Answer {
    let end = answer.write(event(&delta("", Some("stop"))));
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
