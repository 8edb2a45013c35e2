//! What the kernel says about sockets: the count that no program can talk its way around.
//!
//! Asked over netlink (sock_diag(7)), which looks at one port; `/proc/net/tcp` holds every socket of the machine, and takes
//! a hundred times as long while thousands of connections come and go.

use std::collections::HashSet;
use std::io::{Read as _, Write as _};

use socket2::{Domain, Protocol, Socket, Type};

/// Sockets of this machine over IPv4 that are held by a program and lead, or are on their way, to `port`.
///
/// A socket that its program has closed is not counted, though the kernel keeps it for a while: it has no inode any more.
#[must_use]
pub fn sockets_to(port: u16) -> usize {
    count(port, HELD)
}

/// The same, as a new peak: a number above `known` counts only if it stays. While another test starts a program, the child
/// holds copies of this process's sockets until that program runs, and so keeps what was closed meanwhile. A test of one
/// thread stands still here, so a limit that was really passed shows in every look.
#[must_use]
pub fn peak_to(port: u16, known: usize) -> usize {
    let mut least = sockets_to(port);
    for _ in 0..5 {
        if least <= known {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(4));
        least = least.min(sockets_to(port));
    }
    least
}

/// Of these, how many wait to be closed by us after the peer has closed (CLOSE_WAIT).
#[must_use]
pub fn close_waits_to(port: u16) -> usize {
    count(port, 1 << CLOSE_WAIT)
}

const AF_NETLINK: i32 = 16;
const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const AF_INET: u8 = 2;
const IPPROTO_TCP: u8 = 6;
/// The kernel's numbers of TCP's states.
const TIME_WAIT: u32 = 6;
const CLOSE_WAIT: u32 = 8;
const LISTEN: u32 = 10;
/// All states that a connection's socket can have while a program holds it.
const HELD: u32 = 0xfff & !(1 << TIME_WAIT) & !(1 << LISTEN);
/// Lengths of `nlmsghdr`, `inet_diag_req_v2`, and where `inet_diag_msg` keeps its inode.
const HEADER: usize = 16;
const REQUEST: usize = 56;
const INODE: usize = HEADER + 68;

fn count(port: u16, states: u32) -> usize {
    let mut socket = Socket::new(Domain::from(AF_NETLINK), Type::RAW, Some(Protocol::from(NETLINK_SOCK_DIAG)))
        .expect("Linux has netlink");
    let mut question = vec![0; HEADER + REQUEST];
    question[0] = u8::try_from(HEADER + REQUEST).expect("it is short");
    question[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    question[6..8].copy_from_slice(&NLM_F_REQUEST_DUMP.to_ne_bytes());
    question[16..18].copy_from_slice(&[AF_INET, IPPROTO_TCP]);
    question[20..24].copy_from_slice(&states.to_ne_bytes());
    // The socket's own port, any; then its peer's.
    question[26..28].copy_from_slice(&port.to_be_bytes());
    socket.write_all(&question).expect("the kernel takes the question");
    let mut inodes = HashSet::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = socket.read(&mut buffer).expect("the kernel answers");
        let mut rest = &buffer[..length];
        while rest.len() >= HEADER {
            let (length, kind) = (number(rest, 0) as usize, u16::from_ne_bytes([rest[4], rest[5]]));
            match kind {
                NLMSG_DONE => return inodes.len(),
                NLMSG_ERROR => panic!("the kernel refuses to list sockets: {:?}", &rest[..length]),
                // The answer is made in pieces, and a socket that moves meanwhile shows twice.
                _ => inodes.extend(Some(number(rest, INODE)).filter(|inode| *inode != 0)),
            };
            rest = &rest[length.next_multiple_of(4).clamp(HEADER, rest.len())..];
        }
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
}
