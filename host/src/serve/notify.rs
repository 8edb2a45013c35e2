//! Tells systemd how far the server is: <https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>
//!
//! Beside the path, at its begin and its end. Where nobody asked to be told, nothing happens.

use seaway_session::Environment;

/// Who is told; nobody without `NOTIFY_SOCKET`.
#[derive(Clone, Debug)]
pub(super) struct Notify(Option<String>);

impl Notify {
    pub(super) fn of(environment: &Environment) -> Self {
        Self(environment.get("NOTIFY_SOCKET").map(str::to_owned))
    }

    /// It takes calls.
    pub(super) fn ready(&self) {
        self.tell("READY=1");
    }

    /// It is about to end.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, state: &str) {
        let Some(socket) = &self.0 else { return };
        if let Err(error) = send(socket, state) {
            tracing::warn!("systemd is not told `{state}`: {error}");
        }
    }
}

#[cfg(target_os = "linux")]
fn send(socket: &str, state: &str) -> std::io::Result<()> {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    // A name that begins with `@` is in the abstract namespace.
    let address = match socket.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(not(target_os = "linux"))]
fn send(_: &str, _: &str) -> std::io::Result<()> {
    Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "there is no systemd here"))
}
