//! A model's name -> a target.
//!
//! Before: the tables. After: `dialect` builds the exchange for the target. Invariant: a name is looked up among the models
//! first, then split at its first `/`; what is neither is refused with the nearest names, never guessed.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::place::{Unplaced, placed};
use super::table::{Auth, Credentials, Model, Quirks, Row, Table};
use crate::bindings::{Error, ErrorKind};

/// Who is asked, where, and with which key: what a dialect needs beside the request.
#[derive(Clone, Debug, PartialEq)]
pub struct Target<'t> {
    /// The provider's name.
    pub provider: &'t str,
    /// How it is spoken to.
    pub dialect: &'t str,
    /// The provider's name for the model.
    pub model: &'t str,
    /// Where it is, up to where the dialect's own path begins.
    pub base_url: Cow<'t, str>,
    /// The dialect's path, where it is not its usual one.
    pub path: Option<&'t str>,
    /// Becomes `?api-version=`.
    pub api_version: Option<Cow<'t, str>>,
    /// The region of a cloud.
    pub region: Option<Cow<'t, str>>,
    /// The project of an account of a cloud.
    pub project: Option<Cow<'t, str>>,
    /// The header that carries the key.
    pub auth: Auth,
    /// What the header carries.
    pub key: Key<'t>,
    /// Where the provider differs from its dialect.
    pub quirks: &'t Quirks,
    /// Parameters that the provider cannot take are left out.
    pub drop_unsupported: bool,
    /// Merged into the request where the caller said nothing.
    pub extra: Option<&'t Map<String, Value>>,
    row: &'t Row,
    own_url: bool,
    own_version: bool,
}

/// What the header for the key carries.
#[derive(Clone, PartialEq, Eq)]
pub enum Key<'t> {
    /// There is no such header.
    None,
    /// The host puts the key of this name in.
    Placeholder(&'t str),
    /// The component has to read the key of this name: see [`Target::complete_from`].
    Missing(&'t str),
    /// The key itself.
    Own(String),
}

impl std::fmt::Debug for Key<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => out.write_str("None"),
            Self::Placeholder(name) => write!(out, "Placeholder({name})"),
            Self::Missing(name) => write!(out, "Missing({name})"),
            Self::Own(_) => out.write_str("Own(..)"),
        }
    }
}

/// Finds the target of a model's name.
///
/// # Errors
/// `not-found` for a name that is neither a model's nor begins with a provider's; `configuration` for a row without a dialect.
pub fn resolve<'t>(table: &'t Table, name: &'t str) -> Result<Target<'t>, Error> {
    if let Some(model) = table.models.get(name) {
        let (provider, row) = provider_row(table, &model.provider).ok_or_else(|| {
            let near = nearest(&model.provider, provider_names(table));
            configuration(format!("model `{name}`: there is no provider `{}`{near}", model.provider))
        })?;
        return target(table, provider, row, &model.model, Some(model));
    }
    let Some((provider, model)) = name.split_once('/') else {
        return Err(unknown_model(table, name));
    };
    let Some((provider, row)) = provider_row(table, provider) else {
        let near = nearest(provider, provider_names(table));
        let message = format!("model `{name}`: there is no provider `{provider}`{near}");
        return Err(Error::new(ErrorKind::NotFound, message).about("model"));
    };
    if model.is_empty() {
        return Err(Error::new(ErrorKind::NotFound, format!("model `{name}`: nothing follows the `/`")).about("model"));
    }
    target(table, provider, row, model, None)
}

/// A row of the table, else of the built-in one: a document of single rows need not repeat the others.
fn provider_row<'t>(table: &'t Table, name: &str) -> Option<(&'t str, &'t Row)> {
    let find = |table: &'t Table| table.providers.get_key_value(name).map(|(name, row)| (name.as_str(), row));
    match find(table) {
        Some(found) if found.1.dialect.is_some() => Some(found),
        partial => find(Table::built_in()).or(partial),
    }
}

fn target<'t>(
    table: &'t Table,
    provider: &'t str,
    row: &'t Row,
    model: &'t str,
    own: Option<&'t Model>,
) -> Result<Target<'t>, Error> {
    static PLAIN: Quirks = Quirks::none();
    let Some(dialect) = row.dialect.as_deref() else {
        return Err(configuration(format!("provider `{provider}` has no `dialect`")));
    };
    let own_url = own.and_then(|model| model.base_url.as_deref());
    let own_version = own.and_then(|model| model.api_version.as_deref());
    let credential = match own.and_then(|model| model.credential.as_deref()) {
        Some("none") => None,
        Some(name) => Some(name),
        None => row.credential_name(provider),
    };
    let key = match (credential, table.credentials) {
        (None, _) => Key::None,
        (Some(name), Some(Credentials::Placeholder)) => Key::Placeholder(name),
        (Some(name), None) => Key::Missing(name),
    };
    Ok(Target {
        provider,
        dialect,
        model,
        base_url: Cow::Borrowed(own_url.or(row.base_url.as_deref()).unwrap_or_default()),
        path: row.path.as_deref(),
        api_version: own_version.or(row.api_version.as_deref()).map(Cow::Borrowed),
        region: own.and_then(|model| model.region.as_deref()).or(row.region.as_deref()).map(Cow::Borrowed),
        project: row.project.as_deref().map(Cow::Borrowed),
        auth: row.auth.unwrap_or_default(),
        key,
        quirks: row.quirks.as_ref().unwrap_or(&PLAIN),
        drop_unsupported: own.is_some_and(|model| model.drop_unsupported),
        extra: own.map(|model| &model.extra).filter(|extra| !extra.is_empty()),
        row,
        own_url: own_url.is_some(),
        own_version: own_version.is_some(),
    })
}

impl Target<'_> {
    /// Fills in what stands in variables: the key, unless the host puts it in, and the base URL, the API's version and the
    /// region, unless the model's own row names them.
    ///
    /// # Errors
    /// `authentication`, naming the variable, if a key is needed and there is none: a placeholder never leaves a foreign host.
    pub fn complete_from(&mut self, variable: impl Fn(&str) -> Option<String>) -> Result<(), Error> {
        let first = |names: &Option<Vec<String>>| {
            names.iter().flatten().find_map(|name| variable(name).filter(|value| !value.is_empty()))
        };
        if !self.own_url
            && let Some(url) = first(&self.row.base_url_env)
        {
            self.base_url = Cow::Owned(url);
        }
        if !self.own_version
            && let Some(version) = first(&self.row.api_version_env)
        {
            self.api_version = Some(Cow::Owned(version));
        }
        if self.region.is_none() {
            self.region = first(&self.row.region_env).map(Cow::Owned);
        }
        if self.project.is_none() {
            self.project = first(&self.row.project_env).map(Cow::Owned);
        }
        let Key::Missing(name) = self.key else { return Ok(()) };
        let Some(key) = first(&self.row.key_env) else {
            let variable = match self.row.key_env.iter().flatten().next() {
                Some(variable) => format!("set {variable}"),
                None => format!("provider `{}` names no variable in `key_env`", self.provider),
            };
            let message = format!("there is no key for `{name}`: {variable}");
            return Err(Error::new(ErrorKind::Authentication, message).from(self.provider));
        };
        self.key = Key::Own(key.trim().to_owned());
        Ok(())
    }

    /// Where it is, with the region and the project in their places.
    ///
    /// # Errors
    /// `configuration`, saying what is missing and how to name it.
    pub fn place<'b>(&self, base: &'b str) -> Result<Cow<'b, str>, Error> {
        placed(base, self.region.as_deref(), self.project.as_deref()).map_err(|unplaced| {
            let message = match unplaced {
                Unplaced::Odd(name, value) => format!("`{value}` is no {name}"),
                Unplaced::Missing(name) => {
                    let variables = if name == "region" { &self.row.region_env } else { &self.row.project_env };
                    let how = match variables.iter().flatten().next() {
                        Some(variable) => format!("set {variable}"),
                        None => format!("name a `{name}`"),
                    };
                    format!("provider `{}` needs a {name}: {how}", self.provider)
                }
            };
            configuration(message).from(self.provider)
        })
    }

    /// Whether the provider can take a parameter, by OpenAI's name.
    pub fn takes(&self, parameter: &str) -> bool {
        !self.quirks.lacks.iter().any(|lacked| lacked == parameter)
    }

    /// Whether the model is one that reasons and therefore wants other words, by the row's prefixes.
    pub fn reasons(&self) -> bool {
        self.quirks.reasoning_models.iter().any(|prefix| self.model.starts_with(prefix.as_str()))
    }
}

impl Quirks {
    const fn none() -> Self {
        Self {
            max_tokens: None,
            reasoning_models: Vec::new(),
            developer: false,
            seed: None,
            required: None,
            tool_id_length: None,
            stream_options: None,
            budget_models: Vec::new(),
            reasoning: None,
            history: None,
            files: None,
            file_urls: false,
            cache_control: false,
            lacks: Vec::new(),
        }
    }
}

fn unknown_model(table: &Table, name: &str) -> Error {
    let models = table.models.keys().map(String::as_str);
    let near = nearest(name, models.chain(provider_names(table)));
    let message = format!("model `{name}` is neither a configured model nor `provider/model`{near}");
    Error::new(ErrorKind::NotFound, message).about("model")
}

fn provider_names(table: &Table) -> impl Iterator<Item = &str> {
    let built_in = Table::built_in().providers.keys().filter(|name| !table.providers.contains_key(*name));
    table.providers.keys().chain(built_in).map(String::as_str)
}

/// `; nearest: ...`, or nothing if nothing is near.
fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> String {
    let name = name.to_ascii_lowercase();
    let likeness = known.map(|candidate| (strsim::jaro_winkler(&name, candidate), candidate));
    let mut near: Vec<(f64, &str)> = likeness.filter(|(likeness, _)| *likeness > 0.75).collect();
    // Three times the nearest of the rest: there is nothing else to sort, and a sort is 8 KB of the component.
    let nearest = |_| {
        let (place, _) = near.iter().enumerate().min_by(|(_, a), (_, b)| b.0.total_cmp(&a.0))?;
        Some(format!("`{}`", near.remove(place).1))
    };
    let names: Vec<String> = (0..3).map_while(nearest).collect();
    if names.is_empty() { String::new() } else { format!("; nearest: {}", names.join(", ")) }
}

fn configuration(message: String) -> Error {
    Error::new(ErrorKind::Configuration, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(json: &str) -> Table {
        Table::from_json(json).unwrap()
    }

    #[test]
    fn every_built_in_row_has_a_dialect_and_an_address_or_a_variable_for_one() {
        for (name, row) in &Table::built_in().providers {
            let dialect = row.dialect.as_deref().unwrap_or_default();
            assert!(crate::dialect::by_name(dialect).is_ok(), "{name}");
            assert!(row.base_url.is_some() || row.base_url_env.is_some(), "{name}");
            assert!(row.key_env.is_some(), "{name}");
        }
    }

    #[test]
    fn a_model_of_our_own_goes_before_a_provider() {
        let table = table(
            r#"{"models": {"openai/gpt-4o": {"provider": "groq", "model": "llama"}, "fast": {"provider": "openai", "model": "a/b"}}}"#,
        );
        let target = resolve(&table, "openai/gpt-4o").unwrap();
        assert_eq!((target.provider, target.model), ("groq", "llama"));
        assert_eq!(resolve(&table, "fast").unwrap().model, "a/b");
    }

    #[test]
    fn a_name_is_split_at_its_first_slash() {
        let target = resolve(Table::built_in(), "openrouter/anthropic/claude-sonnet-4").unwrap();
        assert_eq!((target.provider, target.model), ("openrouter", "anthropic/claude-sonnet-4"));
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_nearest() {
        let mine = table(r#"{"models": {"faster": {"provider": "openai", "model": "m"}}}"#);
        for (name, near) in
            [("grok/x", "`groq`"), ("opnai/x", "`openai`"), ("fastr", "`faster`"), ("openai", "`openai`")]
        {
            let error = resolve(&mine, name).unwrap_err();
            assert_eq!(error.kind, ErrorKind::NotFound, "{name}");
            assert!(error.message.contains(near), "{name}: {}", error.message);
        }
        assert!(resolve(&mine, "openai/").is_err());
        let error = resolve(&mine, "zzzzzz").unwrap_err();
        assert!(!error.message.contains("nearest"), "{}", error.message);
    }

    #[test]
    fn a_row_of_the_file_overrides_single_columns() {
        let file =
            table(r#"{"providers": {"openai": {"base_url": "https://llm.corp.example/v1", "credential": "corp"}}}"#);
        let merged = Table::built_in().clone().merge(file);
        let target = resolve(&merged, "openai/gpt-5-mini").unwrap();
        assert_eq!(target.base_url, "https://llm.corp.example/v1");
        assert_eq!(target.key, Key::Missing("corp"));
        assert!(target.reasons());
    }

    #[test]
    fn a_column_that_does_not_exist_is_an_error() {
        assert!(Table::from_json(r#"{"providers": {"x": {"dialekt": "openai"}}}"#).is_err());
        assert!(Table::from_json(r#"{"models": {"x": {"provider": "a", "model": "b", "base-url": "c"}}}"#).is_err());
        assert!(Table::from_json(r#"{"providers": {"x": {"quirks": {"lack": []}}}}"#).is_err());
    }

    #[test]
    fn the_document_survives_being_written_and_read() {
        let table = Table::built_in().clone().merge(table(r#"{"credentials": "placeholder", "models": {}}"#));
        assert_eq!(Table::from_json(&table.to_json()).unwrap(), table);
    }

    #[test]
    fn a_key_comes_from_the_first_variable_that_is_set() {
        let mut target = resolve(Table::built_in(), "together/m").unwrap();
        target
            .complete_from(|name| match name {
                "TOGETHER_API_KEY" => Some(String::new()),
                "TOGETHERAI_API_KEY" => Some("k\n".to_owned()),
                "TOGETHER_BASE_URL" => Some("http://127.0.0.1:1/v1".to_owned()),
                _ => None,
            })
            .unwrap();
        assert_eq!(target.key, Key::Own("k".to_owned()));
        assert_eq!(target.base_url, "http://127.0.0.1:1/v1");
    }

    #[test]
    fn a_missing_key_names_its_variable() {
        let error = resolve(Table::built_in(), "openai/m").unwrap().complete_from(|_| None).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Authentication);
        assert!(error.message.contains("OPENAI_API_KEY"), "{}", error.message);
    }

    #[test]
    fn local_rows_and_none_need_no_key() {
        let mine = table(r#"{"models": {"open": {"provider": "openai", "model": "m", "credential": "none"}}}"#);
        for name in ["vllm/m", "open"] {
            let mut target = resolve(&mine, name).unwrap();
            target.complete_from(|_| None).unwrap();
            assert_eq!(target.key, Key::None, "{name}");
        }
    }

    #[test]
    fn a_key_is_never_shown() {
        assert_eq!(format!("{:?}", Key::Own("secret".to_owned())), "Own(..)");
    }
}
