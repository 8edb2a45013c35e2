//! `dns`: names to addresses, and what a name says that has none.

mod servers;

use std::time::Duration;

use seaway_session::{Call, Kind, Record, Stage};
use seaway_tests::answer::Answer;
use seaway_tests::client::{Client, get};
use seaway_tests::error::assert_says;
use seaway_tests::origin::Origin;

async fn hello() -> Origin {
    Origin::plain(|_: &_| Answer::ok("hello")).await
}

/// T3, the part without a resolver of one's own: a name that cannot resolve says so, within its deadline, and where.
#[tokio::test]
async fn a_name_that_does_not_resolve_names_itself() {
    // https://www.rfc-editor.org/rfc/rfc6761#section-6.4: `.invalid` never resolves.
    let url = "http://nothing.invalid:8000";
    let client = Client::under("[dns]\ntimeout = \"2s\"").destination(url).build();
    let error = client.get(url).await.unwrap_err();
    assert_eq!(error.stage(), Stage::Dns, "{error}");
    // The second on a machine whose resolver is out of reach.
    let words = match error.kind() == Kind::DnsFailed {
        true => ["`nothing.invalid` did not resolve", url],
        false => ["`dns.timeout` of 2s passed", url],
    };
    let kind = if error.kind() == Kind::DnsFailed { Kind::DnsFailed } else { Kind::DnsTimeout };
    assert_says(&error, Stage::Dns, kind, &words);
    assert!(!error.request_sent());
    client.settles(0, 0).await;
}

/// An address in the name's place asks nobody.
#[tokio::test]
async fn an_address_obeys_the_family() {
    let origin = hello().await;
    let client = Client::under("[dns]\nfamily = \"ipv6\"").to(&origin).build();
    let error = client.get(&origin.url("/")).await.unwrap_err();
    assert_says(&error, Stage::Dns, Kind::DnsFailed, &["`127.0.0.1`", "wanted family", "hint: `dns.family = \"any\"`"]);
    assert_eq!(origin.ledger().accepted, 0);
    let client = Client::under("[dns]\nfamily = \"ipv4\"").to(&origin).build();
    assert_eq!(client.get(&origin.at("localhost", "/")).await.unwrap().body, "hello");
}

/// The record of a connection that had to be opened says how long each stage took, in the order of the path.
#[tokio::test]
async fn a_record_holds_dns_and_tcp_of_a_new_connection_only() {
    let origin = hello().await;
    let client = Client::to(&origin);
    for reused in [false, true] {
        let record = Record::new();
        let call = Call { record: record.clone(), ..Call::default() };
        let answer = client.call(get(&origin.at("localhost", "/")), call).await.unwrap();
        seaway_tests::client::collect(answer.into_body()).await.unwrap();
        let timings = record.timings().unwrap();
        assert_eq!((timings.reused, timings.status, timings.received), (reused, Some(200), 5));
        assert_eq!(timings.origin, Some(origin.at("localhost", "")));
        for stage in [Stage::Dns, Stage::Tcp] {
            assert_eq!(timings.span(stage).is_none(), reused, "{stage}");
        }
        let ran: Vec<Duration> =
            Stage::ALL.iter().filter_map(|stage| timings.span(*stage)).map(|span| span.end).collect();
        let own =
            [Stage::Egress, Stage::Credentials, Stage::Wire, Stage::Body].map(|stage| timings.span(stage).unwrap().end);
        assert!(own.is_sorted() && ran.len() >= 5, "{timings:?}");
        assert!(timings.elapsed() >= *own.last().unwrap());
    }
}

/// `dns.hosts`: the table answers, nobody is asked, and egress judges what it says like any other answer.
#[tokio::test]
async fn the_table_of_hosts_answers_and_egress_judges_it() {
    let origin = hello().await;
    let url = origin.at("Llm.Corp.Example", "/");
    let policy = "[dns]\nhosts = { \"llm.corp.example\" = [\"127.0.0.1\"] }";
    let client = Client::under(policy).destination(&url).build();
    assert_eq!(client.get(&url).await.unwrap().body, "hello");
    let host = origin.ledger().requests[0].header("host");
    assert_eq!(host, Some(format!("llm.corp.example:{}", origin.port())));
    let client = Client::under(policy).built_in(&url, false).build();
    let error = client.get(&url).await.unwrap_err();
    assert_says(&error, Stage::Egress, error.kind(), &["`llm.corp.example` leads to 127.0.0.1, a loopback address"]);
    assert_eq!(origin.ledger().accepted, 1);
}
