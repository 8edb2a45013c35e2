//! `seaway serve`: the component as a gateway.
//!
//! Accepts connections, lets those in who may call, hands each request to the component's `wasi:http` handler and its answer
//! back. Of completions it knows nothing: not a byte of their JSON is read here. Invariants: whoever goes away cancels what
//! it asked for, and an end that is announced loses no answer that has begun.

mod settings;
mod listen;
mod tls;
mod connection;
mod answer;
mod keys;
mod admission;
mod body;
mod quiet;
mod report;
mod timing;
mod refusal;
mod log;
mod egress_log;
mod exchanges;
mod files;
mod otel;
mod figures;
mod admin;
mod stop;
mod notify;

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use seaway_session::policy::Error;
use seaway_session::{Drained, Environment};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use listen::Address;
pub use otel::{Endpoint, Otel};
pub use settings::{Log, Settings, Written};
pub use stop::{Stop, Teller};
pub use tls::Tls;

use crate::config::Config;
use crate::reload::Swapper;
use crate::runtime::Runtime;
use admission::Admission;
use keys::Keys;
use listen::Listener;
use notify::Notify;

/// A server that listens.
pub struct Server {
    listener: Listener,
    /// Where it is administered.
    admin: Option<Listener>,
    swapper: Option<Swapper>,
    shared: Arc<Shared>,
    environment: Environment,
    notify: Notify,
}

/// What a server's end came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Answers that were cut.
    pub cut: usize,
    /// True if it ended at the second word, and waited for nobody.
    pub at_once: bool,
}

/// What all connections share.
struct Shared {
    runtime: Runtime,
    /// What the file says, as it is in force.
    live: ArcSwap<Live>,
    admission: Admission,
    phase: watch::Sender<Phase>,
    log: log::Writer,
    /// Absent where no traces are made.
    tracer: Option<otel::Tracer>,
    figures: figures::Figures,
    ids: answer::Ids,
}

/// What a swap changes.
#[derive(Debug)]
struct Live {
    settings: Settings,
    keys: Keys,
    tls: Option<Arc<ServerConfig>>,
    /// Of the files that these were read from.
    stamp: Vec<u64>,
}

/// How far a server is on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It takes calls.
    Open,
    /// It takes none, and what runs may end.
    Draining,
    /// Connections close as soon as they carry nothing.
    Ending,
}

/// How long connections may take to say goodbye once the last answer has ended, and the last traces to reach their collector.
const GOODBYE: Duration = Duration::from_secs(1);

impl Server {
    /// Listens where `config` says. `environment` is where its variables are read.
    ///
    /// # Errors
    /// One line: a key that is missing, an address that others can reach without one, or that cannot be had.
    pub async fn bind(config: &Config, environment: &Environment, runtime: Runtime) -> Result<Self, Error> {
        let live = Live::of(&config.serve, environment)?;
        let Settings { listen, admin, calls, log, egress_log, otel, .. } = &live.settings;
        let listener = Listener::bind(listen)
            .await
            .map_err(|error| Error::new(format!("serve.listen: {listen} cannot be had: {error}")))?;
        let admin = match admin {
            None => None,
            Some(address) => Some(
                Listener::bind_private(address)
                    .await
                    .map_err(|error| Error::new(format!("serve.admin: {address} cannot be had: {error}")))?,
            ),
        };
        let shared = Shared {
            runtime,
            admission: Admission::new(*calls),
            phase: watch::Sender::new(Phase::Open),
            log: log::Writer::start(*log, *egress_log),
            tracer: otel::Tracer::start(otel.as_ref(), environment)?,
            figures: figures::Figures::new(),
            ids: answer::Ids::default(),
            live: ArcSwap::from_pointee(live),
        };
        let (environment, notify) = (environment.clone(), Notify::of(environment));
        Ok(Self { listener, admin, swapper: None, shared: Arc::new(shared), environment, notify })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> Address {
        self.listener.address()
    }

    /// Where it is administered; absent where it is not.
    #[must_use]
    pub fn admin(&self) -> Option<Address> {
        self.admin.as_ref().map(Listener::address)
    }

    /// Has the server go by the texts that `swapper` puts in force: who may call and how much changes with them, and a text
    /// whose `[serve]` cannot be used is refused whole.
    #[must_use]
    pub(crate) fn follow(self, swapper: Swapper) -> Self {
        let (shared, environment, address) = (Arc::clone(&self.shared), self.environment.clone(), self.address());
        let begun = self.shared.live.load_full();
        swapper.follow(Box::new(move |config| {
            let begun = &begun.settings;
            let asked = &mut config.serve;
            let restart = [
                ("listen", asked.listen != begun.listen && !begun.given),
                ("admin", asked.admin != begun.admin),
                ("calls", asked.calls != begun.calls),
                ("log", asked.log != begun.log),
                ("egress_log", asked.egress_log != begun.egress_log),
                ("otel", asked.otel != begun.otel),
            ];
            asked.listen = address.clone();
            let live = Live::of(asked, &environment)?;
            if live.keys.are_none() && !shared.live.load().keys.are_none() {
                config.warnings.push("serve.keys are gone: nobody needs a key any more".to_owned());
            }
            let told = restart.iter().filter(|(_, changed)| *changed);
            config.warnings.extend(told.map(|(key, _)| format!("serve.{key} has changed; that takes a restart")));
            let shared = Arc::clone(&shared);
            Ok(Box::new(move || shared.live.store(Arc::new(live))))
        }));
        Self { swapper: Some(swapper), ..self }
    }

    /// Serves until `stop` says so; then lets calls end as `[drain]` says, and its session with them.
    ///
    /// Dropping the future cuts everything.
    pub async fn run(self, mut stop: Stop) -> Ended {
        let Self { listener, admin, swapper, shared, environment, notify } = self;
        notify.ready();
        let mut connections = JoinSet::new();
        let mut files = pin!(files::watch(Arc::clone(&shared), environment));
        let mut admin = admin.zip(swapper).map(|(listener, swapper)| admin::Admin::new(listener, swapper));
        loop {
            tokio::select! {
                () = admin::run(&mut admin) => {}
                (socket, peer) = listener.accept() => {
                    connections.spawn(connection::serve(socket, peer, Arc::clone(&shared)));
                }
                Some(_) = connections.join_next() => {}
                () = &mut files => {}
                () = stop.word() => break,
            }
        }
        // Whoever comes from here on finds nobody, and may ask another server.
        drop((listener, admin));
        notify.stopping();
        shared.phase.send_replace(Phase::Draining);
        tracing::info!("draining: {} calls are under way", shared.admission.running());
        tokio::select! {
            cut = end(&shared, &mut connections) => Ended { cut, at_once: false },
            () = stop.word() => Ended { cut: shared.admission.running(), at_once: true },
        }
    }
}

/// Lets everything end, within the grace.
async fn end(shared: &Shared, connections: &mut JoinSet<()>) -> usize {
    let session = shared.runtime.session();
    let deadline = session.policy().drain.grace.0.and_then(|grace| Instant::now().checked_add(grace + GOODBYE));
    let Drained { cut, .. } = session.drain().await;
    // The last bytes of an answer may still be on their way to its client.
    let emptied = shared.admission.emptied();
    match deadline {
        None => emptied.await,
        Some(deadline) => drop(tokio::time::timeout_at(deadline, emptied).await),
    }
    let left = shared.admission.running();
    shared.phase.send_replace(Phase::Ending);
    let closed = async { while connections.join_next().await.is_some() {} };
    drop(tokio::time::timeout(GOODBYE, closed).await);
    if let Some(tracer) = &shared.tracer {
        tracer.end(GOODBYE).await;
    }
    cut.max(left)
}

/// Says what of a file's `[serve]` would keep a server from starting, without starting one; its files are read.
///
/// # Errors
/// One line, as [`Server::bind`].
pub fn check(config: &Config) -> Result<(), Error> {
    config.serve.closed()?;
    config.serve.tls.as_ref().map_or(Ok(()), |tls| tls.read().map(drop))
}

impl Live {
    fn of(settings: &Settings, environment: &Environment) -> Result<Self, Error> {
        settings.closed()?;
        // Before they are read: what changes meanwhile is found by the next look.
        let stamp = files::stamp(settings);
        let tls = settings.tls.as_ref().map(Tls::read).transpose()?;
        Ok(Self { settings: settings.clone(), keys: settings.keys(environment)?, tls, stamp })
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Server").field("address", &self.address()).finish_non_exhaustive()
    }
}
