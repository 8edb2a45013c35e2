//! The matcher beside curl itself: thousands of generated lists and destinations, asked of both.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};

use super::*;

/// Transfers of one curl, which are done one after the other.
const AT_ONCE: usize = 500;
const CASES: usize = 10_000;

/// A list of the kinds of entries that people write, and a destination that is near them.
struct Case {
    list: String,
    host: String,
}

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        // https://prng.di.unimi.it/splitmix64.c
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

const NAMES: [&str; 10] = [
    "api.test",
    "a.api.test",
    "b.a.api.test",
    "xapi.test",
    "test",
    "api.tes",
    "API.Test",
    "localhost",
    "xn--bcher-kva.test",
    "api-test",
];
const ADDRESSES: [&str; 8] =
    ["10.1.2.3", "10.1.2.4", "10.200.0.1", "11.1.2.3", "192.168.0.1", "127.0.0.1", "0.0.0.0", "255.255.255.255"];
const ADDRESSES_6: [&str; 6] = ["::1", "fd12::1", "fd12::2", "fe80::1", "2001:db8:1::1", "2001:db8:2::1"];

fn entry_text(dice: &mut Dice) -> String {
    let (name, v4, v6) = (dice.one(&NAMES), dice.one(&ADDRESSES), dice.one(&ADDRESSES_6));
    match dice.below(16) {
        0..=2 => name.to_owned(),
        3 => format!(".{name}"),
        4 => format!("*.{name}"),
        5 => format!("{name}."),
        6 => format!(".{name}."),
        7 => format!("{name}:{}", dice.one(&["80", "81"])),
        8 => "*".to_owned(),
        9 => v4.to_owned(),
        10 => format!("{v4}/{}", dice.below(36)),
        11 => format!("{v4}:{}", dice.one(&["80", "81"])),
        12 => v6.to_owned(),
        13 => format!("[{v6}]"),
        14 => format!("{v6}/{}", dice.below(134)),
        _ => dice
            .one(&["", ".", "..", "10/8", "10.1", "a*.test", "api.test:", "[::1", "10.1.2.3/", "/", "*.", "..api.test"])
            .to_owned(),
    }
}

fn case(dice: &mut Dice) -> Case {
    let entries: Vec<String> = (0..1 + dice.below(3)).map(|_| entry_text(dice)).collect();
    let list = entries.join(dice.one(&[",", ", ", " ", " , ", ",,"]));
    let host = match dice.below(6) {
        0..=2 => format!("{}{}", dice.one(&NAMES), dice.one(&["", "", "", "."])),
        3 | 4 => dice.one(&ADDRESSES).to_owned(),
        _ => format!("[{}]", dice.one(&ADDRESSES_6)),
    };
    Case { list, host }
}

/// Answers whoever comes, and tells nobody.
fn listen() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { return };
            let mut head = [0; 1024];
            drop(socket.read(&mut head));
            drop(socket.write_all(b"HTTP/1.1 403 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
        }
    });
    port
}

/// Which of the cases curl reaches directly; absent where there is no curl.
fn ask_curl(cases: &[Case], proxy: u16, direct: u16) -> Option<Vec<bool>> {
    let mut config = String::new();
    for (at, Case { list, host }) in cases.iter().enumerate() {
        let next = if at > 0 { "next\n" } else { "" };
        write!(
            config,
            "{next}silent\noutput = /dev/null\nwrite-out = \"%{{remote_port}}\\n\"\nproxy = \"http://127.0.0.1:{proxy}\"\n\
             noproxy = \"{list}\"\nconnect-to = \"::127.0.0.1:{direct}\"\nurl = \"http://{host}/\"\n"
        )
        .unwrap();
    }
    let mut curl = Command::new("curl");
    curl.args(["--disable", "--config", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut curl = curl.spawn().ok()?;
    let mut input = curl.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(config.as_bytes()));
    let output = curl.wait_with_output().unwrap();
    drop(writer.join());
    let ports = String::from_utf8(output.stdout).unwrap();
    let ports: Vec<bool> = ports.lines().map(|port| port.parse() == Ok(direct)).collect();
    assert_eq!(ports.len(), cases.len(), "curl did not do every transfer");
    Some(ports)
}

/// An entry that we read and curl (7.88, at least) does not, and what it is.
type Difference = (&'static str, fn(&str) -> bool);

/// The only differences there are. Each is an entry that we honour, as who wrote it meant it.
const OURS_ALONE: [Difference; 5] = [
    ("a star among others", |word| word == "*"),
    ("a star before a name", |word| word.starts_with("*.")),
    ("a port", |word| word.split_once(':').is_some_and(|(host, port)| !host.contains('[') && !port.contains(':'))),
    ("an IPv6 address in brackets", |word| word.starts_with('[')),
    // curl 7.88 compares the text of such an address, as if it were a name.
    ("an IPv6 range", |word| word.contains('/') && word.contains(':')),
];

/// The list as curl reads it.
fn as_curl_reads(list: &str) -> String {
    if list == "*" {
        return list.to_owned();
    }
    let known = |word: &&str| !OURS_ALONE.iter().any(|(_, is)| is(word));
    // Without a length, or with none, a range is its address to curl; to us it is nothing, or all addresses.
    let word = |word: &str| word.strip_suffix("/0").or_else(|| word.strip_suffix('/')).unwrap_or(word).to_owned();
    words(list).filter(known).map(word).collect::<Vec<_>>().join(",")
}

/// X5: ten thousand cases are decided as curl decides them, but for the differences above.
#[test]
fn a_list_is_read_as_curl_reads_it() {
    let (proxy, direct) = (listen(), listen());
    let mut dice = Dice(2026);
    let mut directly = 0;
    for _ in 0..CASES / AT_ONCE {
        let cases: Vec<Case> = (0..AT_ONCE).map(|_| case(&mut dice)).collect();
        let Some(found) = ask_curl(&cases, proxy, direct) else {
            let required = std::env::var_os("SEAWAY_REQUIRE_SERVERS").is_some_and(|value| value == "1");
            assert!(!required, "SEAWAY_REQUIRE_SERVERS=1, and curl is not installed");
            return;
        };
        for (Case { list, host }, curl) in cases.iter().zip(found) {
            let origin = Origin::parse(&format!("http://{host}")).unwrap();
            let (ours, alike) =
                (Bypass::parse(list).covers(&origin), Bypass::parse(&as_curl_reads(list)).covers(&origin));
            assert_eq!(alike, curl, "{list:?} {host}");
            assert!(ours || !alike || list.contains('/'), "{list:?} {host}: less than curl's");
            directly += usize::from(curl);
        }
    }
    // Neither answer is so rare that its agreement means nothing.
    assert!((CASES / 20..CASES / 2).contains(&directly), "{directly}");
}
