//! The policy file: from text to a [`Policy`], and to whatever sections the host reads itself.
//!
//! Runs at load, before anything of a session exists. Either the whole file is good or there is one error, of one line,
//! that says where and what to write instead; nothing in a file is ignored.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Error, Policy, Preset, explain, lay_under, origins};
use crate::credentials::{self, Source};
use crate::{dns, egress, retry, tls, wire};

/// A policy file whose syntax is right.
#[derive(Clone)]
pub struct Document {
    path: PathBuf,
    text: String,
}

impl Document {
    /// Reads the text of the file at `path`; the path is for messages, and relative paths in the file start at its folder.
    ///
    /// # Errors
    /// What is wrong with the syntax.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        DeTable::parse(text).map_err(|error| explain::syntax(text, &error).at(path, None))?;
        Ok(Self { path: path.to_owned(), text: text.to_owned() })
    }

    /// The session's policy, laid upon the file's `preset` or, where it names none, upon `default`; and warnings, one
    /// line each.
    ///
    /// `host_sections` are top-level tables that the caller reads itself, with [`Document::section`].
    ///
    /// # Errors
    /// The first key that is unknown, not yet supported, or has a value that does not fit.
    pub fn policy(&self, default: Preset, host_sections: &[&str]) -> Result<(Policy, Vec<String>), Error> {
        let root = self.root();
        let mut table = root.clone();
        for section in host_sections {
            table.remove(*section);
        }
        let overrides = table.remove("origin");
        let written = table.get("preset").and_then(|value| value.get_ref().as_str());
        let preset = written.and_then(Preset::parse).unwrap_or(default);
        lay_under(&mut table, preset.layer());
        let mut policy = Policy::deserialize(toml::Deserializer::from(Spanned::new(0..0, table.clone())))
            .map_err(|error| self.explain(&root, &error, host_sections))?;
        check(&root, &policy).map_err(|error| self.locate(error))?;
        if let Some(overrides) = overrides {
            let DeValue::Table(overrides) = overrides.get_ref() else {
                return Err(
                    self.locate(Error::key("origin", "write [origin.\"https://llm.corp.example\"] and its keys"))
                );
            };
            let origins = origins::read(overrides, &table).map_err(|error| self.explain(&root, &error, &[]))?;
            policy.origins = origins.map_err(|error| self.locate(error))?;
        }
        self.rebase(&mut policy);
        policy.origins.values_mut().for_each(|policy| self.rebase(policy));
        let in_file = policy.credentials.iter().flat_map(|(name, settings)| {
            let name = explain::segment(name);
            // The ID of an access key is none.
            let secrets = settings.sources().filter(|(key, _)| *key != Some("access_key"));
            let secrets = secrets.filter(|(_, source)| matches!(source, Source::Value(_)));
            secrets.map(move |(key, _)| format!("credentials.{name}.{}", key.unwrap_or("value")))
        });
        let in_file = in_file
            .chain(policy.proxy.secrets().map(str::to_owned))
            .map(|key| Error::key(key, "the secret itself is in the file; `env` or `file` keeps it out"));
        let unverified = (!policy.tls.verify).then(|| Error::new(tls::UNVERIFIED).blaming("tls.verify"));
        let counted = policy.egress.mode == egress::Mode::Count;
        let counted = counted.then(|| Error::new(egress::COUNTED).blaming("egress.mode"));
        let warnings =
            in_file.chain(unverified).chain(counted).map(|warning| self.locate(warning).to_string()).collect();
        Ok((policy, warnings))
    }

    /// A top-level section that the caller reads itself; absent if the file does not have it.
    ///
    /// # Errors
    /// The first key that is unknown or has a value that does not fit.
    pub fn section<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        let root = self.root();
        let Some(value) = root.get(name) else { return Ok(None) };
        let DeValue::Table(table) = value.get_ref() else {
            return Err(self.locate(Error::key(name, format!("this is a section; write [{name}] and its keys below"))));
        };
        T::deserialize(toml::Deserializer::from(Spanned::new(value.span(), table.clone())))
            .map(Some)
            .map_err(|error| self.explain(&root, &error, &[]))
    }

    /// Adds the file, and the line of the key that the error names, to an error that was found after the file was read.
    #[must_use]
    pub fn locate(&self, error: Error) -> Error {
        let line =
            error.named().and_then(|key| explain::offset_of(&self.root(), key)).map(|at| explain::line(&self.text, at));
        error.at(&self.path, line)
    }

    /// A path of the file as the process can open it: a relative one starts at the file's folder.
    #[must_use]
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.path.parent().map_or_else(|| path.to_owned(), |folder| folder.join(path))
    }

    pub(super) fn root(&self) -> DeTable<'_> {
        DeTable::parse(&self.text).expect("the text was parsed once already").into_inner()
    }

    fn explain(&self, root: &DeTable<'_>, error: &toml::de::Error, also_known: &[&str]) -> Error {
        explain::value(&self.text, root, error, also_known).at(&self.path, None)
    }

    /// Paths of the file start at its folder, wherever the process runs.
    fn rebase(&self, policy: &mut Policy) {
        let (tls, proxy) = (&mut policy.tls, &mut policy.proxy);
        let files = tls.ca.iter_mut().chain(&mut tls.client_cert).chain(&mut tls.client_key).chain(&mut proxy.ca);
        for path in files {
            *path = self.resolve(path);
        }
        policy.credentials.values_mut().for_each(|credential| credential.rebase(|path| self.resolve(path)));
        match &mut proxy.auth {
            Some(Source::File(path)) => *path = self.resolve(path),
            Some(Source::Env(_) | Source::Value(_)) | None => (),
        }
    }
}

impl fmt::Debug for Document {
    /// The path only: the text may hold secrets.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Document").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What no single key can see: keys that exclude or need one another.
pub(super) fn check(root: &DeTable<'_>, policy: &Policy) -> Result<(), Error> {
    if policy.pool.force_close && explain::offset_of(root, "pool.keepalive").is_some() {
        return Err(Error::key(
            "pool.force_close",
            "excludes `pool.keepalive`: a connection is closed or kept, not both",
        ));
    }
    dns::check(&policy.dns)?;
    tls::check(&policy.tls)?;
    retry::check(&policy.retry)?;
    wire::check(&policy.wire, &policy.tls.alpn)?;
    policy.proxy.check()?;
    policy.credentials.keys().try_for_each(|name| credentials::check_name(name))
}

#[cfg(test)]
mod tests;
