//! Addresses to a connected socket, by RFC 8305 (Happy Eyeballs).
//!
//! Runs after `dns` and after egress has looked at every address. The first address that answers wins; a slow one gets
//! company after `tcp.happy_eyeballs`, but only where the pool has room for one more socket: the limit holds at every
//! instant, so without room the addresses are tried one after the other.

mod socket;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde::Deserialize;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::error::{Error, Kind};
use crate::policy;
use crate::policy::units::Period;
use crate::pool::Slot;
use crate::stage::Stage;
pub(crate) use socket::{Before, Fate, Handle, Idle, Stream};

/// `[tcp]`: from addresses to a connected socket.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Deadline over all addresses. Default 30 s.
    pub timeout: Period,
    /// Head start of an address over the next one (RFC 8305, section 5). Default 250 ms.
    pub happy_eyeballs: Period,
    /// Addresses of the preferred family before the families alternate (RFC 8305, section 4). Default 1.
    pub interleave: usize,
    /// Probes on a silent connection; `"off"` for none. Default 60 s idle, 30 s apart, 5 times.
    pub keepalive: Keepalive,
    /// Sends small segments at once. Default true.
    pub nodelay: bool,
    /// The address of this machine that connections come from; hosts are reached over its family alone. Default the
    /// system's choice.
    pub local_address: Option<IpAddr>,
    /// How long sent bytes may stay unacknowledged before the kernel ends the connection (TCP_USER_TIMEOUT, RFC 5482).
    /// Linux only: elsewhere it is an error at load. Default the system's, some 15 minutes.
    pub user_timeout: Option<Period>,
}

/// `tcp.keepalive`: SO_KEEPALIVE and its three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "KeepaliveText")]
pub enum Keepalive {
    /// No probes.
    Off,
    /// Probes after silence.
    On(Probes),
}

/// When a silent connection is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Probes {
    /// Silence before the first probe. Default 60 s.
    pub idle: Period,
    /// Time between probes. Default 30 s.
    pub interval: Period,
    /// Unanswered probes before the connection is given up. Default 5.
    pub count: u32,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`\"off\"`, or a table of `idle`, `interval` and `count`")]
enum KeepaliveText {
    Word(String),
    Probes(Probes),
}

impl TryFrom<KeepaliveText> for Keepalive {
    type Error = String;

    fn try_from(text: KeepaliveText) -> Result<Self, String> {
        match text {
            KeepaliveText::Word(word) if word == "off" => Ok(Self::Off),
            KeepaliveText::Word(word) => {
                Err(format!("`{word}` is neither \"off\" nor a table of `idle`, `interval` and `count`"))
            }
            KeepaliveText::Probes(probes) if probes.count == 0 => {
                Err("`count` is zero; write keepalive = \"off\"".to_owned())
            }
            KeepaliveText::Probes(probes) => Ok(Self::On(probes)),
        }
    }
}

impl Default for Probes {
    fn default() -> Self {
        Self { idle: Period::seconds(60), interval: Period::seconds(30), count: 5 }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout: Period::seconds(30),
            happy_eyeballs: Period::milliseconds(250),
            interleave: 1,
            keepalive: Keepalive::On(Probes::default()),
            nodelay: true,
            local_address: None,
            user_timeout: None,
        }
    }
}

/// Refuses what this system cannot do.
///
/// # Errors
/// `tcp.user_timeout` anywhere but on Linux.
pub(crate) fn check(settings: &Settings) -> Result<(), policy::Error> {
    match settings.user_timeout {
        Some(_) if !cfg!(target_os = "linux") => {
            Err(policy::Error::key("tcp.user_timeout", "only Linux has it; leave it out, and see `tcp.keepalive`"))
        }
        Some(_) | None => Ok(()),
    }
}

/// Connects to one of the addresses, which are not empty.
///
/// Each address may take its share of `tcp.timeout`, so that one that does not answer leaves time for the others even
/// where they cannot race. Cancel safe: dropping it closes every socket that it opened.
pub(crate) async fn connect(settings: &Settings, addresses: &[IpAddr], port: u16, slot: Slot) -> Result<Stream, Error> {
    let addresses = interleave(&of_our_family(settings.local_address, addresses)?, settings.interleave);
    let share = settings.timeout.0 / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let room = slot.room();
    let mut waiting = addresses.iter().map(|address| SocketAddr::new(*address, port));
    let mut attempts = FuturesUnordered::new();
    let mut failed = None;
    attempts.extend(waiting.next().map(|address| attempt(settings, address, slot, share)));
    while !attempts.is_empty() {
        let head_start = tokio::time::sleep(settings.happy_eyeballs.0);
        tokio::select! {
            biased;
            Some(ended) = attempts.next() => match ended {
                Ok(stream) => return Ok(stream),
                Err((address, error, slot)) => {
                    failed = Some((address, error));
                    attempts.extend(waiting.next().map(|address| attempt(settings, address, slot, share)));
                }
            },
            () = head_start, if waiting.len() > 0 => {
                if let Some(slot) = room.extra() {
                    attempts.extend(waiting.next().map(|address| attempt(settings, address, slot, share)));
                }
            }
        }
    }
    Err(failure(failed, addresses.len()))
}

/// Connects once more to where `stream` leads, and closes that one first: there is never one socket more than slots.
pub(crate) async fn again(settings: &Settings, stream: Stream) -> Result<Stream, Error> {
    let gone = |error| Error::new(Stage::Tcp, Kind::Unavailable, format!("the connection is gone: {error}"));
    let peer = stream.address().map_err(gone)?;
    let slot = stream.close().ok_or_else(|| gone(io::ErrorKind::ResourceBusy.into()))?;
    let ended = attempt(settings, peer, slot, settings.timeout.0).await;
    ended.map_err(|(address, error, _slot)| failure(Some((address, error)), 1))
}

/// One address. A failure gives the slot back, for the next.
async fn attempt(
    settings: &Settings,
    address: SocketAddr,
    slot: Slot,
    share: Duration,
) -> Result<Stream, (SocketAddr, io::Error, Slot)> {
    let connected = async {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(local) = settings.local_address {
            socket.bind(SocketAddr::new(local, 0)).map_err(|error| cannot_bind(local, error))?;
        }
        let socket = socket.connect(address).await?;
        tune(settings, &socket)?;
        Ok(socket)
    };
    match timeout(share, connected).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(stream) => Ok(Stream::new(stream, slot, address.ip())),
        Err(error) => Err((address, error, slot)),
    }
}

/// Sets what the policy says of a connected socket.
fn tune(settings: &Settings, socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(settings.nodelay)?;
    if let Keepalive::On(Probes { idle, interval, count }) = settings.keepalive {
        let probes = TcpKeepalive::new().with_time(idle.0).with_interval(interval.0).with_retries(count);
        SockRef::from(socket).set_tcp_keepalive(&probes)?;
    }
    #[cfg(target_os = "linux")]
    if let Some(timeout) = settings.user_timeout {
        SockRef::from(socket).set_tcp_user_timeout(Some(timeout.0))?;
    }
    Ok(())
}

/// The addresses that can be reached from `local`.
fn of_our_family(local: Option<IpAddr>, addresses: &[IpAddr]) -> Result<Vec<IpAddr>, Error> {
    let Some(local) = local else { return Ok(addresses.to_vec()) };
    let ours: Vec<IpAddr> = addresses.iter().copied().filter(|address| address.is_ipv4() == local.is_ipv4()).collect();
    if ours.is_empty() && !addresses.is_empty() {
        let (our, their) = if local.is_ipv4() { ("IPv4", "IPv6") } else { ("IPv6", "IPv4") };
        let message = format!("`tcp.local_address` of {local} is {our}, and the host has {their} addresses only");
        return Err(Error::new(Stage::Tcp, Kind::Unavailable, message)
            .with_hint(format!("write an {their} address of this machine, or leave `tcp.local_address` out")));
    }
    Ok(ours)
}

/// A local address that is none; that it has no port left is another matter.
fn cannot_bind(local: IpAddr, error: io::Error) -> io::Error {
    match error.kind() == io::ErrorKind::AddrInUse {
        true => error,
        false => io::Error::other(format!("`tcp.local_address` of {local} cannot be used: {error}")),
    }
}

/// The last failure of all; it stands for the others.
fn failure(failed: Option<(SocketAddr, io::Error)>, addresses: usize) -> Error {
    let Some((address, error)) = failed else {
        return Error::new(Stage::Tcp, Kind::Unavailable, "there is no address to connect to");
    };
    let is = |kind| error.kind() == kind;
    let no_port = is(io::ErrorKind::AddrNotAvailable) || is(io::ErrorKind::AddrInUse);
    let no_file = matches!(error.raw_os_error(), Some(EMFILE | ENFILE));
    let (kind, what) = if is(io::ErrorKind::ConnectionRefused) {
        (Kind::ConnectionRefused, "refused the connection".to_owned())
    } else if is(io::ErrorKind::TimedOut) {
        (Kind::ConnectTimeout, "did not answer in its share of `tcp.timeout`".to_owned())
    } else if no_port || no_file {
        (Kind::ConnectionLimit, format!("was not tried: {error}"))
    } else {
        (Kind::Unavailable, format!("cannot be reached: {error}"))
    };
    let others = if addresses > 1 { format!(" (the last of {addresses} addresses)") } else { String::new() };
    let failed = Error::new(Stage::Tcp, kind, format!("{address} {what}{others}")).with_source(error);
    match no_file {
        true => failed.with_hint("raise `ulimit -n`, or lower `pool.limit` or `pool.descriptors`"),
        false => failed,
    }
}

/// No descriptor is left, for the process or for the system (Linux and the BSDs agree on the numbers).
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;

/// The order in which addresses are tried: `first` of the resolver's preferred family, then the families in turn
/// (RFC 8305, section 4).
fn interleave(addresses: &[IpAddr], first: usize) -> Vec<IpAddr> {
    let preferred = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (ours, others): (Vec<IpAddr>, Vec<IpAddr>) =
        addresses.iter().partition(|address| address.is_ipv6() == preferred);
    let lead = first.max(1).min(ours.len());
    let mut order = ours[..lead].to_vec();
    let (mut ours, mut others) = (ours[lead..].iter(), others.iter());
    loop {
        match (others.next(), ours.next()) {
            (None, None) => return order,
            (other, our) => order.extend(other.into_iter().chain(our)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_alternate_after_the_first_of_the_preferred_one() {
        let addresses: Vec<IpAddr> =
            ["::1", "::2", "::3", "10.0.0.1", "10.0.0.2"].iter().map(|text| text.parse().unwrap()).collect();
        let order = |first| interleave(&addresses, first).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(order(1), "::1 10.0.0.1 ::2 10.0.0.2 ::3");
        assert_eq!(order(2), "::1 ::2 10.0.0.1 ::3 10.0.0.2");
        assert_eq!(order(9), "::1 ::2 ::3 10.0.0.1 10.0.0.2");
        assert!(interleave(&[], 1).is_empty());
    }

    #[test]
    fn only_addresses_of_the_local_ones_family_are_tried() {
        let addresses: Vec<IpAddr> = ["::1", "10.0.0.1", "::2"].iter().map(|text| text.parse().unwrap()).collect();
        let tried = |local: &str, addresses: &[IpAddr]| {
            let ours = of_our_family(Some(local.parse().unwrap()), addresses)?;
            Ok(ours.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(of_our_family(None, &addresses).unwrap(), addresses);
        assert_eq!(tried("10.9.9.9", &addresses).unwrap(), "10.0.0.1");
        assert_eq!(tried("::9", &addresses).unwrap(), "::1 ::2");
        let error: Error = tried("10.9.9.9", &addresses[..1]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "tcp: `tcp.local_address` of 10.9.9.9 is IPv4, and the host has IPv6 addresses only"
        );
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_socket_is_tuned_as_the_policy_says() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let before = SockRef::from(&socket).tcp_user_timeout().unwrap();
        tune(&Settings::default(), &socket).unwrap();
        let tuned = SockRef::from(&socket);
        assert_eq!((tuned.tcp_user_timeout().unwrap(), tuned.tcp_nodelay().unwrap()), (before, true));
        assert_eq!(tuned.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
        let settings = Settings { user_timeout: Some(Period::seconds(7)), nodelay: false, ..Settings::default() };
        tune(&settings, &socket).unwrap();
        let tuned = SockRef::from(&socket);
        assert_eq!(tuned.tcp_user_timeout().unwrap(), Some(Duration::from_secs(7)));
        assert!(!tuned.tcp_nodelay().unwrap());
    }

    #[test]
    fn what_failed_last_says_what_and_where() {
        let address = SocketAddr::from(([192, 0, 2, 1], 443));
        let error = failure(Some((address, io::ErrorKind::ConnectionRefused.into())), 2);
        assert_eq!(error.kind(), Kind::ConnectionRefused);
        assert_eq!(error.to_string(), "tcp: 192.0.2.1:443 refused the connection (the last of 2 addresses)");
        let error = failure(Some((address, io::Error::from_raw_os_error(EMFILE))), 1);
        assert_eq!(error.kind(), Kind::ConnectionLimit);
        assert!(error.hint().is_some_and(|hint| hint.contains("pool.descriptors")));
    }
}
