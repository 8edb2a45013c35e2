//! What the component tells of an answer in its trailers, and the sums of it.
//!
//! Between the component's last byte and the log. Invariant: nothing of it goes to a client, and whatever answers calls
//! itself, there are no more than so many names among the figures.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, HeaderName, HeaderValue};
use seaway_guest::api::Report as Told;

/// Who answered, why the answer ended and what it took.
#[derive(Clone, Debug)]
pub(super) struct Report {
    provider: HeaderValue,
    model: HeaderValue,
    /// Its place among [`FINISHES`].
    finish: Option<usize>,
    /// By kind; absent where the provider gave no figures.
    tokens: Option<[u64; KINDS.len()]>,
}

/// OpenAI's words for the end of an answer.
const FINISHES: [&str; 4] = ["stop", "length", "tool_calls", "content_filter"];

/// The kinds of tokens: the first two make the whole, the rest is a part of one of them.
pub(super) const KINDS: [&str; 9] = [
    "prompt",
    "completion",
    "cached",
    "cache-write",
    "prompt-audio",
    "reasoning",
    "completion-audio",
    "accepted-prediction",
    "rejected-prediction",
];

const PROVIDER: HeaderName = HeaderName::from_static(Told::PROVIDER);
const MODEL: HeaderName = HeaderName::from_static(Told::MODEL);
const FINISH: HeaderName = HeaderName::from_static(Told::FINISH);
const USAGE: HeaderName = HeaderName::from_static(Told::USAGE);
const ERROR: HeaderName = HeaderName::from_static(Told::ERROR);

/// What the component says went wrong: kind, status and code.
pub(super) fn error(trailers: &HeaderMap) -> Option<&str> {
    trailers.get(ERROR).and_then(|value| value.to_str().ok())
}

impl Report {
    /// Reads trailers; absent where they tell of no answer.
    pub(super) fn read(trailers: &HeaderMap) -> Option<Self> {
        let text = |name| trailers.get(name).and_then(|value| value.to_str().ok());
        let finish = text(FINISH).and_then(|word| FINISHES.iter().position(|known| *known == word));
        let (provider, model) = (trailers.get(PROVIDER)?.clone(), trailers.get(MODEL)?.clone());
        Some(Self { provider, model, finish, tokens: text(USAGE).map(tokens) })
    }

    /// The provider's row.
    pub(super) fn provider(&self) -> &str {
        self.provider.to_str().unwrap_or_default()
    }

    /// The provider's name for the model.
    pub(super) fn model(&self) -> &str {
        self.model.to_str().unwrap_or_default()
    }

    /// OpenAI's word for the end; absent where the answer did not come to one.
    pub(super) fn finish(&self) -> Option<&'static str> {
        self.finish.map(|place| FINISHES[place])
    }

    /// The tokens of each kind of which there are any, and of prompt and completion in any case; none where the provider
    /// gave no figures.
    pub(super) fn tokens(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let tokens = self.tokens.into_iter().flat_map(|tokens| KINDS.into_iter().zip(tokens).enumerate());
        tokens.filter(|(place, (_, count))| *place < 2 || *count > 0).map(|(_, told)| told)
    }
}

/// Reads a dictionary, of which only numbers are expected: <https://www.rfc-editor.org/rfc/rfc9651#section-3.2>.
fn tokens(dictionary: &str) -> [u64; KINDS.len()] {
    let mut tokens = [0; KINDS.len()];
    for (kind, count) in dictionary.split(',').filter_map(|member| member.trim().split_once('=')) {
        if let (Some(place), Ok(count)) = (KINDS.iter().position(|known| *known == kind), count.parse()) {
            tokens[place] = count;
        }
    }
    tokens
}

/// The sums, by provider and model. Clones add up together.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    providers: BTreeMap<String, BTreeMap<String, Sum>>,
    models: usize,
}

/// One model's.
#[derive(Clone, Debug, Default)]
pub(super) struct Sum {
    /// Answers by their end; the last ones had none.
    finishes: [u64; FINISHES.len() + 1],
    tokens: [u64; KINDS.len()],
}

/// The models that are told apart; what comes later is of the model `other`.
const MODELS: usize = 256;

impl Sums {
    /// Adds an answer. One that failed makes no name known: who asks could make it up.
    pub(super) fn add(&self, report: &Report, answered: bool) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { providers, models } = &mut *inner;
        let known = |providers: &BTreeMap<String, BTreeMap<String, Sum>>, model: &str| {
            providers.get(report.provider()).is_some_and(|sums| sums.contains_key(model))
        };
        let mut model = report.model();
        if !known(providers, model) {
            match answered && *models < MODELS {
                true => *models += 1,
                false => model = "other",
            }
            let sums = providers.entry(report.provider().to_owned()).or_default();
            sums.entry(model.to_owned()).or_default();
        }
        let Some(sum) = providers.get_mut(report.provider()).and_then(|sums| sums.get_mut(model)) else { return };
        sum.finishes[report.finish.unwrap_or(FINISHES.len())] += 1;
        for (sum, more) in sum.tokens.iter_mut().zip(report.tokens.unwrap_or_default()) {
            *sum = sum.saturating_add(more);
        }
    }

    /// Provider, model and sum of each.
    pub(super) fn all(&self) -> Vec<(String, String, Sum)> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let each = inner.providers.iter().flat_map(|(provider, sums)| {
            sums.iter().map(|(model, sum)| (provider.clone(), model.clone(), sum.clone()))
        });
        each.collect()
    }
}

impl Sum {
    /// Answers by their end, where there were any.
    pub(super) fn finishes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        FINISHES.into_iter().chain(["failed"]).zip(self.finishes).filter(|(_, count)| *count > 0)
    }

    /// Tokens by kind, where there were any.
    pub(super) fn tokens(&self) -> impl Iterator<Item = (&'static str, u64)> {
        KINDS.into_iter().zip(self.tokens).filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(model: &str, usage: &str) -> Report {
        let fields = [(PROVIDER, "test"), (MODEL, model), (FINISH, "length"), (USAGE, usage)];
        let trailers = fields.map(|(name, value)| (name, HeaderValue::from_str(value).unwrap()));
        Report::read(&trailers.into_iter().collect()).unwrap()
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let report = report("m", "prompt=3, completion=5;x, total=8, reasoning=4, odd, new=7");
        assert_eq!(report.tokens().collect::<Vec<_>>(), [("prompt", 3), ("completion", 0), ("reasoning", 4)]);
        assert_eq!((report.provider(), report.model(), report.finish()), ("test", "m", Some("length")));
        assert!(Report::read(&HeaderMap::new()).is_none());
    }

    #[test]
    fn names_without_end_are_one_name() {
        let sums = Sums::default();
        for number in 0..2 * MODELS {
            sums.add(&report(&format!("made-up-{number}"), "prompt=0"), false);
            sums.add(&report(&format!("m-{number}"), "prompt=1"), true);
        }
        let all = sums.all();
        assert!(all.len() == MODELS + 1 && all.iter().all(|(_, model, _)| !model.starts_with("made-up")));
        let (_, _, other) = all.iter().find(|(_, model, _)| model == "other").unwrap();
        assert_eq!(other.tokens().collect::<Vec<_>>(), [("prompt", MODELS as u64)]);
        assert_eq!(other.finishes().collect::<Vec<_>>(), [("length", 3 * MODELS as u64)]);
    }
}
