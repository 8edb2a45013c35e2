//! The promises of the cache, under paused time, with a resolver that counts its questions.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::{BoxFuture, FutureExt as _, join_all};
use hickory_resolver::net::DnsError;
use hickory_resolver::proto::op::ResponseCode;
use tokio::sync::Notify;

use super::*;
use crate::dns::{Family, Ttl};
use crate::policy::units::{Period, Timeout};

const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

fn answer(ttl: Option<u64>) -> Answer {
    Answer::new(vec![ADDRESS], ttl.map(Duration::from_secs)).unwrap()
}

/// A resolver that answers every question a millisecond later, one way or the other, and counts them.
#[derive(Clone, Default)]
struct Server {
    asked: Arc<AtomicUsize>,
    dead: Arc<std::sync::atomic::AtomicBool>,
}

impl Server {
    fn ask(&self) -> impl FnOnce(String) -> BoxFuture<'static, io::Result<Answer>> + use<> {
        let Self { asked, dead } = self.clone();
        move |_| {
            asked.fetch_add(1, Ordering::SeqCst);
            async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                match dead.load(Ordering::SeqCst) {
                    true => Err(io::Error::other("no such name")),
                    false => Ok(answer(None)),
                }
            }
            .boxed()
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn dies(&self, dead: bool) {
        self.dead.store(dead, Ordering::SeqCst);
    }
}

async fn pass(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

/// D2: 500 callers at once ask once, though the first of them goes away.
#[tokio::test(start_paused = true)]
async fn callers_at_once_share_one_lookup_whoever_leaves() {
    let (names, server) = (Names::default(), Server::default());
    let settings = Settings::default();
    let mut all: Vec<_> = (0..500).map(|_| Box::pin(names.find(&settings, "a.example", server.ask()))).collect();
    for caller in &mut all {
        assert!(futures::poll!(caller).is_pending());
    }
    drop(all.remove(0));
    for answer in join_all(all).await {
        assert_eq!(*answer.unwrap(), [ADDRESS]);
    }
    assert_eq!(server.asked(), 1);
}

/// D1, the cache's part of it.
#[tokio::test(start_paused = true)]
async fn an_answer_lives_for_its_ttl() {
    let (names, server) = (Names::default(), Server::default());
    let settings = Settings::default();
    for (wait, lookups) in [(0, 1), (9, 1), (2, 2)] {
        pass(wait).await;
        names.find(&settings, "a.example", server.ask()).await.unwrap();
        assert_eq!(server.asked(), lookups);
    }
}

/// D1, the cache's part of it: the records' own TTL, within bounds.
#[tokio::test(start_paused = true)]
async fn an_answer_lives_as_its_records_say_within_bounds() {
    let (names, asked) = (Names::default(), AtomicUsize::new(0));
    let settings = Settings {
        ttl: Ttl::Record,
        ttl_min: Period::seconds(5),
        ttl_max: Period::seconds(60),
        stale_if_error: Timeout::seconds(3),
        ..Settings::default()
    };
    let find = async |host: &str, ttl| {
        let ask = |_| {
            asked.fetch_add(1, Ordering::SeqCst);
            async move { Ok(answer(ttl)) }
        };
        names.find(&settings, host, ask).await.unwrap();
        asked.swap(0, Ordering::SeqCst)
    };
    // An answer without a TTL is one of nobody who tells it.
    for (host, ttl, life) in
        [("zero", Some(0), 5), ("one", Some(1), 5), ("ten", Some(10), 10), ("day", Some(86_400), 60), ("none", None, 5)]
    {
        for (wait, lookups) in [(0, 1), (life - 1, 0), (1, 1)] {
            pass(wait).await;
            assert_eq!(find(host, ttl).await, lookups, "{host} after {wait} s");
        }
        pass(life + 2).await;
        assert!(names.stale(&settings, host).is_some(), "{host}");
        pass(1).await;
        assert!(names.stale(&settings, host).is_none(), "{host}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_ttl_that_is_off_asks_each_time() {
    let (names, server) = (Names::default(), Server::default());
    let settings = Settings { ttl: Timeout::OFF.into(), ..Settings::default() };
    for lookups in 1..4 {
        names.find(&settings, "a.example", server.ask()).await.unwrap();
        assert_eq!(server.asked(), lookups);
    }
}

/// D7: a lookup that outlasts everybody's deadline is joined by who asks meanwhile, and answers who asks later.
#[tokio::test(start_paused = true)]
async fn a_slow_lookup_is_not_made_twice() {
    let (names, asked) = (Names::default(), AtomicUsize::new(0));
    let (settings, answers) = (Settings::default(), Arc::new(Notify::new()));
    let slow = || {
        let answers = Arc::clone(&answers);
        asked.fetch_add(1, Ordering::SeqCst);
        move |_| async move {
            answers.notified().await;
            Ok(answer(None))
        }
    };
    let patience = Duration::from_secs(1);
    for _ in 0..3 {
        let lookup = names.find(&settings, "a.example", slow());
        assert!(tokio::time::timeout(patience, lookup).await.is_err());
    }
    // Each call makes a question; only the first was put.
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    assert_eq!(lock(&names.0).tasks.len(), 1);
    answers.notify_one();
    let never = |_| async { unreachable!("the answer is there, or under way") };
    assert_eq!(*names.find(&settings, "a.example", never).await.unwrap(), [ADDRESS]);
    assert!(lock(&names.0).asked.is_empty());
}

/// D3: a failure is the answer for `dns.negative_ttl`, and no longer.
#[tokio::test(start_paused = true)]
async fn a_failure_lives_for_its_own_ttl() {
    let (names, server) = (Names::default(), Server::default());
    let settings = Settings::default();
    server.dies(true);
    for (wait, lookups) in [(0, 1), (1, 1), (1, 2)] {
        pass(wait).await;
        assert!(names.find(&settings, "a.example", server.ask()).await.is_err());
        assert_eq!(server.asked(), lookups);
    }
    // The name appears.
    server.dies(false);
    assert!(names.find(&settings, "a.example", server.ask()).await.is_err());
    pass(2).await;
    assert!(names.find(&settings, "a.example", server.ask()).await.is_ok());
    let at_once = Settings { negative_ttl: Timeout::OFF, ..settings };
    server.dies(true);
    assert!(names.find(&at_once, "b.example", server.ask()).await.is_err());
    server.dies(false);
    assert!(names.find(&at_once, "b.example", server.ask()).await.is_ok());
}

/// D4: an answer that has expired serves on while asking anew fails, so long as it is not too old.
#[tokio::test(start_paused = true)]
async fn an_expired_answer_stands_in_for_a_while() {
    let (names, server) = (Names::default(), Server::default());
    let settings = Settings::default();
    names.find(&settings, "a.example", server.ask()).await.unwrap();
    server.dies(true);
    pass(10).await;
    assert!(names.find(&settings, "a.example", server.ask()).await.is_err());
    assert_eq!(names.stale(&settings, "a.example").as_deref(), Some(&[ADDRESS][..]));
    assert_eq!(names.stale(&settings, "b.example"), None);
    let strict = Settings { stale_if_error: Timeout::OFF, ..Settings::default() };
    assert_eq!(names.stale(&strict, "a.example"), None);
    pass(29).await;
    assert!(names.stale(&settings, "a.example").is_some());
    pass(1).await;
    assert_eq!(names.stale(&settings, "a.example"), None);
    // It comes back to life.
    server.dies(false);
    names.find(&settings, "a.example", server.ask()).await.unwrap();
    assert!(names.stale(&settings, "a.example").is_some());
}

/// D4: that a name is gone is an answer, for which no older one stands in; that a server failed is none.
#[tokio::test(start_paused = true)]
async fn what_is_gone_does_not_stand_in() {
    let server = std::net::SocketAddr::from(([192, 0, 2, 53], 53));
    for (code, stands_in) in
        [(ResponseCode::ServFail, true), (ResponseCode::Refused, true), (ResponseCode::NXDomain, false)]
    {
        let names = Names::default();
        let settings = Settings { ttl: Timeout::OFF.into(), ..Settings::default() };
        names.find(&settings, "a.example", |_| async { Ok(answer(None)) }).await.unwrap();
        let failed = Failure::new(server, Family::Any, DnsError::ResponseCode(code).into());
        names.find(&settings, "a.example", |_| async { Err(io::Error::other(failed)) }).await.unwrap_err();
        assert_eq!(names.stale(&settings, "a.example").is_some(), stands_in, "{code}");
    }
}

/// D8: names come and go, and no more are kept than may be; failures count as well.
#[tokio::test(start_paused = true)]
async fn no_more_names_are_kept_than_may_be() {
    let (names, server) = (Names::default(), Server::default());
    let settings = Settings::default();
    for name in 0..5_000 {
        server.dies(name % 2 == 0);
        let host = format!("n{name}.example");
        drop(names.find(&settings, &host, server.ask()).await);
        assert!(lock(&names.0).kept.len() <= 1000);
    }
    let inner = lock(&names.0);
    assert_eq!((inner.kept.len(), inner.asked.len()), (1000, 0));
    assert!(inner.tasks.len() <= 1, "{} tasks are left", inner.tasks.len());
}

#[tokio::test(start_paused = true)]
async fn the_least_recently_used_name_goes_first() {
    let (names, server) = (Names::default(), Server::default());
    let settings = Settings { max_entries: 2, ..Settings::default() };
    for (host, lookups) in [("a", 1), ("b", 2), ("a", 2), ("c", 3), ("a", 3), ("b", 4)] {
        names.find(&settings, host, server.ask()).await.unwrap();
        assert_eq!(server.asked(), lookups, "{host}");
    }
    let none = Settings { max_entries: 0, ..settings };
    for lookups in [5, 6] {
        names.find(&none, "d", server.ask()).await.unwrap();
        assert_eq!(server.asked(), lookups);
    }
}

/// P9, the resolver's part: one that panics fails those who asked it, and is asked anew.
#[tokio::test(start_paused = true)]
async fn a_lookup_that_dies_is_an_error_and_not_joined() {
    let (names, server) = (Names::default(), Server::default());
    let settings = Settings::default();
    let panics = |_| async { panic!("on purpose") };
    let error = names.find(&settings, "a.example", panics).await.unwrap_err();
    assert_eq!(error.to_string(), "the lookup was given up");
    assert!(names.find(&settings, "a.example", server.ask()).await.is_ok());
}

/// The end of the resolver ends its lookups.
#[tokio::test(start_paused = true)]
async fn lookups_end_with_the_resolver() {
    let names = Names::default();
    let (alive, mut ended) = watch::channel(());
    let hangs = move |_| async move {
        let _alive = alive;
        std::future::pending().await
    };
    let settings = Settings::default();
    assert!(futures::poll!(Box::pin(names.find(&settings, "a.example", hangs))).is_pending());
    tokio::task::yield_now().await;
    drop(names);
    assert!(ended.changed().await.is_err());
}
