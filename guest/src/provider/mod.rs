//! `provider/model` -> target: who is asked, where, and with which key.
//!
//! Before: `api` or a typed caller has named a model. After: a `dialect` encodes the request for the target.
//! Invariant: everything that makes one provider different from another of its dialect is a column of the table.

mod table;
mod place;
mod resolve;

pub use place::{Unplaced, placed};
pub use resolve::{Key, Target, resolve};
pub use table::{Auth, Credentials, Files, History, Model, Quirks, ReasoningStyle, Row, Sign, Table, TableError};
