//! The tools and the choice among them -> Converse's JSON.
//!
//! Before: `encode` writes everything else. After: the same body. Invariant: where the conversation has calls or results, there
//! are tools, which Converse demands.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolConfiguration.html> (2026-11)

use super::blocks;
use crate::{
    bindings::{Error, Message, Part, Tool, ToolChoice},
    dialect::carry::{Carrier, parsed, unsupported},
    json::{self, Object},
};

/// Writes the tools. `false` if there are none.
pub(super) fn write(carrier: &Carrier<'_>, body: &mut Object<'_>) -> Result<bool, Error> {
    let request = carrier.request;
    let used = used(&request.messages);
    let mut offered: Vec<&Tool> = request.tools.iter().collect();
    match &request.tool_choice {
        // There is no word for it: it is carried by offering none, unless the conversation needs them.
        Some(ToolChoice::None) if used.is_empty() => return Ok(false),
        Some(ToolChoice::None) => carrier.cannot("tool_choice", true)?,
        Some(ToolChoice::Allowed(allowed)) => {
            offered.retain(|tool| allowed.names.iter().any(|name| name == name_of(tool)))
        }
        Some(ToolChoice::Auto | ToolChoice::Required | ToolChoice::Named(_)) | None => {}
    }
    if offered.is_empty() && used.is_empty() || !carrier.carries("tools", true)? {
        return Ok(false);
    }
    body.object("toolConfig", |to| {
        if offered.is_empty() {
            to.list("tools", &used, |out, name| mention(out, name))?;
        } else {
            let marks = offered.iter().flat_map(|tool| [Some(*tool), None].into_iter().map(|here| (here, *tool)));
            let entries = marks.filter(|(here, tool)| here.is_some() || mark_of(tool).is_some());
            to.list("tools", entries, |out, (here, tool)| match here {
                Some(tool) => entry(out, tool),
                None => json::object(out, |to| mark_of(tool).map_or(Ok(()), |mark| blocks::cache(to, mark))),
            })?;
        }
        choice(to, request.tool_choice.as_ref())
    })?;
    Ok(true)
}

/// The tools that the conversation has calls of.
fn used(messages: &[Message]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for message in messages {
        match message {
            Message::Assistant(said) => names.extend(said.parts.iter().filter_map(|part| match part {
                Part::ToolCall(call) => Some(call.name.as_str()),
                Part::Text(_)
                | Part::Image(_)
                | Part::Audio(_)
                | Part::File(_)
                | Part::Refusal(_)
                | Part::Reasoning(_) => None,
            })),
            Message::Tool(said) => names.extend(said.name.as_deref()),
            Message::System(_) | Message::Developer(_) | Message::User(_) => {}
        }
    }
    // Each once and in order. They are few, and a sort is 9 KB of the component.
    let mut once: Vec<&str> = Vec::with_capacity(names.len());
    for name in names {
        if let Err(place) = once.binary_search(&name) {
            once.insert(place, name);
        }
    }
    once
}

fn name_of(tool: &Tool) -> &str {
    match tool {
        Tool::Function(tool) => &tool.name,
        Tool::Custom(tool) => &tool.name,
    }
}

fn mark_of(tool: &Tool) -> Option<&crate::bindings::CacheControl> {
    match tool {
        Tool::Function(tool) => tool.cache_control.as_ref(),
        Tool::Custom(_) => None,
    }
}

fn entry(out: &mut Vec<u8>, tool: &Tool) -> Result<(), Error> {
    // A tool is content, so it is refused even where parameters may be dropped.
    let Tool::Function(tool) = tool else { return Err(unsupported("custom_tools")) };
    json::object(out, |to| {
        to.object("toolSpec", |to| {
            to.set("name", &tool.name);
            to.some("description", tool.description.as_ref().filter(|text| !text.is_empty()));
            to.object("inputSchema", |to| {
                let schema = tool.schema_json.as_deref().unwrap_or(r#"{"type":"object","properties":{}}"#);
                to.raw("json", parsed(schema, "tools")?);
                Ok(())
            })?;
            to.some("strict", tool.strict.as_ref());
            Ok(())
        })
    })
}

/// A tool that was called once and is not offered any more.
fn mention(out: &mut Vec<u8>, name: &str) -> Result<(), Error> {
    json::object(out, |to| {
        to.object("toolSpec", |to| {
            to.set("name", name);
            to.object("inputSchema", |to| {
                to.raw("json", r#"{"type":"object","properties":{}}"#);
                Ok(())
            })
        })
    })
}

fn choice(to: &mut Object<'_>, choice: Option<&ToolChoice>) -> Result<(), Error> {
    let word = match choice {
        None | Some(ToolChoice::None) => return Ok(()),
        Some(ToolChoice::Auto) => "auto",
        Some(ToolChoice::Required) => "any",
        Some(ToolChoice::Allowed(allowed)) if allowed.required => "any",
        Some(ToolChoice::Allowed(_)) => "auto",
        Some(ToolChoice::Named(name)) => {
            return to.object("toolChoice", |to| {
                to.object("tool", |to| {
                    to.set("name", name);
                    Ok(())
                })
            });
        }
    };
    to.object("toolChoice", |to| {
        to.raw(word, "{}");
        Ok(())
    })
}
