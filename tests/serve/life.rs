//! A server's life: ready, swapped, drained, ended.

use seaway_tests::answer::Gate;
use seaway_tests::gateway::Gateway;
use seaway_tests::host::file;
use seaway_tests::kernel;

use super::{HELLO, STREAM, VARIABLES, assert_error, before, hello, streaming};

/// SIGTERM: nobody connects any more, requests on open connections get 503, the stream ends, and so does the process.
#[tokio::test]
async fn a_server_that_drains_ends_what_has_begun() {
    let gate = Gate::shut();
    let origin = streaming(&gate).await;
    let mut gateway = before(&origin, "").await;
    let (mut wire, mut open) = (gateway.connect().await, gateway.connect().await);
    let mut probe = gateway.connect().await;
    for wire in [&mut open, &mut probe] {
        wire.send("GET", "/readyz", &[], "").await;
        assert_eq!(wire.reply().await.status, 200);
    }
    wire.send("POST", "/v1/chat/completions", &[], STREAM).await;
    gate.open(1);
    wire.until("one ").await.unwrap();
    gateway.signal("TERM");
    let address = gateway.address();
    seaway_tests::eventually("nobody listens", || std::net::TcpStream::connect(address).is_err()).await;
    probe.send("GET", "/readyz", &[], "").await;
    let told = probe.reply().await;
    assert_eq!((told.status, told.body.as_str(), told.header("connection")), (503, "draining\n", Some("close")));
    open.send("POST", "/v1/chat/completions", &[], HELLO).await;
    let refused = open.reply().await;
    assert_error(&refused, 503, "about to end");
    assert_eq!((refused.header("retry-after"), refused.header("connection")), (Some("1"), Some("close")));
    assert!(open.is_closed().await);
    gate.open(2);
    assert!(wire.until("[DONE]").await.is_some_and(|rest| rest.contains("two")));
    assert_eq!((gateway.ended().await, kernel::sockets_to(origin.port())), (Some(0), 0));
}

#[tokio::test]
async fn an_idle_server_ends_at_once() {
    let origin = hello().await;
    let mut gateway = before(&origin, "").await;
    let mut idle = gateway.connect().await;
    idle.send("POST", "/v1/chat/completions", &[], HELLO).await;
    assert_eq!(idle.reply().await.status, 200);
    gateway.signal("INT");
    assert_eq!(gateway.ended().await, Some(0));
    assert!(idle.is_closed().await);
}

/// What outlives the grace is cut, and its client is told.
#[tokio::test]
async fn what_outlives_the_grace_is_cut() {
    let gate = Gate::shut();
    let origin = streaming(&gate).await;
    let mut gateway = before(&origin, "drain.grace = \"200ms\"").await;
    let mut wire = gateway.connect().await;
    wire.send("POST", "/v1/chat/completions", &[], STREAM).await;
    gate.open(1);
    wire.until("one ").await.unwrap();
    gateway.signal("TERM");
    let rest = wire.until("never").await;
    assert_eq!((gateway.ended().await, rest), (Some(1), None));
    gateway.says("1 answers were cut at the end of the grace (`drain.grace`)").await;
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let gate = Gate::shut();
    let origin = streaming(&gate).await;
    let mut gateway = before(&origin, "drain.grace = \"off\"").await;
    let (mut wire, mut probe) = (gateway.connect().await, gateway.connect().await);
    wire.send("POST", "/v1/chat/completions", &[], STREAM).await;
    gate.open(1);
    wire.until("one ").await.unwrap();
    gateway.signal("TERM");
    gateway
        .until("it drains", async || {
            probe.send("GET", "/readyz", &[], "").await;
            probe.reply().await.status == 503
        })
        .await;
    gateway.signal("TERM");
    assert_eq!(gateway.ended().await, Some(1));
    gateway.says("cut at the second signal").await;
    origin.until("the upstream is closed", |ledger| ledger.open == 0).await;
}

/// Keys, limits, models and the session's policy swap with the file; a file that cannot be used changes nothing.
#[tokio::test]
async fn a_changed_file_is_in_force_without_a_restart() {
    let origin = hello().await;
    let gateway = before(&origin, "[serve]\nkeys = [{ value = \"sk-old\" }]").await;
    assert_eq!(gateway.complete("sk-old", HELLO).await.status, 200);
    let mut kept = gateway.connect().await;
    let new =
        "[serve]\nkeys = [{ value = \"sk-new\" }]\ncalls = 7\n[models.fresh]\nprovider = \"test\"\nmodel = \"m-2\"";
    gateway.folder().write("seaway.toml", format!("{new}\n{}", file(&origin)));
    gateway.signal("HUP");
    gateway.says("serve.calls has changed; that takes a restart").await;
    gateway.until("the new key is good", async || gateway.complete("sk-new", HELLO).await.status == 200).await;
    kept.send("POST", "/v1/chat/completions", &[("api-key", "sk-old")], HELLO).await;
    assert_eq!(kept.reply().await.status, 401);
    assert_eq!(gateway.complete("sk-new", &HELLO.replace("test/m-1", "fresh")).await.status, 200);
    for (broken, says) in [
        ("[serve]\nkeys = [{ env = \"GONE\" }]", "GONE is not set"),
        ("[serve]\nkeys = []\nkays = 1", "serve.kays"),
        ("[pool]\nlimmit = 3", "pool.limmit"),
    ] {
        gateway.folder().write("seaway.toml", format!("{broken}\n{}", file(&origin)));
        gateway.signal("HUP");
        gateway.says(says).await;
        assert_eq!(gateway.complete("sk-new", HELLO).await.status, 200);
    }
}

/// `serve.comments`: a stream that is silent says that it lives, between its events.
#[tokio::test]
async fn a_silent_stream_says_that_it_lives() {
    let gate = Gate::shut();
    let origin = streaming(&gate).await;
    let gateway = before(&origin, "serve.comments = \"30ms\"").await;
    let mut wire = gateway.connect().await;
    wire.send("POST", "/v1/chat/completions", &[], STREAM).await;
    gate.open(1);
    wire.until("\r\n\r\n").await.unwrap();
    assert!(wire.piece().await.is_some_and(|piece| piece.contains("one ") && piece.ends_with("\n\n")));
    assert_eq!(wire.piece().await.as_deref(), Some(":\n\n"));
    assert_eq!(wire.piece().await.as_deref(), Some(":\n\n"));
    gate.open(2);
    assert!(wire.until("[DONE]").await.is_some_and(|rest| rest.contains("two")));
}

/// systemd hears when the server takes calls, and when it is about to end.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn systemd_is_told() {
    let folder = seaway_tests::folder::Folder::new();
    let path = folder.path().join("notify");
    let socket = tokio::net::UnixDatagram::bind(&path).unwrap();
    let hears = async || {
        let mut told = [0; 64];
        let length = seaway_tests::soon("it is told", socket.recv(&mut told)).await.unwrap();
        String::from_utf8_lossy(&told[..length]).into_owned()
    };
    let origin = hello().await;
    let variables = [VARIABLES[0], ("NOTIFY_SOCKET", path.to_str().unwrap())];
    let mut gateway = Gateway::start(&file(&origin), &variables).await;
    assert_eq!(hears().await, "READY=1");
    gateway.signal("TERM");
    assert_eq!((hears().await.as_str(), gateway.ended().await), ("STOPPING=1", Some(0)));
}
