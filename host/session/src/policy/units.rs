//! Durations and sizes as the policy file writes them: a number with its unit, or `"off"`.
//!
//! A bare number and a zero are refused, so that nobody has to guess whether `timeout = 30` meant seconds.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// A span of time that cannot be switched off: `"250ms"`, `"15s"`, `"5m"`, `"1h"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Period(pub Duration);

/// A deadline: a span of time, or `"off"` for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timeout(pub Option<Duration>);

/// A number of bytes: `"512B"`, `"16KiB"`, `"32MiB"`, `"1GiB"`, and the decimal `kB`, `MB`, `GB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A part of a whole: `"50%"`, between 1 and 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Share(u8);

impl Share {
    /// So many hundredths, at least 1 and at most 100.
    #[must_use]
    pub const fn percent(percent: u8) -> Self {
        Self(if percent == 0 {
            1
        } else if percent > 100 {
            100
        } else {
            percent
        })
    }

    /// The share of a whole, rounded down.
    #[must_use]
    pub fn of(self, whole: u64) -> u64 {
        u64::try_from(u128::from(whole) * u128::from(self.0) / 100).unwrap_or(u64::MAX)
    }

    /// How many hundredths it is.
    #[must_use]
    pub const fn hundredths(self) -> u8 {
        self.0
    }

    fn parse(text: &str) -> Result<Self, String> {
        let digits = text.strip_suffix('%').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        match digits.and_then(|digits| digits.parse::<u8>().ok()) {
            Some(percent @ 1..=100) => Ok(Self(percent)),
            Some(_) | None => Err(format!("`{text}` is not a share between 1% and 100%, as in \"50%\"")),
        }
    }
}

impl Period {
    /// A period of whole seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// A period of whole milliseconds.
    #[must_use]
    pub const fn milliseconds(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }
}

impl Timeout {
    /// No deadline.
    pub const OFF: Self = Self(None);

    /// A deadline of whole seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(Some(Duration::from_secs(seconds)))
    }
}

impl Size {
    /// A size of whole KiB.
    #[must_use]
    pub const fn kib(kib: u64) -> Self {
        Self(kib * 1024)
    }

    /// A size of whole MiB.
    #[must_use]
    pub const fn mib(mib: u64) -> Self {
        Self(mib * 1024 * 1024)
    }
}

const DURATION_UNITS: [(&str, u64); 5] = [
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];
const SIZE_UNITS: [(&str, u64); 7] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// A positive number and its unit, as a multiple of the smallest one.
fn quantity(text: &str, units: &[(&str, u64)], example: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let factor = units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let number = digits.trim().parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    let (Some(factor), Some(number)) = (factor, number) else {
        let known = units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        return Err(format!("`{text}` is not a number with a unit ({known}), as in \"{example}\""));
    };
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast saturates"
    )]
    let amount = (number * factor as f64).round() as u64;
    match amount {
        0 => Err(format!("`{text}` is zero; write \"off\" where a key can be switched off")),
        amount if amount > i64::MAX as u64 => Err(format!("`{text}` is too large")),
        amount => Ok(amount),
    }
}

/// The text of a value; a bare number is refused with what it lacks.
struct Text<'a> {
    /// What a bare number most likely meant.
    unit: &'a str,
    example: &'a str,
}

impl Text<'_> {
    fn bare<E: serde::de::Error>(&self, number: impl fmt::Display, usable: bool) -> E {
        match usable {
            true => E::custom(format_args!("a bare number has no unit; write \"{number}{}\"", self.unit)),
            false => E::custom(format_args!("a bare number has no unit; write it as in \"{}\"", self.example)),
        }
    }
}

impl serde::de::Visitor<'_> for Text<'_> {
    type Value = String;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "a quoted number with a unit, as in \"{}\"", self.example)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<String, E> {
        Err(self.bare(number, number > 0))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<String, E> {
        Err(self.bare(number, number > 0))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<String, E> {
        Err(self.bare(number, number.is_finite() && number > 0.0))
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = from.deserialize_str(Text { unit: "s", example: "15s" })?;
        quantity(&text, &DURATION_UNITS, "15s")
            .map(|nanos| Self(Duration::from_nanos(nanos)))
            .map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Timeout {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = from.deserialize_str(Text { unit: "s", example: "15s" })?;
        if text == "off" {
            return Ok(Self::OFF);
        }
        quantity(&text, &DURATION_UNITS, "15s")
            .map(|nanos| Self(Some(Duration::from_nanos(nanos))))
            .map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = from.deserialize_str(Text { unit: "B", example: "16KiB" })?;
        quantity(&text, &SIZE_UNITS, "16KiB").map(Self).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = from.deserialize_str(Text { unit: "%", example: "50%" })?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}%", self.0)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX);
        let (unit, factor) =
            DURATION_UNITS.iter().rev().find(|(_, factor)| nanos.is_multiple_of(*factor)).unwrap_or(&("ms", 1_000_000));
        write!(out, "{}{unit}", nanos / factor)
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(duration) => Period(duration).fmt(out),
            None => out.write_str("off"),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) =
            SIZE_UNITS[..4].iter().rev().find(|(_, factor)| self.0.is_multiple_of(*factor)).unwrap_or(&("B", 1));
        write!(out, "{}{unit}", self.0 / factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duration(text: &str) -> Result<u64, String> {
        quantity(text, &DURATION_UNITS, "15s")
    }

    #[test]
    fn a_number_needs_a_unit_and_is_not_zero() {
        assert_eq!(duration("250ms"), Ok(250_000_000));
        assert_eq!(duration("1.5s"), Ok(1_500_000_000));
        assert_eq!(duration("1h"), Ok(3_600_000_000_000));
        for bad in ["", "15", "s", "0s", "-1s", "15 seconds", "1e400s", "9999999999h", "nans"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_share_is_a_whole_number_of_hundredths() {
        assert_eq!(Share::parse("50%").map(|share| share.of(1025)), Ok(512));
        assert_eq!(Share::parse("100%").map(|share| share.of(u64::MAX)), Ok(u64::MAX));
        assert_eq!(Share::parse("7%").unwrap().to_string(), "7%");
        for bad in ["", "%", "0%", "101%", "256%", "50", "-5%", "+5%", "5.5%", "50 %"] {
            assert!(Share::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_what_is_shown() {
        for text in ["250ms", "15s", "5m", "1h"] {
            assert_eq!(Period(Duration::from_nanos(duration(text).unwrap())).to_string(), text);
        }
        assert_eq!(Size::kib(64).to_string(), "64KiB");
        assert_eq!(Size(1000).to_string(), "1000B");
        assert_eq!(Timeout::OFF.to_string(), "off");
    }
}
