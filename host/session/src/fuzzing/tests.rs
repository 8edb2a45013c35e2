//! Every seed of `fuzz/seeds/`, through the function that it is a seed of: what a fuzzer found stays found without one.

use std::fs;
use std::path::PathBuf;

/// The seeds of a target.
fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let seeds: Vec<_> =
        files.map(|file| file.unwrap().path()).map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    assert!(seeds.len() >= 10, "{} seeds in {}", seeds.len(), folder.display());
    seeds
}

fn replay(target: &str, run: fn(&[u8])) {
    for (path, seed) in seeds(target) {
        println!("{}", path.display());
        run(&seed);
    }
}

#[test]
fn seeds_of_connect_pass() {
    replay("connect", super::connect);
}

#[test]
fn seeds_of_bypass_pass() {
    replay("bypass", super::bypass);
}

#[test]
fn seeds_of_policy_pass() {
    replay("policy", super::policy);
}

#[test]
fn seeds_of_hygiene_pass() {
    replay("hygiene", super::hygiene);
}
