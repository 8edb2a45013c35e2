//! HAProxy, the real one, which hands over to a successor of its own while it serves.

use std::process::Command;

use crate::daemon::Daemon;
use crate::eventually;

/// A running HAProxy; dropping it ends it.
#[derive(Debug)]
pub struct Haproxy(Daemon);

impl Haproxy {
    /// Starts HAProxy before an origin on 127.0.0.1, as master and worker. Absent, after a line on standard error, where it is
    /// not installed.
    ///
    /// # Panics
    /// If it does not start, or is missing though servers are required.
    pub async fn before(origin: u16) -> Option<Self> {
        let configuration = format!(
            "global\n  stats socket $DIR/stats level admin\n\
             defaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
             listen all\n  bind 127.0.0.1:$PORT\n  server origin 127.0.0.1:{origin}\n"
        );
        let files = [("haproxy.conf", configuration.as_str())];
        Daemon::start("haproxy", "apt-get install haproxy", &["-W", "-f", "$DIR/haproxy.conf"], &files).await.map(Self)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port()
    }

    /// Starts a new worker in the place of the old one (`-sf`): that one closes what is idle, ends what it has begun, and
    /// ends. Returns once there is only the new one.
    ///
    /// # Panics
    /// If there never is.
    pub async fn restart(&self) {
        let master = self.0.id();
        let old = workers(master);
        let before = self.count("Reloading");
        // A signal that comes in the middle of its start is lost, so it is told until it has heard.
        let mut looks = 0;
        eventually("the master has heard", || {
            if looks % 100 == 0 {
                let told = Command::new("kill").args(["-USR2", &master.to_string()]).status();
                assert!(told.is_ok_and(|status| status.success()), "the master cannot be told");
            }
            looks += 1;
            self.count("Reloading") > before
        })
        .await;
        eventually("the old worker has ended", || {
            let now = workers(master);
            !now.is_empty() && old.iter().all(|worker| !now.contains(worker))
        })
        .await;
    }

    /// How often it has said so.
    fn count(&self, words: &str) -> usize {
        let said = std::fs::read_to_string(self.0.folder().path().join("output")).unwrap_or_default();
        said.matches(words).count()
    }
}

/// The processes whose parent is `master`.
fn workers(master: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{master}/task/{master}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|id| id.parse().ok()).collect()
}
