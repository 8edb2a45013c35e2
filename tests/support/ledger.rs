//! What an origin saw: connections, requests, ends, and what it had to complain of.

use std::net::IpAddr;

use crate::request::Request;

/// The books of an origin.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Connections accepted.
    pub accepted: usize,
    /// Where each of them came from.
    pub peers: Vec<IpAddr>,
    /// Connections open now, as the origin sees it.
    pub open: usize,
    /// The most that were open at once.
    pub peak: usize,
    /// The most sockets to the origin's port that the kernel knew at once, looked at whenever one was accepted.
    pub kernel_peak: usize,
    /// TLS handshakes completed; the names that were asked for.
    pub handshakes: Vec<Option<String>>,
    /// For each of these, whether it resumed an earlier session.
    pub resumed: Vec<bool>,
    /// For each of these, the client's own certificate, where it showed one.
    pub clients: Vec<Option<Vec<u8>>>,
    /// TLS handshakes that failed, and why.
    pub refused: Vec<String>,
    /// Requests in the order in which their heads were complete.
    pub requests: Vec<Request>,
    /// Requests being answered now, and the most at once. One counts until just before the last byte of its answer.
    pub busy: usize,
    /// See `busy`.
    pub busy_peak: usize,
    /// Bytes of answers that the kernel has taken, by the step.
    pub written: usize,
    /// Connections that ended, in order, and how.
    pub ends: Vec<(usize, End)>,
    /// What was not as it should be. An origin that is dropped with complaints fails the test.
    pub complaints: Vec<String>,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer closed it between two requests, or while it waited for an answer.
    Peer,
    /// The peer reset it, or the transport failed.
    Broken,
    /// The origin closed it, as the script said.
    Us,
}

impl Ledger {
    /// How often each connection was used, in the order of accepting.
    #[must_use]
    pub fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.accepted];
        for request in &self.requests {
            uses[request.connection] += 1;
        }
        uses
    }

    /// The targets of the requests, in order.
    #[must_use]
    pub fn targets(&self) -> Vec<&str> {
        self.requests.iter().map(|request| request.target.as_str()).collect()
    }
}
