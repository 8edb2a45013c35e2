//! What every error of the session must be: one clear line that gives nothing away.

use std::error::Error as _;

use seaway_session::{Error, Kind, Stage};

/// What the requests of [`crate::client`] carry in a header, the query and the body. None of them may show in an error.
pub const MARKS: [&str; 4] = ["HEADER-MARK", "QUERY-MARK", "BODY-MARK", SECRET];

/// The secret that tests give to credentials.
pub const SECRET: &str = "SECRET-MARK-73b1";

/// Asserts that an error is one line that says the stage, what happened and where, with no secret in it or beneath it.
///
/// # Panics
/// If it is not.
pub fn assert_clear(error: &Error) {
    let line = error.to_string();
    assert!(!line.contains(['\n', '\r', '\t']), "not one line: {line:?}");
    assert!(line.starts_with(&format!("{}: ", error.stage())), "the stage is not first: {line}");
    assert!(error.message().len() > 8, "says nothing: {line}");
    assert!(error.elapsed().is_some() || error.origin().is_none(), "says where and not after how long: {line}");
    if let Some(hint) = error.hint() {
        assert!(!hint.is_empty() && !hint.contains(['\n', '\r']), "not one line: {hint:?}");
    }
    let mut all = format!("{line}\n{error:?}\n{:?}", error.hint());
    let mut source = error.source();
    while let Some(beneath) = source {
        all.push_str(&format!("\n{beneath}\n{beneath:?}"));
        source = beneath.source();
    }
    for mark in MARKS {
        assert!(!all.contains(mark), "`{mark}` shows in {all}");
    }
}

/// Asserts stage and kind, that the line holds each of `words`, and that a person is told where.
///
/// # Panics
/// If anything of it is not so.
pub fn assert_says(error: &Error, stage: Stage, kind: Kind, words: &[&str]) {
    assert_eq!((error.stage(), error.kind()), (stage, kind), "{error}");
    let whole = format!("{error} hint: {}", error.hint().unwrap_or_default());
    for word in words {
        assert!(whole.contains(word), "`{word}` is not in: {whole}");
    }
}
