//! nginx, the real one, in the foreground and under a configuration of the test's own.
//!
//! Where it is not installed the tests that need it say so on one line and pass, unless `SEAWAY_REQUIRE_SERVERS=1`.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Once;

use tokio::net::TcpStream;

use crate::eventually;
use crate::folder::Folder;

/// A running nginx; dropping it ends it.
#[derive(Debug)]
pub struct Nginx {
    port: u16,
    folder: Folder,
    process: Child,
}

/// Where Debian and others put it; it is rarely in the path of an ordinary user.
const PLACES: [&str; 4] = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx", "/usr/local/bin/nginx"];

impl Nginx {
    /// Starts nginx with one server. In `server`, `$PORT` and `$DIR` stand for its port and its folder, where `files` are.
    /// Absent, after a line on standard error, where nginx is not installed.
    ///
    /// # Panics
    /// If it does not start, or is missing though servers are required.
    pub async fn start(server: &str, files: &[(&str, &str)]) -> Option<Self> {
        let Some(binary) = PLACES.into_iter().find(|place| Path::new(place).is_file()) else {
            missing("nginx is not installed (apt-get install nginx-light)");
            return None;
        };
        let folder = Folder::new();
        for (name, content) in files {
            folder.write(name, content);
        }
        let port = free_port();
        let path = folder.path().display().to_string();
        let server = server.replace("$PORT", &port.to_string()).replace("$DIR", &path);
        let configuration = format!(
            "daemon off;\nmaster_process off;\npid {path}/pid;\nerror_log {path}/error.log;\nevents {{}}\n\
             http {{ access_log off; client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;\n\
             fastcgi_temp_path {path}/f; uwsgi_temp_path {path}/u; scgi_temp_path {path}/s;\n\
             server {{ {server} }} }}\n"
        );
        let file = folder.write("nginx.conf", configuration);
        let process = Command::new(binary)
            .arg("-c")
            .arg(&file)
            .arg("-p")
            .arg(folder.path())
            .arg("-e")
            .arg(folder.path().join("error.log"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx can be started");
        let nginx = Self { port, folder, process };
        nginx.answers().await;
        Some(nginx)
    }

    async fn answers(&self) {
        let log = || std::fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default();
        let answers = || std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok();
        eventually(&format!("nginx listens: {}", log()), || answers() || log().contains("[emerg]")).await;
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.is_ok(), "nginx: {}", log());
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A port that is free now, below those that the kernel hands out for connections.
fn free_port() -> u16 {
    let start = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap_or(0);
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    (start..32_000).chain(15_000..start).find(free).expect("some port is free")
}

/// Says that a test is skipped for want of a server.
///
/// # Panics
/// Where servers are required.
pub fn missing(what: &str) {
    let required = std::env::var_os("SEAWAY_REQUIRE_SERVERS").is_some_and(|value| value == "1");
    assert!(!required, "SEAWAY_REQUIRE_SERVERS=1, and {what}");
    // One line a run, and past the test harness, which keeps what a passing test prints to itself.
    static SAID: Once = Once::new();
    SAID.call_once(|| drop(writeln!(io::stderr(), "skipped: {what}")));
}
