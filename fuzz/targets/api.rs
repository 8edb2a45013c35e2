//! See `seaway_guest::fuzzing::api`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| seaway_guest::fuzzing::api(input));
