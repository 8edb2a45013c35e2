//! What an operator chooses: versions, roots, pins, and whether to verify at all.

use seaway_session::{Kind, Stage};
use seaway_tests::certificates::{Authority, Leaf};
use seaway_tests::client::Client;
use seaway_tests::error::assert_says;
use seaway_tests::log::Log;
use seaway_tests::nginx::Nginx;

use super::{believing, serving};

/// S3: the range of versions is kept on either side, by nginx and by us, and a server outside of it says so.
#[tokio::test]
async fn versions_outside_the_range_are_not_spoken() {
    let authority = Authority::new("Test CA");
    let leaf = authority.leaf(&["localhost"]);
    let files = [("leaf.pem", leaf.pem()), ("leaf.key", &leaf.key_pem())];
    for (range, protocols, spoken) in [
        ("min = \"1.3\"", "TLSv1.2 TLSv1.3", Some("TLSv1.3")),
        ("max = \"1.2\"", "TLSv1.2 TLSv1.3", Some("TLSv1.2")),
        ("min = \"1.2\"\nmax = \"1.2\"", "TLSv1.2", Some("TLSv1.2")),
        ("min = \"1.3\"", "TLSv1.2", None),
        ("max = \"1.2\"", "TLSv1.3", None),
    ] {
        let server = format!(
            "listen 127.0.0.1:$PORT ssl; ssl_certificate $DIR/leaf.pem; ssl_certificate_key $DIR/leaf.key;
             ssl_protocols {protocols}; location / {{ return 200 $ssl_protocol; }}"
        );
        let Some(nginx) = Nginx::start(&server, &files).await else { return };
        let url = format!("https://localhost:{}/", nginx.port());
        let result = believing(&authority, range).destination(&url).build().get(&url).await;
        match (result, spoken) {
            (Ok(reply), Some(spoken)) => assert_eq!(reply.body, spoken, "{range}"),
            (Err(error), None) => {
                let words = ["hint: tls.min and tls.max say which versions are spoken", &url[..url.len() - 1]];
                assert_says(&error, Stage::Tls, error.kind(), &words);
                assert!(matches!(error.kind(), Kind::TlsAlert(70) | Kind::TlsProtocol), "{error}");
            }
            (result, spoken) => panic!("{range} and {protocols}: {result:?} where {spoken:?} belongs"),
        }
    }
}

/// `tls.roots = "webpki"`: Mozilla's roots do not vouch for our authority, files add to them, and an error counts them.
#[tokio::test]
async fn webpki_roots_are_believed_and_added_to() {
    let authority = Authority::new("Test CA");
    let origin = serving(&authority.leaf(&["localhost"])).await;
    let client = Client::under("tls.roots = \"webpki\"").to(&origin).build();
    let error = client.get(&origin.url("/")).await.unwrap_err();
    assert_says(&error, Stage::Tls, Kind::Certificate, &["issuer is not known", " webpki roots"]);
    let client = Client::under("[tls]\nroots = \"webpki\"\nca = [\"ca.pem\"]").file("ca.pem", authority.pem());
    assert_eq!(client.to(&origin).build().get(&origin.url("/")).await.unwrap().body, "hello");
}

/// S5: a key that is not pinned is refused before a byte of the request, and the error prints the line that pins it.
#[tokio::test]
async fn a_key_that_is_not_pinned_gets_no_request() {
    let authority = Authority::new("Test CA");
    let (leaf, other) = (authority.leaf(&["localhost"]), authority.leaf(&["localhost"]));
    let origin = serving(&leaf).await;
    let pinned = async |pins: &str| {
        let client = believing(&authority, &format!("pins = [{pins}]")).to(&origin).build();
        client.post(&origin.url("/"), "BODY-MARK").await
    };
    let wrong = "\"sha256/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"";
    let error = pinned(wrong).await.unwrap_err();
    assert_says(&error, Stage::Tls, Kind::Certificate, &["key is none of `tls.pins`", "subject `CN=test leaf`"]);
    assert!(!error.request_sent());
    assert_eq!((origin.ledger().requests.len(), origin.ledger().handshakes.len()), (0, 0));
    // What is advised is what accepts this key, and no other key of the same name and authority.
    let line = error.hint().unwrap();
    let shown = line.strip_prefix("tls.pins = [..., ").and_then(|line| line.split(']').next()).unwrap();
    assert!(pinned(shown).await.is_ok() && pinned(&format!("{wrong}, {shown}")).await.is_ok());
    assert_eq!(shown, format!("\"{}\"", openssl_pin(leaf.pem())));
    let origin = serving(&other).await;
    let client = believing(&authority, &format!("pins = [{shown}]")).to(&origin).build();
    assert_eq!(client.get(&origin.url("/")).await.unwrap_err().kind(), Kind::Certificate);
    // A pin replaces no other check.
    let client = believing(&Authority::new("Another CA"), &format!("pins = [{shown}]")).to(&origin).build();
    assert!(client.get(&origin.url("/")).await.unwrap_err().to_string().contains("issuer is not known"));
}

/// The pin as the line in our own error message has it printed.
fn openssl_pin(certificate: &str) -> String {
    let folder = seaway_tests::folder::Folder::new();
    let file = folder.write("cert.pem", certificate);
    let line = format!(
        "openssl x509 -in {} -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64",
        file.display()
    );
    let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
    format!("sha256/{}", String::from_utf8_lossy(&output.stdout).trim())
}

/// S10: verification is switched off by two keys, loudly; a pin holds all the same.
#[tokio::test]
async fn no_verification_needs_two_keys_and_is_counted() {
    let (log, _guard) = Log::listen();
    let leaf = Leaf::self_signed(&["wrong.example"]);
    let origin = serving(&leaf).await;
    let refused = Client::under("[tls]\nverify = false").attempt().unwrap_err().to_string();
    assert!(refused.contains("`tls.verify`") && refused.contains("`danger = true`"), "{refused}");
    assert!(log.warnings("tls.verify").is_empty());
    let client = Client::under("[tls]\nverify = false\ndanger = true\nroots = \"none\"").to(&origin).build();
    assert_eq!(log.warnings("`tls.verify = false`").len(), 1, "{}", log.text());
    for _ in 0..2 {
        assert_eq!(client.get(&origin.url("/")).await.unwrap().body, "hello");
    }
    assert_eq!((client.figures().unverified, client.figures().opened), (1, 1));
    let pins = "pins = [\"sha256/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"]";
    let client = Client::under(&format!("[tls]\nverify = false\ndanger = true\nroots = \"none\"\n{pins}")).to(&origin);
    assert_eq!(client.build().get(&origin.url("/")).await.unwrap_err().kind(), Kind::Certificate);
    // By itself, the second key changes nothing.
    let client = believing(&Authority::new("Test CA"), "danger = true").to(&origin).build();
    assert_eq!(client.get(&origin.url("/")).await.unwrap_err().kind(), Kind::Certificate);
    assert_eq!(client.figures().unverified, 0);
}
