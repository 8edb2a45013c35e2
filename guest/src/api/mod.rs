//! OpenAI's HTTP API <-> the WIT types, purely.
//! <https://platform.openai.com/docs/api-reference/chat> (2026-11)
//!
//! Before: `component` has read a request to its `wasi:http` handler. After: `provider` finds the target; the answer comes
//! back here to be written. Invariant: a parameter is understood or refused by name, and a stream keeps OpenAI's rules.

mod route;
mod allowed;
mod request;
mod parameters;
mod conversation;
mod models;
mod answer;
mod chunk;
mod chat;
mod report;
mod error;

pub use allowed::Allowed;
pub use answer::answer;
pub use chat::{Chat, chat_answer, parse_chat};
pub use chunk::Chunks;
pub use error::{Failure, failure};
pub use models::{model, models};
pub use report::Report;
pub use request::{Incoming, parse};
pub use route::{Route, methods, route};
