//! Builds the completion component and leaves it where `runtime::component` embeds it.
//!
//! Runs before the crate is compiled. A nested cargo builds `seaway-guest` for `wasm32-wasip2` with the guest's own
//! profile, in its own folder below the target folder, so that neither the host's flags nor its profile reach the guest
//! and an unchanged guest costs nothing. `SEAWAY_COMPONENT_WASM` names a ready component instead.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-wasip2";
const INSTALL: &str = "rustup target add wasm32-wasip2";

/// What the outer build sets for its own crates and must not reach the guest's.
const SCRUBBED: [&str; 8] = [
    "RUSTFLAGS",
    "RUSTDOCFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_ENCODED_RUSTDOCFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CLIPPY_ARGS",
    "CARGO_INCREMENTAL",
];
const SCRUBBED_FAMILIES: [&str; 6] =
    ["CARGO_PROFILE_", "CARGO_TARGET_", "CARGO_BUILD_", "CARGO_FEATURE_", "CARGO_CFG_", "CARGO_PKG_"];

fn main() {
    if let Err(error) = run() {
        // One line a piece of news: cargo shows each as an error of this package.
        for line in error.to_string().lines() {
            println!("cargo::error={line}");
        }
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed=SEAWAY_COMPONENT_WASM");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: this is cargo's build script")?);
    let component = match env::var_os("SEAWAY_COMPONENT_WASM") {
        Some(ready) => PathBuf::from(ready),
        None => build(&out)?,
    };
    println!("cargo::rerun-if-changed={}", component.display());
    fs::copy(&component, out.join("completer.wasm"))
        .map_err(|error| format!("the component `{}` cannot be read: {error}", component.display()))?;
    Ok(())
}

/// Builds the guest; the path of its component.
fn build(out: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let host = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("CARGO_MANIFEST_DIR is not set")?);
    let workspace = host.parent().ok_or("the host crate has no folder above it")?;
    for input in [
        "guest/src",
        "guest/json",
        "guest/build.rs",
        "guest/providers.toml",
        "guest/Cargo.toml",
        "wit",
        "Cargo.toml",
        "Cargo.lock",
    ] {
        println!("cargo::rerun-if-changed={}", workspace.join(input).display());
    }
    ensure_target(workspace)?;
    let target = target_folder(out).join("guest");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    cargo
        .current_dir(workspace)
        .args(["build", "--package", "seaway-guest", "--lib", "--profile", "guest", "--locked", "--target", TARGET])
        .arg("--target-dir")
        .arg(&target);
    scrub(&mut cargo);
    let output = cargo.output().map_err(|error| format!("cargo cannot be started for the guest: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("the guest (crate seaway-guest, target {TARGET}) does not build:\n{said}").into());
    }
    Ok(target.join(TARGET).join("guest").join("seaway_guest.wasm"))
}

fn scrub(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if SCRUBBED.contains(&text.as_ref()) || SCRUBBED_FAMILIES.iter().any(|family| text.starts_with(family)) {
            command.env_remove(&name);
        }
    }
}

/// Installs the wasm target where it is missing. `rust-toolchain.toml` names it, but rustup acts on that only while
/// `RUSTUP_AUTO_INSTALL` allows it.
fn ensure_target(workspace: &Path) -> Result<(), Box<dyn Error>> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    let mut ask = Command::new(&rustc);
    ask.current_dir(workspace).args(["--print", "target-libdir", "--target", TARGET]);
    scrub(&mut ask);
    let answer = ask.output().map_err(|error| format!("rustc cannot be started: {error}"))?;
    let folder = String::from_utf8_lossy(&answer.stdout);
    if answer.status.success() && Path::new(folder.trim()).exists() {
        return Ok(());
    }
    let added = Command::new("rustup").current_dir(workspace).args(["target", "add", TARGET]).output();
    match added {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!(
            "the guest needs the target {TARGET}, and rustup could not install it: {}\nhint: run `{INSTALL}`",
            String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("it gave no reason")
        )
        .into()),
        Err(error) => Err(format!(
            "the guest needs the target {TARGET}, and rustup cannot be started ({error})\nhint: run `{INSTALL}`, or install that target with the toolchain's own package"
        )
        .into()),
    }
}

/// The target folder of the outer build: the one that cargo marked as its own.
fn target_folder(out: &Path) -> &Path {
    out.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists()).unwrap_or(out)
}
