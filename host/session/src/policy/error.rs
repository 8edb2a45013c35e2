//! What a policy that cannot be used says: one line with the file, the line and the key.
//!
//! Made while a file is read and while a session is built; it never reaches a guest and never holds a secret.

use std::fmt;
use std::path::{Path, PathBuf};

/// A policy that cannot be used; `Display` is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    path: Option<PathBuf>,
    line: Option<usize>,
    key: Option<String>,
    message: String,
}

impl Error {
    /// An error that no single key is to blame for: an environment variable, say.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        let message = message.into();
        let message = match message.contains(['\n', '\r']) {
            true => message
                .split(['\n', '\r'])
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .collect::<Vec<_>>()
                .join("; "),
            false => message,
        };
        // What a file holds may be repeated, and a terminal that shows it would obey it.
        let message = match message.contains(char::is_control) {
            true => message.chars().fold(String::new(), |shown, letter| match letter.is_control() {
                true => shown + &letter.escape_default().to_string(),
                false => shown + letter.encode_utf8(&mut [0; 4]),
            }),
            false => message,
        };
        Self { path: None, line: None, key: None, message }
    }

    /// An error of one key, written with dots: the line becomes "`tls.ca`: message".
    #[must_use]
    pub fn key(key: impl Into<String>, message: impl fmt::Display) -> Self {
        let key = key.into();
        Self { key: Some(key.clone()), ..Self::new(format!("`{key}`: {message}")) }
    }

    /// The key at fault, written with dots. Absent where no key is.
    #[must_use]
    pub fn named(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The line of the file, from 1. Absent where the error does not come from a file.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    /// The file. Absent where the error does not come from one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    pub(crate) fn blaming(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The same of a key within a section that the error does not know of.
    pub(crate) fn within(self, section: &str) -> Self {
        let Some(key) = &self.key else { return self };
        let inner = format!("{section}.{key}");
        Self { message: self.message.replacen(&format!("`{key}`"), &format!("`{inner}`"), 1), key: Some(inner), ..self }
    }

    pub(crate) fn on(mut self, line: usize) -> Self {
        self.line = Some(line);
        self
    }

    pub(crate) fn at(mut self, path: &Path, line: Option<usize>) -> Self {
        self.path.get_or_insert_with(|| path.to_owned());
        self.line = self.line.or(line);
        self
    }
}

impl fmt::Display for Error {
    /// ``seaway.toml:12: unknown key `pool.limt`; nearest: `pool.limit` ``.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, key: _, message } = self;
        match (path, line) {
            (Some(path), Some(line)) => write!(out, "{}:{line}: {message}", path.display()),
            (Some(path), None) => write!(out, "{}: {message}", path.display()),
            (None, _) => out.write_str(message),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_that_no_terminal_obeys() {
        let error = Error::key("a", "one\r\n\ttwo\n\u{1b}[31m\u{85}end\u{7f}");
        assert_eq!(error.to_string(), "`a`: one; two; \\u{1b}[31m\\u{85}end\\u{7f}");
        assert_eq!(Error::new("tab\there").to_string(), "tab\\there");
    }
}
