//! What the fuzz targets of `fuzz/` run, and the replay of their seeds: a stranger's bytes on one side, what must hold of
//! them on the other.
//!
//! Compiled for tests and under the feature `fuzzing` only. Each function takes any input, returns where it means nothing
//! to the part, and panics where a promise is broken.

mod message;
mod hygiene;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};

use futures::FutureExt as _;
use http::StatusCode;
use serde::de::IgnoredAny;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::monitor::{Counters, Record};
use crate::policy::{Document, Preset};
use crate::proxy::{self, Bypass, Failure, Proxies, Proxy, Verdict};
use crate::{Environment, Origin, tls};
pub use hygiene::hygiene;

/// The largest answer for which any cut must lead to the same verdict: no bound of ours is met before it is read.
const SURELY_READ: usize = 8 * 1024;

/// What a proxy answers to `CONNECT`: any bytes, whole and in pieces.
///
/// # Panics
/// If the verdict depends on the cuts, a byte behind the head is lost, or an error is not one clean line.
pub fn connect(answer: &[u8]) {
    let sizes = |at: usize| 1 + usize::from(answer[at % answer.len()] % 32);
    let (whole, in_pieces) = (answered(answer, |_| answer.len()), answered(answer, sizes));
    for outcome in [&whole, &in_pieces] {
        let Ok((Verdict { status, schemes }, early)) = outcome else { continue };
        assert!(*status == StatusCode::SWITCHING_PROTOCOLS || !status.is_informational(), "{status} is no verdict");
        let is_clean = |scheme: &String| scheme.len() <= 32 && scheme.bytes().all(|byte| byte.is_ascii_graphic());
        assert!(schemes.len() <= 8 && schemes.iter().all(is_clean), "{schemes:?}");
        assert!(answer.ends_with(early) && answer[..answer.len() - early.len()].ends_with(b"\n"));
    }
    match (&whole, &in_pieces) {
        (Ok(one), Ok(other)) => assert_eq!(one, other),
        (Err(_), Err(_)) => {}
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => {
            assert!(answer.len() > SURELY_READ, "{whole:?} if whole, {in_pieces:?} in pieces");
        }
    }
    for outcome in [whole, in_pieces] {
        let error = match outcome {
            Ok((verdict, _)) => {
                let opens = verdict.status.is_success();
                let judged = PROXY.judge(verdict, &Record::default());
                assert_eq!(judged.is_ok(), opens);
                judged.err()
            }
            Err(failure) => Some(PROXY.failed(failure)),
        };
        if let Some(error) = error {
            assert_clean(&error.to_string());
        }
    }
}

/// The proxy whose answers are fuzzed.
static PROXY: LazyLock<Arc<Proxy>> = LazyLock::new(|| {
    let environment = Environment::from_iter([("HTTPS_PROXY".to_owned(), "http://user:pass@proxy.test".to_owned())]);
    let (settings, counters) = (proxy::Settings::default(), Arc::new(Counters::default()));
    let proxies = Proxies::new(&settings, &tls::Settings::default(), &environment, &counters, None);
    let chosen = proxies.expect("the variable is right").choose(&ORIGIN).expect("no file is read");
    chosen.expect("there is a proxy")
});

static ORIGIN: LazyLock<Origin> = LazyLock::new(|| Origin::parse("https://api.test").expect("it is an origin"));

/// What is made of an answer that comes in pieces of these sizes, and all that follows its head.
fn answered(answer: &[u8], size: impl FnMut(usize) -> usize + Unpin) -> Result<(Verdict, Vec<u8>), Failure> {
    let mut pieces = Pieces { rest: answer, reads: 0, size };
    let verdict = proxy::connect(&mut pieces, &PROXY, &ORIGIN).now_or_never().expect("the pieces never wait");
    verdict.map(|(verdict, early)| (verdict, [&early, pieces.rest].concat()))
}

/// A peer that has said everything already.
struct Pieces<'a, F> {
    rest: &'a [u8],
    reads: usize,
    size: F,
}

impl<F: FnMut(usize) -> usize + Unpin> AsyncRead for Pieces<'_, F> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let reads = self.reads;
        if !self.rest.is_empty() {
            let size = (self.size)(reads).min(self.rest.len()).min(buffer.remaining());
            let (piece, rest) = self.rest.split_at(size);
            buffer.put_slice(piece);
            (self.rest, self.reads) = (rest, reads + 1);
        }
        Poll::Ready(Ok(()))
    }
}

impl<F: Unpin> AsyncWrite for Pieces<'_, F> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A list of `NO_PROXY` below a line with a destination (`host[:port]`).
///
/// # Panics
/// If what the list covers depends on case, order or trailing dots, is not what its entries cover, or changes when the
/// list is written down and read again.
pub fn bypass(input: &[u8]) {
    let input = String::from_utf8_lossy(input);
    let Some((place, list)) = input.split_once('\n') else { return };
    let Ok(origin) = Origin::parse(&format!("http://{place}")) else { return };
    let read = Bypass::parse(list);
    let covered = read.covers(&origin);
    let words: Vec<&str> =
        list.split(|letter: char| letter == ',' || letter.is_whitespace()).filter(|word| !word.is_empty()).collect();

    assert_eq!(Bypass::parse(&list.to_ascii_uppercase()).covers(&origin), covered, "in capitals");
    let reversed = words.iter().rev().copied().collect::<Vec<_>>().join(" ");
    assert_eq!(Bypass::parse(&reversed).covers(&origin), covered, "in the opposite order");
    assert_eq!(words.iter().any(|word| Bypass::parse(word).covers(&origin)), covered, "entry by entry");
    let dotted: Vec<String> = words.iter().map(|word| with_a_dot(word)).collect();
    assert_eq!(Bypass::parse(&dotted.join(",")).covers(&origin), covered, "with dots behind names: {dotted:?}");
    if let Ok(dotted) = Origin::parse(&format!("http://{}.:{}", origin.host(), origin.port())) {
        assert_eq!(read.covers(&dotted), covered, "a dot behind the destination");
    }
    let written: Vec<String> = read.entries().map(|entry| entry.to_string()).collect();
    assert_eq!(Bypass::parse(&written.join(",")), read, "written as {written:?}");
}

/// The entry with a dot behind its name, where it is one and has none.
fn with_a_dot(word: &str) -> String {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let has_letter = word.bytes().any(|byte| byte.is_ascii_alphabetic());
    match word.bytes().all(is_of_name) && has_letter && !word.ends_with('.') {
        true => format!("{word}."),
        false => word.to_owned(),
    }
}

/// A policy file.
///
/// # Panics
/// If an error is not one line, or the same file says something else the second time, or with its preset written in it.
pub fn policy(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let path = Path::new("seaway.toml");
    let document = match Document::parse(path, &text) {
        Ok(document) => document,
        Err(error) => return assert_clean(&error.to_string()),
    };
    let read = document.policy(Preset::Production, &["providers", "models"]);
    let again = document.policy(Preset::Production, &["providers", "models"]);
    match (&read, &again) {
        (Ok(one), Ok(other)) => assert_eq!(one, other),
        (one, other) => assert_eq!(one.as_ref().err(), other.as_ref().err()),
    }
    // One line above moves every other down by one, and the preset that is written is the caller's: the rest is the same.
    if let Ok(written) = Document::parse(path, &format!("preset = \"production\"\n{text}")) {
        match (&read, written.policy(Preset::Default, &["providers", "models"])) {
            (Ok((one, _)), Ok((other, warnings))) => {
                assert_eq!(*one, other);
                warnings.iter().for_each(|warning| assert_clean(warning));
            }
            (Err(one), Err(other)) => assert_eq!(one.line().map(|line| line + 1), other.line(), "{one} / {other}"),
            (one, other) => panic!("{one:?} / {other:?}"),
        }
    }
    if let Err(error) = &read {
        assert_clean(&error.to_string());
    }
    if let Err(error) = document.section::<BTreeMap<String, BTreeMap<String, IgnoredAny>>>("providers") {
        assert_clean(&error.to_string());
    }
}

/// One line, and nothing that a terminal would obey.
fn assert_clean(line: &str) {
    assert!(!line.trim().is_empty() && !line.contains(char::is_control), "{line:?}");
}

#[cfg(test)]
mod tests;
