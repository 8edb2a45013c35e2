//! The component: where it comes from, and what it is linked to.
//!
//! Runs once, after the engine. It is compiled, or read from wasmtime's cache, linked to WASI and `wasi:http`, and
//! checked against the world that the host calls; what is wrong with it is said here and not at the first call.

use std::borrow::Cow;
use std::fs;
use std::path::PathBuf;

use wasmtime::component::{Component, Linker};

use super::bindings::CompleterPre;
use super::error::{StartError, one_line};
use super::instances::State;

/// The component that was built with this host.
static EMBEDDED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/completer.wasm"));

/// Where the component comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// The one that was built with this host.
    #[default]
    Embedded,
    /// A file.
    File(PathBuf),
}

impl Source {
    fn bytes(&self) -> Result<Cow<'static, [u8]>, StartError> {
        match self {
            Self::Embedded => Ok(Cow::Borrowed(EMBEDDED)),
            Self::File(path) => match fs::read(path) {
                Ok(bytes) => Ok(Cow::Owned(bytes)),
                Err(error) => Err(StartError::new(format!("{self} cannot be read: {error}"))),
            },
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Embedded => out.write_str("the embedded component"),
            Self::File(path) => write!(out, "component `{}`", path.display()),
        }
    }
}

/// Compiles, links and checks the component.
pub(crate) fn load(engine: &wasmtime::Engine, source: &Source) -> Result<CompleterPre<State>, StartError> {
    const HINT: &str = "a component is built with `cargo build --target wasm32-wasip2`";
    let bytes = source.bytes()?;
    match Encoding::of(&bytes) {
        Encoding::Component => {}
        Encoding::Module => {
            return Err(
                StartError::new(format!("{source} is a core WebAssembly module and no component")).with_hint(HINT)
            );
        }
        Encoding::Other => return Err(StartError::new(format!("{source} is not WebAssembly")).with_hint(HINT)),
    }
    let component = Component::new(engine, &bytes)
        .map_err(|error| StartError::new(format!("{source} does not compile: {}", one_line(&format!("{error:#}")))))?;
    let linker = linker(engine).map_err(StartError::engine)?;
    let unfit = |error: wasmtime::Error| {
        StartError::new(format!("{source} is no completion component: {}", one_line(&format!("{error:#}")))).with_hint(
            "it has to export what the world `seaway:completion/completer` says, and may import WASI and wasi:http",
        )
    };
    CompleterPre::new(linker.instantiate_pre(&component).map_err(unfit)?).map_err(unfit)
}

/// What the component may import: WASI without network and files, and `wasi:http`, which ends in the session.
fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    // Rust's standard library on wasm32-wasip2 imports WASI 0.2; a component of another tool chain may import 0.3.
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// What the first eight bytes of a file say (the component model's binary format: the same magic number as a module's,
/// and a layer of 1 where a module has 0).
#[derive(Debug, PartialEq, Eq)]
enum Encoding {
    Component,
    Module,
    Other,
}

impl Encoding {
    fn of(bytes: &[u8]) -> Self {
        match bytes {
            [0, b'a', b's', b'm', _, _, 1, 0, ..] => Self::Component,
            [0, b'a', b's', b'm', _, _, 0, 0, ..] => Self::Module,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_and_a_text_are_no_components() {
        assert_eq!(Encoding::of(b"\0asm\x0d\0\x01\0rest"), Encoding::Component);
        assert_eq!(Encoding::of(b"\0asm\x01\0\0\0"), Encoding::Module);
        assert_eq!(Encoding::of(b"#!/bin/sh\n"), Encoding::Other);
        assert_eq!(Encoding::of(b""), Encoding::Other);
    }

    /// With every dialect in it.
    #[test]
    fn the_component_is_smaller_than_a_mebibyte() {
        assert!(EMBEDDED.len() < 1 << 20, "{} bytes", EMBEDDED.len());
    }
}
