//! `[serve] tls`: who the server is, and who its clients have to be.

use std::process::Command;

use seaway_tests::certificates::{Authority, Leaf};
use seaway_tests::folder::Folder;
use seaway_tests::gateway::{Gateway, Wire};
use seaway_tests::host::file;
use seaway_tests::program::Program;

use super::{HELLO, before, hello};

/// The files of a server and of its clients.
struct Files {
    folder: Folder,
    authority: Authority,
}

impl Files {
    /// A server's certificate, and a client's, of one authority.
    fn new() -> Self {
        let files = Self { folder: Folder::new(), authority: Authority::new("ours") };
        files.write("server", &files.authority.leaf(&["localhost", "127.0.0.1"]));
        files.write("client", &files.authority.client("ci"));
        files.folder.write("ca.pem", files.authority.pem());
        files
    }

    fn write(&self, name: &str, leaf: &Leaf) {
        self.folder.write(&format!("{name}.pem"), leaf.pem());
        self.folder.write(&format!("{name}.key"), leaf.key_pem());
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The section; `more` stands within the table.
    fn section(&self, more: &str) -> String {
        format!(
            "[serve]\nhead_timeout = \"1s\"\ntls = {{ cert = \"{}\", key = \"{}\"{more} }}\n",
            self.path("server.pem"),
            self.path("server.key")
        )
    }

    /// Asks as a client with these further flags of curl; the body, the version and the status, or nothing.
    async fn curl(&self, gateway: &Gateway, flags: &[&str]) -> Option<String> {
        let url = format!("https://{}/v1/chat/completions", gateway.address());
        let ca = self.path("ca.pem");
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let curl = tokio::task::spawn_blocking(move || {
            let common = ["-s", "--noproxy", "*", "-m", "20", "-w", " %{http_version} %{http_code}", "-d", HELLO];
            Command::new("curl").args(common).args(["--cacert", &ca]).args(flags).arg(&url).output()
        });
        let said = curl.await.unwrap().expect("curl can be started");
        said.status.success().then(|| String::from_utf8_lossy(&said.stdout).into_owned())
    }
}

/// False, after it has said so, where there is no curl.
fn has_curl() -> bool {
    let there = Command::new("curl").arg("--version").output().is_ok();
    if !there {
        seaway_tests::daemon::missing("curl is not installed (curl)");
    }
    there
}

#[tokio::test]
async fn a_client_is_served_over_tls_in_either_version_of_http() {
    if !has_curl() {
        return;
    }
    let (files, origin) = (Files::new(), hello().await);
    let gateway = before(&origin, &files.section("")).await;
    for (flag, ends) in [("--http2", " 2 200"), ("--http1.1", " 1.1 200"), ("--tls-max=1.2", " 2 200")] {
        let flags: Vec<&str> = flag.split('=').collect();
        let said = files.curl(&gateway, &flags).await.unwrap();
        assert!(said.contains("\"content\":\"hello\"") && said.ends_with(ends), "{flag}: {said}");
    }
    let mut plain = gateway.connect().await;
    plain.send("GET", "/healthz", &[], "").await;
    assert!(plain.until("HTTP/").await.is_none(), "who speaks no TLS gets no answer");
}

#[tokio::test]
async fn where_an_authority_is_named_only_its_clients_are_heard() {
    if !has_curl() {
        return;
    }
    let (files, origin) = (Files::new(), hello().await);
    let revoked = files.authority.client("gone");
    files.write("revoked", &revoked);
    files.write("stranger", &Authority::new("another").client("ci"));
    files.folder.write("clients.pem", format!("{}{}", files.authority.pem(), files.authority.revoking(&revoked)));
    let section = files.section(&format!(", client_ca = \"{}\"", files.path("clients.pem")));
    let gateway = before(&origin, &section).await;
    let shown = async |name: &str| {
        let (cert, key) = (files.path(&format!("{name}.pem")), files.path(&format!("{name}.key")));
        files.curl(&gateway, &["--cert", &cert, "--key", &key]).await
    };
    assert!(shown("client").await.is_some_and(|said| said.ends_with(" 2 200")));
    assert_eq!((shown("stranger").await, shown("revoked").await), (None, None));
    assert_eq!(files.curl(&gateway, &[]).await, None);
    assert_eq!(origin.ledger().requests.len(), 1);
}

/// Files that have changed are read with the file, for connections that come later; those that cannot be used are not.
#[tokio::test]
async fn a_renewed_certificate_is_shown_after_a_reload() {
    if !has_curl() {
        return;
    }
    let (mut files, origin) = (Files::new(), hello().await);
    let gateway = before(&origin, &files.section("")).await;
    assert!(files.curl(&gateway, &[]).await.is_some());
    let key = std::fs::read(files.path("server.key")).unwrap();
    files.folder.write("server.key", "no key");
    gateway.signal("HUP");
    gateway.says("serve.tls.key").await;
    assert!(files.curl(&gateway, &[]).await.is_some(), "the old one is in force");
    files.folder.write("server.key", key);
    files.authority = Authority::new("next");
    files.folder.write("ca.pem", files.authority.pem());
    files.write("server", &files.authority.leaf(&["127.0.0.1"]));
    assert_eq!(files.curl(&gateway, &[]).await, None);
    gateway.signal("HUP");
    gateway.until("the next certificate is shown", async || files.curl(&gateway, &[]).await.is_some()).await;
}

#[tokio::test]
async fn a_client_that_never_shakes_hands_is_not_waited_for() {
    let (files, origin) = (Files::new(), hello().await);
    let gateway = before(&origin, &files.section("")).await;
    let mut silent = Wire::to(gateway.address()).await;
    silent.write([0x16, 0x03]).await;
    assert!(silent.is_closed().await);
}

#[tokio::test]
async fn tls_that_cannot_be_had_is_said_at_the_start_and_opens_nothing_to_strangers() {
    let (files, origin) = (Files::new(), hello().await);
    files.folder.write("other.key", files.authority.leaf(&["localhost"]).key_pem());
    let section = files.section("");
    for (from, to, says) in [
        ("server.pem", "gone.pem", "serve.tls.cert"),
        ("server.key", "ca.pem", "holds no private key"),
        ("server.key", "other.key", "the key does not fit"),
    ] {
        let section = section.replace(&files.path(from), &files.path(to));
        let program = Program::new().file("seaway.toml", &section);
        program.run(&["serve", "--listen", "127.0.0.1:0"]).await.assert_fails(2, &[says]);
    }
    let open = format!("{}\n{}", files.section(&format!(", client_ca = \"{}\"", files.path("ca.pem"))), file(&origin));
    let program = Program::new().file("seaway.toml", &open);
    program.run(&["serve", "--listen", "0.0.0.0:0"]).await.assert_fails(2, &["0.0.0.0:0", "SEAWAY_KEY"]);
}
