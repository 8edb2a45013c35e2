//! Files as people write them, and what each gets to read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Method;
use serde::Deserialize;

use super::*;
use crate::credentials::{Sort, command, sigv4};
use crate::policy::units::{Period, Size, Timeout};
use crate::tcp::Keepalive;

mod origins;

const HOST_SECTIONS: [&str; 4] = ["providers", "models", "runtime", "serve"];

fn document(text: &str) -> Document {
    Document::parse(Path::new("seaway.toml"), text).unwrap()
}

fn policy(text: &str) -> Policy {
    document(text).policy(Preset::Default, &HOST_SECTIONS).unwrap().0
}

fn refused(text: &str) -> String {
    let document = match Document::parse(Path::new("seaway.toml"), text) {
        Ok(document) => document,
        Err(error) => return error.to_string(),
    };
    document
        .policy(Preset::Default, &HOST_SECTIONS)
        .map(|_| format!("accepted: {text}"))
        .unwrap_or_else(|error| error.to_string())
}

/// Each text is refused with a line that begins as expected, and without the secrets in it.
fn assert_refused(table: &[(&str, &str)]) {
    for (text, expected) in table {
        let found = refused(text);
        assert!(found.starts_with(expected), "{found}\n{expected}");
        assert!(!found.contains("hidden") && !found.contains('\n'), "{found}");
    }
}

#[test]
fn an_empty_file_is_the_callers_preset() {
    for preset in Preset::ALL {
        assert_eq!(document("").policy(preset, &[]).unwrap().0, Policy::preset(preset));
        assert_eq!(
            document(&format!("preset = \"{preset}\"")).policy(Preset::Default, &[]).unwrap().0,
            Policy::preset(preset)
        );
    }
}

#[test]
fn a_file_is_laid_upon_its_preset_key_by_key() {
    let policy = policy(
        "preset = \"production\"\ntotal = \"off\"\nstream_total = \"10m\"\n[pool]\nlimit = 7\nforce_close = true\n[dns]\nttl = \"1m\"\n\
         [tcp]\nkeepalive = \"off\"\n[body]\nmax_request = \"20MiB\"\n[egress]\nmethods = [\"POST\"]\n",
    );
    let production = Policy::preset(Preset::Production);
    let expected = Policy {
        total: Timeout::OFF,
        stream_total: Timeout::seconds(600),
        pool: crate::pool::Settings { limit: 7, force_close: true, ..production.pool },
        dns: dns::Settings { ttl: Timeout::seconds(60).into(), ..production.dns },
        tcp: crate::tcp::Settings { keepalive: Keepalive::Off, ..production.tcp },
        body: crate::body::Settings { max_request: Size::mib(20), ..production.body },
        egress: egress::Settings { methods: vec![egress::Verb(Method::POST)], ..production.egress },
        ..production
    };
    assert_eq!(policy, expected);
    assert_eq!((policy.pool.limit_per_host, policy.pool.keepalive), (200, Period::seconds(60)));
}

#[test]
fn an_unknown_key_names_the_nearest_one() {
    let table = [
        ("\n\n[pool]\nlimt = 3", "seaway.toml:4: unknown key `pool.limt`; nearest: `pool.limit`"),
        ("pool.limt = 3", "seaway.toml:1: unknown key `pool.limt`; nearest: `pool.limit`"),
        ("[pol]\nlimit = 3", "seaway.toml:1: unknown key `pol`; nearest: `pool`"),
        ("totl = \"3s\"", "seaway.toml:1: unknown key `totl`; nearest: `total`"),
        ("[provider.x]\na = 1", "seaway.toml:1: unknown key `provider`; nearest: `providers`"),
        ("[pool]\ntotal = \"3s\"", "seaway.toml:2: unknown key `pool.total`; nearest: `total`"),
        ("limit = 3", "seaway.toml:1: unknown key `limit`; nearest: `pool.limit`"),
        ("[egress]\nallowed = []", "seaway.toml:2: unknown key `egress.allowed`; nearest: `egress.allow`"),
        (
            "[credentials.openai]\nenv = \"X\"\nurl = []",
            "seaway.toml:3: unknown key `credentials.openai.url`; nearest: `credentials.openai.urls`",
        ),
        ("[\"a b\"]", "seaway.toml:1: unknown key `\"a b\"`; nearest: `tls`"),
    ];
    for (text, expected) in table {
        let found = refused(text);
        // Any word may be nearest to one that resembles none.
        let expected = expected.strip_suffix("nearest: `tls`").unwrap_or(expected);
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
}

#[test]
fn a_bad_value_of_dns_says_what_to_write() {
    assert_refused(&[
        ("dns.ttl = 10", "seaway.toml:1: `dns.ttl`: a bare number has no unit; write \"10s\""),
        (
            "dns.ttl = \"recrod\"",
            "seaway.toml:1: `dns.ttl`: `recrod` is not a number with a unit (ms, s, m, h, d), as in \"15s\", nor \"off\" or \"record\"",
        ),
        (
            "[dns]\nttl = \"record\"",
            "seaway.toml:2: `dns.ttl`: \"record\" needs `dns.servers`, because the system's resolver tells no TTL; write servers = [\"10.0.0.53\"], or a duration here",
        ),
        (
            "[dns]\nttl_max = \"1m\"\nttl_min = \"2m\"",
            "seaway.toml:3: `dns.ttl_min`: 2m is longer than `dns.ttl_max` of 1m",
        ),
        ("dns.ttl_min = \"off\"", "seaway.toml:1: `dns.ttl_min`: `off` is not a number with a unit"),
        (
            "[dns]\nservers = [\"dns.corp.example\"]",
            "seaway.toml:2: `dns.servers`: `dns.corp.example` is not the address of a server; write it as in \"10.0.0.53\", \"10.0.0.53:5353\" or \"[fd00::53]:53\"",
        ),
        ("dns.servers = [\"::1\", \"[::1]:53\"]", "seaway.toml:1: `dns.servers`: `[::1]:53` is there twice"),
        ("dns.servers = \"10.0.0.53\"", "seaway.toml:1: `dns.servers`: a string where a list belongs"),
        (
            "dns.servers = [\"10.0.0.53\"]\n[origin.\"http://a.example\"]\ndns = { servers = [], ttl = \"record\" }",
            "seaway.toml:3: `origin.\"http://a.example\".dns.ttl`: \"record\" needs `dns.servers`",
        ),
    ]);
}

#[test]
fn a_bad_value_says_what_to_write() {
    let table = [
        ("\n\n\n[pool]\nkeepalive = 15", "seaway.toml:5: `pool.keepalive`: a bare number has no unit; write \"15s\""),
        ("total = 1.5", "seaway.toml:1: `total`: a bare number has no unit; write \"1.5s\""),
        ("body.max_request = 1024", "seaway.toml:1: `body.max_request`: a bare number has no unit; write \"1024B\""),
        ("dns.ttl = \"0s\"", "seaway.toml:1: `dns.ttl`: `0s` is zero; write \"off\" where a key can be switched off"),
        (
            "dns.timeout = \"off\"",
            "seaway.toml:1: `dns.timeout`: `off` is not a number with a unit (ms, s, m, h, d), as in \"15s\"",
        ),
        ("pool.descriptors = 50", "seaway.toml:1: `pool.descriptors`: a bare number has no unit; write \"50%\""),
        ("pool.descriptors = \"0%\"", "seaway.toml:1: `pool.descriptors`: `0%` is not a share between 1% and 100%"),
        ("pool.limit = \"5\"", "seaway.toml:1: `pool.limit`: a string where a whole number belongs"),
        ("pool.limit = -1", "seaway.toml:1: `pool.limit`: integer `-1` where a whole number belongs"),
        ("pool.force_close = 1", "seaway.toml:1: `pool.force_close`: integer `1` where `true` or `false` belongs"),
        ("pool = 5", "seaway.toml:1: `pool`: integer `5` where a table belongs"),
        ("preset = \"prod\"", "seaway.toml:1: `preset`: unknown word `prod`; nearest: `production`"),
        ("preset = 1", "seaway.toml:1: `preset`: a quoted word belongs here"),
        ("[monitor]\nsignals = \"error\"", "seaway.toml:2: `monitor.signals`: unknown word `error`; nearest: `errors`"),
        ("[proxy]\nmode = \"envy\"", "seaway.toml:2: `proxy.mode`: unknown word `envy`; nearest: `env`"),
        (
            "egress.addresses = \"any\"",
            "seaway.toml:1: `egress.addresses`: unknown word `any`; nearest: `deny-special`",
        ),
        ("[egress]\nallow = \"https://x.test\"", "seaway.toml:2: `egress.allow`: a string where a list belongs"),
        (
            "[egress]\nallow = [\n  \"https://x.test\",\n  \"y.test\",\n]",
            "seaway.toml:2: `egress.allow`: `y.test` has no scheme; write \"https://y.test\"",
        ),
        (
            "[egress]\nprivate = [\"10.0.0.0/99\"]",
            "seaway.toml:2: `egress.private`: `10.0.0.0/99` is not an address range",
        ),
        ("[egress]\nmethods = [\"CONNECT\"]", "seaway.toml:2: `egress.methods`: the method CONNECT is never sent"),
        (
            "[credentials.x]\nurls = []",
            "seaway.toml:1: `credentials.x`: has no secret; write one of `env`, `file` and `value`",
        ),
        (
            "[credentials.x]\nenv = \"A\"\nvalue = \"hidden\"",
            "seaway.toml:1: `credentials.x`: has several secrets; keep one of `env`, `file` and `value`",
        ),
        ("[credentials.x]\nvalue = 5", "seaway.toml:2: `credentials.x.value`: a secret is a quoted string"),
        (
            "[credentials.x]\nvalue = [\"hidden\"]",
            "seaway.toml:2: `credentials.x.value`: a list where a quoted string belongs",
        ),
        (
            "[credentials.x]\nenv = \"A\"\nurls = [\"x.test\"]",
            "seaway.toml:3: `credentials.x.urls`: the URI has no scheme",
        ),
        ("[credentials.\"x y\"]\nenv = \"A\"", "seaway.toml:1: `credentials.\"x y\"`: a credential's name is made of"),
        (
            "[pool]\nkeepalive = \"5s\"\nforce_close = true",
            "seaway.toml:3: `pool.force_close`: excludes `pool.keepalive`: a connection is closed or kept, not both",
        ),
    ];
    assert_refused(&table);
}

#[test]
fn keys_of_tls_that_do_not_fit_say_what_to_write() {
    let table = [
        ("[tls]\nclient_cert = \"a\"", "seaway.toml:2: `tls.client_cert`: needs its key; write `client_key` beside it"),
        (
            "[tls]\nclient_key = \"a\"",
            "seaway.toml:2: `tls.client_key`: needs its certificate; write `client_cert` beside it",
        ),
        ("[tls]\nmin = \"1.3\"\nmax = \"1.2\"", "seaway.toml:2: `tls.min`: 1.3 is above `tls.max`, which is 1.2"),
        ("[tls]\nmin = \"1.1\"", "seaway.toml:2: `tls.min`: unknown word `1.1`; nearest: `1."),
        ("[tls]\nmin = 1.2", "seaway.toml:2: `tls.min`: a quoted word belongs here"),
        ("[tls]\nverify = false", "seaway.toml:2: `tls.verify`: false lets anybody on the way read and change"),
        ("[tls]\npins = [\"sha256/AA==\"]", "seaway.toml:2: `tls.pins`: `sha256/AA==` is not a pin: \"sha256/\" and"),
    ];
    assert_refused(&table);
}

#[test]
fn a_syntax_error_is_one_line_without_the_files_text() {
    for text in
        ["total = \"3s\"\nvalue = sk-hidden", "[pool", "a = 1\na = 2", "= 3", "x = \"sk-hidden", "[a]\n[a]", "\u{0}"]
    {
        let found = refused(text);
        assert!(found.starts_with("seaway.toml:"), "{found}");
        assert!(!found.contains("hidden") && !found.contains('\n'), "{found}");
    }
    assert!(refused("total = \"3s\"\nvalue = sk-hidden").starts_with("seaway.toml:2: "));
}

#[test]
fn force_close_needs_no_word_about_a_presets_keepalive() {
    assert!(policy("preset = \"production\"\npool.force_close = true").pool.force_close);
    assert!(!policy("pool.force_close = false\npool.keepalive = \"5s\"").pool.force_close);
}

#[test]
fn relative_paths_start_at_the_files_folder() {
    let text = "[tls]\nca = [\"a.pem\", \"/abs/b.pem\"]\nclient_cert = \"c.pem\"\nclient_key = \"keys/c.key\"\n\
                [credentials.x]\nfile = \"x.key\"\n[credentials.y]\nenv = \"Y\"";
    let document = Document::parse(Path::new("/etc/seaway/seaway.toml"), text).unwrap();
    let policy = document.policy(Preset::Default, &[]).unwrap().0;
    assert_eq!(policy.tls.ca, [PathBuf::from("/etc/seaway/a.pem"), PathBuf::from("/abs/b.pem")]);
    assert_eq!(policy.tls.client_cert, Some(PathBuf::from("/etc/seaway/c.pem")));
    assert_eq!(policy.tls.client_key, Some(PathBuf::from("/etc/seaway/keys/c.key")));
    assert_eq!(policy.credentials["x"].kind, Sort::Key(Source::File(PathBuf::from("/etc/seaway/x.key"))));
    assert_eq!(policy.credentials["y"].kind, Sort::Key(Source::Env("Y".to_owned())));
}

#[test]
fn a_secret_in_the_file_is_a_warning_and_not_shown() {
    let document = document(
        "[credentials.a]\nenv = \"A\"\n[credentials.\"b.c\"]\nurls = [\"https://x.test\"]\nvalue = \"hidden\"",
    );
    let (policy, warnings) = document.policy(Preset::Default, &[]).unwrap();
    assert_eq!(
        warnings,
        ["seaway.toml:5: `credentials.\"b.c\".value`: the secret itself is in the file; `env` or `file` keeps it out"]
    );
    assert!(!format!("{policy:?} {document:?}").contains("hidden"));
}

#[test]
fn what_switches_a_guard_off_is_a_warning() {
    let table = [
        ("[tls]\ndanger = true\nverify = false", "seaway.toml:3: `tls.verify = false`: no server has to prove"),
        (
            "[egress]\nmode = \"count\"",
            "seaway.toml:2: `egress.mode = \"count\"`: what no rule allows leaves all the same",
        ),
    ];
    for (text, expected) in table {
        let (_, warnings) = document(text).policy(Preset::Default, &[]).unwrap();
        assert!(warnings.len() == 1 && warnings[0].starts_with(expected), "{warnings:?}");
    }
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    provider: String,
    #[serde(default)]
    timeout: Option<Timeout>,
}

#[test]
fn a_section_of_the_hosts_has_the_same_errors() {
    let models =
        |text: &str| document(text).section::<BTreeMap<String, Model>>("models").map_err(|error| error.to_string());
    assert_eq!(models("total = \"1s\""), Ok(None));
    let read = models("[models.\"a.b\"]\nprovider = \"openai\"\ntimeout = \"2s\"").unwrap().unwrap();
    let timeout = Some(Timeout(Some(Duration::from_secs(2))));
    assert_eq!(read, BTreeMap::from([("a.b".to_owned(), Model { provider: "openai".to_owned(), timeout })]));
    let table = [
        ("\nmodels = 5", "seaway.toml:2: `models`: this is a section; write [models] and its keys below"),
        ("[models.x]\nprovidr = \"a\"", "seaway.toml:2: unknown key `models.x.providr`; nearest: `models.x.provider`"),
        ("[models.x]\n", "seaway.toml:1: `models.x`: the key `provider` is missing"),
        ("[models.x]\nprovider = 5", "seaway.toml:2: `models.x.provider`: integer `5` where a quoted string belongs"),
        (
            "[models.x]\nprovider = \"a\"\ntimeout = 5",
            "seaway.toml:3: `models.x.timeout`: a bare number has no unit; write \"5s\"",
        ),
        ("[models]\nx = 5", "seaway.toml:2: `models.x`: integer `5` where a table belongs"),
    ];
    for (text, expected) in table {
        assert_eq!(models(text).unwrap_err(), expected);
    }
}

#[test]
fn an_error_found_later_gets_its_place_in_the_file() {
    let document = document("[models.\"a.b\"]\nprovider = \"openai\"");
    let located = |key: &str| document.locate(Error::key(key, "wrong")).to_string();
    assert_eq!(located("models.\"a.b\".provider"), "seaway.toml:2: `models.\"a.b\".provider`: wrong");
    assert_eq!(located("tls.ca"), "seaway.toml: `tls.ca`: wrong");
}

#[test]
fn a_signature_has_keys_of_its_own() {
    let whole = "[credentials.aws]\nkind = \"sigv4\"\naccess_key = { env = \"ID\" }\nsecret_key = { file = \"secret\" }\n\
                 token = { value = \"hidden\" }\nregion = \"eu-central-1\"\nservice = \"bedrock\"\n";
    let document = Document::parse(Path::new("/etc/seaway/seaway.toml"), whole).unwrap();
    let (policy, warnings) = document.policy(Preset::Default, &[]).unwrap();
    let sources: Vec<_> = policy.credentials["aws"].sources().map(|(key, source)| (key.unwrap(), source)).collect();
    assert_eq!(
        sources[..2],
        [
            ("access_key", &Source::Env("ID".to_owned())),
            ("secret_key", &Source::File(PathBuf::from("/etc/seaway/secret"))),
        ]
    );
    assert!(
        warnings.len() == 1 && warnings[0].starts_with("/etc/seaway/seaway.toml:5: `credentials.aws.token`"),
        "{warnings:?}"
    );
    assert_refused(&[
        (&whole.replace("sigv4", "key"), "seaway.toml:1: `credentials.aws`: has keys of a signature"),
        (
            &whole.replace("secret_key", "value = \"hidden\"\n#"),
            "seaway.toml:1: `credentials.aws`: signs, for which one",
        ),
        (&whole.replace("secret_key", "#"), "seaway.toml:1: `credentials.aws`: lacks a key to sign with"),
        (&whole.replace("region", "#"), "seaway.toml:1: `credentials.aws`: signs for a region and a service"),
        (&whole.replace("eu-central-1", "eu/hidden"), "seaway.toml:1: `credentials.aws`: signs for a region"),
        (
            &whole.replace("env = \"ID\"", "env = \"ID\", value = \"hidden\""),
            "seaway.toml:3: `credentials.aws.access_key`: has several",
        ),
        (&whole.replace("sigv4", "sigv5"), "seaway.toml:2: `credentials.aws.kind`: unknown word `sigv5`"),
    ]);
}

#[test]
fn a_bad_value_of_http_says_what_to_write() {
    assert_refused(&[
        ("wire.http = \"3\"", "seaway.toml:1: `wire.http`: `3` is none of \"auto\", \"1\" and \"2\""),
        ("[wire]\nhttp = 3", "seaway.toml:2: `wire.http`: `3` is none of \"auto\", \"1\" and \"2\""),
        (
            "[wire]\nhttp = 2\n[tls]\nalpn = [\"http/1.1\"]",
            "seaway.toml:2: `wire.http`: \"2\" needs \"h2\" in `tls.alpn`",
        ),
        ("wire.h2.streams = 0", "seaway.toml:1: `wire.h2.streams`: is zero; write 1, or wire.http = \"1\""),
        (
            "wire.h2.window = \"4GiB\"",
            "seaway.toml:1: `wire.h2.window`: is larger than 2147483647 bytes, the most that HTTP/2 knows",
        ),
        ("drain.queued = \"finsh\"", "seaway.toml:1: `drain.queued`: unknown word `finsh`; nearest: `finish`"),
    ]);
}

#[test]
fn a_signatures_keys_may_be_a_profiles_or_a_commands() {
    let with = |keys: &str| {
        format!("[credentials.aws]\nkind = \"sigv4\"\n{keys}\nregion = \"eu-central-1\"\nservice = \"bedrock\"\n")
    };
    let read = |keys: &str| {
        let document = Document::parse(Path::new("/etc/seaway/seaway.toml"), &with(keys)).unwrap();
        let (policy, warnings) = document.policy(Preset::Default, &[]).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        match policy.credentials["aws"].kind.clone() {
            Sort::Sigv4(settings) => settings.keys,
            Sort::Key(_) | Sort::Command(_) => panic!("it does not sign"),
        }
    };
    let profile = |file: Option<&str>, name: Option<&str>| {
        sigv4::Keys::Profile(sigv4::Profile { file: file.map(PathBuf::from), name: name.map(str::to_owned) })
    };
    assert_eq!(read("profile = \"work\""), profile(None, Some("work")));
    assert_eq!(read("file = \"aws\""), profile(Some("/etc/seaway/aws"), None));
    assert_eq!(read("file = \"/aws\"\nprofile = \"work\""), profile(Some("/aws"), Some("work")));
    let command = |argv: &[&str], expires| {
        let argv = argv.iter().map(|&word| word.to_owned()).collect();
        sigv4::Keys::Command(command::Settings { argv, expires, folder: PathBuf::from("/etc/seaway/") })
    };
    assert_eq!(
        read("command = [\"./tell\", \"it\"]\nexpires = \"off\""),
        command(&["/etc/seaway/./tell", "it"], Timeout::OFF)
    );
    let refusals = [
        ("profile = \"\"", "has a `profile` without a name"),
        ("command = []", "has a `command` without a program"),
        ("expires = \"1m\"\nprofile = \"x\"", "expires without a `command`"),
        ("", "lacks a key to sign with"),
        ("access_key = { env = \"A\" }", "lacks a key to sign with"),
        ("env = \"A\"\nprofile = \"x\"", "signs, for which one secret is not enough"),
        ("profile = \"x\"\ncommand = [\"y\"]", "has several keys to sign with"),
        ("file = \"x\"\ntoken = { env = \"A\" }", "has several keys to sign with"),
    ];
    for (keys, expected) in refusals {
        let found = refused(&with(keys));
        assert!(found.starts_with(&format!("seaway.toml:1: `credentials.aws`: {expected}")), "{found}");
    }
    let plain = refused("[credentials.aws]\nprofile = \"x\"\n");
    assert!(plain.starts_with("seaway.toml:1: `credentials.aws`: has keys of a signature"), "{plain}");
}
