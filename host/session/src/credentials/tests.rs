//! What a guest may write, where it may go, and what it gets.

use http::HeaderName;

use super::*;
use crate::monitor;

const SECRET: &str = "sk-hidden";

fn credentials() -> Credentials {
    let urls = |urls: &[&str]| urls.iter().map(|url| Prefix::parse(url).unwrap()).collect();
    let settings = |source: Source, allowed: &[&str]| Settings::key(source, urls(allowed));
    let map = BTreeMap::from([
        ("openai".to_owned(), settings(Source::Env("OPENAI_API_KEY".to_owned()), &["https://api.test/v1"])),
        ("absent".to_owned(), settings(Source::Env("ABSENT_KEY".to_owned()), &["https://api.test"])),
        ("broken".to_owned(), settings(Source::Value(Secret::new("sk-\nhidden")), &["https://api.test"])),
        ("lost".to_owned(), settings(Source::File("/nonexistent/key".into()), &["https://api.test"])),
        ("nowhere".to_owned(), settings(Source::Value(Secret::new(SECRET)), &[])),
    ]);
    let environment = [("OPENAI_API_KEY".to_owned(), format!("{SECRET}\n"))].into_iter().collect();
    Credentials::new(map, &monitor::Settings::default().redact, &environment, None).unwrap()
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
}

fn applied(uri: &str, pairs: &[(&'static str, &str)]) -> Result<HeaderMap, Error> {
    let uri: Uri = uri.parse().unwrap();
    let mut headers = headers(pairs);
    let route = Route::to(Origin::of(&uri).unwrap(), None);
    credentials().apply(&route, &uri, &mut headers).map(|signing| {
        assert!(signing.is_none());
        headers
    })
}

/// The error's kind, line and hint.
fn refused(uri: &str, value: &str) -> (Kind, String, Option<String>) {
    let error = applied(uri, &[("authorization", value)]).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hidden"));
    (error.kind(), error.message().to_owned(), error.hint().map(str::to_owned))
}

#[test]
fn the_secret_takes_the_placeholders_place_and_is_sensitive() {
    for (name, value, expected) in [
        ("authorization", "Bearer seaway-credential:openai", "Bearer sk-hidden"),
        ("x-api-key", "seaway-credential:openai", "sk-hidden"),
        ("x-odd", "key=seaway-credential:openai; v=1", "key=sk-hidden; v=1"),
        ("cookie", "session=seaway-credential:openai", "session=sk-hidden"),
    ] {
        let headers = applied("https://api.test/v1/chat?x=1", &[("accept", "*/*"), (name, value)]).unwrap();
        assert_eq!(headers[name], expected);
        assert!(headers[name].is_sensitive());
        assert_eq!(headers["accept"], "*/*");
    }
}

#[test]
fn a_key_that_the_guest_set_itself_is_taken_out() {
    let names = ["authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-goog-api-key"];
    for name in names {
        let headers = applied("https://elsewhere.test/", &[(name, "Bearer own"), ("x-other", "kept")]).unwrap();
        assert_eq!((headers.get(name), headers.len()), (None, 1), "{name}");
    }
    let both =
        [("authorization", "Bearer own"), ("authorization", "Bearer seaway-credential:openai"), ("authorization", "x")];
    let headers = applied("https://api.test/v1/chat", &both).unwrap();
    assert_eq!(headers.get_all("authorization").iter().collect::<Vec<_>>(), ["Bearer sk-hidden"]);
}

#[test]
fn a_secret_goes_only_where_it_may() {
    for uri in
        ["https://api.test/v1beta/x", "http://api.test/v1/x", "https://api.test:8443/v1/x", "https://api.test/v1/../x"]
    {
        assert_eq!(refused(uri, "Bearer seaway-credential:openai").0, Kind::CredentialDenied, "{uri}");
    }
    assert_eq!(
        refused("https://api.test/v2/x?token=1", "Bearer seaway-credential:openai"),
        (
            Kind::CredentialDenied,
            "`credentials.openai` may not go to https://api.test/v2/x".to_owned(),
            Some("credentials.openai.urls = [..., \"https://api.test/v2/x\"]".to_owned())
        )
    );
    let ambiguous = refused("https://api.test/v1/%2e%2e/x", "seaway-credential:openai");
    assert_eq!((ambiguous.0, ambiguous.2), (Kind::CredentialDenied, None));
    assert_eq!(refused("https://api.test/", "seaway-credential:nowhere").0, Kind::CredentialDenied);
}

#[test]
fn a_name_that_is_none_gets_the_nearest() {
    let (kind, message, hint) = refused("https://api.test/v1/chat", "Bearer seaway-credential:opnai");
    assert_eq!(kind, Kind::CredentialDenied);
    assert_eq!(message, "no credential is called `opnai`; nearest: `openai`");
    assert!(hint.unwrap().starts_with("[credentials.opnai]"));
    assert_eq!(refused("https://api.test/v1/chat", "Bearer seaway-credential:").0, Kind::CredentialDenied);
}

#[test]
fn a_missing_secret_is_named_by_its_source() {
    let table = [
        ("absent", "credential `absent`: the variable ABSENT_KEY is not set"),
        ("broken", "credential `broken`: its `value` holds a control character, a line break perhaps"),
        ("lost", "credential `lost`: the file /nonexistent/key cannot be read: No such file or directory (os error 2)"),
    ];
    for (name, expected) in table {
        let (kind, message, _) = refused("https://api.test/", &format!("Bearer seaway-credential:{name}"));
        assert_eq!((kind, message.as_str()), (Kind::SecretMissing, expected));
    }
    // A secret that may not go there is not even looked for.
    assert_eq!(refused("https://evil.test/", "seaway-credential:absent").0, Kind::CredentialDenied);
}

#[test]
fn placeholders_where_none_belongs_are_refused() {
    let two = "seaway-credential:openai seaway-credential:openai";
    assert_eq!(refused("https://api.test/v1/chat", two).0, Kind::CredentialDenied);
    for uri in ["https://api.test/v1/seaway-credential:openai", "https://api.test/v1/x?key=seaway-credential:openai"] {
        assert_eq!(applied(uri, &[]).unwrap_err().kind(), Kind::CredentialDenied, "{uri}");
    }
}

#[test]
fn two_headers_may_each_hold_one() {
    let pairs = [("authorization", "Bearer seaway-credential:openai"), ("x-api-key", "seaway-credential:openai")];
    let headers = applied("https://api.test/v1/chat", &pairs).unwrap();
    assert_eq!(
        (&headers["authorization"], &headers["x-api-key"]),
        (&"Bearer sk-hidden".parse().unwrap(), &"sk-hidden".parse().unwrap())
    );
}

#[test]
fn a_name_that_no_placeholder_can_hold_is_refused_at_load() {
    for bad in ["", "a b", "a:b", "é"] {
        let settings = Settings::key(Source::Env("X".to_owned()), vec![]);
        let map = BTreeMap::from([(bad.to_owned(), settings)]);
        assert!(Credentials::new(map, &[], &Environment::default(), None).is_err(), "{bad:?}");
    }
}

#[test]
fn nothing_shows_a_secret() {
    assert!(!format!("{:?}", credentials()).contains("hidden"));
}

#[test]
fn a_proxy_reads_a_secret_only_where_the_credential_lets_it() {
    let urls = || ["https://api.test", "http://api.test"].map(|url| Prefix::parse(url).unwrap()).to_vec();
    let settings = |plain_proxy| Settings { plain_proxy, ..Settings::key(Source::Value(Secret::new(SECRET)), urls()) };
    let map = BTreeMap::from([("kept".to_owned(), settings(false)), ("shown".to_owned(), settings(true))]);
    let credentials = Credentials::new(map, &[], &Environment::default(), None).unwrap();
    // URL, proxy, credential, is it sent
    let table = [
        ("http://api.test/", None, "kept", true),
        ("https://api.test/", Some("http://p"), "kept", true),
        ("http://api.test/", Some("http://p"), "kept", false),
        ("http://api.test/", Some("https://p"), "kept", false),
        ("http://api.test/", Some("socks5h://p"), "kept", false),
        ("http://api.test/", Some("http://p"), "shown", true),
        ("http://elsewhere.test/", Some("http://p"), "shown", false),
    ];
    for (url, proxy, name, sent) in table {
        let uri: Uri = url.parse().unwrap();
        let route = Route::to(Origin::of(&uri).unwrap(), proxy.map(crate::proxy::proxy));
        let mut headers = headers(&[("authorization", &format!("Bearer {PLACEHOLDER}{name}"))]);
        let result = credentials.apply(&route, &uri, &mut headers);
        assert_eq!(result.is_ok(), sent, "{url} {proxy:?} {name} {result:?}");
        if let (Err(error), Some(_), "kept") = (result, proxy, name) {
            assert_eq!((error.stage(), error.kind()), (Stage::Credentials, Kind::CredentialDenied));
            assert!(error.hint().unwrap().starts_with("credentials.kept.plain_proxy = true"), "{error:?}");
        }
    }
}

#[test]
fn the_headers_that_carry_keys_are_the_policys_to_name() {
    let names = ["x-corp-key".to_owned().try_into().unwrap()];
    let credentials = Credentials::new(BTreeMap::new(), &names, &Environment::default(), None).unwrap();
    let mut headers = headers(&[("x-corp-key", "own"), ("authorization", "own")]);
    let route = Route::to(Origin::parse("https://api.test").unwrap(), None);
    credentials.apply(&route, &"https://api.test/".parse().unwrap(), &mut headers).unwrap();
    assert_eq!((headers.len(), &headers["authorization"]), (1, &"own".parse().unwrap()));
}
