//! The conversation -> turns of Converse.
//!
//! Before: `encode` writes everything else. After: `blocks` writes each block. Invariant: user and assistant take turns, so
//! neighbours of one role share one turn, and the results of parallel calls do; instructions stand apart, in `system`; no
//! content is dropped.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Message.html> (2026-11)

use super::blocks::{self, Block};
use crate::{
    bindings::{
        AssistantMessage, CacheControl, Error, File, Message, Part, ReasoningBlock, TextPart, ToolKind, UserMessage,
    },
    dialect::carry::{Carrier, bad, unsupported},
    json::{self, Object},
};

/// Neighbours of one role.
struct Turn<'e> {
    role: &'static str,
    /// The blocks, each with the place of its message.
    blocks: Vec<(usize, Block<'e>)>,
}

/// Writes the instructions. `false` if there are none.
pub(super) fn system(carrier: &Carrier<'_>, body: &mut Object<'_>) -> Result<bool, Error> {
    let mut blocks = Vec::new();
    for message in &carrier.request.messages {
        match message {
            Message::System(said) | Message::Developer(said) => {
                carrier.cannot("name", said.name.is_some())?;
                said.parts.iter().for_each(|part| text(part, &mut blocks));
            }
            Message::User(_) | Message::Assistant(_) | Message::Tool(_) => {}
        }
    }
    if blocks.is_empty() {
        return Ok(false);
    }
    body.list("system", &blocks, |out, block| blocks::write(carrier, out, block)).map(|()| true)
}

/// Writes the turns.
pub(super) fn write(carrier: &Carrier<'_>, body: &mut Object<'_>) -> Result<(), Error> {
    let turns = turns(carrier)?;
    body.list("messages", &turns, |out, turn| {
        json::object(out, |to| {
            to.set("role", turn.role);
            to.list("content", &turn.blocks, |out, (place, block)| {
                blocks::write(carrier, out, block).map_err(|error| at(*place, error))
            })
        })
    })
}

fn at(place: usize, mut error: Error) -> Error {
    error.param.get_or_insert_with(|| format!("messages[{place}]"));
    error
}

fn turns<'e>(carrier: &Carrier<'e>) -> Result<Vec<Turn<'e>>, Error> {
    let mut turns: Vec<Turn<'e>> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for (place, message) in carrier.request.messages.iter().enumerate() {
        let mut blocks = Vec::new();
        let role = match message {
            Message::System(_) | Message::Developer(_) => continue,
            Message::User(said) => {
                user(carrier, said, &mut names, &mut blocks).map_err(|error| at(place, error))?;
                "user"
            }
            Message::Assistant(said) => {
                assistant(carrier, said, &mut blocks).map_err(|error| at(place, error))?;
                "assistant"
            }
            Message::Tool(said) => {
                blocks.push(Block::ToolResult(said));
                mark(said.cache_control.as_ref(), &mut blocks);
                "user"
            }
        };
        let blocks = blocks.into_iter().map(|block| (place, block));
        match turns.last_mut() {
            Some(last) if last.role == role => last.blocks.extend(blocks),
            Some(_) | None => turns.push(Turn { role, blocks: blocks.collect() }),
        }
    }
    // A turn that says nothing is refused there, and its absence loses nothing.
    turns.retain(|turn| !turn.blocks.is_empty());
    for turn in &mut turns {
        accompany(turn);
    }
    Ok(turns)
}

/// A document needs a text beside it.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_DocumentBlock.html> (2026-11)
fn accompany(turn: &mut Turn<'_>) {
    let document = turn.blocks.iter().find(|(_, block)| matches!(block, Block::Document(..)));
    let text = turn.blocks.iter().any(|(_, block)| matches!(block, Block::Text(_)));
    if let Some((place, _)) = document.filter(|_| !text) {
        turn.blocks.push((*place, Block::Text(".")));
    }
}

/// Text, if there is any: an empty one is refused there.
fn text<'e>(part: &'e TextPart, blocks: &mut Vec<Block<'e>>) {
    if !part.text.is_empty() {
        blocks.push(Block::Text(&part.text));
    }
    mark(part.cache_control.as_ref(), blocks);
}

fn mark<'e>(mark: Option<&'e CacheControl>, blocks: &mut Vec<Block<'e>>) {
    blocks.extend(mark.map(Block::Cache));
}

fn user<'e>(
    carrier: &Carrier<'e>,
    said: &'e UserMessage,
    names: &mut Vec<String>,
    blocks: &mut Vec<Block<'e>>,
) -> Result<(), Error> {
    carrier.cannot("name", said.name.is_some())?;
    for part in &said.parts {
        match part {
            Part::Text(part) => text(part, blocks),
            Part::Image(image) => {
                blocks.push(Block::Image(image));
                mark(image.cache_control.as_ref(), blocks);
            }
            Part::Audio(audio) => blocks.push(Block::Audio(audio)),
            Part::File(file) => {
                blocks.push(Block::Document(file, name(file, names)));
                mark(file.cache_control.as_ref(), blocks);
            }
            Part::Refusal(_) | Part::Reasoning(_) | Part::ToolCall(_) => {
                return Err(bad("a user message holds text, images, audio and files only"));
            }
        }
    }
    Ok(())
}

fn assistant<'e>(carrier: &Carrier<'e>, said: &'e AssistantMessage, blocks: &mut Vec<Block<'e>>) -> Result<(), Error> {
    carrier.cannot("name", said.name.is_some())?;
    for part in &said.parts {
        match part {
            Part::Text(part) => text(part, blocks),
            Part::Refusal(said) if said.is_empty() => {}
            Part::Refusal(said) => blocks.push(Block::Text(said)),
            Part::Reasoning(ReasoningBlock::Open(open))
                if open.signature.is_none() && super::family::signs(carrier) =>
            {
                // A vendor that signs its models' thoughts takes none back that somebody else had.
                carrier.cannot("reasoning_content without its signature", true)?;
            }
            Part::Reasoning(block) => blocks.push(Block::Reasoning(block)),
            Part::ToolCall(call) if call.kind == ToolKind::Custom => return Err(unsupported("custom_tools")),
            Part::ToolCall(call) => blocks.push(Block::ToolUse(call)),
            Part::Audio(_) => return Err(unsupported("assistant audio")),
            Part::Image(_) | Part::File(_) => carrier.cannot("assistant images and files", true)?,
        }
    }
    Ok(())
}

/// A document's name as Converse wants it - letters, digits, single spaces, hyphens, brackets - and unlike every other.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_DocumentBlock.html> (2026-11)
pub(super) fn name(file: &File, taken: &mut Vec<String>) -> String {
    let given = file.name.as_deref().unwrap_or_default();
    let stem = given.rsplit_once('.').map_or(given, |(stem, _)| stem);
    let clean = |letter: char| match letter {
        letter if letter.is_ascii_alphanumeric() || "-()[]".contains(letter) => letter,
        letter if letter.is_whitespace() => ' ',
        _ => '-',
    };
    let letters: String = stem.chars().map(clean).take(180).collect();
    let words: Vec<&str> = letters.split_ascii_whitespace().collect();
    let mut name = words.join(" ");
    if name.is_empty() {
        name.push_str("document");
    }
    let same = |taken: &&String| taken.as_str() == name || taken.strip_prefix(name.as_str()).is_some_and(is_number);
    let before = taken.iter().filter(same).count();
    if before > 0 {
        name.push_str(&format!(" ({})", before + 1));
    }
    taken.push(name.clone());
    name
}

/// True for ` (2)` and its like.
fn is_number(tail: &str) -> bool {
    let digits = tail.strip_prefix(" (").and_then(|tail| tail.strip_suffix(')'));
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::Source;

    #[test]
    fn names_of_documents_are_clean_and_differ() {
        let mut taken = Vec::new();
        let mut called = |given: Option<&str>| {
            let source = Source::Id(String::new());
            name(&File { source, media_type: None, name: given.map(str::to_owned), cache_control: None }, &mut taken)
        };
        assert_eq!(called(Some("Report_2026  (final).v2.pdf")), "Report-2026 (final)-v2");
        assert_eq!(called(Some("größe.pdf")), "gr--e");
        assert_eq!(called(None), "document");
        assert_eq!(called(Some(" .pdf")), "document (2)");
        assert_eq!(called(None), "document (3)");
        assert_eq!(called(Some("document (2).pdf")), "document (2) (2)");
        assert!(called(Some(&"x".repeat(500))).len() <= 200);
    }
}
