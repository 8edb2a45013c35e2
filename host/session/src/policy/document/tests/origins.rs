//! `[origin."..."]` as people write it.

use crate::policy::document::tests::{assert_refused, policy};
use crate::policy::units::Timeout;
use crate::proxy::Mode;
use crate::route::Origin;

/// An override is laid upon the file key by key; the other origins, and what holds for all, stay as they are.
#[test]
fn what_differs_for_one_origin_is_laid_upon_the_file() {
    let policy = policy(
        "preset = \"production\"\ntotal = \"100s\"\n[pool]\nkeepalive = \"30s\"\n[proxy]\nmode = \"explicit\"\nhttps = \"http://p.test:1\"\n\
         [tls]\nroots = \"none\"\nca = [\"all.pem\"]\n\
         [origin.\"https://LLM.corp.example\"]\ntotal = \"9s\"\nproxy.mode = \"off\"\ntls.ca = [\"corp.pem\"]\npool.limit_per_host = 3\n\
         [origin.\"http://other.test:8080/\"]\npool.force_close = true\n",
    );
    let corp = &policy.origins[&Origin::parse("https://llm.corp.example").unwrap()];
    assert_eq!((corp.total, policy.total), (Timeout::seconds(9), Timeout::seconds(100)));
    assert_eq!((corp.proxy.mode, policy.proxy.mode), (Mode::Off, Mode::Explicit));
    assert_eq!((corp.pool.limit_per_host, policy.pool.limit_per_host), (3, 200));
    assert_eq!((corp.pool.keepalive, corp.pool.limit), (policy.pool.keepalive, policy.pool.limit));
    assert!(corp.tls.ca[0].ends_with("corp.pem") && corp.tls.ca[0].is_absolute() == policy.tls.ca[0].is_absolute());
    assert_eq!(corp.tls.roots, policy.tls.roots);
    let other = &policy.origins[&Origin::parse("http://other.test:8080").unwrap()];
    assert!(other.pool.force_close && !policy.pool.force_close);
    assert_eq!((other.total, other.proxy.clone()), (policy.total, policy.proxy.clone()));
}

#[test]
fn an_override_that_cannot_be_is_refused_by_its_name() {
    let table = [
        (
            "[origin.\"https://x.test\"]\npool.limit = 3",
            "seaway.toml:2: `origin.\"https://x.test\".pool.limit`: cannot differ for one origin: it holds for all of them",
        ),
        (
            "[origin.\"https://x.test\".egress]\nmethods = [\"GET\"]",
            "seaway.toml:1: `origin.\"https://x.test\".egress`: cannot differ for one origin",
        ),
        ("[origin.\"x.test\"]\ntotal = \"3s\"", "seaway.toml:1: `origin.\"x.test\"`: the URI has no scheme"),
        (
            "[origin.\"https://x.test/v1\"]\ntotal = \"3s\"",
            "seaway.toml:1: `origin.\"https://x.test/v1\"`: an origin has no path; write scheme://host[:port]",
        ),
        ("[origin.\"https://x.test\"]\n[origin.\"https://X.test:443\"]", "seaway.toml:"),
        (
            "\n[origin.\"https://x.test\"]\ntls.client_cert = \"a.pem\"",
            "seaway.toml:3: `origin.\"https://x.test\".tls.client_cert`: needs its key; write `client_key` beside it",
        ),
        (
            "[origin.\"https://x.test\"]\ntotal = 3",
            "seaway.toml:2: `origin.\"https://x.test\".total`: a bare number has no unit",
        ),
        ("[origin.\"https://x.test\"]\ntls.caa = []", "seaway.toml:2: unknown key `origin.\"https://x.test\".tls.caa`"),
        (
            "[origin.\"https://x.test\"]\ntotl = \"3s\"",
            "seaway.toml:2: unknown key `origin.\"https://x.test\".totl`; nearest: `origin.\"https://x.test\".total`",
        ),
        ("[origin]\n\"https://x.test\" = 3", "seaway.toml:2: `origin.\"https://x.test\"`: this is a section"),
        (
            "[origin.\"https://x.test\"]\nretry.max = 0",
            "seaway.toml:2: `origin.\"https://x.test\".retry.max`: is zero; `retry.status = \"off\"` repeats nothing",
        ),
        ("origin = 3", "seaway.toml:1: `origin`: write [origin.\"https://llm.corp.example\"] and its keys"),
    ];
    assert_refused(&table);
}
