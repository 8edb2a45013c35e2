//! The words that end a server: the first lets everything end, the second ends it at once.

use std::io;

use tokio::sync::mpsc;

/// Where a server hears that it is to end.
#[derive(Debug)]
pub struct Stop(Source);

#[derive(Debug)]
enum Source {
    #[cfg(unix)]
    Signals {
        terminate: tokio::signal::unix::Signal,
        interrupt: tokio::signal::unix::Signal,
    },
    #[cfg(not(unix))]
    Interrupt,
    Told(mpsc::Receiver<()>),
}

/// Tells a server to end; once to let everything end, twice to end it at once.
#[derive(Clone, Debug)]
pub struct Teller(mpsc::Sender<()>);

impl Teller {
    /// Says the word.
    pub fn tell(&self) {
        // Two words are all that count, and a server that has ended needs none.
        let _ = self.0.try_send(());
    }
}

impl Stop {
    /// The signals to this process: SIGTERM and SIGINT.
    ///
    /// # Errors
    /// If the process cannot listen to them.
    pub fn at_signals() -> io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let terminate = signal(SignalKind::terminate())?;
            Ok(Self(Source::Signals { terminate, interrupt: signal(SignalKind::interrupt())? }))
        }
        #[cfg(not(unix))]
        Ok(Self(Source::Interrupt))
    }

    /// Whoever embeds the server says when.
    #[must_use]
    pub fn when_told() -> (Teller, Self) {
        let (teller, told) = mpsc::channel(2);
        (Teller(teller), Self(Source::Told(told)))
    }

    /// Waits for the next word. Cancel safe. A teller that is gone never says one.
    pub(super) async fn word(&mut self) {
        match &mut self.0 {
            #[cfg(unix)]
            Source::Signals { terminate, interrupt } => {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            }
            #[cfg(not(unix))]
            Source::Interrupt => drop(tokio::signal::ctrl_c().await),
            Source::Told(told) => {
                if told.recv().await.is_none() {
                    std::future::pending().await
                }
            }
        }
    }
}
