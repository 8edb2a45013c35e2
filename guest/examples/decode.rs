//! Reads answers of one dialect, many times: `decode DIALECT stream|whole TIMES`.
//!
//! What decoding costs, and nothing beside it. `cargo bench -p seaway --bench decode` runs it natively and in WebAssembly,
//! in turns, on the same bytes.

use seaway_guest::dialect::{Dialect, Head, Reader, by_name, fold};

/// An answer of a dialect.
struct Sample {
    dialect: &'static str,
    /// What a stream begins with.
    begin: &'static str,
    /// An event that says a text.
    event: &'static str,
    /// A whole answer.
    whole: &'static [u8],
}

/// Events in the shapes that `fixtures` has, with what providers send beside the text.
const SAMPLES: [Sample; 6] = [
    Sample {
        dialect: "openai",
        begin: "",
        event: "data: {\"id\":\"chatcmpl-0123456789\",\"object\":\"chat.completion.chunk\",\"created\":1750000000,\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_0123456789\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n",
        whole: include_bytes!("../fixtures/openai/basic/response.json"),
    },
    Sample {
        dialect: "anthropic",
        begin: "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m-1\",\"content\":[]}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
        event: "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" word\"}}\n\n",
        whole: include_bytes!("../fixtures/anthropic/basic/response.json"),
    },
    Sample {
        dialect: "gemini",
        begin: "",
        event: "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\" word\"}],\"role\":\"model\"},\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":5,\"candidatesTokenCount\":8,\"totalTokenCount\":13,\"promptTokensDetails\":[{\"modality\":\"TEXT\",\"tokenCount\":5}]},\"modelVersion\":\"gemini-2.5-flash\",\"responseId\":\"r-0123456789\"}\n\n",
        whole: include_bytes!("../fixtures/gemini/basic/response.json"),
    },
    Sample {
        dialect: "bedrock",
        begin: "",
        event: "{\"contentBlockIndex\":0,\"delta\":{\"text\":\" word\"},\"p\":\"abcdefghijk\"}",
        whole: include_bytes!("../fixtures/bedrock/basic/response.json"),
    },
    Sample {
        dialect: "cohere",
        begin: "event: message-start\ndata: {\"type\":\"message-start\",\"id\":\"c-1\"}\n\n",
        event: "event: content-delta\ndata: {\"type\":\"content-delta\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"text\":\" word\"}}}}\n\n",
        whole: include_bytes!("../fixtures/cohere/basic/response.json"),
    },
    Sample {
        dialect: "ollama",
        begin: "",
        event: "{\"model\":\"llama3.2\",\"created_at\":\"2026-11-01T12:00:00.123456Z\",\"message\":{\"role\":\"assistant\",\"content\":\" word\"},\"done\":false}\n",
        whole: include_bytes!("../fixtures/ollama/basic/response.json"),
    },
];

/// The dialects that there are samples of.
pub fn dialects() -> impl Iterator<Item = &'static str> {
    SAMPLES.iter().map(|sample| sample.dialect)
}

/// Reads a stream of so many events, or so many whole answers; how many deltas came.
///
/// # Panics
/// If there is no such dialect, or its sample is none.
#[must_use]
pub fn run(dialect: &str, kind: &str, times: usize) -> usize {
    let sample = SAMPLES.iter().find(|sample| sample.dialect == dialect).expect("a dialect");
    let dialect = by_name(sample.dialect).expect("a dialect");
    match kind {
        "stream" => stream(sample, dialect, times),
        _ => (0..times).map(|_| whole(sample, dialect)).sum(),
    }
}

fn stream(sample: &Sample, dialect: &'static dyn Dialect, times: usize) -> usize {
    let event = if sample.dialect == "bedrock" { message(sample.event) } else { sample.event.into() };
    // As much as comes at once while a provider is faster than its reader.
    let piece = event.repeat(16);
    let (mut reader, mut deltas, mut count) = (Reader::new(dialect), Vec::new(), 0);
    reader.push(sample.begin.as_bytes(), &mut deltas).expect("a beginning");
    for _ in 0..times / 16 {
        reader.push(&piece, &mut deltas).expect("events");
        count += deltas.len();
        deltas.clear();
    }
    count
}

fn whole(sample: &Sample, dialect: &'static dyn Dialect) -> usize {
    let deltas = dialect.decode(&Head::ok(), sample.whole).expect("an answer");
    let count = deltas.len();
    std::hint::black_box(fold(deltas).expect("a completion"));
    count
}

/// One of Bedrock's binary messages.
fn message(payload: &str) -> Vec<u8> {
    let byte = |length: usize| u8::try_from(length).expect("a short name");
    let word = |length: usize| u32::try_from(length).expect("a short message").to_be_bytes();
    let mut headers = Vec::new();
    for (name, value) in [(":message-type", "event"), (":event-type", "contentBlockDelta")] {
        headers.push(byte(name.len()));
        headers.extend(name.bytes());
        headers.extend([7, 0, byte(value.len())]);
        headers.extend(value.bytes());
    }
    let mut message = word(headers.len() + payload.len() + 16).to_vec();
    message.extend(word(headers.len()));
    message.extend(crc32fast::hash(&message).to_be_bytes());
    message.extend(headers);
    message.extend(payload.bytes());
    message.extend(crc32fast::hash(&message).to_be_bytes());
    message
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dialect, kind, times] = &arguments[..] else { panic!("decode DIALECT stream|whole TIMES") };
    println!("{}", run(dialect, kind, times.parse().expect("a number")));
}
