//! The tools and the choice among them -> OpenAI's JSON.
//!
//! Before: `encode` writes everything else. After: the same body. Invariant: a schema goes in as the caller wrote it, once it
//! has been seen to be JSON.

use super::encode::Encoder;
use crate::{
    bindings::{Error, Tool, ToolChoice},
    dialect::carry::{parsed, unsupported},
    json::{self, Object},
};

impl Encoder<'_> {
    pub(super) fn tools(&mut self, body: &mut Object<'_>) -> Result<(), Error> {
        let request = self.given.request;
        if !self.given.carries("tools", !request.tools.is_empty())? {
            return Ok(());
        }
        self.given.note("tools");
        body.list("tools", &request.tools, |out, tool| self.tool(out, tool))?;
        self.some(body, "parallel_tool_calls", request.parallel_tool_calls.as_ref())?;
        let Some(choice) = &request.tool_choice else { return Ok(()) };
        let required = self.given.target.quirks.required.as_deref().unwrap_or("required");
        match choice {
            ToolChoice::Auto => self.given.put(body, "tool_choice", "auto"),
            ToolChoice::None => self.given.put(body, "tool_choice", "none"),
            ToolChoice::Required => self.given.put(body, "tool_choice", required),
            ToolChoice::Named(name) => {
                self.given.note("tool_choice");
                self.named(body.key("tool_choice"), name)?;
            }
            ToolChoice::Allowed(allowed) => {
                self.given.note("tool_choice");
                body.object("tool_choice", |to| {
                    to.set("type", "allowed_tools");
                    to.object("allowed_tools", |to| {
                        to.set("mode", if allowed.required { required } else { "auto" });
                        to.list("tools", &allowed.names, |out, name| self.named(out, name))
                    })
                })?;
            }
        }
        Ok(())
    }

    fn tool(&self, out: &mut Vec<u8>, tool: &Tool) -> Result<(), Error> {
        match tool {
            Tool::Function(tool) => json::object(out, |to| {
                to.set("type", "function");
                to.object("function", |to| {
                    to.set("name", &tool.name);
                    to.some("description", tool.description.as_ref());
                    if let Some(schema) = &tool.schema_json {
                        to.raw("parameters", parsed(schema, "tools")?);
                    }
                    to.some("strict", tool.strict.as_ref());
                    Ok(())
                })?;
                self.cache_control(to, tool.cache_control.as_ref())
            }),
            Tool::Custom(tool) => {
                // A tool is content, so it is refused even where parameters may be dropped.
                if !self.given.target.takes("custom_tools") {
                    return Err(unsupported("custom_tools"));
                }
                json::object(out, |to| {
                    to.set("type", "custom");
                    to.object("custom", |to| {
                        to.set("name", &tool.name);
                        to.some("description", tool.description.as_ref());
                        let Some(grammar) = &tool.grammar else { return Ok(()) };
                        to.object("format", |to| {
                            to.set("type", "grammar");
                            to.object("grammar", |to| {
                                to.set("syntax", &grammar.syntax);
                                to.set("definition", &grammar.definition);
                                Ok(())
                            })
                        })
                    })
                })
            }
        }
    }

    /// A tool by its name, as a choice.
    fn named(&self, out: &mut Vec<u8>, name: &str) -> Result<(), Error> {
        let custom =
            self.given.request.tools.iter().any(|tool| matches!(tool, Tool::Custom(tool) if tool.name == name));
        let kind = if custom { "custom" } else { "function" };
        json::object(out, |to| {
            to.set("type", kind);
            to.object(kind, |to| {
                to.set("name", name);
                Ok(())
            })
        })
    }
}
