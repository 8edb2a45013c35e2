//! What the kernel knows about a TCP connection and no maintained crate asks it: how many bytes the peer has acknowledged.
//!
//! Linux only; elsewhere the answer is that it is not known. Neither rustix, socket2 nor nix reads TCP_INFO.

use std::io;

use tokio::net::TcpStream;

/// A connection's facts, all of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Bytes that the peer's kernel has acknowledged since the connection was opened (tcpi_bytes_acked, since Linux 4.1).
    pub(crate) acknowledged: u64,
    /// True while neither side has closed, as far as our kernel has heard: also a FIN behind unread bytes ends it.
    pub(crate) established: bool,
    /// True if the connection is over: the kernel takes nothing more from the peer, so the number is final.
    pub(crate) over: bool,
}

/// Asks the kernel, by getsockopt(2) with TCP_INFO (tcp(7)).
///
/// # Errors
/// The kernel does not say.
#[cfg(all(target_os = "linux", any(target_env = "gnu", target_env = "musl")))]
#[expect(unsafe_code, reason = "no maintained crate reads TCP_INFO")]
pub(crate) fn facts(socket: &TcpStream) -> io::Result<Facts> {
    use std::mem::{MaybeUninit, offset_of};
    use std::os::fd::AsRawFd as _;

    use libc::{IPPROTO_TCP, TCP_INFO, getsockopt, socklen_t, tcp_info};

    /// `TCP_ESTABLISHED` and `TCP_CLOSE` of the kernel's `enum` of states.
    const ESTABLISHED: u8 = 1;
    const CLOSED: u8 = 7;
    let mut info = MaybeUninit::<tcp_info>::zeroed();
    let mut length = size_of::<tcp_info>() as socklen_t;
    // SAFETY: the descriptor is open while `socket` is borrowed; the kernel writes at most `length` bytes into `info`, which
    // has so many, and says in `length` how many it wrote.
    let result =
        unsafe { getsockopt(socket.as_raw_fd(), IPPROTO_TCP, TCP_INFO, info.as_mut_ptr().cast(), &raw mut length) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if (length as usize) < offset_of!(tcp_info, tcpi_bytes_acked) + size_of::<u64>() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    // SAFETY: every field is a number, for which all bits are a value, and what the kernel did not write is zero.
    let info = unsafe { info.assume_init() };
    let state = info.tcpi_state;
    Ok(Facts { acknowledged: info.tcpi_bytes_acked, established: state == ESTABLISHED, over: state == CLOSED })
}

#[cfg(not(all(target_os = "linux", any(target_env = "gnu", target_env = "musl"))))]
pub(crate) fn facts(_socket: &TcpStream) -> io::Result<Facts> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use socket2::SockRef;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// What was acknowledged is counted, and the count outlives the connection while its descriptor is open.
    #[tokio::test]
    async fn acknowledged_bytes_are_counted_to_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        let before = facts(&socket).unwrap();
        socket.write_all(b"0123456789").await.unwrap();
        let mut heard = [0; 10];
        peer.read_exact(&mut heard).await.unwrap();
        peer.write_all(b"x").await.unwrap();
        socket.read_exact(&mut heard[..1]).await.unwrap();
        let after = facts(&socket).unwrap();
        assert_eq!(after, Facts { acknowledged: before.acknowledged + 10, ..before });
        assert!(before.established && !before.over);
        SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        assert!(socket.read(&mut heard).await.is_err());
        assert_eq!(facts(&socket).unwrap(), Facts { over: true, established: false, ..after });
    }
}
