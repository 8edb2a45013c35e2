//! Builds what the tests run and cargo does not build for them: the binary, and the hostile component.
//!
//! Each is built once a process, by the cargo and into the target folder of the test run itself, so that nothing is built
//! twice.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The `seaway` binary, in the profile of the tests; or the one that `SEAWAY_BINARY` names, from the tests' own folder.
///
/// # Panics
/// If it does not build.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(binary) = std::env::var_os("SEAWAY_BINARY") {
            return std::path::absolute(binary).expect("a path");
        }
        let mut cargo = cargo();
        cargo.args(["build", "--package", "seaway", "--bin", "seaway", "--message-format=json"]);
        if profile_folder().ends_with("release") {
            cargo.arg("--release");
        }
        if cfg!(feature = "otel") {
            cargo.args(["--features", "otel"]);
        }
        let said = run(cargo.arg("--target-dir").arg(target_folder()));
        let messages = said.lines().rev().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let mut messages = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
        messages.next().expect("cargo names the executable that it built")
    })
}

/// The hostile component of `hostile.rs`.
///
/// # Panics
/// If it does not build.
pub fn hostile() -> &'static Path {
    static COMPONENT: OnceLock<PathBuf> = OnceLock::new();
    const TARGET: &str = "wasm32-wasip2";
    COMPONENT.get_or_init(|| {
        // The folder and the profile of the host's own build of its component, whose dependencies are these.
        let folder = target_folder().join("guest");
        let mut cargo = cargo();
        cargo.args([
            "build",
            "--package",
            "seaway-tests",
            "--example",
            "hostile",
            "--profile",
            "guest",
            "--target",
            TARGET,
        ]);
        run(cargo.arg("--target-dir").arg(&folder));
        folder.join(TARGET).join("guest").join("examples").join("hostile.wasm")
    })
}

fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    // What cargo sets for the crate under test would make other builds of these: their flags decide what is fresh.
    let of_cargo =
        |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST") || name == "RUSTFLAGS";
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_cargo)) {
        cargo.env_remove(name);
    }
    cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is a member of a workspace"));
    cargo
}

fn run(cargo: &mut Command) -> String {
    let output = cargo.output().expect("cargo can be started");
    assert!(output.status.success(), "{cargo:?}:\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The folder of the profile: this test's own executable lies in its `deps`.
fn profile_folder() -> PathBuf {
    let this = std::env::current_exe().expect("a process has an executable");
    this.ancestors().nth(2).expect("target/PROFILE/deps/this").to_owned()
}

fn target_folder() -> PathBuf {
    profile_folder().parent().expect("target/PROFILE").to_owned()
}
