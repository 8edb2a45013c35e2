//! What an answer's text rests on: Google's grounding and citations -> annotations.
//! <https://ai.google.dev/gemini-api/docs/google-search>, <https://ai.google.dev/api/generate-content#citationmetadata> (2026-11)
//!
//! Before: a candidate's metadata. After: `decode` says it before the choice's finish. Invariant: places are characters of
//! the choice's text, as OpenAI counts them, where Google counts bytes of UTF-8; what is no web page is kept as it is.

use std::collections::BTreeSet;

use serde_json::Value;

use super::schema::compact;
use crate::{
    bindings::{Annotation, UrlCitation},
    dialect::hash,
    json,
};

/// How many changes of width a [`Ruler`] remembers, and how many citations are known again: beyond them places stay open.
const MOST: usize = 1 << 16;

/// The sources of one choice.
#[derive(Default)]
pub(super) struct Sources {
    text: Ruler,
    /// Repeats, and then says more: the last counts.
    grounding: Option<String>,
    /// The citations that have been said.
    cited: BTreeSet<u64>,
}

impl Sources {
    /// More of the text that they are places in.
    pub(super) fn text(&mut self, more: &str) {
        self.text.push(more);
    }

    pub(super) fn grounding(&mut self, metadata: &str) {
        self.grounding = Some(metadata.to_owned());
    }

    /// The citations that have not been said yet. The Gemini API calls them `citationSources`, Vertex `citations`.
    pub(super) fn cited(&mut self, metadata: &str) -> Vec<Annotation> {
        let all = read(metadata);
        let list = ["citationSources", "citations"].into_iter().find_map(|key| all.get(key)?.as_array());
        let mut new = Vec::new();
        for citation in list.into_iter().flatten() {
            let Some(url) = text(citation, "uri") else { continue };
            let (start, end) = (number(citation, "startIndex"), number(citation, "endIndex"));
            let known = hash(format!("{start:?} {end:?} {url}").as_bytes());
            let new_one = if self.cited.len() < MOST { self.cited.insert(known) } else { !self.cited.contains(&known) };
            if new_one {
                new.push(page(url, text(citation, "title"), self.text.between(start, end)));
            }
        }
        new
    }

    /// What a search found, once all of the text is there: a citation for each place that rests on a page, and one for each
    /// page that no place names.
    pub(super) fn end(&mut self) -> Vec<Annotation> {
        let Some(raw) = self.grounding.take() else { return Vec::new() };
        let found = read(&raw);
        let list = |key: &str| found.get(key).and_then(Value::as_array).into_iter().flatten();
        let pages: Vec<Option<&Value>> = list("groundingChunks")
            .map(|chunk| ["web", "retrievedContext", "maps"].into_iter().find_map(|kind| chunk.get(kind)))
            .collect();
        let mut named = vec![false; pages.len()];
        let mut annotations = Vec::new();
        let mut cite = |at: usize, place| {
            let page_at = pages.get(at).copied().flatten();
            let cited = page_at.and_then(|found| Some(page(text(found, "uri")?, text(found, "title"), place)));
            annotations.extend(cited);
        };
        for support in list("groundingSupports") {
            let segment = support.get("segment").unwrap_or(&Value::Null);
            let place = self.text.between(number(segment, "startIndex"), number(segment, "endIndex"));
            let indices = support.get("groundingChunkIndices").and_then(Value::as_array).into_iter().flatten();
            for at in indices.filter_map(|at| usize::try_from(at.as_u64()?).ok()) {
                if let Some(named) = named.get_mut(at) {
                    *named = true;
                }
                cite(at, place);
            }
        }
        for (at, _) in named.iter().enumerate().filter(|(_, named)| !**named) {
            cite(at, (None, None));
        }
        // Whoever shows the answer has to show this beside it.
        // https://ai.google.dev/gemini-api/docs/google-search#search-suggestions (2026-11)
        annotations.extend(found.get("searchEntryPoint").map(|shown| other("searchEntryPoint", &shown.to_string())));
        annotations
    }
}

/// JSON that was valid as a part of the answer; what cannot be read says nothing.
pub(super) fn read(json: &str) -> Value {
    json::read(json).unwrap_or_default()
}

pub(super) fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key)?.as_str().filter(|text| !text.is_empty())
}

fn number(value: &Value, key: &str) -> Option<u64> {
    value.get(key)?.as_u64()
}

fn page(url: &str, title: Option<&str>, (start_index, end_index): (Option<u64>, Option<u64>)) -> Annotation {
    let title = title.map(str::to_owned);
    Annotation::UrlCitation(UrlCitation { url: url.to_owned(), title, start_index, end_index })
}

/// What is no web page, as the provider wrote it.
pub(super) fn other(key: &str, json: &str) -> Annotation {
    Annotation::OtherJson(format!("{{\"{key}\":{}}}", compact(json)))
}

/// Bytes -> characters of a text that has gone by: it remembers only where the characters' width changes.
#[derive(Default)]
struct Ruler {
    bytes: u64,
    letters: u64,
    runs: Vec<Run>,
    lost: bool,
}

/// Characters of one width.
struct Run {
    bytes: u64,
    letters: u64,
    width: u64,
}

impl Ruler {
    fn push(&mut self, text: &str) {
        if text.is_ascii() {
            return self.run(1, text.len() as u64);
        }
        for letter in text.chars() {
            self.run(letter.len_utf8() as u64, 1);
        }
    }

    fn run(&mut self, width: u64, letters: u64) {
        if self.runs.last().is_none_or(|run| run.width != width) && !self.lost {
            self.lost = self.runs.len() == MOST;
            self.runs.push(Run { bytes: self.bytes, letters: self.letters, width });
        }
        self.bytes += width * letters;
        self.letters += letters;
    }

    /// A stretch in characters. A beginning that is left out is 0, as Protocol Buffers leave it out.
    fn between(&self, start: Option<u64>, end: Option<u64>) -> (Option<u64>, Option<u64>) {
        match end.and_then(|end| self.at(end)) {
            Some(end) => (self.at(start.unwrap_or_default()), Some(end)),
            None => (None, None),
        }
    }

    fn at(&self, byte: u64) -> Option<u64> {
        let run = self.runs.partition_point(|run| run.bytes <= byte).checked_sub(1).and_then(|at| self.runs.get(at))?;
        let there = !self.lost && byte <= self.bytes;
        there.then(|| run.letters + (byte - run.bytes) / run.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_characters_however_the_text_was_cut() {
        let text = "a\u{e9}\u{4e16}\u{754c}b\u{1f600}";
        let mut whole = Ruler::default();
        whole.push(text);
        let mut cut = Ruler::default();
        text.chars().for_each(|letter| cut.push(letter.encode_utf8(&mut [0; 4])));
        for ruler in [whole, cut] {
            for (letters, (bytes, _)) in text.char_indices().enumerate() {
                assert_eq!(ruler.at(bytes as u64), Some(letters as u64));
            }
            assert_eq!(ruler.at(text.len() as u64), Some(6));
            assert_eq!(ruler.at(text.len() as u64 + 1), None);
        }
    }

    #[test]
    fn a_ruler_has_an_end() {
        let mut ruler = Ruler::default();
        (0..MOST).for_each(|_| ruler.push("a\u{e9}"));
        assert!(ruler.runs.len() <= MOST + 1);
        assert_eq!(ruler.between(Some(0), Some(1)), (None, None));
    }
}
