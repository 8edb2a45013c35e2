//! The HTTP session that completions leave through: one policy, one pool, nine stages.
//!
//! [`Session::send`] is the path, and the modules below stand in its order: `egress credentials pool dns tcp proxy tls
//! wire body` are each a module, a section of the policy file, the stage of an error, a tracing span and a label of the
//! figures; `retry` says when the path from `pool` to `wire` is walked again. The crate knows nothing of WebAssembly.

mod stage;
pub mod policy;
mod snapshot;
mod swap;
mod lent;
mod route;
pub mod egress;
pub mod credentials;
pub mod retry;
pub mod pool;
mod connector;
pub mod dns;
pub mod tcp;
pub mod proxy;
pub mod tls;
pub mod wire;
pub mod body;
pub mod monitor;
pub mod drain;
mod error;
mod sys;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::FutureExt as _;

pub use body::{RequestBody, ResponseBody};
pub use drain::Drained;
pub use error::{BoxError, Error, Kind};
pub use monitor::{Details, Figures, Handshake, Lookup, Metrics, Monitor, Record, Share, Signal, Span, Timings, Via};
pub use policy::Policy;
pub use pool::Domain;
pub use route::{Origin, Scheme};
pub use stage::Stage;
pub use swap::Retiring;

use body::{Carrier, Raw};
use dns::Addresses;
use lent::Lower;
use monitor::{About, Counters, Exchange};
use policy::units::Period;
use pool::{Pool, Slot, SlotId};
use retry::{Attempts, Next};
use route::Route;
use snapshot::{Scope, Snapshot};
use stage::Deadline;
use wire::{FirstByte, Io};

/// The variables that a policy may read: those of the process, of a file, or none. The session itself reads no other.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

impl Environment {
    /// The value of a variable; an empty one counts as absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

impl std::fmt::Debug for Environment {
    /// Names only: values may be secrets.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_set().entries(self.0.keys()).finish()
    }
}

/// Deadlines that the caller of one exchange sets; they only ever shorten the policy's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timeouts {
    /// Waiting for a connection and opening it, together.
    pub connect: Option<Duration>,
    /// From the request sent to the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// The longest silence of the body.
    pub between_bytes: Option<Duration>,
}

/// What the caller of one exchange says beside the request.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// The caller's own deadlines.
    pub timeouts: Timeouts,
    /// Where the exchange's times go.
    pub record: Record,
    /// Whom the caller shares connections with, under `pool.isolation = "guest"`. The default is one domain for all.
    pub domain: Domain,
}

/// The destinations that are allowed, and trusted with addresses, without the policy naming them.
#[derive(Clone, Debug, Default)]
pub struct Destinations {
    /// Rows of the built-in provider table; they are refused once `egress.allow` is given.
    pub built_in: Vec<Destination>,
    /// Base URLs that the operator wrote in the file; always allowed, and may be private.
    pub written: Vec<Destination>,
}

/// One destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Where requests go.
    pub origin: Origin,
    /// True if the row is marked local: it may be loopback.
    pub local: bool,
}

/// The HTTP session: one policy, one pool, shared by all callers. Cheap to clone.
///
/// When the last clone is dropped, idle connections close; answers that are being read run on to their end.
#[derive(Clone, Debug)]
pub struct Session {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// What every exchange takes one of, at its start, and keeps to its end.
    snapshot: ArcSwap<Snapshot>,
    /// Held while a policy is put in the place of another.
    swapping: Mutex<()>,
    pool: Pool,
    counters: Arc<Counters>,
}

impl Inner {
    /// The newest policy, with the files of `[tls]` as they are now.
    fn snapshot(&self) -> Arc<Snapshot> {
        let snapshot = self.snapshot.load_full();
        if !snapshot.is_due() {
            return snapshot;
        }
        // A change is told once: who looks must be able to put it in force, and who cannot leaves it to the next.
        let _one_at_a_time = match self.swapping.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return snapshot,
        };
        let snapshot = self.snapshot.load_full();
        let Some(renewed) = snapshot.renewed() else { return snapshot };
        let renewed = Arc::new(renewed);
        self.obey(Arc::clone(&renewed));
        tracing::info!("the files of [tls] have changed and are in force");
        renewed
    }

    /// What an exchange that comes now is under.
    ///
    /// # Errors
    /// The session is draining.
    fn admit(&self) -> Result<Arc<Snapshot>, Error> {
        self.pool.admit().map(|()| self.snapshot())
    }

    /// Every exchange from now on is under this policy.
    fn obey(&self, snapshot: Arc<Snapshot>) {
        let generation = snapshot.generation;
        self.counters.listeners.obey(snapshot.base.policy.monitor.signals);
        self.snapshot.store(Arc::clone(&snapshot));
        self.pool.swap(snapshot);
        self.counters.tell(About::default(), Signal::Swapped { generation });
    }
}

impl Session {
    /// A session under `policy`. `environment` is where the policy's variables are read, once; `destinations` are allowed
    /// beside those that the policy names.
    ///
    /// # Errors
    /// What of the policy cannot be used: a file, a variable, an empty certificate store.
    pub fn new(policy: Policy, environment: &Environment, destinations: Destinations) -> Result<Self, policy::Error> {
        Self::build(policy, environment, destinations, Lower::Own)
    }

    fn build(
        policy: Policy,
        environment: &Environment,
        destinations: Destinations,
        lower: Lower,
    ) -> Result<Self, policy::Error> {
        let counters = Arc::new(Counters::default());
        let snapshot = Arc::new(Snapshot::build(policy, environment, destinations, &counters, lower, None)?);
        counters.listeners.obey(snapshot.base.policy.monitor.signals);
        let pool = Pool::new(Arc::clone(&snapshot), Arc::clone(&counters));
        Ok(Self {
            inner: Arc::new(Inner { snapshot: ArcSwap::new(snapshot), swapping: Mutex::default(), pool, counters }),
        })
    }

    /// Puts a new policy in the place of the old one, for every clone of the session. It is built whole first: on an error
    /// the old one stays. Arguments as for [`Session::new`].
    ///
    /// Exchanges that run, or wait, end under the policy that they began with; every later one is under the new. The
    /// pool's limits hold for both together: a lower one closes what is idle now, and what is in use as it ends. An idle
    /// connection stays if the new policy would open it just so; else it closes now.
    ///
    /// # Errors
    /// What of the new policy cannot be used.
    pub fn swap(
        &self,
        policy: Policy,
        environment: &Environment,
        destinations: Destinations,
    ) -> Result<(), policy::Error> {
        let Inner { snapshot, swapping, pool: _, counters } = &*self.inner;
        let _one_at_a_time = swapping.lock().unwrap_or_else(PoisonError::into_inner);
        let old = snapshot.load();
        let lower = old.lower.clone();
        let new = Snapshot::build(policy, environment, destinations, counters, lower, Some(&old))?;
        self.inner.obey(Arc::new(new));
        counters.add(|tally| &tally.swapped);
        Ok(())
    }

    /// The policy that the next exchange is under.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy::clone(&self.inner.snapshot.load().base.policy)
    }

    /// Sends one request and returns the head of its answer; the body is read from it. One policy snapshot holds from
    /// here to the last byte. The URI is absolute; redirects are the caller's business.
    ///
    /// Cancel safe: dropping the future, or the answer's body, ends the exchange and closes its connection, or resets its
    /// stream where others share that; a connection that was being opened for it goes to the next who waits.
    ///
    /// # Errors
    /// As stage and kind, with the origin and the time that had passed. A request is never sent a second time unless
    /// nothing of it had left, a server of HTTP/2 says that it has not looked at it, or `[retry]` says so.
    pub async fn send(
        &self,
        request: http::Request<RequestBody>,
        call: Call,
    ) -> Result<http::Response<ResponseBody>, Error> {
        let Inner { pool, counters, .. } = &*self.inner;
        let snapshot = self.inner.admit()?;
        let mut exchange = Exchange::begin(call.record, counters);
        let (mut head, body) = request.into_parts();

        let origin = Stage::Egress.decide(&exchange, || route::destination(&head.uri));
        let origin = origin.map_err(|error| exchange.failed(error))?;
        let policy = &snapshot.scope(&origin).policy;
        exchange.end_after(policy.total);
        exchange.record.describe(&snapshot, &origin, &head, call.domain);
        let admitted = Stage::Egress.decide(&exchange, || snapshot.egress.admit(&origin, &head.method));
        let route = admitted.and_then(|trust| snapshot.route(&origin, trust, call.domain));
        let route = Arc::new(route.map_err(|error| exchange.failed_at(&origin, error))?);
        exchange.heads_for(&route);
        let origin = route.origin();
        let answer = async {
            let signing = attach(&snapshot, &route, &mut head, &exchange).await?;

            let body = wire::prepare(&mut head, body, policy, signing.is_some(), &exchange).await?;
            if let Some(signing) = signing {
                Stage::Credentials.decide(&exchange, || signing.sign(origin, &mut head, body.whole()))?;
            }
            let mut request = http::Request::from_parts(head, body);
            let first_byte = FirstByte::new(policy.wire.timeout, call.timeouts.first_byte);
            let mut attempts = Attempts::new(policy, &snapshot.budgets, &exchange);
            loop {
                let connect = connect_deadline(policy, call.timeouts);
                if let Lower::Transport(transport) = &snapshot.lower {
                    let turn = Stage::Pool.run(&exchange, connect, pin!(transport.ready())).await?;
                    exchange.sends(request.body().length());
                    let answered = Box::pin(turn.exchange(request, origin, first_byte));
                    let answer = Stage::Wire.run(&exchange, None, pin!(answered)).await;
                    let answer = answer.map_err(wire::out_of_time)?;
                    return Ok((answer, Carrier::Transport(Arc::clone(&route))));
                }
                let mut lease =
                    Stage::Pool.run(&exchange, connect, pin!(pool.lease(&snapshot, &route, &exchange))).await?;
                let kept = attempts.keep(&request, &mut lease);
                let sent = wire::exchange(&mut lease, request, first_byte, kept.is_some());
                let sent = Stage::Wire.run(&exchange, None, pin!(sent)).await;
                let next = attempts.weigh(sent, kept, lease);
                match next.map_err(|error| wire::out_of_time(proxy::forwarding(&route, error)))? {
                    Next::Answer(answer, lease) => {
                        proxy::accept(&route, &answer, &exchange.record)?;
                        return Ok((answer.map(Raw::Wire), Carrier::Connection(lease)));
                    }
                    Next::Again(again) => request = again,
                }
                attempts.rest().await?;
            }
        };
        let (answer, carrier) = answer.await.map_err(|error| exchange.failed_at(origin, error))?;

        let (mut head, body) = answer.into_parts();
        exchange.answered(head.status);
        let persistence = wire::receive(head.version, &mut head.headers);
        let arrived = exchange.arrived;
        let between_bytes = call.timeouts.between_bytes;
        let body = ResponseBody::new(&head.headers, body, carrier, persistence, exchange, policy, between_bytes)
            .map_err(|error| error.at(origin, arrived.elapsed()))?;
        Ok(http::Response::from_parts(head, body))
    }

    /// What all exchanges took together, and what the pool holds now, for Prometheus.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics::new(&self.inner.counters, self.figures(), self.inner.pool.sockets())
    }

    /// What all exchanges took together, and what the pool holds now.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let mut figures = self.inner.counters.figures();
        self.inner.pool.count(&mut figures);
        figures
    }
}

/// Puts secrets into the head; the signature that comes back is to be made of the request as it leaves. Waits only where a
/// command has yet to tell a secret.
async fn attach(
    snapshot: &Snapshot,
    route: &Route,
    head: &mut http::request::Parts,
    exchange: &Exchange,
) -> Result<Option<credentials::Signing>, Error> {
    let credentials = &snapshot.credentials;
    let due = credentials.due(route, &head.uri, &head.headers);
    let mut apply = || credentials.apply(route, &head.uri, &mut head.headers);
    match due {
        None => Stage::Credentials.decide(exchange, apply),
        Some(due) => Stage::Credentials.run(exchange, None, pin!(due.map(|()| apply()))).await,
    }
}

/// The end of waiting and opening together: the policy's, or the caller's where that is sooner.
fn connect_deadline(policy: &Policy, caller: Timeouts) -> Option<Deadline> {
    let within = |length, name| Deadline::within(length, name, Kind::ConnectTimeout);
    Deadline::earliest(within(policy.connect.0, "connect"), within(caller.connect, "connect-timeout"))
}

/// A connection, opened.
pub(crate) struct Opened {
    pub(crate) slot: SlotId,
    /// The origin's address; absent where a proxy found it.
    pub(crate) peer: Option<IpAddr>,
    pub(crate) sender: wire::Sender,
    pub(crate) driver: wire::Driver,
}

/// Opens a connection of a route: the lower half of the path, in a task of the pool.
pub(crate) async fn open(snapshot: &Snapshot, route: &Route, exchange: &Exchange, slot: Slot) -> Result<Opened, Error> {
    let Scope { policy, tls, .. } = snapshot.scope(route.origin());
    let origin = route.origin();

    let stream = match &snapshot.lower {
        Lower::Connector(connector) => {
            let deadline = within(policy.tcp.timeout, "tcp.timeout", Kind::ConnectTimeout);
            let connected = pin!(connector.connect(origin, slot));
            Stage::Tcp.run(exchange, deadline, connected).await.map(proxy::Stream::lent)?
        }
        Lower::Own | Lower::Transport(_) => Box::pin(reach(snapshot, route, exchange, slot)).await?,
    };
    let io = match origin.scheme() {
        Scheme::Http => Io::Plain(stream),
        Scheme::Https => {
            let deadline = within(policy.tls.timeout, "tls.timeout", Kind::ConnectTimeout);
            let shaken = pin!(tls.connect(origin.host(), route, stream));
            let stream = Box::new(Stage::Tls.run(exchange, deadline, shaken).await?);
            exchange.shook_hands(tls::handshake(stream.get_ref().1));
            Io::Tls(stream)
        }
    };
    let (slot, peer) = (io.slot(), io.peer());
    let (sender, driver) = wire::handshake(&policy.wire, route, io).await?;
    Ok(Opened { slot, peer, sender, driver })
}

/// Finds a way to the route's origin: names to addresses, addresses to a socket, and through the proxy, if there is one.
async fn reach(snapshot: &Snapshot, route: &Route, exchange: &Exchange, slot: Slot) -> Result<proxy::Stream, Error> {
    let Snapshot { egress, .. } = snapshot;
    let Scope { policy, resolver, proxies, .. } = snapshot.scope(route.origin());
    let (origin, proxy) = (route.origin(), route.proxy());

    let resolve = async |host| {
        let deadline = within(policy.dns.timeout, "dns.timeout", Kind::DnsTimeout);
        let addresses = Stage::Dns.run(exchange, deadline, pin!(resolver.answer(&policy.dns, host, exchange))).await;
        addresses.or_else(|error| resolver.stale(&policy.dns, host, exchange, error))
    };
    // The origin's addresses, unless a proxy finds them for us.
    let mut destination = Addresses::default();
    if route.is_resolved_here() {
        destination = resolve(origin.host()).await.map_err(|error| proxies.hint(error))?;
        destination = Stage::Egress.decide(exchange, || route.admit(egress, &destination))?;
    }
    // Whom we dial: the proxy, or the origin itself.
    let unreachable = |error| match proxy {
        Some(proxy) => proxy.unreachable(error),
        None => proxies.hint(error),
    };
    let (addresses, port) = match proxy {
        Some(proxy) => (resolve(proxy.host()).await.map_err(unreachable)?, proxy.port()),
        None => (Arc::clone(&destination), origin.port()),
    };

    let deadline = within(policy.tcp.timeout, "tcp.timeout", Kind::ConnectTimeout);
    let connected = pin!(tcp::connect(&policy.tcp, &addresses, port, slot));
    let stream = Stage::Tcp.run(exchange, deadline, connected).await.map_err(unreachable)?;

    match proxy {
        None => Ok(proxy::Stream::direct(stream)),
        Some(proxy) => {
            let deadline = within(policy.proxy.timeout, "proxy.timeout", Kind::ConnectTimeout);
            let mut tunnel = Box::pin(proxies.tunnel(proxy, route, &destination, policy, stream, &exchange.record));
            Stage::Proxy.run(exchange, deadline, tunnel.as_mut()).await.map_err(|error| proxy.out_of_time(error))
        }
    }
}

/// The end of a stage of opening.
fn within(period: Period, name: &'static str, kind: Kind) -> Option<Deadline> {
    Deadline::within(Some(period.0), name, kind)
}
