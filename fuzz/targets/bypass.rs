//! See `seaway_session::fuzzing::bypass`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| seaway_session::fuzzing::bypass(input));
