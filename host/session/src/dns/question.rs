//! One server asked for one name: A and AAAA at once, over UDP, and over TCP where an answer does not fit.
//!
//! Runs within a lookup, which owns all that is opened here: a question holds no socket beyond its end. Nothing is cached
//! and no name is completed or looked up elsewhere; that is `names`' and `dns.hosts`' to do.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use futures::future::{self, Either};
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ProtocolConfig, ResolveHosts, ResolverConfig, ResolverOpts,
    ServerOrderingStrategy,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::udp::UdpClientStream;
use hickory_resolver::net::xfer::DnsExchange;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{ConnectionProvider, PoolContext, Resolver};
use tokio::time::timeout;

use super::Family;
use super::answer::Answer;
use super::failure::Failure;

/// How long the second family is waited for once the first one has an address. RFC 8305, section 3, has 50 ms for each
/// connection; here the wait is once a lookup, and who is not waited for is missed for as long as the answer lives.
const SECOND_FAMILY: Duration = Duration::from_millis(500);

/// Silence after which a question is put again. A resolver that has to ask others first takes longer than hickory's
/// 333 ms, and would have each of its questions twice.
const AGAIN: Duration = Duration::from_secs(1);

/// Asks `server`, for no longer than `patience`.
///
/// Cancel safe: dropping it closes its sockets.
pub(super) async fn ask(
    server: SocketAddr,
    name: &Name,
    family: Family,
    patience: Duration,
) -> Result<Answer, Failure> {
    let failed = |error| Failure::new(server, family, error);
    let resolver = resolver(server, patience).map_err(failed)?;
    let lookup = |record| lookup(&resolver, name, record);
    let (aaaa, a) = match family {
        Family::Ipv4 => (None, Some(lookup(RecordType::A).await)),
        Family::Ipv6 => (Some(lookup(RecordType::AAAA).await), None),
        Family::Any => {
            let (aaaa, a) = (pin!(lookup(RecordType::AAAA)), pin!(lookup(RecordType::A)));
            match future::select(aaaa, a).await {
                Either::Left((aaaa, a)) => {
                    let a = second(aaaa.is_ok(), a).await;
                    (Some(aaaa), a)
                }
                Either::Right((a, aaaa)) => (second(a.is_ok(), aaaa).await, Some(a)),
            }
        }
    };
    both(aaaa, a, failed)
}

/// The other family's outcome. Absent if it keeps us waiting though there is an address already.
async fn second(found: bool, lookup: impl Future<Output = Outcome>) -> Option<Outcome> {
    match found {
        true => timeout(SECOND_FAMILY, lookup).await.ok(),
        false => Some(lookup.await),
    }
}

/// The addresses of one family, and the shortest life of the records that led to them.
type Outcome = Result<(Vec<IpAddr>, Duration), NetError>;

/// One answer of two families' outcomes: IPv6 first, as RFC 6724 prefers it (section 2.1); `tcp` is quick to pass over
/// addresses of a family that this machine does not have.
fn both(aaaa: Option<Outcome>, a: Option<Outcome>, failed: impl Fn(NetError) -> Failure) -> Result<Answer, Failure> {
    let (mut addresses, mut life, mut failure) = (Vec::new(), None, None::<Failure>);
    for outcome in [aaaa, a].into_iter().flatten() {
        match outcome {
            Ok((found, ttl)) => {
                addresses.extend(found);
                life = Some(life.map_or(ttl, |life: Duration| life.min(ttl)));
            }
            // That a family is not there says nothing of one that could not be found out.
            Err(error) => {
                let error = failed(error);
                failure = Some(match failure {
                    Some(known) if error.is_final() => known,
                    Some(_) | None => error,
                });
            }
        }
    }
    let answer = Answer::new(addresses, life);
    answer.ok_or_else(|| failure.unwrap_or_else(|| failed(NetError::NoConnections)))
}

async fn lookup(resolver: &Resolver<Sockets>, name: &Name, record: RecordType) -> Outcome {
    let lookup = resolver.lookup(name.clone(), record).await?;
    let mut addresses = Vec::new();
    for address in lookup.answers().iter().filter_map(|record| record.data.ip_addr()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    // Those on the way to the addresses (CNAME) end the answer's life, too.
    let ttl = lookup.answers().iter().map(|record| record.ttl).min().unwrap_or_default();
    match addresses.is_empty() {
        true => Err(NetError::Message("an answer without an address")),
        false => Ok((addresses, Duration::from_secs(ttl.into()))),
    }
}

/// A resolver of one server that keeps nothing and asks nobody else.
fn resolver(server: SocketAddr, patience: Duration) -> Result<Resolver<Sockets>, NetError> {
    let connections = [ProtocolConfig::Udp, ProtocolConfig::Tcp].map(|protocol| {
        let mut connection = ConnectionConfig::new(protocol);
        connection.port = server.port();
        connection
    });
    let server = NameServerConfig::new(server.ip(), true, connections.to_vec());
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    let mut options = ResolverOpts::default();
    options.timeout = patience;
    options.attempts = 0;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.num_concurrent_reqs = 1;
    options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    Resolver::builder_with_config(config, Sockets::default()).with_options(options).build()
}

/// hickory's own sockets, but that a question over UDP is put again after [`AGAIN`] only.
#[derive(Clone, Default)]
struct Sockets(TokioRuntimeProvider);

impl ConnectionProvider for Sockets {
    type Conn = DnsExchange<TokioRuntimeProvider>;
    type FutureConn = <TokioRuntimeProvider as ConnectionProvider>::FutureConn;
    type RuntimeProvider = TokioRuntimeProvider;

    fn new_connection(
        &self,
        ip: IpAddr,
        config: &ConnectionConfig,
        context: &PoolContext,
    ) -> Result<Self::FutureConn, NetError> {
        if config.protocol != ProtocolConfig::Udp {
            return self.0.new_connection(ip, config, context);
        }
        let udp = UdpClientStream::builder(SocketAddr::new(ip, config.port), self.0.clone())
            .with_timeout(Some(context.options.timeout))
            .with_retry_interval_floor(u64::try_from(AGAIN.as_millis()).unwrap_or(u64::MAX));
        Ok(Box::pin(async move { Ok(udp.exchange()) }))
    }

    fn runtime_provider(&self) -> &Self::RuntimeProvider {
        &self.0
    }
}
