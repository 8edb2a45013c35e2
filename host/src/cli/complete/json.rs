//! An answer as OpenAI's JSON, from the component's own HTTP handler.
//!
//! Runs on `Runtime::handle`, in process. Invariant: an answer with an error status prints nothing on stdout; its message
//! is the session's own where the session failed, else the provider's.

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::Value;

use super::super::{Failure, print};
use crate::runtime::{Body, CallError, CallRecord, Runtime};

/// Hands a body to the component's HTTP handler and prints its JSON.
pub(super) async fn run(runtime: &Runtime, body: Bytes, record: &CallRecord) -> Result<(), Failure> {
    let request = Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .header("content-length", body.len())
        .body(body)
        .expect("a constant path and header are valid");
    let response = runtime.handle(request, record).await?;
    let (head, mut body) = response.into_parts();
    if !head.status.is_success() {
        let said = whole_body(&mut body).await?;
        return Err(match record.error() {
            Some(error) => CallError::Session(error).into(),
            None if record.exchanges().is_empty() => Failure::usage(message(&said)),
            None => Failure::failed(format_args!("{} (status {})", message(&said), head.status.as_u16())),
        });
    }
    let kind = head.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    match kind.starts_with("text/event-stream") {
        true => chunks(&mut body, record).await,
        false => {
            let mut answer = whole_body(&mut body).await?;
            if !answer.ends_with(b"\n") {
                answer.push(b'\n');
            }
            print::write(&answer)
        }
    }
}

async fn whole_body(body: &mut Body) -> Result<Vec<u8>, CallError> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}

/// The message of an error in OpenAI's shape, else the text itself.
fn message(body: &[u8]) -> String {
    let told = serde_json::from_slice::<Value>(body).ok();
    let told = told.as_ref().and_then(|body| body.pointer("/error/message")).and_then(Value::as_str);
    told.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned)
}

/// Prints a stream's chunks, one a line. The component writes its events as one `data:` line each.
async fn chunks(body: &mut Body, record: &CallRecord) -> Result<(), Failure> {
    let mut pending = Vec::new();
    let mut done = false;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        pending.extend_from_slice(&data);
        let Some(last) = pending.iter().rposition(|byte| *byte == b'\n') else { continue };
        let rest = pending.split_off(last + 1);
        let mut lines = Vec::with_capacity(pending.len());
        for data in pending.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data:")) {
            let data = data.trim_ascii();
            match data {
                b"[DONE]" => done = true,
                data if data.starts_with(b"{\"error\"") => {
                    print::write(&lines)?;
                    return Err(record
                        .error()
                        .map_or_else(|| Failure::failed(message(data)), |error| CallError::Session(error).into()));
                }
                data => {
                    lines.extend_from_slice(data);
                    lines.push(b'\n');
                }
            }
        }
        print::write(&lines)?;
        pending = rest;
    }
    match done {
        true => Ok(()),
        false => Err(CallError::Broken("its stream ended without [DONE]".to_owned()).into()),
    }
}
