//! One exchange with a provider.
//!
//! Before: a target and a request. After: the answer's body, read whole here or in pieces by `pump`. Invariant: an end of the
//! bytes is believed only when the body's trailers say that it is one.

use std::future::{Future, poll_fn};

use wit_bindgen::{FutureReader, FutureWriter, StreamReader, StreamResult};

use super::code;
use crate::{
    bindings::{
        Error, ErrorKind, Request,
        generated::{
            wasi::http::{
                client,
                types::{ErrorCode, Fields, Method, Request as Outgoing, Response, Scheme, Trailers},
            },
            wit_future, wit_stream,
        },
    },
    dialect::{Dialect, Exchange, Head, Url, refused},
    frame::coding::{Coding, MAX_DECODED},
    provider::Target,
};

/// The room for one read: an answer of ordinary size comes in one.
const READ: usize = 16 << 10;

/// Sends a request, and follows one redirect within the origin. An answer whose status is no success is an error.
pub(super) async fn send(
    dialect: &dyn Dialect,
    target: &Target<'_>,
    request: &Request,
    streamed: bool,
) -> Result<Answer, Error> {
    let from = |error: Error| error.from(target.provider);
    let mut elsewhere: Option<Url> = None;
    loop {
        let mut exchange = dialect.encode(target, request, streamed).map_err(from)?;
        let followed = elsewhere.is_some();
        if let Some(url) = elsewhere.take() {
            exchange.url = url;
        }
        let here = exchange.url.clone();
        let answer = Answer::of(transmit(exchange).await.map_err(|code| from(code::error(&code)))?).map_err(from)?;
        if answer.head.status == 200 {
            return Ok(answer);
        }
        let (head, body) = answer.refusal().await.map_err(from)?;
        // https://www.rfc-editor.org/rfc/rfc9110#section-15.4.8: these two keep the method and the body.
        if matches!(head.status, 307 | 308) && !followed {
            elsewhere = head.header("location").and_then(|location| here.within_origin(location));
            if elsewhere.is_some() {
                continue;
            }
        }
        // A dialect may know more of its refusals than their common shape.
        return Err(from(dialect.decode(&head, &body).err().unwrap_or_else(|| refused(&head, &body))));
    }
}

/// Hands the exchange to the host: its body in one write, while the host waits for the answer.
async fn transmit(exchange: Exchange) -> Result<Response, ErrorCode> {
    let Exchange { url, headers, body } = exchange;
    let mut fields: Vec<(String, Vec<u8>)> = Vec::with_capacity(headers.len() + 2);
    fields.push(("accept-encoding".to_owned(), b"identity".to_vec()));
    fields.push(("content-length".to_owned(), body.len().to_string().into_bytes()));
    fields.extend(headers.into_iter().map(|(name, value)| (name, value.into_bytes())));
    let fields = Fields::from_list(&fields).map_err(|_| ErrorCode::HttpRequestHeaderSize(None))?;
    let (mut writer, contents) = wit_stream::new::<u8>();
    let (trailers, no_trailers) = wit_future::new::<Result<Option<Trailers>, ErrorCode>>(|| Ok(None));
    let (request, transmitted) = Outgoing::new(fields, Some(contents), no_trailers, None);
    drop(transmitted);
    let scheme = if url.secure { Scheme::Https } else { Scheme::Http };
    request.set_method(&Method::Post).map_err(|()| ErrorCode::HttpRequestMethodInvalid)?;
    request.set_scheme(Some(&scheme)).map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    request.set_authority(Some(&url.authority)).map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    request.set_path_with_query(Some(&url.path)).map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    let mut write = Box::pin(async move {
        writer.write_all(body).await;
        drop(writer);
        drop(trailers);
    });
    let mut send = std::pin::pin!(client::send(request));
    let mut written = false;
    let response = poll_fn(|context| {
        written = written || write.as_mut().poll(context).is_ready();
        send.as_mut().poll(context)
    })
    .await;
    // A provider may begin its answer before it has the whole request.
    if !written && response.is_ok() {
        wit_bindgen::spawn_local(write);
    }
    response
}

/// An answer whose head has come.
pub(super) struct Answer {
    pub(super) head: Head,
    pub(super) body: Body,
}

/// A body, and what says whether its end is one.
pub(super) struct Body {
    bytes: StreamReader<u8>,
    trailers: Option<FutureReader<Result<Option<Trailers>, ErrorCode>>>,
    /// How many bytes are still to come, where the head says it: then neither another read nor the trailers have to tell
    /// that the end is a good one.
    left: Option<u64>,
    coding: Coding,
    /// Dropped last: it tells the host that all went well.
    _read: FutureWriter<Result<(), ErrorCode>>,
}

impl Answer {
    fn of(response: Response) -> Result<Self, Error> {
        let status = response.get_status_code();
        let headers = response.get_headers();
        let (read, result) = wit_future::new::<Result<(), ErrorCode>>(|| Ok(()));
        let (bytes, trailers) = Response::consume_body(response, result);
        // All fields in one crossing.
        let headers = headers.copy_all();
        let field = |name: &str| {
            let found = headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            found.and_then(|(_, value)| std::str::from_utf8(value).ok())
        };
        let coding = Coding::of(field("content-encoding"))?;
        let left = field("content-length").and_then(|length| length.parse().ok());
        Ok(Self {
            head: Head { status, headers },
            body: Body { bytes, trailers: Some(trailers), left, coding, _read: read },
        })
    }

    /// The head and the whole body.
    pub(super) async fn whole(self) -> Result<(Head, Vec<u8>), Error> {
        Ok((self.head, self.body.whole(MAX_DECODED).await?))
    }

    /// The head and as much of the body as an error message needs.
    async fn refusal(self) -> Result<(Head, Vec<u8>), Error> {
        // A body that is cut off, or longer than any message, does not change what the status says.
        let body = self.body.whole(1 << 20).await.unwrap_or_default();
        Ok((self.head, body))
    }
}

impl Body {
    /// One read, added to the buffer, which has room. False at the end, if it is a good one.
    pub(super) async fn read(&mut self, buffer: &mut Vec<u8>) -> Result<bool, Error> {
        if self.left == Some(0) {
            return Ok(false);
        }
        let (result, read) = self.bytes.read(std::mem::take(buffer)).await;
        *buffer = read;
        match result {
            StreamResult::Complete(count) => {
                self.left = self.left.map(|left| left.saturating_sub(count as u64));
                Ok(true)
            }
            StreamResult::Dropped | StreamResult::Cancelled => {
                if let Some(trailers) = self.trailers.take() {
                    trailers.await.map_err(|code| code::error(&code))?;
                }
                Ok(false)
            }
        }
    }

    async fn whole(mut self, most: usize) -> Result<Vec<u8>, Error> {
        // As much as is announced, in reason; what is announced is not to be believed with memory.
        let announced = self.left.map_or(READ, |left| usize::try_from(left).unwrap_or(READ));
        let mut whole = Vec::with_capacity(announced.clamp(READ, 1 << 20));
        loop {
            if whole.len() > most || whole.len() == whole.capacity() && whole.try_reserve(whole.len()).is_err() {
                return Err(Error::new(
                    ErrorKind::Provider,
                    format!("the answer is longer than {} bytes", whole.len()),
                ));
            }
            if !self.read(&mut whole).await? {
                break;
            }
        }
        if matches!(self.coding, Coding::Identity) {
            return Ok(whole);
        }
        let mut decoded = self.coding.push(&whole)?.into_owned();
        decoded.extend_from_slice(&self.coding.end()?);
        Ok(decoded)
    }

    /// Undoes the coding of what was read.
    pub(super) fn decoded<'b>(&mut self, bytes: &'b [u8]) -> Result<std::borrow::Cow<'b, [u8]>, Error> {
        self.coding.push(bytes)
    }

    /// The last of the decoded bytes.
    pub(super) fn rest(&mut self) -> Result<Vec<u8>, Error> {
        self.coding.end()
    }
}

/// A buffer for reads.
pub(super) fn buffer() -> Vec<u8> {
    Vec::with_capacity(READ)
}
