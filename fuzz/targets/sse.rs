//! See `seaway_guest::fuzzing::sse`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| seaway_guest::fuzzing::sse(input));
