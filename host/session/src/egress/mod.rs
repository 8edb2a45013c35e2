//! Egress: may this request leave, and which addresses may its host have.
//!
//! The first stage, before a secret is near the request; and once more after DNS, on every address before it is
//! dialled. Nothing is dialled that this stage did not admit by name and by address.

mod address;
mod refusal;
mod rule;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::Method;
use serde::Deserialize;

use crate::error::{Error, Kind};
use crate::monitor::Counters;
use crate::route::Origin;
use crate::stage::Stage;
use crate::{Destination, Destinations};
use address::{Class, Host};
pub(crate) use refusal::COUNTED;
use refusal::Refusals;
pub use rule::{Private, Rule, Verb};

/// `[egress]`: where requests may go.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Destinations. Absent: the built-in providers and what the file names elsewhere. Given: exactly these, and what
    /// the file names elsewhere.
    pub allow: Option<Vec<Rule>>,
    /// What addresses a host may have. Default deny-special.
    pub addresses: Addresses,
    /// Further names and ranges that may be loopback, private or shared. Default none.
    pub private: Vec<Private>,
    /// Methods that may leave. Default GET and POST.
    pub methods: Vec<Verb>,
    /// Whether a refusal holds. Default enforce.
    pub mode: Mode,
}

/// Whether a refusal holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// What no rule allows does not leave.
    #[default]
    Enforce,
    /// For trying rules out: **what no rule allows leaves all the same**, is counted, and is a warning with the line that
    /// would allow it. What no line could allow is refused as ever: metadata services, link-local and multicast
    /// addresses, addresses in disguise, CONNECT and TRACE. Credentials go where their `urls` say and nowhere else.
    Count,
}

impl fmt::Display for Mode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enforce => out.write_str("enforce"),
            Self::Count => out.write_str("count"),
        }
    }
}

/// What addresses a host may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Addresses {
    /// Public ones; loopback, private and shared ones too for a host that the operator named.
    #[default]
    DenySpecial,
}

impl fmt::Display for Addresses {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DenySpecial => out.write_str("deny-special"),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            allow: None,
            addresses: Addresses::DenySpecial,
            private: Vec::new(),
            methods: vec![Verb(Method::GET), Verb(Method::POST)],
            mode: Mode::Enforce,
        }
    }
}

/// What addresses a destination may have. A part of the route: connections of different trust are never shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Trust {
    /// Public addresses only.
    Public,
    /// Loopback too: a built-in row that is marked local.
    Local,
    /// Loopback, private and shared (RFC 6598) too: the operator wrote this very destination.
    Named,
}

/// The stage: rules made ready to be asked.
#[derive(Debug)]
pub struct Egress {
    exact: HashMap<Origin, Trust>,
    /// Entries of `egress.allow` that stand for many destinations.
    patterns: Vec<Rule>,
    /// `egress.allow` as it is written, for who wants to know which entry it was.
    allow: Vec<Rule>,
    private: Vec<Private>,
    /// Destinations that the operator wrote, which does not allow them.
    named: HashSet<Origin>,
    methods: Vec<Verb>,
    /// True if `egress.allow` is given: decides what a refusal advises.
    listed: bool,
    refusals: Refusals,
}

/// The keys whose rules a refusal can be about.
const ALLOW: &str = "egress.allow";
const ADDRESSES: &str = "egress.addresses";
const METHODS: &str = "egress.methods";

impl Egress {
    /// The stage under `settings`, with the destinations that need no entry of their own.
    ///
    /// The hosts of `overridden` origins are written by the operator: where a rule allows them, they may be private.
    pub(crate) fn new<'o>(
        settings: &Settings,
        destinations: Destinations,
        overridden: impl Iterator<Item = &'o Origin>,
        counters: &Arc<Counters>,
    ) -> Self {
        let Settings { allow, addresses: Addresses::DenySpecial, private, methods, mode } = settings;
        let Destinations { built_in, written } = destinations;
        let mut exact = HashMap::new();
        if allow.is_none() {
            for Destination { origin, local } in built_in {
                exact.insert(origin, if local { Trust::Local } else { Trust::Public });
            }
        }
        exact.extend(written.into_iter().map(|written| (written.origin, Trust::Named)));
        let mut patterns = Vec::new();
        for rule in allow.iter().flatten() {
            match rule {
                Rule::Exact(origin) => drop(exact.insert(origin.clone(), Trust::Named)),
                Rule::Wildcard { .. } | Rule::Range(_) => patterns.push(rule.clone()),
            }
        }
        let (private, methods) = (private.clone(), methods.clone());
        let refusals = Refusals::new(*mode, counters);
        let named = overridden.cloned().collect();
        let listed = allow.is_some();
        let allow = allow.clone().unwrap_or_default();
        Self { exact, patterns, allow, private, named, methods, listed, refusals }
    }

    /// Admits a request by its method and destination, and says what addresses the destination may have.
    ///
    /// # Errors
    /// Denied, if no rule names the destination or the method; address denied, if the host is itself an address that it
    /// may not be, or an address in an unusual spelling.
    pub fn admit(&self, origin: &Origin, method: &Method) -> Result<Trust, Error> {
        self.admit_method(origin, method)?;
        let literal = match address::read(origin.host()) {
            Host::Name => None,
            Host::Address(address) => Some(address),
            Host::Unusual(address) => return Err(self.refusals.hold(origin, ADDRESSES, unusual(origin, address))),
            Host::Neither => {
                let message = format!("`{}` is neither a host name nor an address", origin.host());
                return Err(self.refusals.hold(origin, ALLOW, Error::new(Stage::Egress, Kind::Denied, message)));
            }
        };
        match (self.trust(origin), literal) {
            (Some(trust), None) => Ok(trust),
            (Some(trust), Some(address)) => self.admit_address(origin, trust, address).map(|()| trust),
            (None, Some(address)) => match address::judge(address).1 {
                Class::Public => self.refusals.refuse(origin, ALLOW, self.denied(origin)).map(|()| Trust::Public),
                Class::Never(_) => Err(self.refusals.hold(origin, ADDRESSES, address_denied(origin, address, ""))),
                Class::Loopback | Class::Private | Class::Shared => {
                    let error = address_denied(origin, address, &self.allow(origin));
                    self.refusals.refuse(origin, ADDRESSES, error).map(|()| Trust::Public)
                }
            },
            (None, None) => self.refusals.refuse(origin, ALLOW, self.denied(origin)).map(|()| Trust::Public),
        }
    }

    /// Admits an address that the destination's name led to, or that it is. Asked before every connection.
    ///
    /// # Errors
    /// Address denied, if `trust` does not reach as far as the address.
    pub fn admit_address(&self, origin: &Origin, trust: Trust, address: IpAddr) -> Result<(), Error> {
        if matches!(address::judge(address).1, Class::Never(_)) {
            return Err(self.refusals.hold(origin, ADDRESSES, address_denied(origin, address, "")));
        }
        if self.reaches(trust, address) {
            return Ok(());
        }
        let host = origin.host();
        let error = address_denied(origin, address, &format!("egress.private = [..., \"{host}\"]"));
        self.refusals.refuse(origin, ADDRESSES, error)
    }

    /// True if a destination of this trust may have the address.
    pub(crate) fn reaches(&self, trust: Trust, address: IpAddr) -> bool {
        let (effective, class) = address::judge(address);
        let reach = match class {
            Class::Public => Trust::Public,
            Class::Loopback => Trust::Local,
            Class::Private | Class::Shared => Trust::Named,
            Class::Never(_) => return false,
        };
        trust >= reach || self.private.iter().any(|private| private.has_address(effective))
    }

    fn admit_method(&self, origin: &Origin, method: &Method) -> Result<(), Error> {
        if *method == Method::CONNECT || *method == Method::TRACE {
            let message = format!("the method {method} is never sent");
            return Err(self.refusals.hold(origin, METHODS, Error::new(Stage::Egress, Kind::RequestInvalid, message)));
        }
        if self.methods.iter().any(|allowed| allowed.0 == *method) {
            return Ok(());
        }
        let allowed = self.methods.iter().map(|verb| format!("\"{verb}\", ")).collect::<String>();
        let error = Error::new(Stage::Egress, Kind::Denied, format!("no rule allows the method {method}"));
        let error = error.with_hint(format!("egress.methods = [{allowed}\"{method}\"]"));
        self.refusals.refuse(origin, METHODS, error)
    }

    /// The trust of a destination that a rule names; absent if none does.
    pub(crate) fn trust(&self, origin: &Origin) -> Option<Trust> {
        let exact = self.exact.get(origin).copied();
        let trust = exact.or_else(|| self.patterns.iter().filter_map(|rule| rule.trust(origin)).max())?;
        match self.named.contains(origin) || self.private.iter().any(|private| private.has_name(origin.host())) {
            true => Some(Trust::Named),
            false => Some(trust),
        }
    }

    fn denied(&self, origin: &Origin) -> Error {
        Error::new(Stage::Egress, Kind::Denied, format!("no rule allows {origin}")).with_hint(self.allow(origin))
    }

    /// The line that would allow a destination.
    fn allow(&self, origin: &Origin) -> String {
        match self.listed {
            true => format!("egress.allow = [..., \"{origin}\"]"),
            false => format!(
                "egress.allow = [\"{origin}\"] (then the built-in providers that the file does not name are refused), \
                 or a `base_url` of [providers.*] or [models.*] there"
            ),
        }
    }
}

/// True if `host` is a name: lower case, without a trailing dot, and nothing that a resolver would read as an address.
pub(crate) fn is_name(host: &str) -> bool {
    matches!(address::read(host), Host::Name)
}

fn unusual(origin: &Origin, address: IpAddr) -> Error {
    let message = format!("`{}` is the address {address} in an unusual spelling", origin.host());
    Error::new(Stage::Egress, Kind::AddressDenied(address), message).with_hint(format!("write it as {address}"))
}

/// The hint is the line that would allow it; empty where none would.
fn address_denied(origin: &Origin, address: IpAddr, hint: &str) -> Error {
    let (effective, class) = address::judge(address);
    let subject = match origin.address().is_some() {
        true => format!("{address} is"),
        false => format!("`{}` leads to {address},", origin.host()),
    };
    let stands_for = if effective == address { String::new() } else { format!(" (it stands for {effective})") };
    let message = match class {
        Class::Never(what) => format!("{subject} {what} address{stands_for}, which no policy allows"),
        Class::Loopback => format!("{subject} a loopback address{stands_for}"),
        Class::Private => format!("{subject} a private address{stands_for}"),
        Class::Shared => format!("{subject} a shared address of a carrier (RFC 6598){stands_for}"),
        Class::Public => format!("{subject} an address{stands_for} that no rule allows"),
    };
    let error = Error::new(Stage::Egress, Kind::AddressDenied(address), message);
    if hint.is_empty() { error } else { error.with_hint(hint) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        Origin::parse(text).unwrap()
    }

    fn destination(text: &str, local: bool) -> Destination {
        Destination { origin: origin(text), local }
    }

    fn egress(allow: Option<&[&str]>, private: &[&str]) -> Egress {
        let settings = Settings {
            allow: allow
                .map(|entries| entries.iter().map(|entry| Rule::try_from((*entry).to_owned()).unwrap()).collect()),
            private: private.iter().map(|entry| Private::try_from((*entry).to_owned()).unwrap()).collect(),
            ..Settings::default()
        };
        let built_in = vec![destination("https://api.openai.com", false), destination("http://localhost:11434", true)];
        let written = vec![destination("http://llm.corp.example:8000", false), destination("http://10.1.2.3", false)];
        Egress::new(&settings, Destinations { built_in, written }, [].iter(), &Arc::default())
    }

    fn admitted(egress: &Egress, destination: &str) -> Result<Trust, Kind> {
        egress.admit(&origin(destination), &Method::POST).map_err(|error| error.kind())
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn without_a_list_the_built_in_rows_and_the_files_own_are_admitted() {
        let egress = egress(None, &[]);
        assert_eq!(admitted(&egress, "https://api.openai.com"), Ok(Trust::Public));
        assert_eq!(admitted(&egress, "http://localhost:11434"), Ok(Trust::Local));
        assert_eq!(admitted(&egress, "http://llm.corp.example:8000"), Ok(Trust::Named));
        assert_eq!(admitted(&egress, "http://10.1.2.3"), Ok(Trust::Named));
        for denied in ["https://evil.test", "http://api.openai.com", "https://api.openai.com:444", "https://8.8.8.8"] {
            assert_eq!(admitted(&egress, denied), Err(Kind::Denied), "{denied}");
        }
    }

    #[test]
    fn a_list_refuses_built_in_rows_that_it_does_not_name() {
        let egress = egress(Some(&["https://api.x.test", "*.wild.test", "8.8.8.0/24", "127.0.0.1/32"]), &[]);
        assert_eq!(admitted(&egress, "https://api.openai.com"), Err(Kind::Denied));
        assert_eq!(admitted(&egress, "http://llm.corp.example:8000"), Ok(Trust::Named));
        assert_eq!(admitted(&egress, "https://api.x.test"), Ok(Trust::Named));
        assert_eq!(admitted(&egress, "https://a.wild.test"), Ok(Trust::Public));
        assert_eq!(admitted(&egress, "https://8.8.8.8"), Ok(Trust::Public));
        assert_eq!(admitted(&egress, "http://127.0.0.1:9"), Ok(Trust::Named));
    }

    #[test]
    fn an_address_in_the_url_is_judged_like_one_from_dns() {
        let list =
            ["http://127.0.0.1:8000", "http://169.254.169.254", "http://[::ffff:127.0.0.1]", "0.0.0.0/0", "::/0"];
        let egress = egress(Some(&list), &[]);
        assert_eq!(admitted(&egress, "http://127.0.0.1:8000"), Ok(Trust::Named));
        assert_eq!(admitted(&egress, "http://[::ffff:127.0.0.1]"), Ok(Trust::Named));
        for denied in [
            "127.0.0.2",
            "169.254.169.254",
            "[fd00:ec2::254]",
            "[::ffff:127.0.0.2]",
            "0.0.0.0",
            "100.64.0.1",
            "[64:ff9b::a00:1]",
        ] {
            let host = denied.trim_matches(['[', ']']);
            assert_eq!(
                admitted(&egress, &format!("http://{denied}")),
                Err(Kind::AddressDenied(address(host))),
                "{denied}"
            );
        }
        for spelling in ["0x7f.1", "127.1", "2130706433", "0177.0.0.1"] {
            let kind = Kind::AddressDenied(address("127.0.0.1"));
            assert_eq!(admitted(&egress, &format!("http://{spelling}")), Err(kind), "{spelling}");
        }
        assert_eq!(admitted(&egress, "http://1.2.3.4.5"), Err(Kind::Denied));
    }

    #[test]
    fn an_address_that_nobody_named_is_denied_as_an_address() {
        let egress = egress(None, &[]);
        for denied in ["127.0.0.1", "10.0.0.1", "169.254.169.254"] {
            assert_eq!(admitted(&egress, &format!("http://{denied}")), Err(Kind::AddressDenied(address(denied))));
        }
    }

    #[test]
    fn trust_says_how_far_addresses_reach() {
        let egress = egress(None, &["192.168.7.0/24"]);
        let host = origin("https://x.test");
        // address, allowed for Public, Local, Named
        let table = [
            ("8.8.8.8", [true, true, true]),
            ("127.0.0.1", [false, true, true]),
            ("::1", [false, true, true]),
            ("10.0.0.1", [false, false, true]),
            ("100.64.0.1", [false, false, true]),
            ("192.168.7.7", [true, true, true]),
            ("::ffff:192.168.7.7", [true, true, true]),
            ("192.168.8.7", [false, false, true]),
            ("169.254.169.254", [false, false, false]),
            ("169.254.1.1", [false, false, false]),
            ("fe80::1", [false, false, false]),
            ("224.0.0.1", [false, false, false]),
            ("0.0.0.0", [false, false, false]),
        ];
        for (text, expected) in table {
            let reach = [Trust::Public, Trust::Local, Trust::Named]
                .map(|trust| egress.admit_address(&host, trust, address(text)).is_ok());
            assert_eq!(reach, expected, "{text}");
        }
    }

    #[test]
    fn a_private_name_is_trusted_but_not_thereby_allowed() {
        let egress = egress(Some(&["*.corp.test"]), &["a.corp.test", "*.lab.corp.test", "other.test"]);
        assert_eq!(admitted(&egress, "https://a.corp.test"), Ok(Trust::Named));
        assert_eq!(admitted(&egress, "https://x.lab.corp.test"), Ok(Trust::Named));
        assert_eq!(admitted(&egress, "https://b.corp.test"), Ok(Trust::Public));
        assert_eq!(admitted(&egress, "https://other.test"), Err(Kind::Denied));
    }

    #[test]
    fn a_refusal_says_what_happened_and_which_line_would_change_it() {
        let shown = |error: Error| (error.to_string(), error.hint().unwrap_or_default().to_owned());
        let listed = egress(Some(&["*.corp.test"]), &[]);
        let denied = listed.admit(&origin("https://evil.test:8443"), &Method::GET).unwrap_err();
        assert_eq!(
            shown(denied),
            (
                "egress: no rule allows https://evil.test:8443".to_owned(),
                "egress.allow = [..., \"https://evil.test:8443\"]".to_owned()
            )
        );
        let by_address =
            listed.admit_address(&origin("https://a.corp.test"), Trust::Public, address("10.0.0.1")).unwrap_err();
        assert_eq!(
            shown(by_address),
            (
                "egress: `a.corp.test` leads to 10.0.0.1, a private address".to_owned(),
                "egress.private = [..., \"a.corp.test\"]".to_owned()
            )
        );
        let mapped =
            listed.admit_address(&origin("https://a.corp.test"), Trust::Named, address("::ffff:169.254.169.254"));
        assert_eq!(
            shown(mapped.unwrap_err()),
            (
                "egress: `a.corp.test` leads to ::ffff:169.254.169.254, a metadata service's address \
                 (it stands for 169.254.169.254), which no policy allows"
                    .to_owned(),
                String::new()
            )
        );
        let metadata = listed.admit(&origin("http://169.254.169.254"), &Method::GET).unwrap_err();
        assert_eq!(metadata.hint(), None);
        let literal = listed.admit(&origin("http://127.0.0.1:8000"), &Method::GET).unwrap_err();
        assert_eq!(literal.hint(), Some("egress.allow = [..., \"http://127.0.0.1:8000\"]"));
    }

    #[test]
    fn what_is_only_counted_leaves_and_what_no_line_allows_does_not() {
        let counters = Arc::<Counters>::default();
        let settings = Settings { mode: Mode::Count, ..Settings::default() };
        let egress = Egress::new(&settings, Destinations::default(), [].iter(), &counters);
        let host = origin("https://a.test");
        assert_eq!(admitted(&egress, "https://a.test"), Ok(Trust::Public));
        assert_eq!(admitted(&egress, "http://10.0.0.1"), Ok(Trust::Public));
        assert!(egress.admit(&origin("https://8.8.8.8"), &Method::PUT).is_ok());
        assert!(egress.admit_address(&host, Trust::Public, address("127.0.0.1")).is_ok());
        // Name, address, name and method, address.
        assert_eq!(counters.figures().denied, 5);
        for never in ["http://169.254.169.254", "http://127.1", "http://1.2.3.4.5"] {
            assert!(admitted(&egress, never).is_err(), "{never}");
        }
        assert!(egress.admit_address(&host, Trust::Named, address("169.254.169.254")).is_err());
        assert!(egress.admit(&host, &Method::TRACE).is_err());
        assert_eq!(counters.figures().denied, 10);
    }

    #[test]
    fn a_method_needs_a_rule_and_two_have_none() {
        let egress = egress(None, &[]);
        let openai = origin("https://api.openai.com");
        assert!(egress.admit(&openai, &Method::GET).is_ok());
        let put = egress.admit(&openai, &Method::PUT).unwrap_err();
        assert_eq!((put.kind(), put.hint()), (Kind::Denied, Some("egress.methods = [\"GET\", \"POST\", \"PUT\"]")));
        for never in [Method::CONNECT, Method::TRACE] {
            assert_eq!(egress.admit(&openai, &never).unwrap_err().kind(), Kind::RequestInvalid);
        }
    }
}
