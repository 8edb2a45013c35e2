//! Figures as Prometheus reads them, parsed back strictly.

use std::collections::BTreeMap;

use seaway_session::monitor::{Closed, Eviction};
use seaway_session::{Call, Metrics, Stage};
use seaway_tests::answer::{Answer, Gate, Then};
use seaway_tests::client::{Client, address, get};
use seaway_tests::error::{MARKS, SECRET};
use seaway_tests::eventually;
use seaway_tests::origin::Origin;
use seaway_tests::proxies::{Squid, USER, Ways};
use seaway_tests::request::Request;
use tokio::task::JoinSet;

/// Samples by `name{labels}`, and families by name with their type.
#[derive(Debug, Default)]
struct Scrape {
    samples: BTreeMap<String, f64>,
    families: BTreeMap<String, String>,
}

impl Scrape {
    /// Reads text of the format 0.0.4: each family has its help, then its type, then its samples, and no sample comes twice.
    fn of(metrics: &Metrics) -> Self {
        let text = metrics.to_string();
        assert!(text.ends_with('\n'));
        let mut scrape = Self::default();
        let (mut helped, mut family, mut kind) = (String::new(), String::new(), String::new());
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, words) = help.split_once(' ').expect("a help has words");
                assert!(name.starts_with("seaway_session_") && words.ends_with('.'), "{line}");
                helped = name.to_owned();
            } else if let Some(of) = line.strip_prefix("# TYPE ") {
                let (name, is) = of.split_once(' ').expect("a type has a word");
                assert_eq!(name, helped, "{line}");
                assert_eq!(name.ends_with("_total"), is == "counter", "{line}");
                (family, kind) = (name.to_owned(), is.to_owned());
                assert!(scrape.families.insert(family.clone(), kind.clone()).is_none(), "{line}");
            } else {
                let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
                let name = series.split('{').next().expect("a split has a first part");
                let suffix = name.strip_prefix(&family[..]).unwrap_or_else(|| panic!("outside its family: {line}"));
                let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
                assert!(suffixes.contains(&suffix), "{line}");
                labels(&series[name.len()..]);
                let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
                assert!(scrape.samples.insert(series.to_owned(), value).is_none(), "twice: {line}");
            }
        }
        scrape
    }

    fn value(&self, series: &str) -> f64 {
        let series = format!("seaway_session_{series}");
        *self.samples.get(&series).unwrap_or_else(|| panic!("no {series} in {:?}", self.samples.keys()))
    }

    /// All samples of a name, by their labels.
    fn all(&self, name: &str) -> Vec<(&str, f64)> {
        let start = format!("seaway_session_{name}{{");
        let of = self.samples.iter().filter_map(|(series, value)| Some((series.strip_prefix(&start)?, *value)));
        of.collect()
    }

    fn sum(&self, name: &str) -> f64 {
        self.all(name).into_iter().map(|(_, value)| value).sum()
    }
}

/// `{name="value",...}` or nothing.
fn labels(text: &str) {
    if text.is_empty() {
        return;
    }
    let inside = text.strip_prefix('{').and_then(|text| text.strip_suffix("\"}")).expect("braces around labels");
    for label in inside.split("\",") {
        let (name, value) = label.split_once("=\"").expect("a label has a value");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase()), "{text}");
        assert!(!value.contains(['"', '\\', '\n']), "{text}");
    }
}

fn exactly(count: u64) -> f64 {
    f64::from(u32::try_from(count).expect("a test counts little"))
}

/// Every number that Prometheus reads is the one in the figures; buckets rise to their count.
#[tokio::test]
async fn what_prometheus_reads_agrees_with_the_figures() {
    let origin = Origin::everywhere(|request: &Request| match request.target.as_str() {
        "/cut" => Answer::raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").then(Then::Close),
        _ => Answer::ok("hello"),
    });
    let origin = origin.await;
    let client = Client::under("[pool]\nlimit = 2").to_hosts(&origin, 3).build();
    for host in [1, 1, 2, 3, 3] {
        client.get(&origin.at(&address(host), "/")).await.unwrap();
    }
    assert!(client.get(&origin.at(&address(1), "/cut")).await.is_err());
    assert!(client.get("https://denied.example").await.is_err());
    client.swap("[pool]\nlimit = 1").unwrap();
    client.settles(1, 1).await;

    let (figures, scrape) = (client.figures(), Scrape::of(&client.session.metrics()));
    for (series, count) in [
        ("exchanges_total", figures.exchanges),
        ("reused_total", figures.reused),
        ("retried_total", figures.retried),
        ("denied_total", figures.denied),
        ("buffered_streams_total", figures.buffered),
        ("swaps_total", figures.swapped),
        ("opened_total", figures.opened),
        ("stale_addresses_total", figures.stale),
        ("unverified_total", figures.unverified),
    ] {
        assert_eq!(scrape.value(series), exactly(count), "{series}");
    }
    assert_eq!((figures.exchanges, figures.denied, figures.swapped), (7, 1, 1));
    for stage in Stage::ALL {
        let (share, label) = (figures.stage(stage), format!("{{stage=\"{stage}\"}}"));
        assert_eq!(scrape.value(&format!("stage_seconds_count{label}")), exactly(share.runs), "{stage}");
        assert_eq!(scrape.value(&format!("stage_seconds_sum{label}")), share.time.as_secs_f64(), "{stage}");
        assert_eq!(scrape.value(&format!("stage_failures_total{label}")), exactly(share.failures), "{stage}");
        let bucket = |bound: &str| scrape.value(&format!("stage_seconds_bucket{{stage=\"{stage}\",le=\"{bound}\"}}"));
        let bounds = ["0.0001", "0.001", "0.01", "0.1", "1", "10", "60", "300", "+Inf"].map(bucket);
        assert!(bounds.is_sorted(), "{stage}: {bounds:?}");
        assert_eq!(bounds[8], exactly(share.runs), "{stage}");
    }
    assert!(figures.stage(Stage::Tcp).runs >= 4 && figures.stage(Stage::Body).failures == 1);
    for reason in Closed::ALL {
        let series = format!("closed_total{{reason=\"{}\"}}", reason.word());
        assert_eq!(scrape.value(&series), exactly(figures.closed(reason)), "{series}");
    }
    for reason in Eviction::ALL {
        let series = format!("evicted_total{{reason=\"{}\"}}", reason.word());
        assert_eq!(scrape.value(&series), exactly(figures.closed(Closed::Evicted(reason))), "{series}");
    }
    assert!(figures.evicted > 0);
    assert_eq!(scrape.sum("evicted_total"), exactly(figures.evicted));
    // Every connection that was opened is open, or was let go of.
    assert_eq!(scrape.sum("closed_total") + scrape.sum("open_connections"), exactly(figures.opened));
    for (stage, kind, count) in figures.failures() {
        let series = format!("failures_total{{stage=\"{stage}\",kind=\"{kind}\"}}");
        assert_eq!(scrape.value(&series), exactly(count), "{series}");
    }
    assert_eq!(scrape.sum("failures_total"), 2.0);
    assert_eq!(scrape.families["seaway_session_stage_seconds"], "histogram");
    assert_eq!(scrape.families["seaway_session_open_connections"], "gauge");
}

/// The gauges of a route: what is open, idle, in use and waited for, by origin and proxy.
#[tokio::test]
async fn gauges_tell_what_each_route_holds() {
    let Some(squid) = Squid::start(Ways { password: Some(SECRET), ..Ways::default() }).await else { return };
    let gate = Gate::shut();
    let waits = gate.clone();
    let origin = Origin::plain(move |request: &Request| match request.target.as_str() {
        "/gate" => Answer::ok("hello").after(&waits),
        _ => Answer::ok("hello"),
    });
    let origin = origin.await;
    let proxy = format!("http://{USER}:{SECRET}@127.0.0.1:{}", squid.port());
    let direct = Client::under("[pool]\nlimit = 2").to(&origin).build();
    let mut tasks = JoinSet::new();
    for _ in 0..3 {
        let (session, request) = (direct.session.clone(), get(&origin.url("/gate")));
        tasks.spawn(async move { session.send(request, Call::default()).await.map(drop) });
    }
    origin.requests(2).await;
    eventually("one waits", || direct.figures().waiting == 1).await;
    let now = |client: &Client, proxy: &str| {
        let scrape = Scrape::of(&client.session.metrics());
        ["open_connections", "idle_connections", "active_connections", "waiting_requests"]
            .map(|gauge| scrape.value(&format!("{gauge}{{origin=\"{}\",proxy=\"{proxy}\"}}", origin.url(""))))
    };
    assert_eq!(now(&direct, ""), [2.0, 0.0, 2.0, 1.0]);
    gate.open(3);
    while let Some(task) = tasks.join_next().await {
        task.unwrap().unwrap();
    }
    let proxied = Client::under("").to(&origin).variable("http_proxy", &proxy).build();
    proxied.get(&origin.url("/")).await.unwrap();
    proxied.settles(1, 1).await;
    assert_eq!(now(&proxied, &format!("http://127.0.0.1:{}", squid.port())), [1.0, 1.0, 0.0, 0.0]);
    assert!(!proxied.session.metrics().to_string().contains(SECRET));
}

/// However many routes there are, no more than fifty have gauges of their own; the others are in one, and none is lost.
#[tokio::test]
async fn routes_beyond_the_fiftieth_share_their_gauges() {
    let origin = Origin::everywhere(|_: &_| Answer::ok("hello")).await;
    let client = Client::under("").to_hosts(&origin, 60).build();
    for host in 1..=60 {
        client.get(&origin.at(&address(host), "/")).await.unwrap();
    }
    client.get(&origin.at(&address(60), "/")).await.unwrap();
    client.settles(60, 60).await;
    let scrape = Scrape::of(&client.session.metrics());
    for gauge in ["open_connections", "idle_connections"] {
        assert_eq!((scrape.all(gauge).len(), scrape.sum(gauge)), (51, 60.0), "{gauge}");
        assert_eq!(scrape.value(&format!("{gauge}{{origin=\"other\",proxy=\"other\"}}")), 10.0);
    }
    // What was used once and is no more takes no place.
    client.swap("[pool]\nlimit = 1").unwrap();
    client.settles(1, 1).await;
    assert_eq!(Scrape::of(&client.session.metrics()).all("open_connections").len(), 1);
}

/// V2: neither a secret nor what a request carries is in what Prometheus reads.
#[tokio::test]
async fn no_secret_is_in_what_prometheus_reads() {
    let origin = Origin::plain(|request: &Request| match request.target.as_str() {
        "/v1/reset" => Answer::none().then(Then::Reset),
        _ => Answer::ok("hello"),
    });
    let origin = origin.await;
    let policy = format!("[credentials.corp]\nvalue = \"{SECRET}\"\nurls = [\"{}\"]\n", origin.url("/v1"));
    let proxy = format!("http://{USER}:{SECRET}@127.0.0.1:{}", origin.port());
    let client = Client::under(&policy).to(&origin).variable("HTTPS_PROXY", &proxy).build();
    let secured = client.get("https://localhost/?q=QUERY-MARK").await;
    assert!(secured.is_err());
    for path in ["/v1/ok?q=QUERY-MARK", "/v1/reset", "/v2/denied?q=QUERY-MARK"] {
        let authorization = ("authorization", "Bearer seaway-credential:corp");
        let body = seaway_session::RequestBody::full("BODY-MARK");
        drop(client.read(seaway_tests::client::request("POST", &origin.url(path), &[authorization], body)).await);
    }
    let text = client.session.metrics().to_string();
    assert!(text.contains("stage=\"credentials\",kind=\"credential_denied\""), "{text}");
    for mark in MARKS {
        assert!(!text.contains(mark), "`{mark}` shows in {text}");
    }
}
