//! A request as its origin reads it, strictly: whatever two readers could take for two things is refused.
//!
//! Written apart from what it judges: no part of it is shared with the session or with hyper.

/// Names, in lower case, and values.
type Fields = Vec<(String, Vec<u8>)>;

/// A request, read whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) fields: Fields,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Fields,
    /// How many bytes it took.
    pub(super) length: usize,
}

impl Message {
    /// The values of a field, in order.
    pub(super) fn all<'m>(&'m self, name: &'m str) -> impl Iterator<Item = &'m [u8]> {
        self.fields.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.as_slice())
    }

    /// Reads the first request in `bytes`; absent while it is not whole.
    ///
    /// # Errors
    /// What is not as RFC 9112 wants it.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Self>, String> {
        let mut reader = Reader { bytes, at: 0 };
        let Some(line) = reader.line()? else { return Ok(None) };
        let line = std::str::from_utf8(line).map_err(|_| "a request line that is no text")?;
        let [method, target, "HTTP/1.1"] = line.split(' ').collect::<Vec<_>>()[..] else {
            return Err(format!("a request line of other parts: {line:?}"));
        };
        let Some(fields) = reader.fields()? else { return Ok(None) };
        let message = Self {
            method: method.to_owned(),
            target: target.to_owned(),
            fields,
            body: Vec::new(),
            trailers: Vec::new(),
            length: 0,
        };
        let lengths: Vec<&[u8]> = message.all("content-length").collect();
        let codings: Vec<&[u8]> = message.all("transfer-encoding").collect();
        let (body, trailers) = match (&lengths[..], &codings[..]) {
            ([], []) => (Some(Vec::new()), Some(Vec::new())),
            ([length], []) => {
                let digits =
                    std::str::from_utf8(length).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
                let length = digits.and_then(|text| text.parse().ok()).ok_or("a length that is no number")?;
                (reader.take(length).map(<[u8]>::to_vec), Some(Vec::new()))
            }
            ([], [b"chunked"]) => match reader.chunks()? {
                Some(body) => (Some(body), reader.fields()?),
                None => (None, None),
            },
            _ => return Err(format!("two framings: {lengths:?} {codings:?}")),
        };
        let (Some(body), Some(trailers)) = (body, trailers) else { return Ok(None) };
        Ok(Some(Self { body, trailers, length: reader.at, ..message }))
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    /// A line, which ends with CRLF and holds neither CR nor LF nor NUL.
    fn line(&mut self) -> Result<Option<&'a [u8]>, String> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else {
            return Ok(None);
        };
        let line = &rest[..end];
        self.at += end + 2;
        match line.iter().any(|byte| b"\r\n\0".contains(byte)) {
            true => Err(format!("a line that holds the end of one: {:?}", String::from_utf8_lossy(line))),
            false => Ok(Some(line)),
        }
    }

    /// Fields up to an empty line, their names in lower case.
    fn fields(&mut self) -> Result<Option<Fields>, String> {
        let mut fields = Vec::new();
        while let Some(line) = self.line()? {
            if line.is_empty() {
                return Ok(Some(fields));
            }
            let colon = line.iter().position(|byte| *byte == b':').ok_or("a field without a colon")?;
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
            if name.is_empty() || !name.iter().all(is_token) {
                return Err(format!("a field's name that is none: {:?}", String::from_utf8_lossy(name)));
            }
            fields.push((String::from_utf8_lossy(name).to_ascii_lowercase(), value.to_vec()));
        }
        Ok(None)
    }

    fn chunks(&mut self) -> Result<Option<Vec<u8>>, String> {
        let mut body = Vec::new();
        loop {
            let Some(line) = self.line()? else { return Ok(None) };
            let digits = std::str::from_utf8(line).map_err(|_| "a chunk's size that is no text")?;
            let size = usize::from_str_radix(digits, 16).map_err(|_| format!("a chunk's size of {digits:?}"))?;
            if size == 0 {
                return Ok(Some(body));
            }
            let Some(piece) = self.take(size) else { return Ok(None) };
            body.extend_from_slice(piece);
            match self.take(2) {
                None => return Ok(None),
                Some(b"\r\n") => {}
                Some(other) => return Err(format!("a chunk that ends with {other:?}")),
            }
        }
    }
}
