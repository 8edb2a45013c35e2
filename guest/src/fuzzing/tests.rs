//! Every seed of `fuzz/seeds/`, through the function that it is a seed of: what a fuzzer found stays found without one.

use std::{fs, path::PathBuf};

fn replay(target: &str, run: fn(&[u8])) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    assert!(files.len() >= 10, "{} seeds in {}", files.len(), folder.display());
    for file in files {
        println!("{}", file.display());
        run(&fs::read(&file).unwrap());
    }
}

#[test]
fn seeds_of_sse_pass() {
    replay("sse", super::sse);
}

#[test]
fn seeds_of_ndjson_pass() {
    replay("ndjson", super::ndjson);
}

#[test]
fn seeds_of_eventstream_pass() {
    replay("eventstream", super::eventstream);
}

#[test]
fn seeds_of_decode_pass() {
    replay("decode", super::decode);
}

#[test]
fn seeds_of_api_pass() {
    replay("api", super::api);
}
