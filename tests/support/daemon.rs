//! A real server's process, in the foreground, with a port and a folder of its own.
//!
//! Where its binary is not installed the tests that need it say so on one line and pass, unless `SEAWAY_REQUIRE_SERVERS=1`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::eventually;
use crate::folder::Folder;

/// A running server; dropping it ends it.
#[derive(Debug)]
pub struct Daemon {
    name: &'static str,
    port: u16,
    folder: Folder,
    process: Child,
}

impl Daemon {
    /// Runs `name` with `arguments`, in which `$PORT` and `$DIR` stand for a free port and for a folder that holds `files`;
    /// they stand for the same in the files whose name ends in `.conf`. Returns once the port answers.
    ///
    /// Absent, after a line on standard error that says which `package` has it, where it is not installed.
    ///
    /// # Panics
    /// If it does not start, or is missing though servers are required.
    pub async fn start(name: &'static str, package: &str, arguments: &[&str], files: &[(&str, &str)]) -> Option<Self> {
        let Some(binary) = find(name) else {
            missing(&format!("{name} is not installed ({package})"));
            return None;
        };
        let (folder, port) = (Folder::new(), free_port());
        let path = folder.path().display().to_string();
        let filled = |text: &str| text.replace("$PORT", &port.to_string()).replace("$DIR", &path);
        for (name, content) in files {
            let content = if name.ends_with(".conf") { filled(content) } else { (*content).to_owned() };
            folder.write(name, content);
        }
        let output = std::fs::File::create(folder.path().join("output")).expect("a test's own folder can be written");
        let error = output.try_clone().expect("a file has room for one more descriptor");
        let mut command = Command::new(binary);
        command.args(arguments.iter().map(|argument| OsString::from(filled(argument)))).current_dir(folder.path());
        let process = command.stdin(Stdio::null()).stdout(output).stderr(error).spawn();
        let process = process.expect("an installed server can be started");
        let mut daemon = Self { name, port, folder, process };
        daemon.answers().await;
        Some(daemon)
    }

    async fn answers(&mut self) {
        let Self { name, port, folder, process } = self;
        let said = || std::fs::read_to_string(folder.path().join("output")).unwrap_or_default();
        eventually(&format!("{name} listens"), || {
            let ended = process.try_wait().ok().flatten();
            assert!(ended.is_none(), "{name} ended: {}", said());
            // One that speaks IPv6 only is there, too.
            let answers = |address: IpAddr| TcpStream::connect((address, *port)).is_ok();
            answers(Ipv4Addr::LOCALHOST.into()) || answers(Ipv6Addr::LOCALHOST.into())
        })
        .await;
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        &self.folder
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// In the path, or where Debian and others put what is rarely in the path of an ordinary user.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).map(|folder| folder.join(name)).find(|file| Path::is_file(file))
}

/// A port that is free now, below those that the kernel hands out for connections, and one that no other test of this
/// process was given.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % 100).unwrap_or(0) * 100;
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let mut ports = std::iter::repeat_with(|| 20_000 + (own + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000);
    ports.find(free).expect("some port is free")
}

/// Says that a test is skipped for want of a server.
///
/// # Panics
/// Where servers are required.
pub fn missing(what: &str) {
    let required = std::env::var_os("SEAWAY_REQUIRE_SERVERS").is_some_and(|value| value == "1");
    assert!(!required, "SEAWAY_REQUIRE_SERVERS=1, and {what}");
    // Once a run and server, and past the test harness, which keeps what a passing test prints to itself.
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if SAID.lock().is_ok_and(|mut said| said.insert(what.to_owned())) {
        drop(writeln!(io::stderr(), "skipped: {what}"));
    }
}
