//! Who can be asked: the providers and models of a file, and whether their keys are there.
//!
//! Made of a file that was read; nothing is sent and no command is run. Invariant: it holds no secret.

use std::path::PathBuf;

use seaway_guest::provider::{Model, Row, Unplaced, placed};
use seaway_session::Environment;
use seaway_session::credentials::{Settings, Sort, Source, sigv4};
use seaway_session::policy::Error;
use serde::Serialize;

use super::{Config, implied, variables};

/// What there is to ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// The file; absent where there is none and the built-in defaults hold.
    pub file: Option<PathBuf>,
    /// The providers, by name.
    pub providers: Vec<Provider>,
    /// `[models]`, by name.
    pub models: Vec<Entry>,
}

/// A provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Provider {
    /// Its name: what stands before the `/` of a model.
    pub name: String,
    /// How it is spoken to. Absent if nobody says it, and then it cannot be asked.
    pub dialect: Option<String>,
    /// Where it is. Absent where something is missing, and then it cannot be asked.
    pub base_url: Option<String>,
    /// The variable that moved `base_url`.
    pub moved_by: Option<String>,
    /// What is missing of `base_url`: a variable to set, else a key to write.
    pub missing: Option<String>,
    /// Runs on this machine.
    pub local: bool,
    /// Its key. Absent: it needs none.
    pub key: Option<Key>,
    /// The model that answers where nobody named one.
    pub default_model: Option<String>,
}

/// A key, without the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Key {
    /// The credential's name: `[credentials.NAME]`.
    pub credential: String,
    /// Where it comes from.
    pub source: KeySource,
    /// The variable's, the program's or the profile's name.
    pub name: Option<String>,
    /// The file that it is in.
    pub file: Option<PathBuf>,
    /// Whether it is there. Absent where only a run of the command would tell.
    pub set: Option<bool>,
}

/// Where a key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeySource {
    /// A variable.
    Variable,
    /// A file.
    File,
    /// The policy file itself.
    Value,
    /// A command.
    Command,
    /// A profile of the file that AWS's tools share.
    Profile,
    /// Nowhere: there is no such credential.
    None,
}

/// A model of `[models]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its name here.
    pub name: String,
    /// The provider's name.
    pub provider: String,
    /// The provider's name for it.
    pub model: String,
    /// Where it is, if that is not where its provider is.
    pub base_url: Option<String>,
    /// Its credential, if that is not its provider's.
    pub credential: Option<String>,
}

impl Config {
    /// Who can be asked, and whether their keys are there.
    ///
    /// # Errors
    /// A region or a project that cannot be a part of an address.
    pub fn listing(&self, environment: &Environment) -> Result<Listing, Error> {
        let providers = self.table.providers.iter().map(|(name, row)| self.provider(name, row, environment));
        let entry = |(name, model): (&String, &Model)| {
            let Model { provider, model: own, credential, .. } = model;
            Ok(Entry {
                name: name.clone(),
                provider: provider.clone(),
                model: own.clone(),
                base_url: implied::own_base_url(&self.table, name, model)?,
                credential: credential.clone(),
            })
        };
        Ok(Listing {
            file: self.path.clone(),
            providers: providers.collect::<Result<_, Error>>()?,
            models: self.table.models.iter().map(entry).collect::<Result<_, Error>>()?,
        })
    }

    fn provider(&self, name: &str, row: &Row, environment: &Environment) -> Result<Provider, Error> {
        let base_url = implied::base_url(name, row, None)?;
        let key = row.credential_name(name).map(|credential| match self.policy.credentials.get(credential) {
            Some(settings) => key(credential, settings, environment),
            None => told(credential, KeySource::None, None, Some(false)),
        });
        let moved = self.moved.iter().find(|moved| moved.provider == name);
        Ok(Provider {
            name: name.to_owned(),
            dialect: row.dialect.clone(),
            moved_by: moved.map(|moved| moved.variable.clone()),
            missing: base_url.is_none().then(|| missing(row)),
            base_url,
            local: row.local.unwrap_or_default(),
            key,
            default_model: row.default_model.clone(),
        })
    }
}

/// What a row lacks to have a base URL.
fn missing(row: &Row) -> String {
    let (column, from) = match &row.base_url {
        None => ("base_url", &row.base_url_env),
        Some(base_url) => match placed(base_url, row.region.as_deref(), row.project.as_deref()) {
            Err(Unplaced::Missing("project")) => ("project", &row.project_env),
            Err(Unplaced::Missing(_) | Unplaced::Odd(..)) | Ok(_) => ("region", &row.region_env),
        },
    };
    variables(from).next().unwrap_or(column).to_owned()
}

/// True if a credential's secret is there, as far as can be seen without running a command.
pub(super) fn is_there(settings: &Settings, environment: &Environment) -> bool {
    key("", settings, environment).set != Some(false)
}

fn key(credential: &str, settings: &Settings, environment: &Environment) -> Key {
    let told = |source, name, set| told(credential, source, name, set);
    let of_source = |source: &Source| match source {
        Source::Env(variable) => {
            told(KeySource::Variable, Some(variable.clone()), Some(environment.get(variable).is_some()))
        }
        Source::File(path) => Key { file: Some(path.clone()), ..told(KeySource::File, None, Some(path.is_file())) },
        Source::Value(_) => told(KeySource::Value, None, Some(true)),
    };
    let of_command = |argv: &[String]| told(KeySource::Command, argv.first().cloned(), None);
    match &settings.kind {
        Sort::Key(source) => of_source(source),
        Sort::Command(command) => of_command(&command.argv),
        Sort::Sigv4(signs) => match &signs.keys {
            sigv4::Keys::Command(command) => of_command(&command.argv),
            sigv4::Keys::Profile(profile) => {
                let place = profile.find(environment);
                let set = Some(place.holds_keys());
                Key { file: place.file, ..told(KeySource::Profile, Some(place.profile), set) }
            }
            sigv4::Keys::Each { access_key, secret_key, token } => {
                let keys = [Some(access_key), Some(secret_key), token.as_ref()].into_iter().flatten().map(of_source);
                let mut keys: Vec<Key> = keys.collect();
                // The first that is missing stands for all of them.
                let shown = keys.iter().position(|key| key.set == Some(false)).unwrap_or_default();
                keys.swap_remove(shown)
            }
        },
    }
}

fn told(credential: &str, source: KeySource, name: Option<String>, set: Option<bool>) -> Key {
    Key { credential: credential.to_owned(), source, name, file: None, set }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn listing(text: &str, variables: &[(&str, &str)]) -> Listing {
        let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Config::parse(Path::new("seaway.toml"), text, &environment).unwrap().listing(&environment).unwrap()
    }

    fn provider(listing: &Listing, name: &str) -> Provider {
        listing.providers.iter().find(|provider| provider.name == name).unwrap().clone()
    }

    #[test]
    fn a_signatures_first_missing_key_stands_for_it() {
        let key = |variables: &[(&str, &str)]| {
            let Key { source, name, set, .. } = provider(&listing("", variables), "bedrock").key.unwrap();
            (source, name.unwrap(), set)
        };
        let (region, id) = (("AWS_REGION", "us-east-1"), ("AWS_ACCESS_KEY_ID", "a"));
        let (secret, bearer) = (("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_BEARER_TOKEN_BEDROCK", "k"));
        let variable = |name: &str, set| (KeySource::Variable, name.to_owned(), Some(set));
        assert_eq!(key(&[region, id, secret]), variable("AWS_ACCESS_KEY_ID", true));
        assert_eq!(key(&[region, id]), variable("AWS_SECRET_ACCESS_KEY", false));
        assert_eq!(key(&[region, secret]), variable("AWS_ACCESS_KEY_ID", false));
        assert_eq!(key(&[region, bearer]), variable("AWS_BEARER_TOKEN_BEDROCK", true));
        assert_eq!(key(&[region]), (KeySource::Profile, "default".to_owned(), Some(false)));
    }

    #[test]
    fn what_an_address_lacks_is_named() {
        let missing =
            |text: &str, variables: &[(&str, &str)], name: &str| provider(&listing(text, variables), name).missing;
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(missing("", &[], "azure"), named("AZURE_API_BASE"));
        assert_eq!(missing("", &[], "bedrock"), named("AWS_REGION"));
        assert_eq!(missing("", &[("VERTEXAI_LOCATION", "global")], "vertex"), named("VERTEXAI_PROJECT"));
        assert_eq!(missing("", &[], "openai"), None);
        assert_eq!(missing("[providers.corp]\ndialect = \"openai\"\n", &[], "corp"), named("base_url"));
    }

    #[test]
    fn a_credential_that_is_nowhere_is_not_set() {
        let text =
            "[providers.corp]\ndialect = \"openai\"\nbase_url = \"https://llm.test\"\ncredential = \"corp-key\"\n";
        let key = provider(&listing(text, &[]), "corp").key.unwrap();
        assert_eq!((key.credential.as_str(), key.source, key.set), ("corp-key", KeySource::None, Some(false)));
    }
}
