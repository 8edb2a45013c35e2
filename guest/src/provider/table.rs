//! The tables of providers and models, as `providers.toml`, `seaway.toml` and `SEAWAY_MODELS` write them.
//!
//! Before: the text of one of the three. After: `resolve` looks names up. Invariant: an unknown column is an error.

use std::{collections::BTreeMap, fmt, sync::LazyLock};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::json;

/// `providers.toml` as JSON, which the build script makes of it: so the component needs no second parser.
const PROVIDERS: &str = include_str!(concat!(env!("OUT_DIR"), "/providers.json"));

/// The providers, the models, and whether keys are placeholders.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Table {
    /// Who can be asked, by name.
    pub providers: BTreeMap<String, Row>,
    /// Model names of our own.
    pub models: BTreeMap<String, Model>,
    /// `"placeholder"` where the host puts the keys in; absent where the component has to read them itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
}

/// Who puts the keys in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Credentials {
    /// The host: the component writes `seaway-credential:NAME` where the key belongs.
    #[default]
    Placeholder,
}

impl Table {
    /// The rows of `providers.toml`.
    pub fn built_in() -> &'static Self {
        static BUILT_IN: LazyLock<Table> =
            LazyLock::new(|| Table::from_json(PROVIDERS).expect("providers.toml is tested"));
        &BUILT_IN
    }

    /// Reads the document of `SEAWAY_MODELS`.
    ///
    /// # Errors
    /// If it is not JSON, or names a column that does not exist.
    pub fn from_json(document: &str) -> Result<Self, TableError> {
        json::read(document).map_err(|error| TableError(format!("SEAWAY_MODELS: {error}")))
    }

    /// The document for `SEAWAY_MODELS`.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("names and strings always serialise")
    }

    /// Lays `over` on top: a provider's columns one by one, a model whole.
    #[must_use]
    pub fn merge(mut self, over: Self) -> Self {
        for (name, row) in over.providers {
            let base = self.providers.remove(&name).unwrap_or_default();
            self.providers.insert(name, row.over(base));
        }
        self.models.extend(over.models);
        self.credentials = over.credentials.or(self.credentials);
        self
    }
}

/// Why a table cannot be read: one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableError(pub String);

impl fmt::Display for TableError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for TableError {}

/// One provider. Every column is optional here, so that a file can override single columns of a built-in row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Row {
    /// How it is spoken to. The one column that a new row must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialect: Option<String>,
    /// Where it is, up to where the dialect's own path begins. Absent where every account has its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Variables that replace `base_url`; the first that is set counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url_env: Option<Vec<String>>,
    /// Variables that hold the key; the first that is set counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_env: Option<Vec<String>>,
    /// The name of the credential; the provider's name if absent, `none` for no key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Runs on this machine: no key unless `credential` names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<bool>,
    /// The header that carries the key. `bearer` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// The dialect's path, where it is not its usual one; `{model}` is the model's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Becomes `?api-version=`. None by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Variables that replace `api_version`; the first that is set counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version_env: Option<Vec<String>>,
    /// The region of a cloud; it takes the place of `{region}` in `base_url`. None by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Variables that hold the region where `region` is absent; the first that is set counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region_env: Option<Vec<String>>,
    /// The project of an account; it takes the place of `{project}` in `base_url`. None by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Variables that hold the project where `project` is absent; the first that is set counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_env: Option<Vec<String>>,
    /// The signature that the host makes where no variable of `key_env` is set. None by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sign: Option<Sign>,
    /// The model that answers where nobody named one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_model: Option<String>,
    /// Where the provider differs from its dialect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quirks: Option<Quirks>,
}

impl Row {
    /// This row's columns, and `base`'s where it has none.
    fn over(self, base: Self) -> Self {
        let Self { dialect, base_url, base_url_env, key_env, credential, local, auth, path, api_version, .. } = self;
        Self {
            dialect: dialect.or(base.dialect),
            base_url: base_url.or(base.base_url),
            base_url_env: base_url_env.or(base.base_url_env),
            key_env: key_env.or(base.key_env),
            credential: credential.or(base.credential),
            local: local.or(base.local),
            auth: auth.or(base.auth),
            path: path.or(base.path),
            api_version: api_version.or(base.api_version),
            api_version_env: self.api_version_env.or(base.api_version_env),
            region: self.region.or(base.region),
            region_env: self.region_env.or(base.region_env),
            project: self.project.or(base.project),
            project_env: self.project_env.or(base.project_env),
            sign: self.sign.or(base.sign),
            default_model: self.default_model.or(base.default_model),
            quirks: self.quirks.or(base.quirks),
        }
    }

    /// The name of the credential that `provider` with this row needs: its own, or the one that is named. `None` if it needs no key.
    pub fn credential_name<'a>(&'a self, provider: &'a str) -> Option<&'a str> {
        match self.credential.as_deref() {
            Some("none") => None,
            Some(name) => Some(name),
            None if self.local == Some(true) => None,
            None => Some(provider),
        }
    }
}

/// The header that carries a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// `authorization: Bearer KEY`.
    #[default]
    Bearer,
    /// `api-key: KEY`.
    ApiKey,
    /// `x-api-key: KEY`.
    XApiKey,
    /// `x-goog-api-key: KEY`.
    XGoogApiKey,
}

/// A signature that takes the place of a key. The keys to sign with are the host's alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sign {
    /// The service that it is for: `bedrock`.
    pub service: String,
    /// The variable with the access key's ID.
    pub access_key_env: String,
    /// The variable with the access key's secret.
    pub secret_key_env: String,
    /// The variable with the session token of temporary keys.
    pub token_env: String,
}

/// Where a provider differs from its dialect. Absent means: not at all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quirks {
    /// The key of the token limit. `max_tokens` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<String>,
    /// Models by prefix that want `max_completion_tokens`, and `developer` for `system`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasoning_models: Vec<String>,
    /// Knows the role `developer`. Elsewhere it becomes `system`, which means the same.
    pub developer: bool,
    /// The key of the seed. `seed` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<String>,
    /// The word for a tool choice that demands a call. `required` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required: Option<String>,
    /// How many letters and digits a tool call's id must have. Any by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_id_length: Option<usize>,
    /// `false` where the usage always comes and `stream_options` is unknown. `true` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<bool>,
    /// Models by prefix whose thinking is asked for with a budget of tokens. Others get a word for how much.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub budget_models: Vec<String>,
    /// How reasoning is asked for. `effort` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<ReasoningStyle>,
    /// How earlier reasoning goes back. By default it does not, and is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
    /// How a document is sent. `file` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<Files>,
    /// Takes the address of a document.
    pub file_urls: bool,
    /// Takes marks for the prompt's cache.
    pub cache_control: bool,
    /// Parameters that the provider cannot take, by OpenAI's names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
}

/// How reasoning is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasoningStyle {
    /// `reasoning_effort`.
    #[default]
    Effort,
    /// `reasoning: {effort, max_tokens}`.
    Object,
    /// `thinking: {type}` to turn it on or off, and `reasoning_effort`.
    Thinking,
}

/// How earlier reasoning goes back to the provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum History {
    /// `reasoning_content` beside the content.
    #[default]
    ReasoningContent,
    /// `reasoning` beside the content.
    Reasoning,
    /// A part of type `thinking` in the content.
    Thinking,
    /// `reasoning_details` beside the content, with signatures.
    ReasoningDetails,
}

/// How a document is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Files {
    /// A part of type `file`.
    #[default]
    File,
    /// A part of type `document_url`.
    DocumentUrl,
}

/// A model name of our own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The provider's row.
    pub provider: String,
    /// The provider's name for the model.
    pub model: String,
    /// Replaces the row's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Replaces the row's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Replaces the row's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Replaces the row's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Parameters that the provider cannot take are left out. `false` by default: they are refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drop_unsupported: bool,
    /// Merged into the request where the caller said nothing.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

// How the component reads a table. The host reads its own from TOML, with serde.
json::fields!([strict] Table {
    "providers" => providers,
    "models" => models,
    "credentials" => credentials,
});

json::fields!([strict] Row {
    "dialect" => dialect,
    "base_url" => base_url,
    "base_url_env" => base_url_env,
    "key_env" => key_env,
    "credential" => credential,
    "local" => local,
    "auth" => auth,
    "path" => path,
    "api_version" => api_version,
    "api_version_env" => api_version_env,
    "region" => region,
    "region_env" => region_env,
    "project" => project,
    "project_env" => project_env,
    "sign" => sign,
    "default_model" => default_model,
    "quirks" => quirks,
});

json::fields!([strict] Quirks {
    "max_tokens" => max_tokens,
    "reasoning_models" => reasoning_models,
    "developer" => developer,
    "seed" => seed,
    "required" => required,
    "tool_id_length" => tool_id_length,
    "stream_options" => stream_options,
    "budget_models" => budget_models,
    "reasoning" => reasoning,
    "history" => history,
    "files" => files,
    "file_urls" => file_urls,
    "cache_control" => cache_control,
    "lacks" => lacks,
});

json::fields!([strict] Sign {
    [needed] "service" => service,
    [needed] "access_key_env" => access_key_env,
    [needed] "secret_key_env" => secret_key_env,
    [needed] "token_env" => token_env,
});

json::fields!([strict] Model {
    [needed] "provider" => provider,
    [needed] "model" => model,
    "base_url" => base_url,
    "credential" => credential,
    "api_version" => api_version,
    "region" => region,
    "drop_unsupported" => drop_unsupported,
    "extra" => extra,
});

json::words!(Credentials { "placeholder" => Placeholder, });
json::words!(Auth {
    "bearer" => Bearer,
    "api-key" => ApiKey,
    "x-api-key" => XApiKey,
    "x-goog-api-key" => XGoogApiKey,
});
json::words!(ReasoningStyle { "effort" => Effort, "object" => Object, "thinking" => Thinking, });
json::words!(History {
    "reasoning_content" => ReasoningContent,
    "reasoning" => Reasoning,
    "thinking" => Thinking,
    "reasoning_details" => ReasoningDetails,
});
json::words!(Files { "file" => File, "document_url" => DocumentUrl, });

#[cfg(test)]
mod tests {
    use super::*;

    /// Every column and every word, as serde reads and writes them.
    #[test]
    fn the_component_reads_what_the_host_writes() {
        assert_eq!(Table::from_json(PROVIDERS).unwrap(), serde_json::from_str(PROVIDERS).unwrap());
        let row = |auth: &str, reasoning: &str, history: &str, files: &str| {
            format!(
                r#"{{"dialect": "openai", "base_url": "b", "base_url_env": ["a"], "key_env": ["k"], "credential": "c",
                    "local": true, "auth": "{auth}", "path": "/p", "api_version": "1", "api_version_env": ["v"],
                    "region": "r", "region_env": ["e"], "project": "p", "project_env": ["j"], "default_model": "m",
                    "sign": {{"service": "s", "access_key_env": "a", "secret_key_env": "s", "token_env": "t"}},
                    "quirks": {{"max_tokens": "m", "reasoning_models": ["o"], "developer": true, "seed": "s",
                        "required": "any", "tool_id_length": 9, "stream_options": false, "budget_models": ["b"],
                        "reasoning": "{reasoning}", "history": "{history}", "files": "{files}", "file_urls": true,
                        "cache_control": true, "lacks": ["n"]}}}}"#
            )
        };
        let rows = [
            row("bearer", "effort", "reasoning_content", "file"),
            row("api-key", "object", "reasoning", "document_url"),
            row("x-api-key", "thinking", "thinking", "file"),
            row("x-goog-api-key", "effort", "reasoning_details", "file"),
        ];
        let model = r#"{"provider": "p", "model": "m", "base_url": "b", "credential": "c", "api_version": "1",
            "region": "r", "drop_unsupported": true, "extra": {"b": [1, -1, 1.5, true, null], "a": {"c": "d"}}}"#;
        for row in rows {
            let text =
                format!(r#"{{"providers": {{"p": {row}}}, "models": {{"m": {model}}}, "credentials": "placeholder"}}"#);
            let table = Table::from_json(&text).unwrap();
            assert_eq!(table, serde_json::from_str(&text).unwrap());
            assert_eq!(Table::from_json(&table.to_json()).unwrap(), table);
        }
    }

    #[test]
    fn a_column_that_does_not_exist_is_named() {
        let wrong = |text: &str| Table::from_json(text).unwrap_err().to_string();
        assert_eq!(wrong(r#"{"providers": {"p": {"url": "x"}}}"#), "SEAWAY_MODELS: unknown field `url`");
        assert_eq!(wrong(r#"{"models": {"m": {"model": "x"}}}"#), "SEAWAY_MODELS: missing field `provider`");
        let auth = wrong(r#"{"providers": {"p": {"auth": "basic"}}}"#);
        assert!(auth.contains("`providers.p.auth` is not one of `bearer` `api-key`"), "{auth}");
    }
}
