//! The tools and the choice among them -> Google's JSON.
//! <https://ai.google.dev/api/caching#Tool> (2026-11)
//!
//! Before: `encode` has written the conversation. After: the same body. Invariant: a tool is written or refused, never dropped.

use super::schema;
use crate::{
    bindings::{Error, FunctionTool, Tool, ToolChoice},
    dialect::carry::{Carrier, parsed, unsupported},
    json::{self, Object},
};

/// Writes `tools` and `toolConfig`. `false` if there is nothing to write.
pub(super) fn write(carrier: &Carrier<'_>, to: &mut Object<'_>) -> Result<bool, Error> {
    let request = carrier.request;
    let functions = carrier.carries("tools", !request.tools.is_empty())?;
    let search = carrier.carries("web_search_options", request.web_search.is_some())?;
    if let Some(options) = request.web_search.as_ref().filter(|_| search) {
        carrier.cannot("web_search_options.search_context_size", options.context_size.is_some())?;
        carrier.cannot("web_search_options.user_location", options.location.is_some())?;
    }
    if !functions && !search {
        return Ok(false);
    }
    let tools = [functions, search].into_iter().enumerate().filter(|(_, there)| *there);
    to.list("tools", tools, |out, (place, _)| {
        json::object(out, |to| match place {
            0 => to.list("functionDeclarations", &request.tools, |out, tool| declaration(carrier, out, tool)),
            // https://ai.google.dev/gemini-api/docs/google-search (2026-11)
            _ => to.object("googleSearch", |_| Ok(())),
        })
    })?;
    if functions {
        choice(carrier, to)?;
    }
    Ok(true)
}

fn declaration(carrier: &Carrier<'_>, out: &mut Vec<u8>, tool: &Tool) -> Result<(), Error> {
    let Tool::Function(tool) = tool else {
        // A tool is content, so it is refused even where parameters may be dropped.
        return Err(unsupported("custom_tools"));
    };
    carrier.cannot("cache_control", tool.cache_control.is_some())?;
    json::object(out, |to| {
        to.set("name", &tool.name);
        to.some("description", tool.description.as_ref());
        // https://ai.google.dev/api/caching#FunctionDeclaration: `parameters` knows only a part of JSON Schema (2026-11)
        if let Some(schema) = &tool.schema_json {
            schema::arguments(to.key("parametersJsonSchema"), parsed(schema, "tools")?)?;
        }
        Ok(())
    })
}

/// <https://ai.google.dev/gemini-api/docs/function-calling#function_calling_modes>: names need ANY or VALIDATED, and those two
/// keep to the functions' schemas (2026-11)
fn choice(carrier: &Carrier<'_>, to: &mut Object<'_>) -> Result<(), Error> {
    let request = carrier.request;
    // It can be asked to call, and not to call; how often is its own affair.
    carrier.cannot("parallel_tool_calls", request.parallel_tool_calls == Some(false))?;
    let strict = |tool: &Tool| matches!(tool, Tool::Function(FunctionTool { strict: Some(true), .. }));
    let strict = request.tools.iter().any(strict);
    let (mode, names): (_, &[String]) = match &request.tool_choice {
        None if !strict => return Ok(()),
        None | Some(ToolChoice::Auto) if strict => ("VALIDATED", &[]),
        None | Some(ToolChoice::Auto) => ("AUTO", &[]),
        Some(ToolChoice::None) => ("NONE", &[]),
        Some(ToolChoice::Required) => ("ANY", &[]),
        Some(ToolChoice::Named(name)) => ("ANY", std::slice::from_ref(name)),
        Some(ToolChoice::Allowed(allowed)) => (if allowed.required { "ANY" } else { "VALIDATED" }, &allowed.names),
    };
    to.object("toolConfig", |to| {
        to.object("functionCallingConfig", |to| {
            to.set("mode", mode);
            to.some("allowedFunctionNames", Some(names).filter(|names| !names.is_empty()));
            Ok(())
        })
    })
}
