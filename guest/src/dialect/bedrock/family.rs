//! What only some models take: `additionalModelRequestFields`.
//!
//! Before: `encode` has the request. After: the same body. Invariant: Converse is one API before models of many vendors, and
//! these fields are the vendors'; a model's name says whose it is, and what an unknown model takes is nobody's guess.
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html> (2026-11)

use crate::{
    bindings::{Effort, Error, Reasoning},
    dialect::carry::{Carrier, Extra, bad},
    json::{self, Object},
};

/// The least that a thinking budget may be.
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-extended-thinking.html> (2026-11)
const LEAST_BUDGET: u64 = 1024;

/// Models of Anthropic whose thinking is asked for with a budget; later ones take a word.
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-adaptive-thinking.html> (2026-11)
const BY_BUDGET: &[&str] = &[
    "claude-3-7-",
    "claude-sonnet-4-2025",
    "claude-opus-4-2025",
    "claude-opus-4-1-",
    "claude-sonnet-4-5-",
    "claude-haiku-4-5-",
    "claude-opus-4-5-",
];

/// Whose model it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Vendor {
    Anthropic,
    Amazon,
    OpenAi,
    Mistral,
    Cohere,
    Another,
}

impl Vendor {
    /// A model's name, with or without a region's prefix or an ARN around it, has its vendor before a dot.
    /// <https://docs.aws.amazon.com/bedrock/latest/userguide/models-supported.html> (2026-11)
    fn of(model: &str) -> Self {
        const NAMES: &[(&str, Vendor)] = &[
            ("anthropic.", Vendor::Anthropic),
            ("amazon.nova", Vendor::Amazon),
            ("openai.", Vendor::OpenAi),
            ("mistral.", Vendor::Mistral),
            ("cohere.", Vendor::Cohere),
        ];
        NAMES.iter().find(|(name, _)| model.contains(name)).map_or(Self::Another, |(_, vendor)| *vendor)
    }
}

/// Whether the model's vendor signs its thoughts.
pub(super) fn signs(carrier: &Carrier<'_>) -> bool {
    Vendor::of(carrier.target.model) == Vendor::Anthropic
}

/// The fields, and the token limit that they leave.
pub(super) struct Fields {
    json: Vec<(&'static str, String)>,
    pub(super) limit: Option<u64>,
}

impl Fields {
    pub(super) fn of(carrier: &Carrier<'_>) -> Result<Self, Error> {
        let vendor = Vendor::of(carrier.target.model);
        let mut fields = Self { json: Vec::new(), limit: carrier.request.max_tokens };
        if let Some(top) = carrier.request.sampling.top_k
            && carrier.carries("top_k", true)?
        {
            match vendor {
                Vendor::Anthropic | Vendor::Mistral => fields.json.push(("top_k", top.to_string())),
                Vendor::Cohere => fields.json.push(("k", top.to_string())),
                // https://docs.aws.amazon.com/nova/latest/userguide/complete-request-schema.html (2026-11)
                Vendor::Amazon => fields.json.push(("inferenceConfig", format!(r#"{{"topK":{top}}}"#))),
                Vendor::OpenAi | Vendor::Another => carrier.cannot("top_k", true)?,
            }
        }
        let Some(reasoning) = &carrier.request.reasoning else { return Ok(fields) };
        match vendor {
            Vendor::Anthropic => fields.claude(carrier, reasoning)?,
            Vendor::Amazon => fields.nova(carrier, reasoning)?,
            Vendor::OpenAi => fields.gpt(carrier, reasoning)?,
            Vendor::Mistral | Vendor::Cohere | Vendor::Another => {
                carrier.cannot("reasoning_effort", reasoning.effort.is_some_and(|effort| effort != Effort::None))?;
                carrier.cannot("reasoning_budget", reasoning.budget.is_some())?;
            }
        }
        Ok(fields)
    }

    fn claude(&mut self, carrier: &Carrier<'_>, reasoning: &Reasoning) -> Result<(), Error> {
        let by_budget = BY_BUDGET.iter().any(|name| carrier.target.model.contains(name));
        match (reasoning.budget, reasoning.effort) {
            (None, None) => {}
            (_, Some(Effort::None)) => self.json.push(("thinking", r#"{"type":"disabled"}"#.to_owned())),
            (Some(budget), _) => self.budget(budget, true)?,
            (None, Some(effort)) if by_budget => self.budget(budget(effort), false)?,
            (None, Some(effort)) => {
                self.json.push(("thinking", r#"{"type":"adaptive"}"#.to_owned()));
                self.json.push(("output_config", format!(r#"{{"effort":"{}"}}"#, word(effort))));
            }
        }
        Ok(())
    }

    /// A budget is a part of the token limit, and less than it. One that stands for a word can shrink; where it cannot, the
    /// answer still gets as much as was asked for.
    fn budget(&mut self, mut budget: u64, asked_for: bool) -> Result<(), Error> {
        if let Some(limit) = self.limit.filter(|limit| *limit <= budget) {
            if asked_for {
                let message = format!("`max_tokens` is {limit}; it has to be above the thinking budget, {budget}");
                return Err(bad(message).about("max_tokens"));
            }
            if limit > LEAST_BUDGET {
                budget = limit - 1;
            } else {
                budget = LEAST_BUDGET;
                self.limit = Some(limit.saturating_add(LEAST_BUDGET));
            }
        }
        self.json.push(("thinking", format!(r#"{{"type":"enabled","budget_tokens":{budget}}}"#)));
        Ok(())
    }

    /// <https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html> (2026-11)
    fn nova(&mut self, carrier: &Carrier<'_>, reasoning: &Reasoning) -> Result<(), Error> {
        carrier.cannot("reasoning_budget", reasoning.budget.is_some())?;
        let Some(effort) = reasoning.effort else { return Ok(()) };
        let config = match effort == Effort::None {
            true => r#"{"type":"disabled"}"#.to_owned(),
            false => format!(r#"{{"type":"enabled","maxReasoningEffort":"{}"}}"#, level(effort)),
        };
        self.json.push(("reasoningConfig", config));
        Ok(())
    }

    /// <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-openai.html> (2026-11)
    fn gpt(&mut self, carrier: &Carrier<'_>, reasoning: &Reasoning) -> Result<(), Error> {
        carrier.cannot("reasoning_budget", reasoning.budget.is_some())?;
        match reasoning.effort {
            None => Ok(()),
            Some(Effort::None) => carrier.cannot("reasoning_effort", true),
            Some(effort) => {
                self.json.push(("reasoning_effort", format!("\"{}\"", level(effort))));
                Ok(())
            }
        }
    }

    /// Writes the fields and the caller's own beside them.
    pub(super) fn write(&self, body: &mut Object<'_>, extra: &mut Extra<'_>) -> Result<(), Error> {
        const NAME: &str = "additionalModelRequestFields";
        let written: Vec<&str> = self.json.iter().map(|(key, _)| *key).collect();
        let more = extra.within(NAME, &written)?;
        if written.is_empty() && more.is_empty() {
            return Ok(());
        }
        json::object(body.key(NAME), |to| {
            self.json.iter().for_each(|(key, json)| to.raw(key, json));
            more.write(to, &written);
            Ok(())
        })
    }
}

/// A word as a budget: the figures that LiteLLM's users have.
/// <https://docs.litellm.ai/docs/reasoning_content> (2026-11)
fn budget(effort: Effort) -> u64 {
    match effort {
        Effort::None | Effort::Minimal | Effort::Low => LEAST_BUDGET,
        Effort::Medium => 2048,
        Effort::High => 4096,
        Effort::Xhigh => 8192,
        Effort::Max => 16_384,
    }
}

/// Anthropic's word.
fn word(effort: Effort) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::Xhigh => "xhigh",
        Effort::Max => "max",
    }
}

/// A word where there are three.
fn level(effort: Effort) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High | Effort::Xhigh | Effort::Max => "high",
    }
}
