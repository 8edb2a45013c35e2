//! `[origin."https://llm.corp.example"]`: what differs for one origin.
//!
//! An override is laid upon the whole file, key by key, and read as a policy of its own; so what holds for a key in the
//! file holds for it here. What is decided before there is an origin, or for all of them together, cannot differ.

use std::collections::BTreeMap;

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::check;
use super::{Error, Policy, explain, lay_under};
use crate::route::Origin;

/// Top-level keys and sections that may differ.
const SECTIONS: [&str; 10] =
    ["total", "stream_total", "connect", "dns", "tcp", "proxy", "tls", "wire", "body", "retry"];
/// Those that may not, because they hold for all origins together.
const SHARED: [&str; 6] = ["preset", "egress", "credentials", "origin", "drain", "monitor"];
/// Keys of `[pool]` that may differ.
const POOL: [&str; 5] = ["limit_per_host", "keepalive", "max_lifetime", "max_requests", "force_close"];

/// The policies of the origins that `overrides` names, each laid upon `file`.
///
/// # Errors
/// `Ok(Err)`: what is wrong, by the key as it stands in the file. `Err`: what the reader says of a value.
pub(super) fn read<'t>(
    overrides: &DeTable<'t>,
    file: &DeTable<'t>,
) -> Result<Result<BTreeMap<Origin, Policy>, Error>, toml::de::Error> {
    let mut policies = BTreeMap::new();
    for (name, value) in overrides {
        let name = name.get_ref();
        let section = format!("origin.{}", explain::segment(name));
        let (origin, table) = match (parse(name), value.get_ref()) {
            (Ok(origin), DeValue::Table(table)) => (origin, table),
            (Ok(_), _) => return Ok(Err(Error::key(section, "this is a section; write its keys below it"))),
            (Err(reason), _) => return Ok(Err(Error::key(section, reason))),
        };
        if let Some(key) = shared(table) {
            let what = "cannot differ for one origin: it holds for all of them";
            return Ok(Err(Error::key(format!("{section}.{key}"), what)));
        }
        let policy = Policy::deserialize(toml::Deserializer::from(Spanned::new(0..0, laid(table, file))))?;
        if let Err(error) = check(table, &policy) {
            return Ok(Err(error.within(&section)));
        }
        if policies.insert(origin, policy).is_some() {
            return Ok(Err(Error::key(section, "names an origin that another section names in another spelling")));
        }
    }
    Ok(Ok(policies))
}

fn parse(name: &str) -> Result<Origin, String> {
    let path = name.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    match path.is_empty() {
        true => Origin::parse(name),
        false => Err("an origin has no path; write scheme://host[:port]".to_owned()),
    }
}

/// The first key that is known and may not differ.
fn shared(table: &DeTable<'_>) -> Option<String> {
    let pool = table.get("pool").and_then(|pool| pool.get_ref().as_table());
    let of_pool = pool.into_iter().flatten().map(|(key, _)| format!("pool.{}", key.get_ref()));
    let known = |key: &String| super::keys::names().any(|known| known == key);
    let of_pool = of_pool.filter(known).find(|key| !POOL.contains(&&key["pool.".len()..]));
    let whole = table.iter().map(|(key, _)| key.get_ref().to_string()).find(|key| SHARED.contains(&key.as_str()));
    whole.or(of_pool)
}

/// The override upon the file. Whether there is a proxy, and whether connections are kept, is answered by one of them
/// alone: the other's keys would contradict it.
fn laid<'t>(table: &DeTable<'t>, file: &DeTable<'t>) -> DeTable<'t> {
    let (mut laid, mut file) = (table.clone(), file.clone());
    let of = |section: &str, key: &str| {
        table.get(section).and_then(|section| section.get_ref().as_table()?.get(key)).map(Spanned::get_ref)
    };
    if of("proxy", "mode").is_some() {
        file.remove("proxy");
    }
    if of("pool", "force_close").is_some_and(|value| matches!(value, DeValue::Boolean(true)))
        && let Some(DeValue::Table(pool)) = file.get_mut("pool").map(Spanned::get_mut)
    {
        pool.remove("keepalive");
    }
    lay_under(&mut laid, file);
    laid
}

/// The names of what may differ, for the reference.
pub(super) fn names() -> String {
    let pool = POOL.map(|key| format!("pool.{key}"));
    let sections = SECTIONS.map(|name| match name.contains("total") || name == "connect" {
        true => name.to_owned(),
        false => format!("{name}.*"),
    });
    sections.into_iter().chain(pool).collect::<Vec<_>>().join(", ")
}
