//! What an answer's text rests on: Google's grounding and citations -> annotations.
//! <https://ai.google.dev/gemini-api/docs/google-search>, <https://ai.google.dev/api/generate-content#citationmetadata> (2026-11)
//!
//! Before: a candidate's metadata. After: `decode` says it before the choice's finish. Invariant: places are characters of
//! the choice's text, as OpenAI counts them, where Google counts bytes of UTF-8; what is no web page is kept as it is.

use std::collections::BTreeSet;

use super::{schema::compact, wire};
use crate::{
    bindings::{Annotation, UrlCitation},
    dialect::hash,
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

    /// The citations that have not been said yet.
    pub(super) fn cited(&mut self, metadata: wire::CitationMetadata) -> Vec<Annotation> {
        let mut new = Vec::new();
        for wire::Citation { start_index, end_index, uri, title } in metadata.citations.into_iter().flatten() {
            let Some(url) = uri.filter(|uri| !uri.is_empty()) else { continue };
            let known = hash(format!("{start_index:?} {end_index:?} {url}").as_bytes());
            let new_one = if self.cited.len() < MOST { self.cited.insert(known) } else { !self.cited.contains(&known) };
            if !new_one {
                continue;
            }
            let (start_index, end_index) = self.text.between(start_index, end_index);
            new.push(Annotation::UrlCitation(UrlCitation { url, title, start_index, end_index }));
        }
        new
    }

    /// What a search found, once all of the text is there: a citation for each place that rests on a page, and one for each
    /// page that no place names.
    pub(super) fn end(&mut self) -> Vec<Annotation> {
        let Some(raw) = self.grounding.take() else { return Vec::new() };
        let Ok(found) = serde_json::from_str::<wire::Grounding<'_>>(&raw) else {
            return vec![other("groundingMetadata", &raw)];
        };
        let pages: Vec<Option<wire::Place>> =
            found.grounding_chunks.into_iter().flatten().map(|chunk| chunk.web).collect();
        let mut named = vec![false; pages.len()];
        let mut annotations = Vec::new();
        let mut cite = |at: usize, (start_index, end_index)| {
            let Some(wire::Place { uri: Some(url), title }) = pages.get(at).and_then(Option::as_ref) else { return };
            let citation = UrlCitation { url: url.clone(), title: title.clone(), start_index, end_index };
            annotations.push(Annotation::UrlCitation(citation));
        };
        for support in found.grounding_supports.into_iter().flatten() {
            let place =
                support.segment.map_or((None, None), |place| self.text.between(place.start_index, place.end_index));
            for at in support.grounding_chunk_indices.into_iter().flatten() {
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
        annotations.extend(found.search_entry_point.map(|raw| other("searchEntryPoint", raw.get())));
        annotations
    }
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
