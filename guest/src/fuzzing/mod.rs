//! What the fuzz targets of `fuzz/` run, and the replay of their seeds: a provider's bytes on one side, what must hold of
//! them on the other.
//!
//! Compiled for tests and under the feature `fuzzing` only. Each function takes any input, returns where it means nothing
//! to the part, and panics where a promise is broken. An input begins with how it is cut: a number up to 15, and so many
//! lengths of pieces, which take turns.

use serde::de::IgnoredAny;

use crate::{
    api::{self, Chunks},
    bindings::{Delta, Error},
    dialect::{self, Head, Reader, fold},
    frame::{Event, Framing, eventstream::EventStream, ndjson::Ndjson, sse::Sse},
    provider::{Table, resolve},
};

/// The names of the events that Bedrock's decoder knows, and one that it does not.
const NAMES: [&str; 8] = [
    "messageStart",
    "contentBlockStart",
    "contentBlockDelta",
    "contentBlockStop",
    "messageStop",
    "metadata",
    "somethingNew",
    "",
];

/// Server-sent events.
///
/// # Panics
/// If the events depend on the cuts, or one holds the end of a line that it cannot hold.
pub fn sse(input: &[u8]) {
    for (_, data) in framed::<Sse>(input) {
        assert!(!data.contains('\r'), "{data:?}");
    }
}

/// JSON, one value a line.
///
/// # Panics
/// If the events depend on the cuts, or one is empty or more than a line.
pub fn ndjson(input: &[u8]) {
    for (name, data) in framed::<Ndjson>(input) {
        assert!(name.is_none() && !data.contains(['\r', '\n']) && !data.trim_ascii().is_empty(), "{data:?}");
    }
}

/// A client's request: first a number, of which the last bit says which of the two shapes follows, and then the body. What can
/// be read is written for every dialect.
///
/// # Panics
/// If an error is none of the client's, or its answer or what a provider is sent is no JSON.
pub fn api(input: &[u8]) {
    let Some((shape, body)) = input.split_first() else { return };
    let read = match shape % 2 {
        0 => api::parse(body),
        _ => api::parse_chat(body, shape % 4 == 3),
    };
    let incoming = match read {
        Ok(incoming) => incoming,
        Err(error) => return refused(&error),
    };
    let models = Table::from_json(r#"{"credentials": "placeholder", "providers": {"bedrock": {"region": "r"}}}"#);
    let table = Table::built_in().clone().merge(models.expect("a table"));
    for model in ["openai/m", "anthropic/m", "gemini/m", "bedrock/m", "cohere/m", "ollama/m"] {
        let target = resolve(&table, model).expect("a built-in provider");
        let dialect = dialect::by_name(target.dialect).expect("a dialect of the table");
        match dialect.encode(&target, &incoming.request, incoming.stream) {
            Ok(exchange) => drop(serde_json::from_slice::<IgnoredAny>(&exchange.body).expect("JSON is sent")),
            Err(error) => refused(&error),
        }
    }
}

/// What the client is answered.
fn refused(error: &Error) {
    let failure = api::failure(error);
    assert!((400..500).contains(&failure.status), "{error:?}");
    serde_json::from_slice::<IgnoredAny>(&failure.body).expect("an error is JSON");
}

/// AWS's binary messages: the bytes as they are, and taken for headers and payloads of messages that are whole.
///
/// # Panics
/// If the events depend on the cuts.
pub fn eventstream(input: &[u8]) {
    framed::<EventStream>(input);
    let Some((how, body)) = cut(input) else { return };
    let mut stream = [&[u8::try_from(how.len()).unwrap_or(0)], how].concat();
    let mut rest = body;
    while let [headers, payload, more @ ..] = rest {
        let Some((headers, more)) = more.split_at_checked(usize::from(*headers)) else { break };
        let Some((payload, more)) = more.split_at_checked(usize::from(*payload)) else { break };
        message(&mut stream, headers, payload);
        rest = more;
    }
    framed::<EventStream>(&stream);
}

/// A provider's streamed answer, of the dialect whose number comes first. Bedrock's is written as its events: a name's number,
/// a length, and so many bytes of JSON.
///
/// # Panics
/// If what is read depends on the cuts, is far more than what came, or cannot be written as an answer of our own.
pub fn decode(input: &[u8]) {
    let Some((number, input)) = input.split_first() else { return };
    let (name, dialect) = dialect::ALL[usize::from(*number) % dialect::ALL.len()];
    let Some((how, body)) = cut(input) else { return };
    let body = if name == "bedrock" { events(body) } else { body.to_vec() };
    let read = |pieces: &[&[u8]]| -> (Vec<Delta>, Result<(), Error>) {
        let mut reader = Reader::new(dialect);
        let mut came = Vec::new();
        let result = pieces.iter().try_for_each(|piece| reader.push(piece, &mut came));
        let result = result.and_then(|()| reader.end(&mut came));
        (came, result)
    };
    let whole = read(&[&body]);
    assert_eq!(whole, read(&pieces(how, &body)), "{name}");
    let (came, result) = whole;
    assert!(came.len() <= body.len() + 16, "{name}: {} deltas out of {} bytes", came.len(), body.len());
    let mut chunks = Chunks::new("asked-for", true);
    let mut out = Vec::new();
    chunks.write(came.clone(), &mut out);
    match result {
        Ok(()) => chunks.end(&mut out),
        Err(error) => chunks.fail(&error, &mut out),
    }
    if let Ok(completion) = fold(came) {
        let answer = api::answer(&completion, "asked-for");
        serde_json::from_slice::<serde_json::Value>(&answer).expect("an answer of our own is JSON");
        assert!(answer.len() <= 4096 + 64 * body.len(), "{name}: {} of {}", answer.len(), body.len());
    }
    // The same bytes as a whole answer: whatever they are, they are read or refused.
    let _ = dialect.decode(&Head { status: 200, headers: Vec::new() }, &body).map(fold);
    let _ = dialect.decode(&Head { status: 400, headers: Vec::new() }, &body);
}

/// The events of an input, which are the same whole and in pieces.
fn framed<F: Framing + Default>(input: &[u8]) -> Vec<(Option<String>, String)> {
    let Some((how, body)) = cut(input) else { return Vec::new() };
    let read = |pieces: &[&[u8]]| {
        let mut framing = F::default();
        let mut events = Vec::new();
        let mut sink = |event: Event<'_>| {
            events.push((event.name.map(str::to_owned), event.data.to_owned()));
            Ok(())
        };
        let result = pieces.iter().try_for_each(|piece| framing.push(piece, &mut sink));
        let result = result.and_then(|()| framing.end(&mut sink));
        (events, result)
    };
    let whole = read(&[body]);
    assert_eq!(whole, read(&pieces(how, body)));
    let length: usize = whole.0.iter().map(|(_, data)| data.len()).sum();
    // A byte that is no UTF-8 becomes three.
    assert!(length <= 3 * body.len() + 4096 * whole.0.len(), "{length} of {}", body.len());
    whole.0
}

/// How an input is cut, and what is.
fn cut(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (count, rest) = input.split_first()?;
    rest.split_at_checked(usize::from(*count % 16))
}

/// The pieces of a body: single bytes where nothing is said.
fn pieces<'b>(how: &[u8], body: &'b [u8]) -> Vec<&'b [u8]> {
    let mut lengths = if how.is_empty() { &[1][..] } else { how }.iter().cycle();
    let mut rest = body;
    let next = || {
        let length = usize::from(*lengths.next()?).max(1).min(rest.len());
        let (piece, more) = rest.split_at(length);
        rest = more;
        Some(piece).filter(|piece| !piece.is_empty())
    };
    std::iter::from_fn(next).collect()
}

/// Bedrock's events: a name's number, a length, and so many bytes of payload.
fn events(body: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut rest = body;
    while let [name, length, more @ ..] = rest {
        let (payload, more) = more.split_at(more.len().min(usize::from(*length)));
        let mut headers = Vec::new();
        for (header, value) in [(":message-type", "event"), (":event-type", NAMES[usize::from(*name) % NAMES.len()])] {
            headers.extend([header.len() as u8]);
            headers.extend(header.bytes());
            headers.extend([7, 0, value.len() as u8]);
            headers.extend(value.bytes());
        }
        message(&mut stream, &headers, payload);
        rest = more;
    }
    stream
}

/// Appends one binary message, with its lengths and checksums.
fn message(stream: &mut Vec<u8>, headers: &[u8], payload: &[u8]) {
    let begin = stream.len();
    stream.extend((headers.len() as u32 + payload.len() as u32 + 16).to_be_bytes());
    stream.extend((headers.len() as u32).to_be_bytes());
    stream.extend(crc32fast::hash(&stream[begin..]).to_be_bytes());
    stream.extend(headers);
    stream.extend(payload);
    stream.extend(crc32fast::hash(&stream[begin..]).to_be_bytes());
}

#[cfg(test)]
mod tests;
