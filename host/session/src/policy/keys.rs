//! Every key with its meaning and value.
//!
//! The one list that `policy init` prints and that messages about unknown keys look into. A test holds it against the
//! fields of the `Settings` themselves, so neither can have a key that the other lacks.

use std::fmt::Display;

use super::Policy;
use crate::dns::Family;
use crate::proxy::Mode;
use crate::tcp::Keepalive;
use crate::tls::Roots;
use crate::wire::H2;

/// One key of the file.
pub(super) struct Key {
    /// With dots; `*` stands for a name that the operator chooses.
    pub(super) name: &'static str,
    /// Sentences for the operator.
    pub(super) meaning: &'static str,
    pub(super) value: Value,
}

/// How a key's value is shown.
pub(super) enum Value {
    /// As TOML, from a policy.
    Of(fn(&Policy) -> String),
    /// By an example, because there is no value until somebody writes one.
    Example(&'static str),
}

use Value::{Example, Of};

const fn key(name: &'static str, value: Value, meaning: &'static str) -> Key {
    Key { name, meaning, value }
}

/// All keys, in the order of the path.
pub(super) const KEYS: &[Key] = &[
    key(
        "preset",
        Of(|p| quoted(p.preset)),
        "The values that this file is laid upon: development, default, production or high-throughput.",
    ),
    key(
        "total",
        Of(|p| quoted(p.total)),
        "From a request's arrival to the last byte of its answer, the wait for a connection included. \"off\" for no limit.",
    ),
    key(
        "stream_total",
        Of(|p| quoted(p.stream_total)),
        "Takes the place of `total` once the headers of an event stream have come. With \"off\", a stream is bounded by silence (body.timeout), not by length.",
    ),
    key(
        "connect",
        Of(|p| quoted(p.connect)),
        "Waiting for a connection and opening it (dns, tcp, proxy, tls), together. With \"off\", each has its own deadline only.",
    ),
    key(
        "egress.allow",
        Example("[\"https://api.openai.com\", \"https://*.openai.azure.com\"]"),
        "Where requests may go: scheme://host[:port], *.sub or an address range (10.0.0.0/8). Without it: every built-in provider, and every `base_url` of the file. With it: exactly this list and the file's own providers and models.",
    ),
    key(
        "egress.addresses",
        Of(|p| quoted(p.egress.addresses)),
        "After DNS, addresses that are not public (loopback, private, shared, link-local, metadata, multicast) are refused, for every host that the file does not name exactly. A proxy that resolves names (all but socks5://) judges their addresses itself.",
    ),
    key(
        "egress.private",
        Of(|p| list(&p.egress.private)),
        "Further names, *.sub or address ranges that may be loopback, private or shared; never link-local, metadata or multicast.",
    ),
    key("egress.methods", Of(|p| list(&p.egress.methods)), "HTTP methods that may leave."),
    key(
        "egress.mode",
        Of(|p| quoted(p.egress.mode)),
        "enforce, or count, for trying rules out: what no rule allows LEAVES ALL THE SAME, is counted, and is a warning with the line that would allow it. Metadata, link-local and multicast addresses are refused in either.",
    ),
    key(
        "credentials.*.env",
        Example("\"OPENAI_API_KEY\""),
        "The secret is in this environment variable. One of `env`, `file`, `value` and `command` must be there.",
    ),
    key(
        "credentials.*.file",
        Example("\"secrets/openai\""),
        "The secret is in this file, which is read again when it changes. sigv4: the file with the profile; without it AWS_SHARED_CREDENTIALS_FILE, else ~/.aws/credentials.",
    ),
    key(
        "credentials.*.command",
        Example("[\"pass\", \"show\", \"openai\"]"),
        "A program and its arguments, without a shell, in this file's folder; what it prints is the secret. A JSON object must be an ExecCredential of Kubernetes, whose status.token is the secret. It has 30 s. sigv4: it prints what AWS's credential_process does, as [\"aws\", \"configure\", \"export-credentials\"].",
    ),
    key(
        "credentials.*.expires",
        Example("\"5m\""),
        "How long what `command` told is used before it is run again, unless it says itself that it ends sooner. \"off\": it alone says.",
    ),
    key("credentials.*.value", Example("\"sk-...\""), "The secret itself. `env` and `file` keep it out of this file."),
    key(
        "credentials.*.urls",
        Example("[\"https://api.openai.com/v1\"]"),
        "Where the secret may go: same scheme, host and port, and a path below this one. A provider's credential may go to its base URL without saying so.",
    ),
    key(
        "credentials.*.plain_proxy",
        Example("false"),
        "Whether a proxy may read the secret on its way to an http:// URL. Without it such a request is refused.",
    ),
    key(
        "credentials.*.kind",
        Example("\"key\""),
        "key: the secret takes the placeholder's place, whatever the header. sigv4: the placeholder's header is replaced by an AWS signature of the request, whose body is collected up to `body.max_request` for it.",
    ),
    key(
        "credentials.*.access_key",
        Example("{ env = \"AWS_ACCESS_KEY_ID\" }"),
        "sigv4: the access key's ID, as `env`, `file` or `value`.",
    ),
    key("credentials.*.secret_key", Example("{ env = \"AWS_SECRET_ACCESS_KEY\" }"), "sigv4: the access key's secret."),
    key(
        "credentials.*.token",
        Example("{ env = \"AWS_SESSION_TOKEN\" }"),
        "sigv4: the session token, where the keys are temporary.",
    ),
    key(
        "credentials.*.profile",
        Example("\"default\""),
        "sigv4: the keys are in this profile of the file that AWS's tools share, in the place of `access_key`, `secret_key` and `token`. Without it AWS_PROFILE, else default.",
    ),
    key("credentials.*.region", Example("\"eu-central-1\""), "sigv4: the region that is signed for."),
    key("credentials.*.service", Example("\"bedrock\""), "sigv4: the service that is signed for."),
    key("pool.limit", Of(|p| p.pool.limit.to_string()), "Open connections, all hosts together. 0 is no limit."),
    key(
        "pool.limit_per_host",
        Of(|p| p.pool.limit_per_host.to_string()),
        "Open connections to one host and port. 0 is no limit.",
    ),
    key("pool.keepalive", Of(|p| quoted(p.pool.keepalive)), "How long an idle connection is kept."),
    key(
        "pool.force_close",
        Of(|p| p.pool.force_close.to_string()),
        "Closes each connection after its exchange. If true, `keepalive` must not be written.",
    ),
    key(
        "pool.cleanup_closed",
        Of(|p| p.pool.cleanup_closed.to_string()),
        "Resets a TLS connection that the peer leaves half-closed for 2 s.",
    ),
    key(
        "pool.timeout",
        Of(|p| quoted(p.pool.timeout)),
        "The longest wait for room for a connection; opening one is not counted. \"off\" for no limit.",
    ),
    key(
        "pool.max_waiters",
        Of(|p| p.pool.max_waiters.to_string()),
        "Requests that may wait for a connection; one more fails at once. 0 is no limit.",
    ),
    key(
        "pool.wait_warn",
        Of(|p| quoted(p.pool.wait_warn)),
        "A longer wait for room is a warning in the log, which names the limit that is full. \"off\" for none.",
    ),
    key(
        "pool.max_lifetime",
        Of(|p| quoted(p.pool.max_lifetime)),
        "A connection that was opened longer ago carries no further exchange, so that changes of DNS are followed. \"off\" for no limit.",
    ),
    key(
        "pool.max_requests",
        Of(|p| p.pool.max_requests.to_string()),
        "Exchanges that one connection carries, at most. 0 is no limit.",
    ),
    key(
        "pool.descriptors",
        Of(|p| quoted(p.pool.descriptors)),
        "Share of the files that this process may open (ulimit -n) which `limit` is clamped to, with a warning.",
    ),
    key(
        "pool.isolation",
        Of(|p| quoted(p.pool.isolation)),
        "Who may share a connection and resume a TLS session: shared (all), guest (the calls of one component) or call (nobody: each request has its own connection).",
    ),
    key(
        "dns.servers",
        Of(|p| p.dns.servers.to_string()),
        "Who is asked for addresses, in this order: addresses with or without a port, as in \"10.0.0.53\" or \"[fd00::53]:53\". The system's hosts file and search list then count for nothing. Empty: the system's resolver.",
    ),
    key(
        "dns.ttl",
        Of(|p| quoted(p.dns.ttl)),
        "How long an answer is reused. \"off\" asks for every connection; \"record\" takes the TTL of the answer's records, which needs `servers`.",
    ),
    key("dns.ttl_min", Of(|p| quoted(p.dns.ttl_min)), "The shortest life of an answer, if `ttl` is \"record\"."),
    key("dns.ttl_max", Of(|p| quoted(p.dns.ttl_max)), "The longest life of an answer, if `ttl` is \"record\"."),
    key("dns.timeout", Of(|p| quoted(p.dns.timeout)), "The longest lookup."),
    key(
        "dns.negative_ttl",
        Of(|p| quoted(p.dns.negative_ttl)),
        "How long a failure to resolve a name is the answer. \"off\" asks again at once.",
    ),
    key(
        "dns.stale_if_error",
        Of(|p| quoted(p.dns.stale_if_error)),
        "How long after its end of life an answer serves on while asking anew fails. \"off\" for not at all.",
    ),
    key(
        "dns.max_entries",
        Of(|p| p.dns.max_entries.to_string()),
        "Names kept; the least recently used goes first. 0 keeps none.",
    ),
    key(
        "dns.hosts",
        Of(|p| p.dns.hosts.to_string()),
        "Names with their addresses, which nobody is asked for: { \"llm.corp.example\" = [\"10.1.2.3\"] }. Egress judges these addresses like any other.",
    ),
    key("dns.family", Of(|p| quoted(family(p.dns.family))), "Addresses that are used: any, ipv4 or ipv6."),
    key(
        "tcp.timeout",
        Of(|p| quoted(p.tcp.timeout)),
        "The longest wait for a connection, over all addresses of a host.",
    ),
    key(
        "tcp.happy_eyeballs",
        Of(|p| quoted(p.tcp.happy_eyeballs)),
        "Head start of an address over the next one (RFC 8305).",
    ),
    key(
        "tcp.interleave",
        Of(|p| p.tcp.interleave.to_string()),
        "Addresses of the preferred family before the families alternate (RFC 8305).",
    ),
    key("tcp.keepalive", Of(|p| probes(p.tcp.keepalive)), "Probes on a silent connection; \"off\" for none."),
    key("tcp.nodelay", Of(|p| p.tcp.nodelay.to_string()), "Sends small segments at once."),
    key(
        "tcp.local_address",
        Example("\"10.1.2.3\""),
        "The address of this machine that connections come from; hosts are reached over its family alone.",
    ),
    key(
        "tcp.user_timeout",
        Example("\"30s\""),
        "How long sent bytes may stay unacknowledged before the kernel ends the connection. Linux only.",
    ),
    key(
        "proxy.mode",
        Of(|p| quoted(mode(p.proxy.mode))),
        "env: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY decide, in either case, read once at load. explicit: `http`, `https`, `all`, `no_proxy` and `auth` decide. off: never a proxy.",
    ),
    key(
        "proxy.http",
        Example("\"http://proxy.corp.example:3128\""),
        "The proxy of http:// URLs, if the mode is explicit: http://, https://, socks5:// (names are resolved here) or socks5h:// (by the proxy).",
    ),
    key("proxy.https", Example("\"http://proxy.corp.example:3128\""), "The same, of https:// URLs."),
    key(
        "proxy.all",
        Example("\"socks5h://proxy.corp.example\""),
        "The same, where the one of the scheme is not written.",
    ),
    key(
        "proxy.no_proxy",
        Of(|p| list(p.proxy.no_proxy.entries())),
        "What is reached directly, if the mode is explicit: names with all below them, *.name, addresses, ranges, each with or without :port; or *.",
    ),
    key(
        "proxy.auth",
        Example("{ env = \"PROXY_AUTH\" }"),
        "user:password for these proxies, if the mode is explicit: { env = \"NAME\" } or { file = \"path\" }, which is read again when it changes. Under env, they are a part of the variable: http://user:password@host:port.",
    ),
    key(
        "proxy.headers",
        Example("{ X-Department = \"research\" }"),
        "Header fields that an http:// or https:// proxy is asked for a tunnel with.",
    ),
    key(
        "proxy.ca",
        Of(|p| list(p.proxy.ca.iter().map(|path| path.display()))),
        "Files of roots, in PEM, for https:// proxies. Empty: those of [tls].",
    ),
    key(
        "proxy.timeout",
        Of(|p| quoted(p.proxy.timeout)),
        "The longest that a proxy may take to open a tunnel once it is connected.",
    ),
    key(
        "proxy.limit",
        Of(|p| p.proxy.limit.to_string()),
        "Open connections to one proxy, beside the limits of [pool]. 0 is no limit.",
    ),
    key(
        "tls.roots",
        Of(|p| quoted(roots(p.tls.roots))),
        "Whom to believe: platform (the system's store, SSL_CERT_FILE and SSL_CERT_DIR), webpki (Mozilla's, of the day that this program was built) or none (only `ca`).",
    ),
    key(
        "tls.ca",
        Of(|p| list(p.tls.ca.iter().map(|path| path.display()))),
        "Files of further roots, and of revocation lists, in PEM. Read again when they change.",
    ),
    key(
        "tls.client_cert",
        Example("\"client.pem\""),
        "Our certificate chain, in PEM. Needs `client_key`. Both are read again when they change.",
    ),
    key("tls.client_key", Example("\"client.key\""), "The key of `client_cert`, in PEM, not encrypted."),
    key(
        "tls.server_name",
        Example("\"llm.corp.example\""),
        "The name that the server's certificate must have, where it is not the host's.",
    ),
    key(
        "tls.pins",
        Of(|p| list(&p.tls.pins)),
        "Keys (\"sha256/\" and the hash of the public key in base64) of which the server's own certificate must have one, beside all else. An error prints the one that was shown.",
    ),
    key("tls.min", Of(|p| quoted(p.tls.min.word())), "The lowest version of TLS that is spoken: 1.2 or 1.3."),
    key("tls.max", Of(|p| quoted(p.tls.max.word())), "The highest version of TLS that is spoken: 1.2 or 1.3."),
    key(
        "tls.verify",
        Of(|p| p.tls.verify.to_string()),
        "false believes whoever answers: anybody on the way can read and change everything, secrets included. It needs `danger`, and is warned of and counted.",
    ),
    key("tls.danger", Of(|p| p.tls.danger.to_string()), "Says that `verify = false` is meant."),
    key(
        "tls.alpn",
        Of(|p| list(&p.tls.alpn)),
        "Protocols that servers are offered, the preferred one first: h2, http/1.1. Empty: HTTP/1.1, without a word.",
    ),
    key("tls.timeout", Of(|p| quoted(p.tls.timeout)), "The longest handshake."),
    key(
        "wire.timeout",
        Of(|p| quoted(p.wire.timeout)),
        "The longest wait for the first byte of an answer, once the request is sent. \"off\" for no limit.",
    ),
    key("wire.max_headers", Of(|p| p.wire.max_headers.to_string()), "Header fields of an answer, at most."),
    key("wire.max_header_bytes", Of(|p| quoted(p.wire.max_header_bytes)), "Bytes of an answer's head, at most."),
    key(
        "wire.http",
        Of(|p| quoted(p.wire.http.word())),
        "auto: over TLS what the server prefers of `tls.alpn`, else HTTP/1.1. 1: HTTP/1.1 only. 2: HTTP/2 only, without TLS by prior knowledge.",
    ),
    key(
        "wire.h2",
        Of(|p| h2(&p.wire.h2)),
        "HTTP/2: exchanges on one connection at once, where the server allows as many; how often the server is asked whether it is there (or \"off\"), and how long it may take to answer; bytes of one answer that may be on their way unread.",
    ),
    key(
        "body.timeout",
        Of(|p| quoted(p.body.timeout)),
        "The longest silence of an answer's body while somebody reads it. \"off\" for no limit.",
    ),
    key("body.max_request", Of(|p| quoted(p.body.max_request)), "The largest request body."),
    key("body.max_response", Of(|p| quoted(p.body.max_response)), "The largest answer."),
    key(
        "retry.stale",
        Of(|p| quoted(p.retry.stale)),
        "Which requests are sent again when a connection that was used before ends before a byte of their answer. attested: those of which the kernel attests that the peer took no byte (Linux only), and GET, HEAD, PUT, DELETE and OPTIONS; idempotent: the latter alone; off: none.",
    ),
    key(
        "retry.status",
        Of(|p| p.retry.status.to_string()),
        "Statuses after which a request is sent again, POST or not, before anything of the answer reaches the guest: [429, 503, 529]. List only those by which the server says that it has done nothing: after a 500, 502 or 504 the work may have been done, and is then done and billed TWICE. Retry-After is obeyed if it ends within `total`; else the answer is passed on at once. \"off\" for none.",
    ),
    key("retry.max", Of(|p| p.retry.max.to_string()), "How often one request is sent again because of `status`."),
    key(
        "retry.budget",
        Of(|p| quoted(p.retry.budget)),
        "Repeats because of `status`, as a share of the exchanges of the last ten seconds; one a second is always allowed.",
    ),
    key(
        "retry.max_body",
        Of(|p| quoted(p.retry.max_body)),
        "The largest request body that is held until the first byte of the answer, so that it can be sent again. A larger one, or one that is streamed, is sent once.",
    ),
    key(
        "monitor.signals",
        Of(|p| quoted(p.monitor.signals.word())),
        "Which signals (queued, dns, tcp, tls, reused, first byte, ...) are events of the log, at the level debug: off, errors (failures, refusals, repeats, held-back streams) or all.",
    ),
    key(
        "monitor.redact",
        Of(|p| list(&p.monitor.redact)),
        "Headers that carry keys: what a guest sets there itself, without a placeholder, is taken out, with a warning that names the header.",
    ),
    key(
        "drain.grace",
        Of(|p| quoted(p.drain.grace)),
        "How long exchanges may run on when the session ends; what is left then is cut. \"off\": until the last has ended.",
    ),
    key(
        "drain.queued",
        Of(|p| quoted(p.drain.queued.word())),
        "What becomes of requests that wait for a connection then: refuse (they fail at once, and may be sent elsewhere) or finish.",
    ),
];

/// The names of all keys.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|key| key.name)
}

fn quoted(value: impl Display) -> String {
    format!("\"{}\"", value.to_string().escape_default())
}

fn list<V: Display>(values: impl IntoIterator<Item = V>) -> String {
    format!("[{}]", values.into_iter().map(quoted).collect::<Vec<_>>().join(", "))
}

fn family(family: Family) -> &'static str {
    match family {
        Family::Any => "any",
        Family::Ipv4 => "ipv4",
        Family::Ipv6 => "ipv6",
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Env => "env",
        Mode::Explicit => "explicit",
        Mode::Off => "off",
    }
}

fn roots(roots: Roots) -> &'static str {
    match roots {
        Roots::Platform => "platform",
        Roots::Webpki => "webpki",
        Roots::None => "none",
    }
}

fn h2(h2: &H2) -> String {
    let H2 { streams, ping, ping_timeout, window } = h2;
    format!("{{ streams = {streams}, ping = \"{ping}\", ping_timeout = \"{ping_timeout}\", window = \"{window}\" }}")
}

fn probes(keepalive: Keepalive) -> String {
    match keepalive {
        Keepalive::Off => quoted("off"),
        Keepalive::On(probes) => {
            format!("{{ idle = \"{}\", interval = \"{}\", count = {} }}", probes.idle, probes.interval, probes.count)
        }
    }
}
