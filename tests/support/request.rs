//! A request as an origin received it, parsed by hand and strictly: what a peer could read in two ways is a complaint.

use bytes::Bytes;

/// A request, byte for byte.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The connection that it came on, counted from 0 in the order of accepting.
    pub connection: usize,
    /// Its place on that connection, from 0.
    pub nth: usize,
    /// The method.
    pub method: String,
    /// What stood between method and version.
    pub target: String,
    /// Header fields in order; names as they were spelled.
    pub headers: Vec<(String, String)>,
    /// The head as it came, the empty line included.
    pub head: String,
    /// The body, without its framing.
    pub body: Bytes,
    /// Fields behind a body in chunks, as they came.
    pub trailers: Vec<String>,
}

/// How the body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(usize),
    Chunked,
}

impl Request {
    /// Parses a head that ends in an empty line.
    pub(crate) fn parse(head: &str) -> Result<(Self, Framing), String> {
        let lines = head.strip_suffix("\r\n\r\n").ok_or("a head without its end")?;
        let mut lines = lines.split("\r\n");
        let line = lines.next().unwrap_or_default();
        let [method, target, version] = line.split(' ').collect::<Vec<_>>()[..] else {
            return Err(format!("not a request line: {line:?}"));
        };
        // A peer that has answered in HTTP/1.0 is spoken to in it.
        if !["HTTP/1.1", "HTTP/1.0"].contains(&version) {
            return Err(format!("not HTTP/1: {line:?}"));
        }
        let mut headers = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(": ").ok_or_else(|| format!("not a header field: {line:?}"))?;
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
                return Err(format!("not a field's name: {name:?}"));
            }
            headers.push((name.to_owned(), value.to_owned()));
        }
        let (method, target) = (method.to_owned(), target.to_owned());
        let request = Self { method, target, headers, head: head.to_owned(), ..Self::default() };
        let framing = request.framing()?;
        Ok((request, framing))
    }

    fn framing(&self) -> Result<Framing, String> {
        if self.all("host").len() != 1 {
            return Err(format!("{} Host fields", self.all("host").len()));
        }
        let (lengths, codings) = (self.all("content-length"), self.all("transfer-encoding"));
        match (lengths[..].as_ref(), codings[..].as_ref()) {
            ([], []) => Ok(Framing::None),
            ([length], []) => length.parse().map(Framing::Length).map_err(|_| format!("Content-Length: {length}")),
            ([], [coding]) if coding == "chunked" => Ok(Framing::Chunked),
            (lengths, codings) => Err(format!("two framings: lengths {lengths:?}, codings {codings:?}")),
        }
    }

    /// The values of a field, in order; `name` in lower case.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<String> {
        let fields = self.headers.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        fields.map(|(_, value)| value.clone()).collect()
    }

    /// The only value of a field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let mut values = self.all(name);
        if values.len() == 1 { values.pop() } else { None }
    }
}
