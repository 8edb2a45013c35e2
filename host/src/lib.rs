//! Seaway's host: a WebAssembly component completes, the host's session carries.
//!
//! The map, in the order of the path that a completion takes: a command of [`cli`] reads the file ([`config`]), starts
//! the [`runtime`] and calls the component; the component's request comes back through [`outbound`] into
//! [`seaway_session::Session`], and the answer walks the same way home. The component has no other way out: whatever
//! leaves the process passes `outbound`.
//!
//! An embedder needs three things: a [`seaway_session::Session`] under a policy, a [`runtime::Runtime`] over it, and one
//! of its calls:
//!
//! - [`runtime::Runtime::complete`]: one completion, whole, in the types of the WIT;
//! - [`runtime::Runtime::stream`]: the same, delta by delta;
//! - [`runtime::Runtime::handle`]: OpenAI's HTTP API, as the component itself serves it.
//!
//! [`serve::Server`] is the last of these behind a listener of its own; [`reload::Reload`] puts a changed file in force under running calls.
#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod reload;
pub mod serve;
mod turns;
pub mod runtime;
pub mod outbound;
