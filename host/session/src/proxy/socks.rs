//! SOCKS 5 proxies (RFC 1928), with a user and a password (RFC 1929) where we have them.
//!
//! With `socks5h` the proxy is told the origin's name. With `socks5` it is told an address that we found and egress
//! admitted; where it cannot reach one, the next is tried, each on a connection of its own, as SOCKS wants it.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::timeout;
use tokio_socks::tcp::Socks5Stream;
use tokio_socks::{Error as Socks, IntoTargetAddr as _, TargetAddr};

use super::login::Login;
use super::stream::Stream;
use super::tunnel::Proxy;
use crate::error::Error;
use crate::policy::Policy;
use crate::route::Origin;
use crate::tcp;

/// Asks for the origin by name; the proxy resolves it.
pub(super) async fn by_name(proxy: &Proxy, origin: &Origin, mut stream: tcp::Stream) -> Result<Stream, Error> {
    let target = (origin.host(), origin.port()).into_target_addr().map_err(|error| failed(proxy, error))?;
    ask(proxy, target, &mut stream).await.map_err(|error| failed(proxy, error))?;
    Ok(Stream::plain(stream))
}

/// Asks for one address of the origin after the other. Each but the last may take its share of `proxy.timeout`.
pub(super) async fn through(
    proxy: &Proxy,
    origin: &Origin,
    destination: &[IpAddr],
    policy: &Policy,
    mut stream: tcp::Stream,
) -> Result<Stream, Error> {
    let share = policy.proxy.timeout.0 / u32::try_from(destination.len()).unwrap_or(u32::MAX).max(1);
    let mut left = destination.iter();
    while let Some(address) = left.next() {
        let target = TargetAddr::Ip((*address, origin.port()).into());
        let bound = if left.len() > 0 { share } else { Duration::MAX };
        let asked = timeout(bound, ask(proxy, target, &mut stream)).await;
        match asked.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into())) {
            Ok(()) => return Ok(Stream::told(stream, *address)),
            Err(error) if left.len() > 0 && is_of_address(&error) => {
                stream = tcp::again(&policy.tcp, stream).await.map_err(|error| proxy.unreachable(error))?;
            }
            Err(error) => return Err(failed(proxy, error)),
        }
    }
    Err(proxy.refused("was asked for no address"))
}

async fn ask(proxy: &Proxy, target: TargetAddr<'_>, stream: &mut tcp::Stream) -> Result<(), Socks> {
    match proxy.login.as_ref().map(Login::parts) {
        None => Socks5Stream::connect_with_socket(stream, target).await.map(drop),
        Some((user, password)) => {
            let unfit = |_| Socks::InvalidAuthValues("not UTF-8");
            let (user, password) = (str::from_utf8(user).map_err(unfit)?, str::from_utf8(password).map_err(unfit)?);
            Socks5Stream::connect_with_password_and_socket(stream, target, user, password).await.map(drop)
        }
    }
}

/// What SOCKS can carry of a login (RFC 1929, section 2).
///
/// # Errors
/// What is wrong with it, without a part of it.
pub(super) fn check(login: &Login) -> Result<(), &'static str> {
    let (user, password) = login.parts();
    let fits = |part: &[u8]| (1..=255).contains(&part.len()) && str::from_utf8(part).is_ok();
    match fits(user) && fits(password) {
        true => Ok(()),
        false => Err("SOCKS needs a user and a password, each of 1 to 255 bytes of UTF-8"),
    }
}

/// True if another address may fare better.
fn is_of_address(error: &Socks) -> bool {
    matches!(
        error,
        Socks::GeneralSocksServerFailure
            | Socks::NetworkUnreachable
            | Socks::HostUnreachable
            | Socks::ConnectionRefused
            | Socks::TtlExpired
            | Socks::AddressTypeNotSupported
    ) || matches!(error, Socks::Io(error) if error.kind() == io::ErrorKind::TimedOut)
}

fn failed(proxy: &Proxy, error: Socks) -> Error {
    if let Socks::Io(error) = error {
        let closed = error.kind() == io::ErrorKind::UnexpectedEof;
        return match closed {
            true => proxy.refused("closed the connection before it answered"),
            false => proxy.refused(format_args!("broke the connection: {error}")),
        }
        .with_source(error);
    }
    let is_destination = is_of_address(&error);
    let refused = if is_destination {
        proxy.refused(format_args!("could not reach the destination: {error}"))
    } else if matches!(error, Socks::AuthorizationRequired | Socks::NoAcceptableAuthMethods) && proxy.login.is_none() {
        proxy.refused("wants a user and a password").with_hint(proxy.login_hint(&proxy.server))
    } else if matches!(error, Socks::PasswordAuthFailure(_)) {
        let hint = format!("the user or the password of `{}` is not the proxy's", proxy.chosen_by);
        proxy.refused("did not accept the user and the password").with_hint(hint)
    } else if matches!(error, Socks::ConnectionNotAllowedByRuleset) {
        proxy.refused("does not let this destination through")
    } else if matches!(error, Socks::InvalidResponseVersion) {
        let hint = format!("the URL of a proxy that speaks HTTP begins with http:// (in `{}`)", proxy.chosen_by);
        proxy.refused("does not answer in SOCKS 5").with_hint(hint)
    } else {
        proxy.refused(format_args!("refused the tunnel: {error}"))
    };
    refused.with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_that_socks_cannot_carry_is_refused() {
        let long = "x".repeat(256);
        for (text, fits) in
            [("a:b", true), ("a:", false), (":b", false), (&format!("a:{long}"), false), (&format!("{long}:b"), false)]
        {
            assert_eq!(check(&Login::parse(text.as_bytes()).unwrap()).is_ok(), fits, "{text}");
        }
        assert!(check(&Login::parse(b"a:\xff").unwrap()).is_err());
    }
}
