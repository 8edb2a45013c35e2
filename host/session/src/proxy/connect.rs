//! HTTP proxies: `CONNECT`, and what the proxy answers to it.
//!
//! Runs on the connection to the proxy, within `proxy.timeout`. Whatever of the origin's came behind the head of the
//! answer is kept for the TLS handshake that follows. Of the answer, only the status and the ways to say who one is are
//! looked at: any other part is a stranger's text.

use std::io;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::PROXY_AUTHENTICATE;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

use super::tunnel::Proxy;
use crate::route::Origin;

/// The largest head that a proxy may answer with, interim heads included, and its most header fields.
const LARGEST: usize = 16 * 1024;
const FIELDS: usize = 100;

/// What a proxy says to a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) status: StatusCode,
    /// The schemes of `Proxy-Authenticate`, in order.
    pub(crate) schemes: Vec<String>,
}

/// Why there is no verdict.
#[derive(Debug)]
pub(crate) enum Failure {
    Io(io::Error),
    Closed,
    TooLong,
    /// It begins like a TLS record.
    Tls,
    NotHttp,
}

/// Asks for a tunnel to the origin; the bytes behind the answer's head belong to the tunnel.
///
/// Cancel safe: dropping it leaves a connection that is good for nothing.
pub(crate) async fn connect(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    proxy: &Proxy,
    origin: &Origin,
) -> Result<(Verdict, Bytes), Failure> {
    let asked = async {
        io.write_all(&request(proxy, origin)).await?;
        io.flush().await
    };
    asked.await.map_err(Failure::Io)?;
    let mut unread = BytesMut::with_capacity(1024);
    let mut length = 0;
    loop {
        let new = unread.len();
        match io.read_buf(&mut unread).await.map_err(Failure::Io)? {
            0 => return Err(Failure::Closed),
            read => length += read,
        }
        // Alert and handshake records: https://www.rfc-editor.org/rfc/rfc8446#section-5.1
        if let [0x15 | 0x16, 0x03, ..] = unread[..] {
            return Err(Failure::Tls);
        }
        // A head ends with a line: a proxy that dribbles is not parsed at each of its bytes.
        if unread[new..].contains(&b'\n') {
            while let Some((end, verdict)) = head(&unread)? {
                drop(unread.split_to(end));
                // Interim answers may come first: https://www.rfc-editor.org/rfc/rfc9110#section-15.2
                if !verdict.status.is_informational() || verdict.status == StatusCode::SWITCHING_PROTOCOLS {
                    return Ok((verdict, unread.freeze()));
                }
            }
        }
        if length > LARGEST {
            return Err(Failure::TooLong);
        }
    }
}

/// https://www.rfc-editor.org/rfc/rfc9110#section-9.3.6
fn request(proxy: &Proxy, origin: &Origin) -> Zeroizing<Vec<u8>> {
    let (host, port) = (origin.host(), origin.port());
    let target = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let mut text = Zeroizing::new(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes());
    let mut field = |name: &[u8], value: &[u8]| {
        for part in [name, b": ", value, b"\r\n"] {
            text.extend_from_slice(part);
        }
    };
    if let Some(login) = &proxy.login {
        field(b"Proxy-Authorization", login.basic().as_bytes());
    }
    for (name, value) in proxy.headers.iter() {
        field(name.as_str().as_bytes(), value.as_bytes());
    }
    text.extend_from_slice(b"\r\n");
    text
}

/// The head at the beginning of `bytes`, and where it ends; absent while it is not whole.
fn head(bytes: &[u8]) -> Result<Option<(usize, Verdict)>, Failure> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    // What a field says is no matter here, so neither is how it is spelled.
    let mut lenient = httparse::ParserConfig::default();
    lenient.ignore_invalid_headers_in_responses(true);
    let end = match lenient.parse_response(&mut response, bytes) {
        Ok(httparse::Status::Complete(end)) => end,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Failure::TooLong),
        Err(_) => return Err(Failure::NotHttp),
    };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Failure::NotHttp)?;
    let offered = response.headers.iter().filter(|field| PROXY_AUTHENTICATE.as_str().eq_ignore_ascii_case(field.name));
    Ok(Some((end, Verdict { status, schemes: schemes(offered.map(|field| field.value)) })))
}

/// The schemes of `Proxy-Authenticate` fields, each once (RFC 9110, section 11.3): a few, and short ones.
pub(super) fn schemes<'v>(values: impl Iterator<Item = &'v [u8]>) -> Vec<String> {
    let mut schemes: Vec<String> = Vec::new();
    for part in values.flat_map(challenges) {
        let part = part.trim_ascii();
        let is_of_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        let end = part.iter().position(|byte| !is_of_token(byte)).unwrap_or(part.len());
        let (word, rest) = part.split_at(end);
        // A word before `=` is a parameter of the scheme before it.
        let is_scheme = (1..=32).contains(&word.len()) && !rest.trim_ascii_start().starts_with(b"=");
        let word = String::from_utf8_lossy(word).into_owned();
        if is_scheme && schemes.len() < 8 && !schemes.contains(&word) {
            schemes.push(word);
        }
    }
    schemes
}

/// The parts between commas that no quotes surround.
fn challenges(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    value.split(move |byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => (),
        }
        *byte == b',' && !quoted
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::{duplex, split};

    use super::*;
    use crate::proxy::tunnel::tests::proxy;

    fn offered(values: &[&str]) -> String {
        schemes(values.iter().map(|value| value.as_bytes())).join(" ")
    }

    #[test]
    fn schemes_are_told_from_their_parameters() {
        let table: [(&[&str], &str); 8] = [
            (&[], ""),
            (&["Basic realm=\"proxy\""], "Basic"),
            (&["Negotiate", "NTLM"], "Negotiate NTLM"),
            (&["Negotiate, NTLM, Basic realm=\"a, b \\\", Digest\", charset=\"UTF-8\""], "Negotiate NTLM Basic"),
            (&["Digest realm=\"x\", qop=\"auth\", nonce = \"y\", algorithm=MD5"], "Digest"),
            (&["Negotiate abcdef==", "basic"], "Negotiate basic"),
            (&["NTLM", "NTLM"], "NTLM"),
            (&["", ", ,", "\u{1b}[31m", "\"Basic"], ""),
        ];
        for (values, expected) in table {
            assert_eq!(offered(values), expected, "{values:?}");
        }
    }

    #[test]
    fn a_connect_says_where_and_who() {
        let shown = |proxy: &Proxy, origin: &str| {
            String::from_utf8(request(proxy, &Origin::parse(origin).unwrap()).to_vec()).unwrap()
        };
        assert_eq!(
            shown(&proxy("http://p"), "https://api.test"),
            "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n"
        );
        let mut full = proxy("http://user:pass@p");
        full.headers = toml::from_str("X-Department = 'research'").unwrap();
        assert_eq!(
            shown(&full, "https://[::1]:8443"),
            "CONNECT [::1]:8443 HTTP/1.1\r\nHost: [::1]:8443\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n\
             x-department: research\r\n\r\n"
        );
    }

    /// What is made of an answer that arrives in pieces of `size`.
    async fn answered(answer: &[u8], size: usize) -> Result<(u16, String, Bytes), Failure> {
        let (mut near, far) = duplex(64 * 1024);
        let (mut requests, mut answers) = split(far);
        let play = async {
            let mut asked = BytesMut::new();
            while !asked.ends_with(b"\r\n\r\n") {
                requests.read_buf(&mut asked).await.unwrap();
            }
            for piece in answer.chunks(size) {
                answers.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            answers.shutdown().await.unwrap();
        };
        let origin = Origin::parse("https://api.test").unwrap();
        let proxy = proxy("http://p");
        let (result, ()) = tokio::join!(connect(&mut near, &proxy, &origin), play);
        let (Verdict { status, schemes }, early) = result?;
        let mut rest = BytesMut::from(&early[..]);
        while near.read_buf(&mut rest).await.unwrap() > 0 {}
        Ok((status.as_u16(), schemes.join(" "), rest.freeze()))
    }

    #[tokio::test]
    async fn an_answer_is_read_at_any_cut_and_what_follows_is_kept() {
        let table: [(&str, u16, &str, &str); 6] = [
            ("HTTP/1.1 200 Connection established\r\n\r\n", 200, "", ""),
            ("HTTP/1.0 200\r\n\r\nearly\n\r\n", 200, "", "early\n\r\n"),
            ("HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n\x16\x03\x01", 204, "", "\x16\x03\x01"),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\nx",
                200,
                "",
                "x",
            ),
            (
                "HTTP/1.1 407 No\r\nproxy-authenticate: Negotiate\r\nPROXY-Authenticate: NTLM\r\nbad header\r\n\r\n",
                407,
                "Negotiate NTLM",
                "",
            ),
            ("HTTP/1.1 101 Switching\r\n\r\n", 101, "", ""),
        ];
        for (answer, status, schemes, rest) in table {
            for size in 1..=answer.len() {
                let found = answered(answer.as_bytes(), size).await.unwrap();
                assert_eq!(
                    found,
                    (status, schemes.to_owned(), Bytes::from_static(rest.as_bytes())),
                    "{answer:?} {size}"
                );
            }
        }
    }

    #[test]
    fn no_byte_of_an_answer_is_trusted() {
        let answers = [
            "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"a\\\"b, c\", NTLM\r\nA: b\r\n\r\nrest",
            "\r\n\r\nHTTP/1.0 200\n\nx",
            "HTTP/1.1 100 Continue\r\n\r\n",
        ];
        for answer in answers {
            for at in 0..answer.len() {
                for byte in 0..=255 {
                    let mut bytes = answer.as_bytes().to_vec();
                    bytes[at] = byte;
                    if let Ok(Some((end, verdict))) = head(&bytes) {
                        assert!(end <= bytes.len());
                        assert!(
                            verdict.schemes.iter().all(|scheme| scheme.bytes().all(|byte| byte.is_ascii_graphic()))
                        );
                    }
                }
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_is_told_apart() {
        let long = format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(LARGEST));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(FIELDS + 1));
        let interims = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
        for (answer, expected) in [
            ("", "Closed"),
            ("HTTP/1.1 200 OK\r\n", "Closed"),
            (&long, "TooLong"),
            (&many, "TooLong"),
            (&interims, "TooLong"),
            ("SSH-2.0-OpenSSH\r\n", "NotHttp"),
            ("HTTP/1.1 999999 OK\r\n\r\n", "NotHttp"),
            ("\x15\x03\x01\x00\x02\x02\x46", "Tls"),
        ] {
            for size in [7, 4096] {
                let failure = answered(answer.as_bytes(), size).await.unwrap_err();
                assert_eq!(format!("{failure:?}"), expected, "{:?} {size}", &answer[..answer.len().min(40)]);
            }
        }
    }
}
