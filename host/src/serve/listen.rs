//! Where the server listens: an address, or a socket in the file system.
//!
//! Runs first. Invariant: a socket that a live server holds is not taken from it, and one that a dead server left is in
//! nobody's way.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Address {
    /// An address and a port; port 0 is any that is free.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Default for Address {
    fn default() -> Self {
        Self::Tcp(SocketAddr::from(([127, 0, 0, 1], 4000)))
    }
}

impl Address {
    /// True if nobody else than this machine can connect.
    #[must_use]
    pub fn is_of_this_machine(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("`unix:` needs a path, as in \"unix:/run/seaway.sock\"".to_owned()),
            Some(path) => Ok(Self::Unix(PathBuf::from(path))),
            None => text.parse().map(Self::Tcp).map_err(|_| {
                format!("`{text}` is no address; write \"127.0.0.1:4000\", \"[::1]:4000\" or \"unix:/run/seaway.sock\"")
            }),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(out),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

/// A connection to a client.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// What accepts connections. Dropping it closes the door.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener, Socket),
}

/// The file of a Unix socket; removed with the listener.
#[cfg(unix)]
#[derive(Debug)]
pub(super) struct Socket(PathBuf);

#[cfg(unix)]
impl Drop for Socket {
    fn drop(&mut self) {
        // One that stays is cleared away by whoever listens there next.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// How long to wait where the process has no descriptor left: each answer that ends gives one back.
const BREATH: Duration = Duration::from_millis(50);

/// Clients that may wait to be accepted on a Unix socket; as many as the standard library lets wait.
#[cfg(unix)]
const BACKLOG: u32 = 128;

/// Bytes that the kernel takes beyond what it has sent (tcp(7), `TCP_NOTSENT_LOWAT`).
#[cfg(target_os = "linux")]
const UNSENT: u32 = 64 << 10;

impl Listener {
    pub(super) async fn bind(address: &Address) -> io::Result<Self> {
        Self::bound(address, false).await
    }

    /// The same; a Unix socket is its owner's alone, before anybody can connect.
    pub(super) async fn bind_private(address: &Address) -> io::Result<Self> {
        Self::bound(address, true).await
    }

    async fn bound(address: &Address, private: bool) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => Ok(Self::Tcp(TcpListener::bind(address).await?)),
            #[cfg(unix)]
            Address::Unix(path) => {
                if tokio::net::UnixStream::connect(path).await.is_ok() {
                    return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"));
                }
                match std::fs::symlink_metadata(path) {
                    Ok(there) if std::os::unix::fs::FileTypeExt::is_socket(&there.file_type()) => {
                        std::fs::remove_file(path)?
                    }
                    Ok(_) => {
                        return Err(io::Error::new(
                            io::ErrorKind::AlreadyExists,
                            "there is a file, which is no socket",
                        ));
                    }
                    Err(_) => {}
                }
                let socket = tokio::net::UnixSocket::new_stream()?;
                socket.bind(path)?;
                let bound = Socket(path.clone());
                if private {
                    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
                }
                Ok(Self::Unix(socket.listen(BACKLOG)?, bound))
            }
            #[cfg(not(unix))]
            Address::Unix(_) => Err(io::Error::new(io::ErrorKind::Unsupported, "there are no Unix sockets here")),
        }
    }

    /// Where it listens: with the port that the system chose, where that was left to it.
    pub(super) fn address(&self) -> Address {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Address::Tcp).unwrap_or_default(),
            #[cfg(unix)]
            Self::Unix(_, Socket(path)) => Address::Unix(path.clone()),
        }
    }

    /// The next connection. Cancel safe.
    pub(super) async fn accept(&self) -> (Box<dyn Stream>, Option<SocketAddr>) {
        loop {
            let accepted = match self {
                Self::Tcp(listener) => listener.accept().await.map(|(socket, peer)| {
                    // Events are small, and each is wanted at once.
                    let _ = socket.set_nodelay(true);
                    // Else the kernel takes megabytes, and then nothing until a third of them is gone: who reads slowly
                    // would seem to read nothing.
                    #[cfg(target_os = "linux")]
                    let _ = socket2::SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT);
                    (Box::new(socket) as Box<dyn Stream>, Some(peer))
                }),
                #[cfg(unix)]
                Self::Unix(listener, _) => {
                    listener.accept().await.map(|(socket, _)| (Box::new(socket) as Box<dyn Stream>, None))
                }
            };
            match accepted {
                Ok(accepted) => return accepted,
                // A client that left the queue is no news; no descriptor left is a reason to wait.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!("no connection can be accepted: {error}");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_ip_and_a_port_or_a_path() {
        for text in ["127.0.0.1:4000", "[::1]:0", "unix:/run/x.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["", "unix:", "4000", ":4000", "localhost:4000", "http://127.0.0.1:1", "127.0.0.1"] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.contains("/run/seaway.sock"), "{error}");
        }
        assert!("[::ffff:127.0.0.1]:1".parse::<Address>().unwrap().is_of_this_machine());
        assert!(!"[::ffff:10.0.0.1]:1".parse::<Address>().unwrap().is_of_this_machine());
    }
}
