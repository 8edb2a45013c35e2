//! `dns.ttl`: how long an answer is reused.

use std::fmt;

use serde::de::{self, IntoDeserializer as _, Visitor};
use serde::{Deserialize, Deserializer};

use crate::policy::units::Timeout;

/// How long an answer is reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ttl {
    /// For so long, whatever its records say. Off: each connection asks anew.
    Fixed(Timeout),
    /// For as long as its records say, between `dns.ttl_min` and `dns.ttl_max`. Needs `dns.servers`.
    Record,
}

impl From<Timeout> for Ttl {
    fn from(life: Timeout) -> Self {
        Self::Fixed(life)
    }
}

/// The word of [`Ttl::Record`].
const RECORD: &str = "record";

/// Reads a period, "off" or the word.
struct Text;

impl Visitor<'_> for Text {
    type Value = Ttl;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "a quoted number with a unit, as in \"15s\", or \"{RECORD}\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Ttl, E> {
        if text == RECORD {
            return Ok(Ttl::Record);
        }
        let fixed = Timeout::deserialize(text.into_deserializer());
        fixed.map(Ttl::Fixed).map_err(|error: E| match text.starts_with(|first: char| first.is_ascii_alphabetic()) {
            true => E::custom(format_args!("{}, nor \"off\" or \"{RECORD}\"", error.to_string().trim_end())),
            false => error,
        })
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Ttl, E> {
        Timeout::deserialize(number.into_deserializer()).map(Ttl::Fixed)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Ttl, E> {
        Timeout::deserialize(number.into_deserializer()).map(Ttl::Fixed)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Ttl, E> {
        Timeout::deserialize(number.into_deserializer()).map(Ttl::Fixed)
    }
}

impl<'de> Deserialize<'de> for Ttl {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Text)
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(life) => life.fmt(out),
            Self::Record => out.write_str(RECORD),
        }
    }
}
