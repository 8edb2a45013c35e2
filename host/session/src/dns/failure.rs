//! What a server of `dns.servers` says that has no address for us, or that says nothing.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hickory_resolver::net::{DnsError, NetError};

use super::Family;
use crate::error::Error;

/// The code of an answer (RFC 6895, section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rcode(u16);

impl Rcode {
    const NO_ERROR: Self = Self(0);
    const SERVER_FAILURE: Self = Self(2);
    const NO_SUCH_NAME: Self = Self(3);
    const REFUSED: Self = Self(5);
}

impl fmt::Display for Rcode {
    /// Its name, as tools print it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0 => "NOERROR",
            1 => "FORMERR",
            2 => "SERVFAIL",
            3 => "NXDOMAIN",
            4 => "NOTIMP",
            5 => "REFUSED",
            9 => "NOTAUTH",
            16 => "BADVERS",
            number => return write!(out, "RCODE{number}"),
        };
        out.write_str(name)
    }
}

/// Why a server gave no address.
#[derive(Debug)]
pub(super) struct Failure {
    server: SocketAddr,
    family: Family,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Rcode(Rcode),
    Silent,
    Unreachable(Arc<io::Error>),
    Other(Box<NetError>),
}

impl Failure {
    pub(super) fn new(server: SocketAddr, family: Family, error: NetError) -> Self {
        #[expect(clippy::wildcard_enum_match_arm, reason = "hickory's errors are many, and may become more")]
        let why = match error {
            NetError::Dns(DnsError::NoRecordsFound(none)) => Why::Rcode(Rcode(none.response_code.into())),
            NetError::Dns(DnsError::ResponseCode(code)) => Why::Rcode(Rcode(code.into())),
            NetError::Timeout => Why::Silent,
            NetError::Io(error) => Why::Unreachable(error),
            error => Why::Other(Box::new(error)),
        };
        Self { server, family, why }
    }

    /// True if the server knows: no other one is asked.
    pub(super) fn is_final(&self) -> bool {
        matches!(self.why, Why::Rcode(Rcode::NO_ERROR | Rcode::NO_SUCH_NAME))
    }

    pub(super) fn is_silence(&self) -> bool {
        matches!(self.why, Why::Silent)
    }

    /// Of two, the one that tells more: what a server says rather than that one says nothing.
    pub(super) fn or(self, later: Self) -> Self {
        match self.rcode() {
            Some(_) => self,
            None => later,
        }
    }

    /// What failed in a lookup, if it was a server of ours.
    pub(super) fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    fn rcode(&self) -> Option<Rcode> {
        match self.why {
            Why::Rcode(rcode) => Some(rcode),
            Why::Silent | Why::Unreachable(_) | Why::Other(_) => None,
        }
    }
}

impl Error {
    /// The code with which a server of `dns.servers` refused to name an address, as tools print it: `NXDOMAIN`,
    /// `SERVFAIL`, `REFUSED`; `NOERROR` where the name is there and has no address. Absent for any other error, and where
    /// the system's resolver was asked, which does not tell.
    #[must_use]
    pub fn rcode(&self) -> Option<String> {
        let failure = Failure::of(self.source()?.downcast_ref::<Arc<io::Error>>()?)?;
        failure.rcode().map(|rcode| rcode.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, family, why } = self;
        let address = match family {
            Family::Any => "address",
            Family::Ipv4 => "IPv4 address",
            Family::Ipv6 => "IPv6 address",
        };
        match why {
            Why::Rcode(rcode @ Rcode::NO_ERROR) => write!(out, "{server} says that it has no {address} ({rcode})"),
            Why::Rcode(rcode @ Rcode::NO_SUCH_NAME) => {
                write!(out, "{server} says that there is no such name ({rcode})")
            }
            Why::Rcode(rcode @ Rcode::SERVER_FAILURE) => write!(out, "{server} could not find it out ({rcode})"),
            Why::Rcode(rcode @ Rcode::REFUSED) => write!(out, "{server} does not answer us ({rcode})"),
            Why::Rcode(rcode) => write!(out, "{server} answered with an error ({rcode})"),
            Why::Silent => write!(out, "{server} did not answer"),
            Why::Unreachable(error) => write!(out, "{server} cannot be asked: {error}"),
            Why::Other(error) => write!(out, "{server} gave no answer that could be used: {error}"),
        }
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.why {
            Why::Unreachable(error) => Some(&**error),
            Why::Other(error) => Some(&**error),
            Why::Rcode(_) | Why::Silent => None,
        }
    }
}
