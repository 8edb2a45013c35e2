//! How providers are spoken to: one dialect a file, all behind one trait.
//!
//! Before: `provider` has found the target. After: `component` sends the exchange and feeds the answer to a [`Reader`].
//! Invariant: a dialect knows no provider by name, and a whole answer is decoded into the deltas that a stream would have
//! carried, so that one [`fold`] serves both.

mod exchange;
mod refusal;
mod fold;
mod reader;
mod carry;
mod parameters;
mod content;
mod openai;
mod anthropic;
mod gemini;
mod bedrock;
mod cohere;
mod ollama;

pub use exchange::{Exchange, Head, Url};
pub use fold::{Fold, fold};
pub use reader::Reader;
pub use refusal::{refused, unexpected};

use crate::{
    bindings::{Delta, Error, ErrorKind, Request},
    frame::{Event, Framing},
    provider::Target,
};

/// How a kind of provider is spoken to.
pub trait Dialect: Sync {
    /// Writes the request to the provider.
    ///
    /// # Errors
    /// `unsupported` for a parameter that the provider cannot take, `bad-request` for one that makes no sense,
    /// `configuration` for a target without an address.
    fn encode(&self, target: &Target<'_>, request: &Request, streamed: bool) -> Result<Exchange, Error>;

    /// Reads a whole answer, as the deltas that a stream would have carried.
    ///
    /// # Errors
    /// The provider's, or `provider` if the answer makes no sense.
    fn decode(&self, head: &Head, body: &[u8]) -> Result<Vec<Delta>, Error>;

    /// Reads the events of one streamed answer.
    fn decoder(&self) -> Box<dyn Decoder>;

    /// Takes the events out of the bytes of one streamed answer.
    fn framing(&self) -> Box<dyn Framing>;

    /// The name that the head gives an answer, where its body gives it none. `None` if it gives none either.
    fn id<'h>(&self, _head: &'h Head) -> Option<&'h str> {
        None
    }
}

/// Reads the events of one streamed answer.
pub trait Decoder: Send {
    /// Adds what an event says to `deltas`.
    ///
    /// # Errors
    /// The provider's, if the event is one, or `provider` if it makes no sense.
    fn event(&mut self, event: Event<'_>, deltas: &mut Vec<Delta>) -> Result<(), Error>;

    /// The stream has ended.
    ///
    /// # Errors
    /// `connection` unless the dialect's terminal event was seen.
    fn end(&mut self, deltas: &mut Vec<Delta>) -> Result<(), Error>;
}

/// All dialects, by name.
pub static ALL: &[(&str, &dyn Dialect)] = &[
    ("openai", &openai::OpenAi),
    ("anthropic", &anthropic::Anthropic),
    ("gemini", &gemini::Gemini),
    ("bedrock", &bedrock::Bedrock),
    ("cohere", &cohere::Cohere),
    ("ollama", &ollama::Ollama),
];

/// The dialect of a name.
///
/// # Errors
/// `configuration` for a name that is none.
pub fn by_name(name: &str) -> Result<&'static dyn Dialect, Error> {
    ALL.iter().find(|(known, _)| *known == name).map(|(_, dialect)| *dialect).ok_or_else(|| {
        let known: Vec<String> = ALL.iter().map(|(known, _)| format!("`{known}`")).collect();
        let message = format!("there is no dialect `{name}`; there is {}", known.join(", "));
        Error::new(ErrorKind::Configuration, message)
    })
}

/// A stable number for text (64-bit FNV-1a): where an identifier has to be made up, the same text gives the same one.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
