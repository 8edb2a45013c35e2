//! A streamed answer is read in memory that its largest event bounds, however long it is.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use seaway_guest::dialect::{self, Reader};

/// How much a reader may hold beside an event: its own state, and room for what it hands on.
const BESIDE: usize = 64 << 10;

/// For each dialect: what its stream begins with, and an event that says a text.
const STREAMS: [(&str, &str, &str); 6] = [
    (
        "openai",
        "",
        "data: {\"id\":\"c-1\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"TEXT\"}}],\"usage\":null}\n\n",
    ),
    (
        "anthropic",
        "data: {\"type\":\"message_start\",\"message\":{\"id\":\"m-1\",\"content\":[]}}\n\ndata: {\"type\":\"content_block_start\",\
         \"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"TEXT\"}}\n\n",
    ),
    (
        "gemini",
        "",
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"TEXT\"}]},\"index\":0}],\"responseId\":\"r\"}\n\n",
    ),
    ("bedrock", "", r#"{"contentBlockIndex":0,"delta":{"text":"TEXT"}}"#),
    (
        "cohere",
        "data: {\"type\":\"message-start\",\"id\":\"c-1\"}\n\n",
        "data: {\"type\":\"content-delta\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"text\":\"TEXT\"}}}}\n\n",
    ),
    ("ollama", "", "{\"model\":\"m\",\"message\":{\"content\":\"TEXT\"},\"done\":false}\n"),
];

#[test]
fn a_long_stream_takes_no_more_memory_than_a_short_one() {
    for stream in STREAMS {
        let (deltas, peak) = read(stream, "some words", 20_000);
        assert!(deltas >= 20_000, "{}: {deltas} deltas", stream.0);
        assert!(peak <= BESIDE, "{}: {peak} bytes", stream.0);
    }
}

#[test]
fn a_long_event_takes_a_few_times_its_length() {
    for stream in STREAMS {
        let text = "x".repeat(1 << 20);
        let (_, peak) = read(stream, &text, 3);
        assert!(peak >= text.len() && peak <= 6 * text.len() + BESIDE, "{}: {peak} bytes", stream.0);
    }
}

/// Reads a stream of so many events with a text, in pieces of 8 KiB: how many deltas came, and how many bytes were held at most.
fn read((name, begin, event): (&str, &str, &str), text: &str, times: usize) -> (usize, usize) {
    let event = event.replace("TEXT", text);
    let event = if name == "bedrock" { message(&event) } else { event.into_bytes() };
    let stream = [begin.as_bytes(), &event.repeat(times)].concat();
    let mut reader = Reader::new(dialect::by_name(name).unwrap());
    let mut deltas = Vec::new();
    let mut count = 0;
    let held = HELD.get();
    PEAK.set(held);
    for piece in stream.chunks(8 << 10) {
        reader.push(piece, &mut deltas).unwrap();
        count += deltas.len();
        deltas.clear();
    }
    (count, PEAK.get() - held)
}

/// One of Bedrock's binary messages.
fn message(payload: &str) -> Vec<u8> {
    let mut headers = Vec::new();
    for (name, value) in [(":message-type", "event"), (":event-type", "contentBlockDelta")] {
        headers.push(u8::try_from(name.len()).unwrap());
        headers.extend(name.bytes());
        headers.extend([7, 0, u8::try_from(value.len()).unwrap()]);
        headers.extend(value.bytes());
    }
    let mut message = u32::try_from(headers.len() + payload.len() + 16).unwrap().to_be_bytes().to_vec();
    message.extend(u32::try_from(headers.len()).unwrap().to_be_bytes());
    message.extend(crc32fast::hash(&message).to_be_bytes());
    message.extend(headers);
    message.extend(payload.bytes());
    message.extend(crc32fast::hash(&message).to_be_bytes());
    message
}

thread_local! {
    /// What this thread holds, and the most that it has held.
    static HELD: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[expect(unsafe_code, reason = "an allocator is called by contract alone; each call goes on as it came")]
// SAFETY: every method is the inner allocator's own, with the same arguments; counting touches no allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.set(HELD.get().wrapping_add(layout.size()));
        PEAK.set(PEAK.get().max(HELD.get()));
        // SAFETY: the caller keeps the contract of this very method.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.set(HELD.get().wrapping_sub(layout.size()));
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}
