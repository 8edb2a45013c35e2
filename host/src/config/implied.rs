//! What the table and the environment imply where the file says nothing: regions and projects, and the credentials of the
//! providers.
//!
//! Runs once the file has been laid over the built-in table. Invariant: a credential that somebody has written is used as it is
//! written, and gets no address beyond those that it names.

use std::collections::{BTreeMap, BTreeSet};

use seaway_guest::provider::{Model, Row, Sign, Table, Unplaced, placed};
use seaway_session::Environment;
use seaway_session::credentials::{Prefix, Settings, Sort, Source, sigv4};
use seaway_session::policy::Error;

use super::{key, variables};

/// Where a cloud's region stands in an address.
const PLACE: &str = "{region}";

/// Fills in the region and the project of each row that names variables for them and has none itself.
pub(super) fn regions(table: &mut Table, environment: &Environment) {
    let first = |column| variables(column).find_map(|variable| environment.get(variable)).map(str::to_owned);
    for row in table.providers.values_mut() {
        row.region = row.region.take().or_else(|| first(&row.region_env));
        row.project = row.project.take().or_else(|| first(&row.project_env));
    }
}

/// Where a provider is, in a region or else in the row's. `None` if that is not known.
///
/// # Errors
/// A region or a project that cannot be a part of an address.
pub(super) fn base_url(name: &str, row: &Row, region: Option<&str>) -> Result<Option<String>, Error> {
    let Some(base_url) = &row.base_url else { return Ok(None) };
    match placed(base_url, region.or(row.region.as_deref()), row.project.as_deref()) {
        Ok(base_url) => Ok(Some(base_url.into_owned())),
        Err(Unplaced::Missing(_)) => Ok(None),
        Err(Unplaced::Odd(column, value)) => {
            let example = if column == "region" { "eu-central-1" } else { "my-project-1" };
            let message = format!("`{value}` is no {column}; write it as in `{example}`");
            Err(Error::key(key("providers", name, column), message))
        }
    }
}

/// Where a model is, if that is not where its provider's row is.
///
/// # Errors
/// As [`base_url`].
pub(super) fn own_base_url(table: &Table, name: &str, model: &Model) -> Result<Option<String>, Error> {
    if model.base_url.is_some() {
        return Ok(model.base_url.clone());
    }
    let Some((row, region)) = elsewhere(table, model) else { return Ok(None) };
    base_url(&model.provider, row, Some(region))
        .map_err(|_| Error::key(key("models", name, "region"), "this is no region; write it as in `eu-central-1`"))
}

/// Where a model is, if it says so itself, be it where its provider's row is.
///
/// # Errors
/// As [`base_url`].
pub(super) fn written_base_url(table: &Table, name: &str, model: &Model) -> Result<Option<String>, Error> {
    match (own_base_url(table, name, model)?, table.providers.get(&model.provider)) {
        (None, Some(row)) if model.region.is_some() => base_url(&model.provider, row, None),
        (own, _) => Ok(own),
    }
}

/// The row and the region of a model that is in another region than its provider's row.
fn elsewhere<'t>(table: &'t Table, model: &'t Model) -> Option<(&'t Row, &'t str)> {
    let row = table.providers.get(&model.provider)?;
    let region = model.region.as_deref().filter(|region| Some(*region) != row.region.as_deref())?;
    let placed = row.base_url.as_deref().is_some_and(|base_url| base_url.contains(PLACE));
    (placed && model.base_url.is_none()).then_some((row, region))
}

/// Adds the credential of each provider that has a key variable or a signature, unless the file has one of that name; a
/// credential without `urls` may go where its providers are.
///
/// # Errors
/// A base URL or a region that makes no sense, or a written credential that signs for another region than a model's.
pub(super) fn credentials(
    credentials: &mut BTreeMap<String, Settings>,
    table: &mut Table,
    environment: &Environment,
) -> Result<(), Error> {
    let written: BTreeSet<String> = credentials.keys().cloned().collect();
    let mut homes = Homes::new();
    for (name, row) in &table.providers {
        let Some(credential) = row.credential_name(name) else { continue };
        let home = homes.entry(credential.to_owned()).or_default();
        if let Some(base_url) = base_url(name, row, None)? {
            home.push(prefix(&base_url, || key("providers", name, "base_url"))?);
        }
        if !credentials.contains_key(credential)
            && let Some(implied) = implied(row, row.region.as_deref(), environment)
        {
            credentials.insert(credential.to_owned(), implied);
        }
    }
    let renamed = models(credentials, &written, &mut homes, table, environment)?;
    for (name, own) in renamed {
        table.models.entry(name).and_modify(|model| model.credential = Some(own));
    }
    for (name, settings) in credentials.iter_mut().filter(|(_, settings)| settings.urls.is_empty()) {
        settings.urls = homes.remove(name).unwrap_or_default();
    }
    Ok(())
}

/// Where each credential may go if nobody says it.
type Homes = BTreeMap<String, Vec<Prefix>>;

/// A model in a region of its own gets a credential of its own, as a signature is good in one region only. What comes back
/// is each such model with its credential.
fn models(
    credentials: &mut BTreeMap<String, Settings>,
    written: &BTreeSet<String>,
    homes: &mut Homes,
    table: &Table,
    environment: &Environment,
) -> Result<Vec<(String, String)>, Error> {
    let mut renamed = Vec::new();
    for (name, model) in &table.models {
        let Some((row, region)) = elsewhere(table, model) else { continue };
        let Some(base_url) = own_base_url(table, name, model)? else { continue };
        let home = prefix(&base_url, || key("models", name, "region"))?;
        let credential = model.credential.as_deref().or_else(|| row.credential_name(&model.provider));
        let Some(credential) = credential.filter(|credential| *credential != "none") else { continue };
        if written.contains(credential) {
            fits(name, region, credential, &credentials[credential])?;
            homes.entry(credential.to_owned()).or_default().push(home);
        } else if let Some(implied) = implied(row, Some(region), environment) {
            let own = format!("{credential}.{region}");
            homes.entry(own.clone()).or_default().push(home);
            credentials.entry(own.clone()).or_insert(implied);
            renamed.push((name.clone(), own));
        }
    }
    Ok(renamed)
}

fn prefix(base_url: &str, key: impl FnOnce() -> String) -> Result<Prefix, Error> {
    Prefix::parse(base_url).map_err(|error| Error::key(key(), error))
}

/// Says whether a written credential is good in a model's region.
fn fits(model: &str, region: &str, credential: &str, settings: &Settings) -> Result<(), Error> {
    match &settings.kind {
        Sort::Sigv4(signs) if signs.region != region => {
            let message = format!(
                "`{region}`, but credential `{credential}` signs for {}; name a `credential` that signs for this one",
                signs.region
            );
            Err(Error::key(key("models", model, "region"), message))
        }
        Sort::Sigv4(_) | Sort::Key(_) | Sort::Command(_) => Ok(()),
    }
}

/// A row's credential: the first key variable that is set, else the signature, else the first key variable.
fn implied(row: &Row, region: Option<&str>, environment: &Environment) -> Option<Settings> {
    let set = |variable: &&str| environment.get(variable).is_some();
    let from = |variable: &str| Settings::key(Source::Env(variable.to_owned()), Vec::new());
    if let Some(variable) = variables(&row.key_env).find(set) {
        return Some(from(variable));
    }
    if let (Some(sign), Some(region)) = (&row.sign, region) {
        return Some(signature(sign, region, environment));
    }
    variables(&row.key_env).next().map(from)
}

/// The signature with the keys of the variables; where none of them is set, with those of the file that AWS's tools share.
fn signature(sign: &Sign, region: &str, environment: &Environment) -> Settings {
    let Sign { service, access_key_env, secret_key_env, token_env } = sign;
    let set = |variable: &&String| environment.get(variable).is_some();
    let keys = match [access_key_env, secret_key_env].iter().any(set) {
        true => sigv4::Keys::Each {
            access_key: Source::Env(access_key_env.clone()),
            secret_key: Source::Env(secret_key_env.clone()),
            // Keys that are not temporary have none.
            token: Some(token_env).filter(set).map(|variable| Source::Env(variable.clone())),
        },
        false => sigv4::Keys::Profile(sigv4::Profile::default()),
    };
    let settings = sigv4::Settings { keys, region: region.to_owned(), service: service.clone() };
    Settings { kind: Sort::Sigv4(Box::new(settings)), urls: Vec::new(), plain_proxy: false }
}

#[cfg(test)]
mod tests;
