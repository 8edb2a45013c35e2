//! The parameters that are more than a number or a text.
//!
//! Before: `request` has read the keys. After: the request. Invariant: an unknown word or key inside a parameter is refused,
//! naming what would be understood.

use serde_json::value::RawValue;

use super::{
    conversation::{CacheControlBody, ContentBody, cache_control},
    request::bad,
};
use crate::bindings::{
    AllowedTools, CustomTool, Effort, Error, FunctionTool, Grammar, JsonSchema, Location, Modality, Reasoning,
    ResponseFormat, TokenBias, Tool, ToolChoice, Verbosity, WebSearch,
};
use crate::json::{self, Field, Pairs, Rules, Scalar, Slot, Wrong};

/// One text, or a list of them.
#[derive(Default)]
pub(super) struct OneOrMore(pub(super) Vec<String>);

impl<'a> Slot<'a> for OneOrMore {
    fn what(&self) -> &'static str {
        "a text or a list of texts"
    }

    fn put(&mut self, value: Scalar<'a>) -> bool {
        let Scalar::Text(text) = value else { return false };
        self.0 = vec![text.into_owned()];
        true
    }

    fn open(&mut self, list: bool) -> Option<&'static Rules> {
        self.0.open(list)
    }

    fn item(&mut self) -> Field<'_, 'a> {
        self.0.item()
    }
}

pub(super) fn biases(biases: Option<Pairs<f64>>) -> Result<Vec<TokenBias>, Error> {
    let one = |(token, bias): (String, f64)| match token.parse() {
        Ok(token) => Ok(TokenBias { token, bias }),
        Err(_) => Err(bad("logit_bias", format!("`logit_bias` has the key `{token}`, which is no token's number"))),
    };
    biases.into_iter().flat_map(|biases| biases.0).map(one).collect()
}

json::reader! {
    [strict]
    pub(super) struct FormatBody<'a> {
        [needed] "type" => kind: String,
        "json_schema" => json_schema: Option<SchemaBody<'a>>,
    }
}

json::reader! {
    [strict]
    struct SchemaBody<'a> {
        [needed] "name" => name: String,
        "description" => description: Option<String>,
        "schema" => schema: Option<&'a RawValue>,
        "strict" => strict: Option<bool>,
    }
}

pub(super) fn format(format: FormatBody<'_>) -> Result<ResponseFormat, Error> {
    match (format.kind.as_str(), format.json_schema) {
        ("text", None) => Ok(ResponseFormat::Text),
        ("json_object", None) => Ok(ResponseFormat::JsonObject),
        ("json_schema", Some(SchemaBody { name, description, schema, strict })) => {
            // OpenAI takes a format without its schema, which then allows anything.
            let schema_json = schema.map_or("{}", RawValue::get).to_owned();
            Ok(ResponseFormat::JsonSchema(JsonSchema { name, description, schema_json, strict }))
        }
        ("json_schema", None) => Err(bad("response_format", "`response_format.json_schema` is missing")),
        ("text" | "json_object", Some(_)) => {
            Err(bad("response_format", "`response_format.json_schema` needs the type `json_schema`"))
        }
        (other, _) => Err(unknown("response_format.type", other, &["text", "json_object", "json_schema"])),
    }
}

json::reader! {
    [strict]
    pub(super) struct ToolBody<'a> {
        [needed] "type" => kind: String,
        "function" => function: Option<FunctionBody<'a>>,
        "custom" => custom: Option<CustomBody>,
        "cache_control" => cache_control: Option<CacheControlBody>,
    }
}

json::reader! {
    [strict]
    struct FunctionBody<'a> {
        [needed] "name" => name: String,
        "description" => description: Option<String>,
        "parameters" => parameters: Option<&'a RawValue>,
        "strict" => strict: Option<bool>,
    }
}

json::reader! {
    [strict]
    struct CustomBody {
        [needed] "name" => name: String,
        "description" => description: Option<String>,
        "format" => format: Option<CustomFormat>,
    }
}

json::reader! {
    [strict]
    struct CustomFormat {
        [needed] "type" => kind: String,
        "grammar" => grammar: Option<GrammarBody>,
    }
}

json::reader! {
    [strict]
    struct GrammarBody {
        [needed] "syntax" => syntax: String,
        [needed] "definition" => definition: String,
    }
}

pub(super) fn tool(tool: ToolBody<'_>) -> Result<Tool, Error> {
    match (tool.kind.as_str(), tool.function, tool.custom) {
        ("function", Some(function), None) => Ok(Tool::Function(FunctionTool {
            name: function.name,
            description: function.description,
            schema_json: function.parameters.map(RawValue::get).filter(|schema| *schema != "null").map(str::to_owned),
            strict: function.strict,
            cache_control: cache_control(tool.cache_control)?,
        })),
        ("custom", None, Some(CustomBody { name, description, format })) => {
            let grammar = match format {
                None => None,
                Some(CustomFormat { kind, grammar: Some(grammar) }) if kind == "grammar" => {
                    Some(Grammar { syntax: grammar.syntax, definition: grammar.definition })
                }
                Some(CustomFormat { kind, grammar: None }) if kind == "text" => None,
                Some(format) => return Err(unknown("tools.custom.format.type", &format.kind, &["text", "grammar"])),
            };
            Ok(Tool::Custom(CustomTool { name, description, grammar }))
        }
        ("function" | "custom", _, _) => {
            Err(bad("tools", format!("a tool of type `{0}` needs `{0}`, and only that", tool.kind)))
        }
        (other, _, _) => Err(unknown("tools.type", other, &["function", "custom"])),
    }
}

json::reader! {
    struct ChoiceObject {
        [needed] "type" => kind: String,
        "function" => function: Option<Name>,
        "custom" => custom: Option<Name>,
        "allowed_tools" => allowed_tools: Option<Allowed>,
    }
}

json::reader! {
    struct Name {
        [needed] "name" => name: String,
    }
}

json::reader! {
    struct Allowed {
        [needed] "mode" => mode: String,
        [needed] "tools" => tools: Vec<ChoiceObject>,
    }
}

/// A word, or a tool by name.
pub(super) fn choice(choice: &RawValue) -> Result<ToolChoice, Error> {
    let unreadable = |error: Wrong| bad("tool_choice", format!("`tool_choice` cannot be read: {error}"));
    if choice.get().starts_with('"') {
        return choice_word(&json::read::<String>(choice.get()).map_err(unreadable)?);
    }
    let choice: ChoiceObject = json::read(choice.get()).map_err(unreadable)?;
    if choice.kind == "allowed_tools"
        && let Some(allowed) = choice.allowed_tools
    {
        let required = match allowed.mode.as_str() {
            "auto" => false,
            "required" => true,
            other => return Err(unknown("tool_choice.allowed_tools.mode", other, &["auto", "required"])),
        };
        let names = allowed.tools.into_iter().map(named).collect::<Result<_, _>>()?;
        return Ok(ToolChoice::Allowed(AllowedTools { required, names }));
    }
    named(choice).map(ToolChoice::Named)
}

fn choice_word(word: &str) -> Result<ToolChoice, Error> {
    match word {
        "auto" => Ok(ToolChoice::Auto),
        "none" => Ok(ToolChoice::None),
        // Mistral's word for it.
        "required" | "any" => Ok(ToolChoice::Required),
        other => Err(unknown("tool_choice", other, &["auto", "none", "required"])),
    }
}

fn named(choice: ChoiceObject) -> Result<String, Error> {
    match (choice.kind.as_str(), choice.function, choice.custom) {
        ("function", Some(tool), None) | ("custom", None, Some(tool)) => Ok(tool.name),
        ("function" | "custom", _, _) => Err(bad("tool_choice", "`tool_choice` names no tool")),
        (other, _, _) => Err(unknown("tool_choice.type", other, &["function", "custom", "allowed_tools"])),
    }
}

json::reader! {
    [strict]
    pub(super) struct ReasoningBody {
        "effort" => effort: Option<String>,
        "max_tokens" => max_tokens: Option<u64>,
        "enabled" => enabled: Option<bool>,
    }
}

json::reader! {
    [strict]
    pub(super) struct ThinkingBody {
        [needed] "type" => kind: String,
        "budget_tokens" => budget_tokens: Option<u64>,
        /// Whether the thoughts come with the answer. They do.
        "display" => display: Option<String>,
    }
}

/// The three forms of one parameter: OpenAI's effort, OpenRouter's object, Anthropic's thinking.
pub(super) fn reasoning(
    effort: Option<String>,
    object: Option<ReasoningBody>,
    thinking: Option<ThinkingBody>,
) -> Result<Option<Reasoning>, Error> {
    let mut reasoning = Reasoning { effort: None, budget: None };
    if let Some(thinking) = thinking {
        if let Some(other) = thinking.display.filter(|display| display != "summarized") {
            return Err(unknown("thinking.display", &other, &["summarized"]));
        }
        match thinking.kind.as_str() {
            "enabled" | "adaptive" => reasoning.budget = thinking.budget_tokens,
            "disabled" => reasoning.effort = Some(Effort::None),
            other => return Err(unknown("thinking.type", other, &["enabled", "adaptive", "disabled"])),
        }
        // Thinking without a budget has no word among OpenAI's: the middle one is what its followers take it for.
        if reasoning.effort.is_none() && reasoning.budget.is_none() {
            reasoning.effort = Some(Effort::Medium);
        }
    }
    if let Some(object) = object {
        reasoning.budget = object.max_tokens.or(reasoning.budget);
        reasoning.effort = match (object.effort.as_deref(), object.enabled) {
            (Some(word), _) => Some(effort_of("reasoning.effort", word)?),
            (None, Some(false)) => Some(Effort::None),
            (None, Some(true)) if reasoning.budget.is_none() => Some(Effort::Medium),
            (None, _) => reasoning.effort,
        };
    }
    if let Some(word) = effort {
        reasoning.effort = Some(effort_of("reasoning_effort", &word)?);
    }
    Ok(Some(reasoning).filter(|reasoning| reasoning.effort.is_some() || reasoning.budget.is_some()))
}

fn effort_of(param: &str, word: &str) -> Result<Effort, Error> {
    Ok(match word {
        "none" => Effort::None,
        "minimal" => Effort::Minimal,
        "low" => Effort::Low,
        "medium" => Effort::Medium,
        "high" => Effort::High,
        "xhigh" => Effort::Xhigh,
        "max" => Effort::Max,
        other => return Err(unknown(param, other, &["none", "minimal", "low", "medium", "high", "xhigh", "max"])),
    })
}

pub(super) fn verbosity(word: &str) -> Result<Verbosity, Error> {
    match word {
        "low" => Ok(Verbosity::Low),
        "medium" => Ok(Verbosity::Medium),
        "high" => Ok(Verbosity::High),
        other => Err(unknown("verbosity", other, &["low", "medium", "high"])),
    }
}

pub(super) fn modalities(words: Option<Vec<String>>) -> Result<Vec<Modality>, Error> {
    let one = |word: String| match word.as_str() {
        "text" => Ok(Modality::Text),
        "audio" => Ok(Modality::Audio),
        "image" => Ok(Modality::Image),
        other => Err(unknown("modalities", other, &["text", "audio", "image"])),
    };
    words.into_iter().flatten().map(one).collect()
}

json::reader! {
    [strict]
    pub(super) struct StreamOptionsBody {
        "include_usage" => pub(super) include_usage: Option<bool>,
        "include_obfuscation" => pub(super) include_obfuscation: Option<bool>,
    }
}

json::reader! {
    [strict]
    pub(super) struct AudioBody {
        [needed] "voice" => pub(super) voice: String,
        [needed] "format" => pub(super) format: String,
    }
}

json::reader! {
    [strict]
    pub(super) struct PredictionBody<'a> {
        "type" => _kind: Option<String>,
        [needed] "content" => pub(super) content: ContentBody<'a>,
    }
}

json::reader! {
    [strict]
    pub(super) struct WebSearchBody {
        "search_context_size" => search_context_size: Option<String>,
        "user_location" => user_location: Option<UserLocation>,
    }
}

json::reader! {
    [strict]
    struct UserLocation {
        "type" => _kind: Option<String>,
        "approximate" => approximate: Option<Approximate>,
    }
}

json::reader! {
    [strict]
    struct Approximate {
        "city" => city: Option<String>,
        "country" => country: Option<String>,
        "region" => region: Option<String>,
        "timezone" => timezone: Option<String>,
    }
}

pub(super) fn web_search(search: WebSearchBody) -> WebSearch {
    let location = search.user_location.and_then(|location| location.approximate);
    WebSearch {
        context_size: search.search_context_size,
        location: location.map(|Approximate { city, country, region, timezone }| Location {
            city,
            country,
            region,
            timezone,
        }),
    }
}

/// A word that is none of those that are understood.
pub(super) fn unknown(param: &str, word: &str, known: &[&str]) -> Error {
    let known: Vec<String> = known.iter().map(|word| format!("`{word}`")).collect();
    bad(param, format!("`{param}` is `{word}`; it can be {}", known.join(", ")))
}
