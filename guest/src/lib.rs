//! The completion component: providers' dialects, and nothing else.
//!
//! The modules in the order of a completion's path. All but `component` are pure - no I/O, clock, randomness or
//! environment - and run natively too, for tests, benches and the host, which reads the same table of providers.
//!
//! ```text
//! api -> provider -> dialect -> component -> (host)
//!                    dialect <- frame     <- (host)
//! ```

#![cfg_attr(
    not(target_family = "wasm"),
    expect(
        clippy::result_large_err,
        reason = "the error is the WIT's own; a box would be one more allocation to undo"
    )
)]

pub mod bindings;
use seaway_json as json;
pub mod api;
pub mod provider;
pub mod dialect;
pub mod frame;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(target_family = "wasm")]
mod component;
