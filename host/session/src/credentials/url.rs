//! Where a secret may go: one entry of `urls`, and whether a request is below it.
//!
//! Whole path segments only, and never a path that a server could read in two ways: what looks as if it were below the
//! entry must be below it for everybody on the way. Below a whole origin an encoded slash is one reading as good as another.

use std::fmt;

use serde::Deserialize;

use crate::route::Origin;

/// `scheme://host[:port][/path]`: a secret may go there and below.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Prefix {
    origin: Origin,
    /// Without a `/` at its end; empty for the whole origin.
    path: String,
}

impl Prefix {
    /// Parses `scheme://host[:port][/path]`.
    ///
    /// # Errors
    /// A line that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        // None of these is repeated: each may be where a secret was put.
        if text.contains(['@', '?', '#']) {
            return Err("user information, a query or a fragment; write scheme://host[:port]/path".to_owned());
        }
        let origin = Origin::parse(text)?;
        let after = text.split_once("://").map_or("", |(_, after)| after);
        let path = after.find('/').map_or("", |at| &after[at..]);
        let path = path.strip_suffix('/').unwrap_or(path);
        if is_ambiguous(path) {
            return Err(format!("`{text}` has a dot segment or an encoded slash, which never matches"));
        }
        Ok(Self { origin, path: path.to_owned() })
    }

    /// True if a request to `path` of `origin` is at or below this entry.
    pub(super) fn covers(&self, origin: &Origin, path: &str) -> bool {
        let below = path.strip_prefix(self.path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        below && self.origin == *origin && !self.is_ambiguous(path)
    }

    /// True if the path could be read as one that is not below the entry. What is below a whole origin is so however its
    /// slashes are read: the ARN of a model of Bedrock's is one segment, with a slash in it.
    fn is_ambiguous(&self, path: &str) -> bool {
        is_ambiguous(path) && (!self.path.is_empty() || is_ambiguous(&path.replace("%2F", "/").replace("%2f", "/")))
    }
}

impl TryFrom<String> for Prefix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}", self.origin, self.path)
    }
}

/// True if two readers could see different segments: dot segments, which some remove before and some after decoding
/// (RFC 3986, section 6.2.2, <https://www.rfc-editor.org/rfc/rfc3986#section-6.2.2>), slashes in disguise, and either
/// of them encoded twice.
pub(super) fn is_ambiguous(path: &str) -> bool {
    let bytes = path.as_bytes();
    let escaped = |at: usize| {
        let rest = &bytes[at + 1..];
        let rest = if rest.starts_with(b"25") { &rest[2..] } else { rest };
        let twice = rest.len() + 1 < bytes.len() - at;
        match rest.get(..2).map(|pair| [pair[0], pair[1].to_ascii_lowercase()]) {
            Some([b'2', b'f'] | [b'5', b'c']) => true,
            Some([b'2', b'e']) => twice,
            Some(_) | None => false,
        }
    };
    bytes.iter().enumerate().any(|(at, byte)| match byte {
        b'\\' => true,
        b'%' => escaped(at),
        b'/' => is_dots(&bytes[at + 1..]),
        _ => false,
    })
}

/// True if the first segment is `.` or `..`, however its dots are written, parameters behind it or not.
fn is_dots(path: &[u8]) -> bool {
    let (mut rest, mut dots) = (path, 0);
    loop {
        rest = match rest {
            [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => rest,
            [] | [b'/' | b'\\' | b';', ..] | [b'%', b'3', b'b' | b'B', ..] => return dots == 1 || dots == 2,
            _ => return false,
        };
        dots += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_segments_below_the_entry_match() {
        // entry, request, may the secret go there
        let table = [
            ("https://api.test/v1", "https://api.test/v1", true),
            ("https://api.test/v1/", "https://api.test/v1", true),
            ("https://api.test/v1", "https://api.test/v1/", true),
            ("https://api.test/v1", "https://api.test/v1/chat/completions", true),
            ("https://api.test/v1", "https://API.test.:443/v1/chat", true),
            ("https://api.test", "https://api.test/anything", true),
            ("https://api.test", "https://api.test", true),
            ("https://api.test:8443/v1", "https://api.test:8443/v1/x", true),
            ("https://api.test/v1", "https://api.test/v1/a.b/..c/.well-known/...", true),
            ("https://api.test/v1", "https://api.test/v1/model%3Aname", true),
            ("https://api.test/v1", "https://api.test/v1beta", false),
            ("https://api.test/v1", "https://api.test/v10/x", false),
            ("https://api.test/v1", "https://api.test/V1/x", false),
            ("https://api.test/v1", "https://api.test/", false),
            ("https://api.test/v1", "https://api.test", false),
            ("https://api.test/v1", "https://api.test/x/v1", false),
            ("https://api.test/v1", "https://api.test//v1/x", false),
            ("https://api.test/v1", "https://api.test/%76%31/x", false),
            ("https://api.test/v1", "http://api.test/v1/x", false),
            ("https://api.test/v1", "https://api.test:444/v1/x", false),
            ("https://api.test/v1", "https://api.test.evil.test/v1/x", false),
            ("https://api.test/v1", "https://xapi.test/v1/x", false),
        ];
        for (entry, request, expected) in table {
            let uri: http::Uri = request.parse().unwrap();
            let covered = Prefix::parse(entry).unwrap().covers(&Origin::of(&uri).unwrap(), uri.path());
            assert_eq!(covered, expected, "{entry} {request}");
        }
    }

    #[test]
    fn a_path_with_two_readings_matches_nothing() {
        let origin = Origin::parse("https://api.test").unwrap();
        let (v1, whole) = (Prefix::parse("https://api.test/v1").unwrap(), Prefix::parse("https://api.test").unwrap());
        for path in [
            "/v1/../admin",
            "/v1/..",
            "/v1/.",
            "/v1/./x",
            "/v1/%2e%2e/admin",
            "/v1/%2E./x",
            "/v1/.%2e",
            "/v1/..;/admin",
            "/v1/..;a=b/admin",
            "/v1/%2e%2e%3b/admin",
            "/v1/..%2fadmin",
            "/v1/x%2Fy",
            "/v1/..%5cadmin",
            "/v1/%5C",
            "/v1/..\\admin",
            "/v1\\x",
            "/v1/%252e%252e/admin",
            "/v1/%252fadmin",
            "/v1/%255cadmin",
        ] {
            assert!(!v1.covers(&origin, path) && (!whole.covers(&origin, path) || path == "/v1/x%2Fy"), "{path}");
        }
    }

    #[test]
    fn below_a_whole_origin_a_segment_may_hold_a_slash() {
        let origin = Origin::parse("https://api.test").unwrap();
        for (entry, path, expected) in [
            ("https://api.test", "/model/arn%3Aaws%3Abedrock%3A%3A1%3Ainference-profile%2Fus.m/converse", true),
            ("https://api.test", "/model/a%2fb", true),
            ("https://api.test", "/model/../a%2Fb", false),
            ("https://api.test", "/model/a%252Fb", false),
            ("https://api.test/model", "/model/a%2Fb", false),
        ] {
            assert_eq!(Prefix::parse(entry).unwrap().covers(&origin, path), expected, "{entry} {path}");
        }
    }

    #[test]
    fn an_entry_says_where_and_nothing_else() {
        for bad in [
            "",
            "api.test/v1",
            "ftp://api.test",
            "https://",
            "https://u:p@api.test",
            "https://api.test/v1?x=1",
            "https://api.test/v1#x",
            "https://api.test/v1/../x",
            "https://api.test/%2e/x",
            "https://api.test:0/",
        ] {
            assert!(Prefix::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Prefix::parse("https://API.test:443/v1/").unwrap().to_string(), "https://api.test/v1");
    }
}
