//! Tools and the choice among them -> Anthropic's JSON.
//!
//! Before: `encode` has written the conversation. After: the same body. Invariant: a schema is JSON before it is written,
//! and a tool that cannot be carried is refused, since a tool is content.

use super::{encode::Encoder, messages::cache_control};
use crate::{
    bindings::{Error, FunctionTool, Request, Tool, ToolChoice, WebSearch},
    dialect::carry::{bad, parsed, unsupported},
    json::{self, Object},
};

impl Encoder<'_> {
    pub(super) fn tools(&mut self, body: &mut Object<'_>) -> Result<(), Error> {
        let request = self.given.request;
        let functions = functions(request)?;
        let search = request.web_search.as_ref();
        if functions.is_empty() && search.is_none() {
            return Ok(());
        }
        self.given.note("tools");
        body.list("tools", functions.into_iter().map(Ok).chain(search.map(Err)), |out, tool| match tool {
            Ok(tool) => function(out, tool),
            Err(search) => json::object(out, |to| self.search(to, search)),
        })?;
        self.choice(body)
    }

    /// <https://platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use#forcing-tool-use> (2026-11)
    fn choice(&mut self, body: &mut Object<'_>) -> Result<(), Error> {
        let one_at_a_time = self.given.request.parallel_tool_calls == Some(false);
        let (kind, name) = match &self.given.request.tool_choice {
            None if !one_at_a_time => return Ok(()),
            None | Some(ToolChoice::Auto) => ("auto", None),
            Some(ToolChoice::None) => ("none", None),
            Some(ToolChoice::Required) => ("any", None),
            Some(ToolChoice::Named(name)) => ("tool", Some(name)),
            Some(ToolChoice::Allowed(allowed)) => (if allowed.required { "any" } else { "auto" }, None),
        };
        self.given.note("tool_choice");
        body.object("tool_choice", |to| {
            to.set("type", kind);
            to.some("name", name);
            if one_at_a_time && kind != "none" {
                to.set("disable_parallel_tool_use", &true);
            }
            Ok(())
        })
    }

    /// <https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool> (2026-11)
    fn search(&self, to: &mut Object<'_>, search: &WebSearch) -> Result<(), Error> {
        to.set("type", "web_search_20250305");
        to.set("name", "web_search");
        // There is no size, but a number of searches: the figures that LiteLLM's users have.
        // https://docs.litellm.ai/docs/completion/web_search (2026-11)
        let uses = match search.context_size.as_deref() {
            None => None,
            Some("low") => Some(1),
            Some("medium") => Some(5),
            Some("high") => Some(10),
            Some(_) => self.given.cannot("web_search_options.search_context_size", true).map(|()| None)?,
        };
        to.some("max_uses", uses.as_ref());
        let Some(location) = &search.location else { return Ok(()) };
        to.object("user_location", |to| {
            to.set("type", "approximate");
            to.some("city", location.city.as_ref());
            to.some("region", location.region.as_ref());
            to.some("country", location.country.as_ref());
            to.some("timezone", location.timezone.as_ref());
            Ok(())
        })
    }
}

/// The functions that the model may call. Where the choice allows only some, it is shown only those.
fn functions(request: &Request) -> Result<Vec<&FunctionTool>, Error> {
    let allowed = match &request.tool_choice {
        Some(ToolChoice::Allowed(allowed)) => Some(&allowed.names),
        Some(ToolChoice::Auto | ToolChoice::None | ToolChoice::Required | ToolChoice::Named(_)) | None => None,
    };
    let mut functions = Vec::with_capacity(request.tools.len());
    for tool in &request.tools {
        match tool {
            Tool::Function(tool) if allowed.is_none_or(|names| names.contains(&tool.name)) => functions.push(tool),
            Tool::Function(_) => {}
            Tool::Custom(_) => return Err(unsupported("custom_tools")),
        }
    }
    if functions.is_empty() && allowed.is_some() {
        return Err(bad("`tool_choice` allows none of the `tools`").about("tool_choice"));
    }
    Ok(functions)
}

fn function(out: &mut Vec<u8>, tool: &FunctionTool) -> Result<(), Error> {
    json::object(out, |to| {
        to.set("name", &tool.name);
        to.some("description", tool.description.as_ref());
        let schema = tool.schema_json.as_deref().map(|schema| parsed(schema, "tools")).transpose()?;
        // A schema is needed, and its type has to be there even where the tool takes nothing.
        let schema = schema.filter(|schema| *schema != "{}");
        to.raw("input_schema", schema.unwrap_or(r#"{"type":"object","properties":{}}"#));
        to.some("strict", tool.strict.as_ref());
        cache_control(to, tool.cache_control.as_ref());
        Ok(())
    })
}
