//! A profile of the file that AWS's tools share
//! (<https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html>, 2026-11).
//!
//! Where the file is and which profile counts is settled at load, by the policy and else by AWS's own variables; the file is
//! read when keys are needed, and again when it changed. What is in the profile beside keys is for other tools.

use std::path::{Path, PathBuf};

use tokio::time::Instant;

use super::super::secret::Secret;
use super::super::source::{Absent, Watched};
use super::{Identity, keys};
use crate::Environment;

/// A profile of AWS's shared file. What is absent, the environment says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// The file. Absent: `AWS_SHARED_CREDENTIALS_FILE`, else `~/.aws/credentials`.
    pub file: Option<PathBuf>,
    /// The profile. Absent: `AWS_PROFILE`, else `default`.
    pub name: Option<String>,
}

/// Where a profile is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file. Absent where nobody knows the home folder.
    pub file: Option<PathBuf>,
    /// The profile.
    pub profile: String,
}

impl Profile {
    /// Where it is, for a process with this environment.
    #[must_use]
    pub fn find(&self, environment: &Environment) -> Place {
        // Windows has the second (<https://docs.aws.amazon.com/sdkref/latest/guide/file-location.html>).
        let home = ["HOME", "USERPROFILE"].iter().find_map(|name| environment.get(name)).map(Path::new);
        let file = self.file.clone().or_else(|| match environment.get("AWS_SHARED_CREDENTIALS_FILE") {
            // No shell has read what an `env` file says.
            Some(path) => match path.strip_prefix("~/") {
                Some(below) => home.map(|home| home.join(below)),
                None => Some(PathBuf::from(path)),
            },
            None => home.map(|home| home.join(".aws").join("credentials")),
        });
        let profile = self.name.clone().or_else(|| environment.get("AWS_PROFILE").map(str::to_owned));
        Place { file, profile: profile.unwrap_or_else(|| "default".to_owned()) }
    }
}

impl Place {
    /// True if the profile is there and holds keys, as far as can be seen now.
    #[must_use]
    pub fn holds_keys(&self) -> bool {
        let file = self.file.clone().map(|file| Watched::new(file, LARGEST));
        file.is_some_and(|file| file.at(Instant::now(), |text| read(text, &self.profile)).is_ok())
    }
}

/// A file of many profiles, with a token each, may be long.
const LARGEST: u64 = 1024 * 1024;

/// A profile that is watched.
#[derive(Debug)]
pub(super) struct Shared {
    file: Option<Watched<Identity>>,
    profile: String,
    /// True if nobody named a file or a profile, so that other keys would do as well.
    implied: bool,
}

impl Shared {
    pub(super) fn new(profile: &Profile, environment: &Environment) -> Self {
        let Place { file, profile: name } = profile.find(environment);
        let file = file.map(|file| Watched::new(file, LARGEST));
        Self { file, profile: name, implied: *profile == Profile::default() }
    }

    /// What would bring the keys.
    fn hint(&self) -> String {
        let Self { profile, implied, .. } = self;
        let profile = profile.escape_debug();
        let variables = if *implied { "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, " } else { "" };
        format!(
            "{variables}write them with `aws configure --profile {profile}`, or let a tool tell them: command = [\"aws\", \
             \"configure\", \"export-credentials\", \"--profile\", \"{profile}\"]"
        )
    }

    /// The keys as they are now.
    pub(super) fn identity(&self) -> Result<Identity, Absent> {
        let Some(file) = &self.file else {
            let message = "the file with its profile cannot be found: HOME is not set".to_owned();
            return Err(Absent { message, hint: Some("set HOME or AWS_SHARED_CREDENTIALS_FILE".to_owned()) });
        };
        file.at(Instant::now(), |text| read(text, &self.profile))
            .map_err(|Absent { message, hint: _ }| Absent { message, hint: Some(self.hint()) })
    }
}

/// The keys of a profile. Of what is wrong, what follows the file's name in a sentence.
fn read(text: &str, profile: &str) -> Result<Identity, String> {
    let mut section = None;
    let mut known = false;
    // How far the last property is indented: what is indented deeper belongs to it.
    let mut indent = usize::MAX;
    let (mut access_key, mut secret_key, mut token) = (None, None, None);
    for line in text.trim_start_matches('\u{feff}').lines() {
        let bare = line.trim();
        if bare.is_empty() || bare.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = heading(bare) {
            section = Some(name);
            known |= name == profile;
            indent = usize::MAX;
            continue;
        }
        let depth = line.len() - line.trim_start().len();
        let Some((name, value)) = bare.split_once('=').filter(|_| depth <= indent) else { continue };
        indent = depth;
        if section != Some(profile) {
            continue;
        }
        let slot = match name.trim().to_ascii_lowercase().as_str() {
            "aws_access_key_id" => &mut access_key,
            "aws_secret_access_key" => &mut secret_key,
            "aws_session_token" => &mut token,
            _ => continue,
        };
        *slot = Some(Secret::new(uncommented(value)));
    }
    // A variable may name it, and an error is one line.
    let shown = profile.escape_debug();
    if !known {
        return Err(format!("has no profile `{shown}`"));
    }
    let lacks = |name: &str| format!("has a profile `{shown}` without `{name}`");
    let access_key = access_key.ok_or_else(|| lacks("aws_access_key_id"))?;
    let secret_key = secret_key.ok_or_else(|| lacks("aws_secret_access_key"))?;
    keys::identity(
        ("aws_access_key_id", &access_key),
        ("aws_secret_access_key", &secret_key),
        ("aws_session_token", token.as_ref()),
    )
    .map_err(|reason| format!("has a profile `{shown}` whose {reason}"))
}

/// The name of a section, if the line begins one.
fn heading(line: &str) -> Option<&str> {
    let (name, _comment) = line.strip_prefix('[')?.split_once(']')?;
    Some(name.trim())
}

/// A value without the comment that may follow it after a space.
fn uncommented(value: &str) -> &str {
    let comment = [" #", " ;", "\t#", "\t;"].iter().filter_map(|mark| value.find(mark)).min();
    value[..comment.unwrap_or(value.len())].trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\u{feff}# written by hand\n[other]\naws_access_key_id=OTHER\naws_secret_access_key = hidden-other\n\n\
        [default] ; the usual one\r\nAWS_Access_Key_Id = AKID # mine\naws_secret_access_key=a/b+c=#d\n\
        ;aws_session_token = old\naws_session_token =\nregion = eu-central-1\ns3 =\n  aws_access_key_id = NESTED\n\
        \x20 [ indented ]\n  aws_access_key_id = IN\n  aws_secret_access_key = s\n  aws_session_token = t\n\
        [sso]\nsso_session = corp\n[half]\naws_access_key_id = hidden\n\
        [empty]\naws_access_key_id =\naws_secret_access_key = hidden\n\
        [odd]\naws_access_key_id = a\naws_secret_access_key = hidden\tx\n";

    fn parts(profile: &str) -> Result<(String, String, Option<String>), String> {
        let identity = read(FILE, profile)?;
        let owned = |text: &str| text.to_owned();
        Ok((owned(identity.access_key_id()), owned(identity.secret_access_key()), identity.session_token().map(owned)))
    }

    #[test]
    fn a_profiles_keys_are_read_as_awss_tools_read_them() {
        let keys = |id: &str, secret: &str, token: Option<&str>| {
            Ok((id.to_owned(), secret.to_owned(), token.map(str::to_owned)))
        };
        assert_eq!(parts("default"), keys("AKID", "a/b+c=#d", None));
        assert_eq!(parts("other"), keys("OTHER", "hidden-other", None));
        assert_eq!(parts("indented"), keys("IN", "s", Some("t")));
    }

    #[test]
    fn a_profile_without_keys_says_what_it_lacks_and_nothing_it_has() {
        for (profile, expected) in [
            ("none", "has no profile `none`"),
            ("a\nb", "has no profile `a\\nb`"),
            ("sso", "has a profile `sso` without `aws_access_key_id`"),
            ("half", "has a profile `half` without `aws_secret_access_key`"),
            ("empty", "has a profile `empty` whose `aws_access_key_id` is empty"),
            (
                "odd",
                "has a profile `odd` whose `aws_secret_access_key` holds a control character, a line break perhaps",
            ),
        ] {
            assert_eq!(parts(profile).unwrap_err(), expected);
        }
    }

    #[test]
    fn the_policy_goes_before_the_environment_and_that_before_home() {
        let find = |file: Option<&str>, name: Option<&str>, variables: &[(&str, &str)]| {
            let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let profile = Profile { file: file.map(PathBuf::from), name: name.map(str::to_owned) };
            let Place { file, profile } = profile.find(&environment);
            (file.map(|file| file.display().to_string()).unwrap_or_default(), profile)
        };
        let found = |file: &str, profile: &str| (file.to_owned(), profile.to_owned());
        let home = ("HOME", "/h");
        let named = ("AWS_PROFILE", "work");
        let shared = ("AWS_SHARED_CREDENTIALS_FILE", "/s");
        assert_eq!(find(None, None, &[]), found("", "default"));
        assert_eq!(find(None, None, &[home]), found("/h/.aws/credentials", "default"));
        assert_eq!(find(None, None, &[("USERPROFILE", "/u")]), found("/u/.aws/credentials", "default"));
        assert_eq!(find(None, None, &[home, named, shared]), found("/s", "work"));
        assert_eq!(find(None, None, &[home, ("AWS_SHARED_CREDENTIALS_FILE", "~/k")]), found("/h/k", "default"));
        assert_eq!(find(Some("/f"), Some("p"), &[home, named, shared]), found("/f", "p"));
    }
}
