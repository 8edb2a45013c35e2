//! `retry.status`: answers after which a request is sent again, how soon, and how often.

use std::time::{Duration, SystemTime};

use seaway_session::{Call, Kind, Record, RequestBody, Stage};
use seaway_tests::answer::{Answer, Then};
use seaway_tests::client::{Client, collect, post, request};
use seaway_tests::error::assert_says;
use seaway_tests::log::Log;
use seaway_tests::origin::Origin;
use seaway_tests::request::Request;
use tokio::time::Instant;

const STATUS: &str = "[retry]\nstatus = [429, 503]\n";

/// An origin that refuses the first `times` requests to each target, then answers.
async fn refusing(times: usize, status: &'static str, retry_after: impl Into<String>) -> Origin {
    let retry_after = retry_after.into();
    let seen = std::sync::Mutex::new(std::collections::HashMap::<String, usize>::new());
    Origin::plain(move |request: &Request| {
        let mut seen = seen.lock().unwrap();
        let count = seen.entry(request.target.clone()).or_default();
        *count += 1;
        match *count > times {
            true => Answer::ok("hello"),
            false => Answer::whole(status, &[("retry-after", &retry_after)], "refused"),
        }
    })
    .await
}

/// A listed status is not the answer while a repeat may be: the same request comes again, over the same connection.
#[tokio::test]
async fn a_listed_status_is_repeated_and_told() {
    for status in ["429 Too Many Requests", "503 Service Unavailable"] {
        let origin = refusing(2, status, "0").await;
        let client = Client::under(STATUS).to(&origin).build();
        let (log, _guard) = Log::listen();
        let call = Call { record: Record::new(), ..Call::default() };
        let record = call.record.clone();
        let answer = client.call(post(&origin.url("/v1?q=QUERY-MARK"), "BODY-MARK"), call).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(collect(answer.into_body()).await.unwrap().0, "hello");
        let ledger = origin.ledger();
        assert_eq!(ledger.targets(), ["/v1?q=QUERY-MARK"; 3]);
        assert!(ledger.requests.iter().all(|request| request.head == ledger.requests[0].head));
        assert!(ledger.requests.iter().all(|request| request.body == "BODY-MARK"));
        assert_eq!((client.figures().retried, record.timings().unwrap().attempts), (2, 3));
        let text = log.text();
        let lines: Vec<_> = text.lines().filter(|line| line.contains("the request is sent again")).collect();
        assert!(lines.len() == 2 && lines.iter().all(|line| line.contains(&format!("status={}", &status[..3]))));
        client.settles(1, 1).await;
    }
}

/// What is not listed, or not held, or was repeated often enough, is the answer.
#[tokio::test]
async fn any_other_answer_is_passed_on() {
    let large = || RequestBody::full(vec![b'x'; 2 << 20]);
    let small = || RequestBody::full("BODY-MARK");
    type Body<'a> = &'a dyn Fn() -> RequestBody;
    let table: [(&str, &str, Body<'_>, usize); 6] = [
        ("", "429 Too Many Requests", &small, 1),
        (STATUS, "500 Internal Server Error", &small, 1),
        (STATUS, "429 Too Many Requests", &large, 1),
        (STATUS, "429 Too Many Requests", &small, 3),
        ("[retry]\nstatus = [429]\nmax = 4", "429 Too Many Requests", &small, 5),
        ("[retry]\nstatus = [429]\nmax_body = \"4B\"", "429 Too Many Requests", &small, 1),
    ];
    for (policy, status, body, times) in table {
        let origin = refusing(usize::MAX, status, "0").await;
        let client = Client::under(policy).to(&origin).build();
        let reply = client.read(request("POST", &origin.url("/"), &[], body())).await.unwrap();
        assert_eq!((reply.status.as_str(), &reply.body[..]), (&status[..3], &b"refused"[..]));
        assert_eq!(reply.headers["retry-after"], "0");
        assert_eq!(origin.ledger().requests.len(), times, "{policy} {status}");
    }
}

/// Retry-After is obeyed, as seconds and as a date, where it ends within `total`; else the answer comes at once.
#[tokio::test]
async fn retry_after_is_obeyed_within_total() {
    let at = |ahead| httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(ahead));
    type Ask<'a> = &'a dyn Fn() -> String;
    let table: [(Ask<'_>, bool); 4] =
        [(&|| "1".to_owned(), true), (&|| at(2), true), (&|| "600".to_owned(), false), (&|| at(600), false)];
    for (ask, waits) in table {
        let retry_after = ask();
        let origin = refusing(1, "503 Service Unavailable", retry_after.clone()).await;
        let client = Client::under(&format!("total = \"60s\"\n{STATUS}")).to(&origin).build();
        let begun = Instant::now();
        let reply = client.post(&origin.url("/"), "BODY-MARK").await.unwrap();
        let took = begun.elapsed();
        assert_eq!(reply.status == 200, waits, "{retry_after}");
        // A date has whole seconds, so two ahead is more than one away.
        let expected = if waits { took >= Duration::from_millis(900) } else { took < Duration::from_secs(50) };
        assert!(expected, "{retry_after}: {took:?}");
        assert_eq!(client.figures().retried, u64::from(waits));
    }
}

/// `total` holds over all attempts: a repeat that never answers ends with it.
#[tokio::test]
async fn total_bounds_all_attempts_together() {
    let origin = Origin::plain(|request: &Request| match request.nth {
        0 => Answer::whole("429 Too Many Requests", &[("retry-after", "0")], ""),
        _ => Answer::none(),
    });
    let origin = origin.await;
    let client = Client::under(&format!("total = \"300ms\"\n{STATUS}")).to(&origin).build();
    let error = client.post(&origin.url("/"), "BODY-MARK").await.unwrap_err();
    assert_says(&error, Stage::Wire, Kind::TotalTimeout, &["`total`"]);
    assert!(error.request_sent());
    assert_eq!(origin.ledger().requests.len(), 2);
}

/// Repeats are a share of the exchanges, over the whole session: who is refused all the time is not asked three times as
/// often.
#[tokio::test]
async fn the_budget_bounds_the_repeats_of_all() {
    let origin = refusing(usize::MAX, "503 Service Unavailable", "0").await;
    let client = Client::under(&format!("{STATUS}budget = \"20%\"")).to(&origin).build();
    for index in 0..100 {
        assert_eq!(client.post(&origin.url(&format!("/{index}")), "BODY-MARK").await.unwrap().status, 503);
    }
    let retried = client.figures().retried;
    // A fifth of a hundred, and one for each second of the ten that count.
    assert!((25..=40).contains(&retried), "{retried}");
    assert_eq!(origin.ledger().requests.len() as u64, 100 + retried);
}

/// The answer that is not passed on is read to its end, or its connection is closed; none is left half read.
#[tokio::test]
async fn what_is_not_passed_on_leaves_no_connection_behind() {
    let long = "x".repeat(1 << 20);
    let origin = Origin::plain(move |request: &Request| match (request.target.as_str(), request.nth) {
        ("/long", 0) if request.connection == 0 => {
            Answer::whole("503 Service Unavailable", &[("retry-after", "0")], &long).then(Then::Hang)
        }
        _ => Answer::ok("hello"),
    });
    let origin = origin.await;
    let client = Client::under(STATUS).to(&origin).build();
    assert_eq!(client.post(&origin.url("/long"), "BODY-MARK").await.unwrap().body, "hello");
    assert_eq!(origin.ledger().uses(), [1, 1]);
    client.settles(1, 1).await;
}

/// `[origin."..."]` may differ.
#[tokio::test]
async fn one_origin_may_be_repeated_and_another_not() {
    let (one, other) = (refusing(1, "429 No", "0").await, refusing(1, "429 No", "0").await);
    let policy = format!("[origin.\"{}\".retry]\nstatus = [429]", one.url(""));
    let client = Client::under(&policy).to(&one).to(&other).build();
    assert_eq!(client.post(&one.url("/"), "BODY-MARK").await.unwrap().status, 200);
    assert_eq!(client.post(&other.url("/"), "BODY-MARK").await.unwrap().status, 429);
}

/// Section 5: an error says how often the request had gone to a connection.
#[tokio::test]
async fn an_error_says_how_many_attempts_there_were() {
    let origin = Origin::plain(|request: &Request| match request.nth {
        0 => Answer::whole("503 Service Unavailable", &[("retry-after", "0")], "refused"),
        _ => Answer::none().then(Then::Close),
    });
    let origin = origin.await;
    let client = Client::under(STATUS).to(&origin).build();
    let error = client.post(&origin.url("/"), "BODY-MARK").await.unwrap_err();
    assert_says(&error, Stage::Wire, Kind::Terminated, &["and 2 attempts"]);
    assert_eq!(error.attempts(), 2);
    let nowhere = client.get("http://192.0.2.1/").await.unwrap_err();
    assert_eq!((nowhere.stage(), nowhere.attempts()), (Stage::Egress, 0));
}
