//! The file: session policy, providers, models and runtime, and what the environment adds to them.
//!
//! Runs first, before a session or a runtime exists, and touches neither the network nor a secret: it reads one TOML
//! file, lays it over the built-in provider table, and says what each part needs - a policy and its destinations for the
//! session, one JSON document for the component, limits for the runtime. Invariant: that document holds no secret.

mod implied;
mod listing;
mod reference;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};

use seaway_guest::bindings::ErrorKind;
use seaway_guest::provider::{Credentials, Model, Row, Table, resolve};
use seaway_session::policy::units::{Size, Timeout};
use seaway_session::policy::{Document, Error, Preset, Said};
use seaway_session::{Destination, Destinations, Environment, Origin, Policy};
use serde::Deserialize;

use crate::runtime::Limits;
use crate::serve;
pub use listing::{Entry, Key, KeySource, Listing, Provider};
pub use reference::reference;

/// The file that is read if no other is named.
pub const FILE: &str = "seaway.toml";
/// The variable that names a file.
pub const VARIABLE: &str = "SEAWAY_CONFIG";

/// Top-level sections that are the host's and not the session's.
const SECTIONS: [&str; 5] = ["providers", "models", "runtime", "complete", "serve"];

/// Everything that a file and the environment say.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file; absent where there is none and the built-in defaults hold.
    pub path: Option<PathBuf>,
    /// The session's policy, with the credentials that the provider table implies.
    pub policy: Policy,
    /// Where the table's providers are, for egress.
    pub destinations: Destinations,
    /// The merged provider and model tables.
    pub table: Table,
    /// `[runtime]`.
    pub limits: Limits,
    /// `[complete] model`.
    pub model: Option<String>,
    /// `[serve]`.
    pub serve: serve::Settings,
    /// Base URLs that a variable moved.
    pub moved: Vec<Moved>,
    /// What is not wrong but should be known, one line each.
    pub warnings: Vec<String>,
    /// Tells the file's text from another; 0 where there is none.
    pub(crate) fingerprint: u64,
    /// The preset beneath the file, where it names none.
    pub(crate) preset: Preset,
    /// What the file says, to be set beside what another says.
    pub(crate) said: Said,
}

/// A base URL that a variable moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The provider.
    pub provider: String,
    /// The variable.
    pub variable: String,
    /// The base URL that holds.
    pub base_url: String,
}

/// `[runtime]`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RuntimeSection {
    calls: usize,
    queue: usize,
    memory: Size,
    cpu: Timeout,
    reuse: u32,
}

impl Default for RuntimeSection {
    fn default() -> Self {
        let Limits { calls, queue, memory, cpu, reuse } = Limits::default();
        Self { calls, queue, memory: Size(memory), cpu: Timeout(cpu), reuse }
    }
}

impl RuntimeSection {
    fn limits(self) -> Result<Limits, Error> {
        let Self { calls, queue, memory: Size(memory), cpu: Timeout(cpu), reuse } = self;
        match calls {
            0 => Err(Error::key("runtime.calls", "0 would admit no call; write at least 1")),
            calls => Ok(Limits { calls, queue, memory, cpu, reuse }),
        }
    }
}

/// `[complete]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CompleteSection {
    model: Option<String>,
}

/// The sections of a file that are the host's, as they are written.
#[derive(Default)]
struct Written {
    providers: BTreeMap<String, Row>,
    models: BTreeMap<String, Model>,
    runtime: RuntimeSection,
    complete: CompleteSection,
    serve: serve::Settings,
}

impl Config {
    /// Reads the file: the one that is named, else the one that `SEAWAY_CONFIG` names, else `seaway.toml` in the working
    /// folder if there is one, else none.
    ///
    /// # Errors
    /// One line: the file that cannot be read, or the key that is wrong, with its line and what to write instead.
    pub fn load(named: Option<&Path>, environment: &Environment) -> Result<Self, Error> {
        Self::load_under(Preset::Default, named, environment)
    }

    /// The same, upon another preset where the file names none.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_under(preset: Preset, named: Option<&Path>, environment: &Environment) -> Result<Self, Error> {
        let named = named.map(Path::to_owned).or_else(|| environment.get(VARIABLE).map(PathBuf::from));
        let path = named.or_else(|| Some(PathBuf::from(FILE)).filter(|path| path.exists()));
        match path {
            Some(path) => {
                let text = fs::read_to_string(&path)
                    .map_err(|error| Error::new(format!("{}: cannot be read: {error}", path.display())))?;
                Self::parse_under(preset, &path, &text, environment)
            }
            None => {
                let written = Written::default();
                let config = Self::build(None, Policy::preset(preset), written, Vec::new(), environment)?;
                Ok(Self { preset, said: Said::of(None, &Policy::preset(preset)), ..config })
            }
        }
    }

    /// Reads a file's text; `path` is for messages and for the paths in it.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(path: &Path, text: &str, environment: &Environment) -> Result<Self, Error> {
        Self::parse_under(Preset::Default, path, text, environment)
    }

    /// The same, upon another preset where the file names none.
    pub(crate) fn parse_under(
        preset: Preset,
        path: &Path,
        text: &str,
        environment: &Environment,
    ) -> Result<Self, Error> {
        let document = Document::parse(path, text)?;
        let (policy, mut warnings) = document.policy(preset, &SECTIONS)?;
        let said = Said::of(Some(&document), &policy);
        let (serve, more) = serve::Settings::read(&document)?;
        warnings.extend(more);
        let written = Written {
            providers: document.section("providers")?.unwrap_or_default(),
            models: document.section("models")?.unwrap_or_default(),
            runtime: document.section("runtime")?.unwrap_or_default(),
            complete: document.section("complete")?.unwrap_or_default(),
            serve,
        };
        let config = Self::build(Some(path), policy, written, warnings, environment);
        let fingerprint = fingerprint(text.as_bytes());
        config.map(|config| Self { fingerprint, preset, said, ..config }).map_err(|error| document.locate(error))
    }

    fn build(
        path: Option<&Path>,
        mut policy: Policy,
        written: Written,
        mut warnings: Vec<String>,
        environment: &Environment,
    ) -> Result<Self, Error> {
        let Written { providers, models, runtime, complete, serve } = written;
        let named: BTreeSet<String> =
            providers.iter().filter(|(_, row)| row.base_url.is_some()).map(|(name, _)| name.clone()).collect();
        let mut table = Table::built_in().clone();
        let moved = move_rows(&mut table, environment, &named);
        table = table.merge(Table { providers, models, credentials: Some(Credentials::Placeholder) });
        implied::regions(&mut table, environment);
        references(&table, complete.model.as_deref())?;
        warnings.extend(unmatched(&table, &serve.keys));
        let destinations = destinations(&table, &moved, &named)?;
        implied::credentials(&mut policy.credentials, &mut table, environment)?;
        Ok(Self {
            path: path.map(Path::to_owned),
            policy,
            destinations,
            table,
            limits: runtime.limits()?,
            model: complete.model,
            serve,
            moved,
            warnings,
            fingerprint: 0,
            preset: Preset::Default,
            said: Said::default(),
        })
    }

    /// The component's configuration: the document of `SEAWAY_MODELS`.
    #[must_use]
    pub fn models(&self) -> String {
        let mut table = self.table.clone();
        // Who signs is no business of the component's.
        table.providers.values_mut().for_each(|row| row.sign = None);
        table.to_json()
    }

    /// The model to ask where nobody named one: `[complete] model`, else the default of the only provider whose key is
    /// set.
    ///
    /// # Errors
    /// One line that lists what could be set, or what there is to choose from.
    pub fn default_model(&self, environment: &Environment) -> Result<String, String> {
        if let Some(model) = &self.model {
            return Ok(model.clone());
        }
        let ready = |credential: &str| {
            let settings = self.policy.credentials.get(credential);
            settings.is_some_and(|settings| listing::is_there(settings, environment))
        };
        let usable: Vec<(&String, &String)> = self
            .table
            .providers
            .iter()
            .filter(|(name, row)| row.credential_name(name).is_some_and(ready))
            .filter_map(|(name, row)| row.default_model.as_ref().map(|model| (name, model)))
            .collect();
        match usable.as_slice() {
            [(provider, model)] => Ok(format!("{provider}/{model}")),
            [] => Err(format!(
                "no model is named, and no provider's key is set: name one with -m, or set one of {}",
                self.keys()
            )),
            several => {
                let choices =
                    several.iter().map(|(provider, model)| format!("-m {provider}/{model}")).collect::<Vec<_>>();
                Err(format!(
                    "no model is named, and several providers' keys are set: choose with {}",
                    choices.join(", ")
                ))
            }
        }
    }

    /// The key variables of all providers that have a default model.
    fn keys(&self) -> String {
        let rows = self.table.providers.values().filter(|row| row.default_model.is_some());
        rows.filter_map(|row| variables(&row.key_env).next()).collect::<Vec<_>>().join(", ")
    }
}

/// Refuses a model of a provider, and a model to complete with, that there are none of.
fn references(table: &Table, complete: Option<&str>) -> Result<(), Error> {
    for (name, model) in &table.models {
        if let (false, Err(error)) = (table.providers.contains_key(&model.provider), resolve(table, name)) {
            return Err(Error::key(key("models", name, "provider"), error.message));
        }
    }
    match complete.and_then(|name| unknown(table, name)) {
        Some(why) => Err(Error::key("complete.model", why)),
        None => Ok(()),
    }
}

/// Why nobody can ask for a model of this name, if nobody can.
fn unknown(table: &Table, name: &str) -> Option<String> {
    resolve(table, name).err().filter(|error| error.kind == ErrorKind::NotFound).map(|error| error.message)
}

/// Warns of what a key may use and nobody can ask for.
fn unmatched(table: &Table, keys: &[serve::Written]) -> Vec<String> {
    let is_one = |pattern: &str| match pattern.strip_suffix('*') {
        None => unknown(table, pattern).is_none(),
        Some(begin) => {
            let provider = begin.split_once('/').map_or(begin, |(provider, _)| provider);
            let of_provider = |name: &String| name == provider || (provider == begin && name.starts_with(begin));
            table.providers.keys().any(of_provider) || table.models.keys().any(|name| name.starts_with(begin))
        }
    };
    let patterns =
        keys.iter().enumerate().flat_map(|(place, key)| key.models.iter().flatten().map(move |it| (place, it)));
    let unknown = patterns.filter(|(_, pattern)| !is_one(pattern));
    unknown.map(|(place, pattern)| format!("serve.keys: keys[{place}]: `{pattern}` is no model's name")).collect()
}

/// The variables of a column; none where it is absent.
fn variables(column: &Option<Vec<String>>) -> impl Iterator<Item = &str> {
    column.iter().flatten().map(String::as_str)
}

/// Lets the base-URL and api-version variables replace what the built-in rows say, except where the file `named` a
/// base URL itself.
fn move_rows(table: &mut Table, environment: &Environment, named: &BTreeSet<String>) -> Vec<Moved> {
    let mut moved = Vec::new();
    for (provider, row) in &mut table.providers {
        let first =
            |column| variables(column).find_map(|variable| Some((variable.to_owned(), environment.get(variable)?)));
        let version = first(&row.api_version_env).map(|(_, version)| version.to_owned());
        let base_url = first(&row.base_url_env).filter(|_| !named.contains(provider));
        if let Some(version) = version {
            row.api_version = Some(version);
        }
        if let Some((variable, base_url)) = base_url {
            let base_url = base_url.trim_end_matches('/').to_owned();
            row.base_url = Some(base_url.clone());
            moved.push(Moved { provider: provider.clone(), variable, base_url });
        }
    }
    moved
}

/// Where egress lets requests go without being told: the built-in rows, and what somebody wrote or set.
fn destinations(table: &Table, moved: &[Moved], named: &BTreeSet<String>) -> Result<Destinations, Error> {
    let mut found = Destinations::default();
    for (name, row) in &table.providers {
        let Some(base_url) = implied::base_url(name, row, None)? else { continue };
        let local = row.local.unwrap_or_default();
        let moved = moved.iter().find(|moved| moved.provider == *name);
        let origin = Origin::parse(&base_url).map_err(|error| match moved {
            Some(Moved { variable, .. }) => Error::new(format!("variable `{variable}`: {error}")),
            None => Error::key(key("providers", name, "base_url"), error),
        })?;
        let list = if moved.is_some() || named.contains(name) { &mut found.written } else { &mut found.built_in };
        list.push(Destination { origin, local });
    }
    for (name, model) in &table.models {
        let Some(base_url) = implied::written_base_url(table, name, model)? else { continue };
        let origin = Origin::parse(&base_url).map_err(|error| Error::key(key("models", name, "base_url"), error))?;
        found.written.push(Destination { origin, local: false });
    }
    Ok(found)
}

/// A key as the file writes it: a name that is no bare key is quoted.
fn key(section: &str, name: &str, column: &str) -> String {
    match name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
        true => format!("{section}.{name}.{column}"),
        false => format!("{section}.\"{name}\".{column}"),
    }
}

/// A number that tells a file's text from another, without a memory of what is in it.
pub(crate) fn fingerprint(text: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use seaway_session::credentials::{Prefix, Sort, Source};

    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
        Config::parse(Path::new("seaway.toml"), text, &environment(variables)).map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_file_the_built_in_rows_have_their_credentials() {
        let config = Config::build(None, Policy::default(), Written::default(), Vec::new(), &environment(&[])).unwrap();
        let openai = &config.policy.credentials["openai"];
        assert_eq!(openai.kind, Sort::Key(Source::Env("OPENAI_API_KEY".to_owned())));
        assert_eq!(openai.urls, [Prefix::parse("https://api.openai.com/v1").unwrap()]);
        assert!(!config.policy.credentials.contains_key("vllm"), "a local row has no credential");
        assert!(config.destinations.written.is_empty());
    }

    #[test]
    fn a_server_goes_by_production_where_the_file_names_no_preset() {
        let under = |text: &str| {
            let config = Config::parse_under(Preset::Production, Path::new("seaway.toml"), text, &environment(&[]));
            config.unwrap().policy
        };
        assert_eq!((under("").preset, under("").pool), (Preset::Production, Policy::preset(Preset::Production).pool));
        assert_eq!(under("preset = \"development\"").preset, Preset::Development);
        let without = Config::load_under(Preset::Production, None, &environment(&[])).unwrap();
        assert_eq!((without.policy.preset, without.preset), (Preset::Production, Preset::Production));
    }

    #[test]
    fn a_base_url_variable_moves_the_row_its_credential_and_egress() {
        let config = parse("", &[("OPENAI_BASE_URL", "http://127.0.0.1:9/v1/")]).unwrap();
        assert_eq!(config.table.providers["openai"].base_url.as_deref(), Some("http://127.0.0.1:9/v1"));
        assert_eq!(config.policy.credentials["openai"].urls, [Prefix::parse("http://127.0.0.1:9/v1").unwrap()]);
        assert_eq!(config.destinations.written[0].origin, Origin::parse("http://127.0.0.1:9").unwrap());
        assert!(config.destinations.built_in.iter().all(|there| there.origin.host() != "api.openai.com"));
    }

    #[test]
    fn a_written_credential_replaces_the_built_in_one_whole() {
        let config = parse("[credentials.openai]\nfile = \"key\"\n", &[]).unwrap();
        let openai = &config.policy.credentials["openai"];
        assert!(matches!(openai.kind, Sort::Key(Source::File(_))));
        assert_eq!(openai.urls, [Prefix::parse("https://api.openai.com/v1").unwrap()]);
    }

    #[test]
    fn the_components_document_holds_no_secret() {
        let config = parse("[credentials.openai]\nvalue = \"sk-secret\"\n", &[("GROQ_API_KEY", "gsk-secret")]).unwrap();
        let models = config.models();
        assert!(models.contains("\"credentials\":\"placeholder\"") && !models.contains("secret"), "{models}");
    }

    #[test]
    fn the_only_provider_whose_key_is_set_is_the_default() {
        let config = parse("", &[]).unwrap();
        let one = environment(&[("MISTRAL_API_KEY", "x")]);
        assert!(config.default_model(&one).unwrap().starts_with("mistral/"));
        let two = environment(&[("MISTRAL_API_KEY", "x"), ("OPENAI_API_KEY", "x")]);
        let several = config.default_model(&two).unwrap_err();
        assert!(several.contains("-m mistral/") && several.contains("-m openai/"), "{several}");
        assert!(config.default_model(&environment(&[])).unwrap_err().contains("OPENAI_API_KEY"));
        let named = parse("[complete]\nmodel = \"groq/fast\"\n", &[]).unwrap();
        assert_eq!(named.default_model(&two).unwrap(), "groq/fast");
    }

    #[test]
    fn a_keys_model_that_nobody_can_ask_for_is_warned_of() {
        let models = "[\"fast\", \"groq/*\", \"fa*\", \"groq/llama\", \"*\", \"grok/*\", \"fsat\"]";
        let text = format!(
            "[models.fast]\nprovider = \"groq\"\nmodel = \"m\"\n[serve]\nkeys = [{{ env = \"A\", models = {models} }}]"
        );
        let warnings = parse(&text, &[]).unwrap().warnings;
        assert!(warnings.len() == 2 && warnings[0].contains("grok/*") && warnings[1].contains("fsat"), "{warnings:?}");
    }

    #[test]
    fn a_bad_line_is_named() {
        assert_eq!(
            parse("[runtime]\ncalls = 0\n", &[]).unwrap_err(),
            "seaway.toml:2: `runtime.calls`: 0 would admit no call; write at least 1"
        );
        let unknown = parse("[runtime]\nmemry = \"1MiB\"\n", &[]).unwrap_err();
        assert!(unknown.starts_with("seaway.toml:2: ") && unknown.contains("runtime.memory"), "{unknown}");
        let serve = parse("\n[serve]\nlisten = \"4000\"\n", &[]).unwrap_err();
        assert!(serve.starts_with("seaway.toml:3: `serve.listen`"), "{serve}");
        let model = parse("[models.fast]\nprovider = \"grok\"\nmodel = \"m\"\n", &[]).unwrap_err();
        assert!(model.starts_with("seaway.toml:2: `models.fast.provider`") && model.contains("groq"), "{model}");
        let complete = parse("[complete]\nmodel = \"fast\"\n", &[]).unwrap_err();
        assert!(complete.starts_with("seaway.toml:2: `complete.model`"), "{complete}");
        let url = parse("[providers.corp]\ndialect = \"openai\"\nbase_url = \"llm.corp\"\n", &[]).unwrap_err();
        assert!(url.starts_with("seaway.toml:3: `providers.corp.base_url`"), "{url}");
    }
}
