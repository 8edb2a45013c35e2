//! The component's only way out: its `wasi:http` requests become exchanges of the session.
//!
//! Runs on the host's side of `wasi:http/client.send`, before the session's first stage. Invariant: nothing that a guest
//! sends takes any other way, and each of the session's errors becomes exactly one code of wasi:http; the error itself
//! stays in the call's record, where only the host's side can read it.

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use seaway_session::{Call, Domain, Error as SessionError, Kind, RequestBody, Session, Timeouts};
use wasmtime_wasi_http::{Error as Code, RequestOptions, WasiBody, WasiHttpHooks};

use crate::runtime::CallRecord;

/// The hooks of one store, for the call that runs in it.
pub(crate) struct Outbound {
    session: Session,
    /// The component's: its calls share connections with no other's.
    domain: Domain,
    record: CallRecord,
    /// True where the benchmark compares with wasmtime's own sender.
    #[cfg(feature = "default-sender")]
    default_sender: bool,
}

impl Outbound {
    pub(crate) fn new(session: Session, domain: Domain) -> Self {
        Self {
            session,
            domain,
            record: CallRecord::new(),
            #[cfg(feature = "default-sender")]
            default_sender: false,
        }
    }

    /// For the benchmark: whether requests leave by wasmtime's own sender.
    #[cfg(feature = "default-sender")]
    pub(crate) fn by_default_sender(self, default_sender: bool) -> Self {
        Self { default_sender, ..self }
    }

    /// Starts a call: what its requests take goes to `record`.
    pub(crate) fn start(&mut self, record: CallRecord) {
        self.record = record;
    }
}

type Finished = Box<dyn Future<Output = Result<(), Code>> + Send>;
type Answer = Result<(http::Response<WasiBody>, Finished), Code>;

impl WasiHttpHooks for Outbound {
    /// The session writes `Host` itself, exactly once and only where the wire's version has it.
    fn set_host_header(&mut self) -> bool {
        false
    }

    /// A request body crosses in as few pieces as the guest writes it in: it is bounded by the guest's memory.
    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        usize::MAX
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _transmitted: Finished,
    ) -> Box<dyn Future<Output = Answer> + Send> {
        #[cfg(feature = "default-sender")]
        if self.default_sender {
            return Box::new(async move {
                let (answer, io) = wasmtime_wasi_http::default_send_request(request, options).await?;
                Ok((answer.map(http_body_util::BodyExt::boxed_unsync), Box::new(io) as Finished))
            });
        }
        let session = self.session.clone();
        let record = self.record.clone();
        let domain = self.domain;
        Box::new(async move {
            let (head, body) = request.into_parts();
            let request = http::Request::from_parts(head, gather(body).await?);
            let call = Call { timeouts: timeouts(options), record: record.exchange(), domain };
            #[cfg(feature = "otel")]
            let request = record.begins(request, &call.record);
            match session.send(request, call).await {
                Ok(answer) => {
                    let body = answer.map(|body| body.map_err(move |error| fail(&record, error)).boxed_unsync());
                    // An I/O future that has ended already: wasmtime then spawns no task for it.
                    Ok((body, Box::new(std::future::ready(Ok(()))) as Finished))
                }
                Err(error) => Err(fail(&record, error)),
            }
        })
    }
}

/// A body of known and moderate length is whole before the session sees it: it can then be sent again, and the
/// guest has been read to the end even if the session refuses the request. Any other body streams.
async fn gather(mut body: WasiBody) -> Result<RequestBody, Code> {
    const WHOLE: u64 = 8 << 20;
    if body.is_end_stream() {
        return Ok(RequestBody::empty());
    }
    let Some(length) = body.size_hint().exact().filter(|length| *length <= WHOLE) else {
        return Ok(RequestBody::stream(body));
    };
    let mut pieces = Pieces::default();
    while pieces.len() < length {
        match body.frame().await {
            Some(frame) => pieces.push(frame?),
            None => break,
        }
    }
    Ok(match length {
        0 => RequestBody::empty(),
        _ => RequestBody::full(pieces.whole()),
    })
}

/// A body's pieces; mostly there is one, and then nothing is copied.
#[derive(Default)]
struct Pieces {
    first: Bytes,
    more: BytesMut,
}

impl Pieces {
    fn len(&self) -> u64 {
        (self.first.len() + self.more.len()) as u64
    }

    fn push(&mut self, frame: http_body::Frame<Bytes>) {
        let Ok(data) = frame.into_data() else { return };
        if self.first.is_empty() && self.more.is_empty() {
            self.first = data;
            return;
        }
        if self.more.is_empty() {
            self.more.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.more.extend_from_slice(&data);
    }

    fn whole(self) -> Bytes {
        match self.more.is_empty() {
            true => self.first,
            false => self.more.freeze(),
        }
    }
}

/// The guest's own deadlines, which the session only ever lets shorten the policy's.
fn timeouts(options: Option<RequestOptions>) -> Timeouts {
    let Some(RequestOptions { connect_timeout, first_byte_timeout, between_bytes_timeout }) = options else {
        return Timeouts::default();
    };
    Timeouts { connect: connect_timeout, first_byte: first_byte_timeout, between_bytes: between_bytes_timeout }
}

/// Keeps the session's error for the host's side; what is left for the guest is its code.
fn fail(record: &CallRecord, error: SessionError) -> Code {
    let code = code(&error);
    record.failed(error);
    code
}

/// The one table from the session's errors to wasi:http's codes.
fn code(error: &SessionError) -> Code {
    match error.kind() {
        Kind::RequestInvalid => Code::HttpRequestUriInvalid,
        Kind::Denied | Kind::CredentialDenied => Code::HttpRequestDenied,
        Kind::AddressDenied(_) => Code::DestinationIpProhibited,
        Kind::SecretMissing => Code::ConfigurationError,
        Kind::ConnectionLimit | Kind::Draining => Code::ConnectionLimitReached,
        Kind::DnsTimeout => Code::DnsTimeout,
        Kind::DnsFailed => Code::DnsError { rcode: error.rcode(), info_code: None },
        Kind::ConnectTimeout => Code::ConnectionTimeout,
        Kind::ConnectionRefused => Code::ConnectionRefused,
        Kind::Unavailable => Code::DestinationUnavailable,
        Kind::Certificate => Code::TlsCertificateError,
        Kind::TlsAlert(alert) => Code::TlsAlertReceived { alert_id: Some(alert), alert_message: None },
        Kind::TlsProtocol => Code::TlsProtocolError,
        Kind::ReadTimeout => Code::ConnectionReadTimeout,
        Kind::TotalTimeout => Code::HttpResponseTimeout,
        Kind::Terminated => Code::ConnectionTerminated,
        Kind::Protocol => Code::HttpProtocolError,
        Kind::Incomplete => Code::HttpResponseIncomplete,
        Kind::RequestTooLarge(size) => Code::HttpRequestBodySize(size),
        Kind::ResponseTooLarge(size) => Code::HttpResponseBodySize(Some(size)),
        Kind::HeadersTooLarge => Code::HttpResponseHeaderSize { field_name: None, field_size: None },
        // The guest's own body broke off: the guest knows why better than any code could say.
        Kind::RequestBody => Code::InternalError(Some("the request's body ended early".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use seaway_session::Stage;

    use super::*;

    fn code_of(kind: Kind) -> String {
        format!("{:?}", code(&SessionError::new(Stage::Wire, kind, "x")))
    }

    #[test]
    fn a_session_error_is_one_code_of_wasi_http() {
        assert_eq!(code_of(Kind::Denied), "HttpRequestDenied");
        assert_eq!(code_of(Kind::AddressDenied([127, 0, 0, 1].into())), "DestinationIpProhibited");
        assert_eq!(code_of(Kind::SecretMissing), "ConfigurationError");
        assert_eq!(code_of(Kind::TotalTimeout), "HttpResponseTimeout");
        assert_eq!(code_of(Kind::ReadTimeout), "ConnectionReadTimeout");
        assert_eq!(code_of(Kind::Incomplete), "HttpResponseIncomplete");
    }

    #[test]
    fn a_failure_stays_in_the_record() {
        let record = CallRecord::new();
        let _ = fail(&record, SessionError::new(Stage::Tls, Kind::Certificate, "expired"));
        assert_eq!(record.error().unwrap().kind(), Kind::Certificate);
    }

    #[tokio::test]
    async fn a_body_of_known_length_is_gathered_and_another_streams() {
        let whole = http_body_util::Full::new(Bytes::from_static(b"{}")).map_err(|never| match never {}).boxed_unsync();
        assert_eq!(format!("{:?}", gather(whole).await.unwrap()), "RequestBody(full)");
        let pieces = futures::stream::iter([Ok(http_body::Frame::data(Bytes::from_static(b"{}")))]);
        let stream = http_body_util::StreamBody::new(pieces).boxed_unsync();
        assert_eq!(format!("{:?}", gather(stream).await.unwrap()), "RequestBody(stream)");
    }
}
