//! Proxies, the real ones: squid, tinyproxy, dante, microsocks and mitmproxy.

use std::process::Command;

use crate::certificates::Leaf;
use crate::daemon::{Daemon, free_port};
use crate::eventually;

/// The user that each of them knows, where it asks.
pub const USER: &str = "seaway";

/// squid on one port, or on two: the second speaks TLS.
#[derive(Debug)]
pub struct Squid {
    daemon: Daemon,
    tls: u16,
}

/// What squid is to do beside forwarding everything for everybody.
#[derive(Default)]
pub struct Ways<'a> {
    /// It wants [`USER`] with this password.
    pub password: Option<&'a str>,
    /// It speaks TLS too, and shows this.
    pub leaf: Option<&'a Leaf>,
    /// It goes through the proxy at this port.
    pub parent: Option<u16>,
}

impl Squid {
    /// Absent where it is not installed.
    ///
    /// # Panics
    /// As [`Daemon::start`].
    pub async fn start(ways: Ways<'_>) -> Option<Self> {
        let Ways { password, leaf, parent } = ways;
        let tls = free_port();
        let mut lines = "http_port 127.0.0.1:$PORT\ncache deny all\ncache_mem 0 MB\naccess_log none\n\
            cache_log /dev/null\ncache_store_log none\npid_filename none\nshutdown_lifetime 0 seconds\n\
            netdb_filename none\ncoredump_dir $DIR\nvisible_hostname squid.test\npinger_enable off\n"
            .to_owned();
        if leaf.is_some() {
            lines += &format!("https_port 127.0.0.1:{tls} tls-cert=$DIR/leaf.pem tls-key=$DIR/leaf.key\n");
        }
        if let Some(parent) = parent {
            lines += &format!("cache_peer 127.0.0.1 parent {parent} 0 no-query default\nnever_direct allow all\n");
        }
        lines += match password {
            Some(_) => {
                "auth_param basic program /usr/lib/squid/basic_ncsa_auth $DIR/users\nauth_param basic children 1\n\
                 auth_param basic realm squid\nacl known proxy_auth REQUIRED\nhttp_access allow known\n\
                 http_access deny all\n"
            }
            None => "http_access allow all\n",
        };
        let users = password.map_or_else(String::new, |password| format!("{USER}:{}\n", hashed(password)));
        let (chain, key) = leaf.map_or_else(Default::default, |leaf| (leaf.pem().to_owned(), leaf.key_pem()));
        let files = [("squid.conf", &lines[..]), ("users", &users), ("leaf.pem", &chain), ("leaf.key", &key)];
        let daemon =
            Daemon::start("squid", "apt-get install squid-openssl", &["-N", "-f", "$DIR/squid.conf"], &files).await?;
        Some(Self { daemon, tls })
    }

    /// Where it speaks plainly.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.daemon.port()
    }

    /// Where it speaks TLS.
    #[must_use]
    pub fn tls_port(&self) -> u16 {
        self.tls
    }
}

/// As htpasswd writes it.
fn hashed(password: &str) -> String {
    let output = Command::new("openssl").args(["passwd", "-apr1", password]).output().expect("openssl can be started");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// tinyproxy, which opens tunnels to one port only. Absent where it is not installed.
///
/// # Panics
/// As [`Daemon::start`].
pub async fn tinyproxy(connect_port: u16) -> Option<Daemon> {
    let lines = format!(
        "Port $PORT\nListen 127.0.0.1\nTimeout 60\nLogLevel Error\nMaxClients 50\nAllow 127.0.0.1\n\
         ConnectPort {connect_port}\n"
    );
    let arguments = ["-d", "-c", "$DIR/tiny.conf"];
    Daemon::start("tinyproxy", "apt-get install tinyproxy-bin", &arguments, &[("tiny.conf", &lines)]).await
}

/// dante, which speaks SOCKS 5 with everybody. Absent where it is not installed.
///
/// # Panics
/// As [`Daemon::start`].
pub async fn dante() -> Option<Daemon> {
    let lines = "logoutput: stderr\ninternal: 127.0.0.1 port = $PORT\nexternal: lo\nclientmethod: none\n\
        socksmethod: none\nclient pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }\nsocks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }\n";
    let arguments = ["-f", "$DIR/dante.conf", "-p", "$DIR/pid"];
    Daemon::start("danted", "apt-get install dante-server", &arguments, &[("dante.conf", lines)]).await
}

/// microsocks, which speaks SOCKS 5 with [`USER`] and this password. Absent where it is not installed.
///
/// # Panics
/// As [`Daemon::start`].
pub async fn microsocks(password: &str) -> Option<Daemon> {
    microsocks_at("127.0.0.1", password).await
}

/// The same, at another address of this machine.
///
/// # Panics
/// As [`Daemon::start`].
pub async fn microsocks_at(address: &str, password: &str) -> Option<Daemon> {
    let arguments = ["-i", address, "-p", "$PORT", "-u", USER, "-P", password];
    Daemon::start("microsocks", "apt-get install microsocks", &arguments, &[]).await
}

/// mitmproxy, which breaks TLS open, and the root that it makes for that. Absent where it is not installed.
///
/// # Panics
/// As [`Daemon::start`].
pub async fn mitmproxy() -> Option<(Daemon, String)> {
    let arguments =
        ["--quiet", "--listen-host", "127.0.0.1", "--listen-port", "$PORT", "--ssl-insecure", "--set", "confdir=$DIR"];
    let daemon = Daemon::start("mitmdump", "pip install mitmproxy==11.0.2", &arguments, &[]).await?;
    let root = daemon.folder().path().join("mitmproxy-ca-cert.pem");
    eventually("mitmproxy has its root", || root.is_file()).await;
    let root = std::fs::read_to_string(root).expect("mitmproxy's root is a file");
    Some((daemon, root))
}
