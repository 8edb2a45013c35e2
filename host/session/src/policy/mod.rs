//! The policy: everything that an operator decides about the session, as checked values.
//!
//! Read from the file by [`Document`], before any stage exists; each section is the `Settings` of the stage it is named
//! after. One exchange sees one policy. What is in a `Policy` has been parsed: no stage parses text again.

mod error;
pub mod units;
mod keys;
mod document;
mod origins;
mod explain;
mod reference;
mod said;
mod stamp;

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::route::Origin;
use crate::{body, credentials, dns, drain, egress, monitor, pool, proxy, retry, tcp, tls, wire};
pub use document::Document;
pub use error::Error;
pub use reference::reference;
pub use said::{Change, Said};
pub(crate) use stamp::Stamp;
use units::Timeout;

/// Everything that an operator decides about the session.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// What the policy was laid upon. Default `default`.
    pub preset: Preset,
    /// From a request's arrival to the last byte of its answer, the wait for a connection included. Default 300 s.
    pub total: Timeout,
    /// Takes the place of `total` once the headers of an event stream have come. Default off.
    pub stream_total: Timeout,
    /// Waiting for a connection and opening it (dns, tcp, proxy, tls), together. Default off: each has its own deadline.
    pub connect: Timeout,
    /// `[egress]`: where requests may go.
    pub egress: egress::Settings,
    /// `[credentials.NAME]`: secrets, and where each may go.
    pub credentials: BTreeMap<String, credentials::Settings>,
    /// `[pool]`: how many connections, for how long.
    pub pool: pool::Settings,
    /// `[dns]`: how names become addresses.
    pub dns: dns::Settings,
    /// `[tcp]`: from addresses to a connected socket.
    pub tcp: tcp::Settings,
    /// `[proxy]`: whether a proxy stands between.
    pub proxy: proxy::Settings,
    /// `[tls]`: whom we believe, and who we are.
    pub tls: tls::Settings,
    /// `[wire]`: the exchange up to the head of the answer.
    pub wire: wire::Settings,
    /// `[body]`: the answer's body, and the size of both.
    pub body: body::Settings,
    /// `[retry]`: when a request is sent again.
    pub retry: retry::Settings,
    /// `[monitor]`: what is told, and what is not.
    pub monitor: monitor::Settings,
    /// `[drain]`: how the session ends.
    pub drain: drain::Settings,
    /// `[origin."..."]`: the policies of origins for which some keys differ. Of each, egress, credentials, the pool's
    /// totals and further origins count for nothing: they are the same for all.
    #[serde(skip)]
    pub origins: BTreeMap<Origin, Self>,
}

impl Policy {
    /// The policy that a file with nothing but `preset` stands for.
    #[must_use]
    pub fn preset(preset: Preset) -> Self {
        let table = Spanned::new(0..0, preset.layer());
        Self::deserialize(toml::Deserializer::from(table)).expect("a preset is a valid policy")
    }
}

impl Policy {
    /// What servers are offered over TLS. HTTP/2 is not, where nothing would share its connection.
    pub(crate) fn offered(&self) -> Vec<tls::Alpn> {
        let mut offered = self.wire.http.offered(&self.tls.alpn);
        let alone = self.pool.force_close || self.pool.max_requests == 1;
        if alone && self.wire.http != wire::Http::Two {
            offered.retain(|alpn| *alpn != tls::Alpn::H2);
        }
        offered
    }
}

impl Default for Policy {
    /// The preset `default`.
    fn default() -> Self {
        Self {
            preset: Preset::Default,
            total: Timeout::seconds(300),
            stream_total: Timeout::OFF,
            connect: Timeout::OFF,
            egress: egress::Settings::default(),
            credentials: BTreeMap::new(),
            pool: pool::Settings::default(),
            dns: dns::Settings::default(),
            tcp: tcp::Settings::default(),
            proxy: proxy::Settings::default(),
            tls: tls::Settings::default(),
            wire: wire::Settings::default(),
            body: body::Settings::default(),
            retry: retry::Settings::default(),
            monitor: monitor::Settings::default(),
            drain: drain::Settings::default(),
            origins: BTreeMap::new(),
        }
    }
}

/// A named set of values that a file is laid upon, key by key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Few connections and a short deadline.
    Development,
    /// What aiohttp's session has without arguments.
    #[default]
    Default,
    /// Many connections, bounded per host, kept for a minute.
    Production,
    /// `production`, with names cached for ten minutes and half-closed connections reset.
    HighThroughput,
}

impl Preset {
    /// All presets, smallest first.
    pub const ALL: [Self; 4] = [Self::Development, Self::Default, Self::Production, Self::HighThroughput];

    /// The preset's word in a file.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Default => "default",
            Self::Production => "production",
            Self::HighThroughput => "high-throughput",
        }
    }

    /// The preset of a word; absent if there is none of that name.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.word() == word)
    }

    /// The keys in which the preset differs from `default`, as a file of its own: it is laid beneath the operator's.
    fn layer(self) -> DeTable<'static> {
        let text = match self {
            Self::Development => "preset = 'development'\ntotal = '60s'\npool.limit = 50",
            Self::Default => "preset = 'default'",
            Self::Production => {
                "preset = 'production'\n\
                 pool = { limit = 1000, limit_per_host = 200, keepalive = '60s', max_waiters = 10000 }"
            }
            Self::HighThroughput => {
                "preset = 'high-throughput'\ndns.ttl = '600s'\n\
                 pool = { limit = 1000, limit_per_host = 200, keepalive = '60s', max_waiters = 10000, cleanup_closed = true }"
            }
        };
        DeTable::parse(text).expect("a preset is valid TOML").into_inner()
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}

/// The section of the file that is one origin's.
pub(crate) fn section_of(origin: &Origin) -> String {
    format!("origin.\"{origin}\"")
}

/// Lays `beneath` under `table`: a key that `table` has stays as it is, tables are merged key by key.
fn lay_under<'t>(table: &mut DeTable<'t>, beneath: DeTable<'t>) {
    for (key, value) in beneath {
        match (table.get_mut(key.get_ref().as_ref()).map(Spanned::get_mut), value.into_inner()) {
            (None, value) => drop(table.insert(key, Spanned::new(0..0, value))),
            (Some(DeValue::Table(table)), DeValue::Table(beneath)) => lay_under(table, beneath),
            (Some(_), _) => (),
        }
    }
}

#[cfg(test)]
mod examples;

#[cfg(test)]
mod tests {
    use super::*;
    use units::Period;

    #[test]
    fn presets_are_exactly_what_the_table_says() {
        // preset, total, limit, limit_per_host, keepalive, dns.ttl, cleanup_closed, max_waiters
        let table = [
            (Preset::Development, 60, 50, 0, 15, 10, false, 0),
            (Preset::Default, 300, 100, 0, 15, 10, false, 0),
            (Preset::Production, 300, 1000, 200, 60, 10, false, 10_000),
            (Preset::HighThroughput, 300, 1000, 200, 60, 600, true, 10_000),
        ];
        for (preset, total, limit, limit_per_host, keepalive, ttl, cleanup_closed, max_waiters) in table {
            let default = Policy::default();
            let expected = Policy {
                preset,
                total: Timeout::seconds(total),
                pool: pool::Settings {
                    limit,
                    limit_per_host,
                    keepalive: Period::seconds(keepalive),
                    cleanup_closed,
                    max_waiters,
                    ..default.pool
                },
                dns: dns::Settings { ttl: Timeout::seconds(ttl).into(), ..default.dns },
                ..default
            };
            assert_eq!(Policy::preset(preset), expected, "{preset}");
            assert_eq!(Preset::parse(preset.word()), Some(preset));
        }
        assert_eq!(Policy::preset(Preset::Default), Policy::default());
    }

    #[test]
    fn stream_total_is_off_and_tcp_timeout_30s_in_all_presets() {
        for preset in Preset::ALL {
            assert_eq!(Policy::preset(preset).stream_total, Timeout::OFF);
            assert_eq!(Policy::preset(preset).tcp.timeout, Period::seconds(30));
        }
    }
}
