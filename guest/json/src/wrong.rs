//! Why a value cannot be read.
//!
//! Before: `read`. After: a dialect's or the API's own error. Invariant: it names a place and what belongs there, never what
//! stands there.

use std::fmt;

/// Why a value cannot be read. Boxed, so that a result is small where all is well.
#[derive(Debug)]
pub struct Wrong(Box<Fault>);

/// What is wrong.
#[derive(Debug)]
pub enum Fault {
    /// It is no JSON.
    Json(serde_json::Error),
    /// An object that is strict has this key.
    Unknown(String),
    /// An object lacks this key.
    Missing(&'static str),
    /// What is at this place is not this.
    Shape(String, &'static str),
}

impl Wrong {
    /// What is wrong.
    pub fn fault(&self) -> &Fault {
        &self.0
    }

    #[cold]
    pub(crate) fn new(fault: Fault) -> Self {
        Self(Box::new(fault))
    }

    /// The same, seen from the object that has the value under `key`.
    #[cold]
    pub(crate) fn under(&mut self, key: &str) {
        if let Fault::Shape(place, _) = &mut *self.0 {
            *place = if place.is_empty() { key.to_owned() } else { format!("{key}.{place}") };
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault() {
            Fault::Json(error) => error.fmt(out),
            Fault::Unknown(key) => write!(out, "unknown field `{key}`"),
            Fault::Missing(key) => write!(out, "missing field `{key}`"),
            Fault::Shape(place, what) if place.is_empty() => write!(out, "it is not {what}"),
            Fault::Shape(place, what) => write!(out, "`{place}` is not {what}"),
        }
    }
}
