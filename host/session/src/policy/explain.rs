//! From what the TOML reader says to one line for a person: the line, the key, and what to write instead.
//!
//! Used by [`Document`](super::Document) alone. No value of the file is repeated where it could be a secret: a string
//! of the wrong kind is called "a string".

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::Error;
use super::keys;

/// The line, from 1, that holds the byte at `offset`.
pub(super) fn line(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// One segment of a key, quoted where TOML wants quotes.
pub(super) fn segment(name: &str) -> String {
    let bare =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    match bare {
        true => name.to_owned(),
        false => format!("\"{}\"", name.escape_default()),
    }
}

/// Where the key, written with dots, stands in the file. Absent if the file does not have it.
pub(super) fn offset_of(table: &DeTable<'_>, key: &str) -> Option<usize> {
    table.iter().find_map(|(name, value)| {
        let rest = key.strip_prefix(segment(name.get_ref()).as_str())?;
        match (rest.strip_prefix('.'), value.get_ref()) {
            (None, _) if rest.is_empty() => Some(name.span().start),
            (Some(rest), DeValue::Table(table)) => offset_of(table, rest),
            (Some(_) | None, _) => None,
        }
    })
}

/// An error of TOML's syntax.
pub(super) fn syntax(text: &str, error: &toml::de::Error) -> Error {
    let found = Error::new(error.message());
    match error.span() {
        Some(span) => found.on(line(text, span.start)),
        None => found,
    }
}

/// An error of a key or its value. `also_known` are top-level names that are right, though the reader did not know them.
pub(super) fn value(text: &str, root: &DeTable<'_>, error: &toml::de::Error, also_known: &[&str]) -> Error {
    let mut path = Vec::new();
    // A section's head counts as a part of its value, so a name that the span is exactly comes first.
    let located = error.span().is_some_and(|span| {
        path_to(root, &mut path, &|name, _| *name == span)
            || path_to(root, &mut path, &|name, value| name.contains(&span.start) || value.contains(&span.start))
    });
    let message = error.message();
    let found = match message.strip_prefix("unknown field ") {
        Some(rest) => unknown_key(&path, rest, also_known),
        None => bad_value(root, &path, message),
    };
    match error.span().filter(|_| located) {
        Some(span) => found.on(line(text, span.start)),
        None => found,
    }
}

/// Pushes the path to the innermost key whose name's and value's spans are `wanted`, outermost name first.
fn path_to(table: &DeTable<'_>, path: &mut Vec<String>, wanted: &dyn Fn(&Range<usize>, &Range<usize>) -> bool) -> bool {
    for (name, value) in table {
        path.push(name.get_ref().to_string());
        let deeper = inner_tables(value.get_ref()).any(|table| path_to(table, path, wanted));
        if deeper || wanted(&name.span(), &value.span()) {
            return true;
        }
        path.pop();
    }
    false
}

/// The table that a value is, or the tables in the list that it is.
fn inner_tables<'v, 't>(value: &'v DeValue<'t>) -> impl Iterator<Item = &'v DeTable<'t>> {
    let (one, many) = (value.as_table(), value.as_array().into_iter().flatten());
    one.into_iter().chain(many.filter_map(|item| item.get_ref().as_table()))
}

fn dotted(path: &[String]) -> String {
    path.iter().map(|name| segment(name)).collect::<Vec<_>>().join(".")
}

fn unknown_key(path: &[String], rest: &str, also_known: &[&str]) -> Error {
    let mut words = backticked(rest);
    let word = words.next().unwrap_or_default();
    // A key inside a value that was buffered before it was read has no place of its own: it is the value's.
    let mut path = path.to_vec();
    if path.last().is_none_or(|last| last != word) {
        path.push(word.to_owned());
    }
    let (parent, key) = (&path[..path.len() - 1], dotted(&path));
    let siblings = words.chain(also_known.iter().copied().filter(|_| parent.is_empty())).map(|name| {
        let mut path = parent.to_vec();
        path.push(name.to_owned());
        (name.to_owned(), dotted(&path))
    });
    // The same word in another section beats a similar word in this one: `[pool] total` means `total`.
    let elsewhere = keys::names().find(|name| name.rsplit('.').next() == Some(word)).map(str::to_owned);
    let nearest = elsewhere.or_else(|| {
        let scored = siblings.map(|(name, full)| (strsim::normalized_damerau_levenshtein(&name, word), full));
        scored.max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, full)| full)
    });
    let nearest = nearest.map(|nearest| format!("; nearest: `{nearest}`")).unwrap_or_default();
    Error::new(format!("unknown key `{key}`{nearest}")).blaming(key)
}

fn bad_value(root: &DeTable<'_>, path: &[String], message: &str) -> Error {
    let key = dotted(path);
    let message = match (message.split_once(", expected "), message.split_once(' ')) {
        (Some((found, expected)), _) if found.starts_with("unknown variant ") => {
            let word = backticked(found).next().unwrap_or_default();
            let near = |known: &&str| strsim::normalized_damerau_levenshtein(known, word);
            let nearest = backticked(expected).max_by(|one, other| near(one).total_cmp(&near(other)));
            format!("unknown word `{}`; nearest: `{}`", word.escape_debug(), nearest.unwrap_or_default())
        }
        (Some((found, expected)), _) if found.starts_with("invalid ") => {
            let found = found.split_once(": ").map_or(found, |(_, found)| found);
            format!("{} where {} belongs", plain_found(found), plain_expected(expected))
        }
        _ => match message.strip_prefix("missing field ") {
            Some(field) => format!("the key {field} is missing"),
            None if message == "wanted string or table" => "a quoted word belongs here".to_owned(),
            None => message.to_owned(),
        },
    };
    match path.is_empty() || root.is_empty() {
        true => Error::new(message),
        false => Error::key(key, message),
    }
}

/// The words between backticks.
fn backticked(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// A string is not repeated: it may be a secret.
fn plain_found(found: &str) -> &str {
    match found {
        found if found.starts_with("string ") => "a string",
        "map" => "a table",
        "sequence" => "a list",
        found => found,
    }
}

fn plain_expected(expected: &str) -> &str {
    match expected {
        "usize" | "u64" | "u32" | "u16" | "u8" | "i64" | "i32" => "a whole number",
        "f64" | "f32" => "a number",
        "a boolean" => "`true` or `false`",
        "a string" | "path string" => "a quoted string",
        "a sequence" => "a list",
        "a map" => "a table",
        expected if expected.starts_with("struct ") => "a table",
        expected => expected,
    }
}
