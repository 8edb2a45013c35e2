//! The example files of `host/policies`: each loads, and says what its first line promises.

use std::path::{Path, PathBuf};

use super::units::Timeout;
use super::{Document, Policy, Preset};
use crate::{pool, proxy, tls};

fn example(name: &str) -> Policy {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies").join(name);
    read(&path, &std::fs::read_to_string(&path).unwrap())
}

fn read(path: &Path, text: &str) -> Policy {
    // Upon the preset that is furthest away: the file must name its own.
    let (policy, warnings) = Document::parse(path, text).unwrap().policy(Preset::HighThroughput, &[]).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    policy
}

#[test]
fn every_example_is_tested_here() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let tested = [
        "basic.toml",
        "corporate-proxy.toml",
        "development.toml",
        "fastapi.toml",
        "high-throughput.toml",
        "production.toml",
        "reference.toml",
    ];
    assert_eq!(names, tested);
}

#[test]
fn basic_and_fastapi_bound_streams_like_everything_else() {
    let default = Policy::default();
    let short = Policy { total: Timeout::seconds(180), stream_total: Timeout::seconds(180), ..default.clone() };
    let pool = pool::Settings { limit: 300, ..default.pool };
    assert_eq!(example("fastapi.toml"), Policy { pool: pool.clone(), ..short.clone() });
    assert_eq!(example("basic.toml"), Policy { pool: pool::Settings { limit_per_host: 75, ..pool }, ..short });
}

#[test]
fn corporate_proxy_takes_the_environments_proxy_and_shows_a_certificate() {
    let policy = example("corporate-proxy.toml");
    let folder = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies").join(name);
    let (client_cert, client_key): (Option<PathBuf>, _) = (Some(folder("client.pem")), Some(folder("client.key")));
    let default = Policy::default();
    assert_eq!(policy.proxy.mode, proxy::Mode::Env);
    assert_eq!(
        policy,
        Policy {
            stream_total: default.total,
            tls: tls::Settings { client_cert, client_key, ..default.tls },
            ..default
        }
    );
}

#[test]
fn examples_that_are_named_like_a_preset_say_what_it_says() {
    for preset in [Preset::Development, Preset::Production, Preset::HighThroughput] {
        assert_eq!(example(&format!("{preset}.toml")), Policy::preset(preset));
    }
}

#[test]
fn the_reference_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/reference.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let advice = "write it anew: cargo run -- policy init --force host/policies/reference.toml";
    // The host's own sections follow.
    assert!(text.starts_with(&super::reference(Preset::Default)), "{advice}");
    assert_eq!(read(Path::new("reference.toml"), &super::reference(Preset::Default)), Policy::default());
}
