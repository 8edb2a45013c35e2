//! `[serve]`: where to listen, who may call, and how much at a time.
//!
//! Read with the rest of the file, before anything listens. Invariant: without keys nobody but this machine can connect.

use std::path::{Path, PathBuf};

use seaway_session::Environment;
use seaway_session::credentials::Secret;
use seaway_session::policy::units::{Period, Size, Timeout};
use seaway_session::policy::{Document, Error};
use serde::Deserialize;

use super::keys::{Key, Keys};
use super::listen::Address;
use super::otel::Otel;
use super::tls::Tls;

/// `[serve]` of the file. What a restart alone changes says so; the rest is in force once the file is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where to listen: `"127.0.0.1:4000"`, or `"unix:/run/seaway.sock"`. Default 127.0.0.1:4000. After a restart.
    pub listen: Address,
    /// Where to be administered (`/admin/policy`): an address of loopback, or a Unix socket, which is its owner's alone. Whoever
    /// reaches it may change the policy. Default nowhere. After a restart.
    pub admin: Option<Address>,
    /// Who the server is to its clients. Absent, as by default: it speaks no TLS. For connections that come later.
    pub tls: Option<Tls>,
    /// Who may call. Default nobody needs a key, and then only this machine can connect.
    pub keys: Vec<Written>,
    /// Calls at a time; further ones wait. Default 1024, at least 1. After a restart.
    pub calls: usize,
    /// Calls that may wait for their turn; one more is refused with 503. Default 1024; 0 lets none wait.
    pub queue: usize,
    /// How long a call may wait for its turn. Default 10 s; `"off"`: for as long as its client does.
    pub queue_timeout: Timeout,
    /// The largest body of a request. Default 32 MiB.
    pub max_body: Size,
    /// The largest head of a request. Default 64 KiB, at least 8 KiB. For connections that come later.
    pub max_head: Size,
    /// From a connection's begin, or the end of its last answer, to the end of the next request's head; over HTTP/2 up to twice
    /// as long, and once more for a client that does not go when told. Default 60 s; `"off"` is for as long as the client
    /// likes. For connections that come later.
    pub head_timeout: Timeout,
    /// The longest silence within the body of a request. Default 30 s.
    pub body_timeout: Period,
    /// For how long, up to twice, an answer may wait for the client to take more; then the connection is closed, or only the
    /// stream of HTTP/2 reset where other exchanges of it go on. Default 60 s; `"off"` is for as long as the client likes.
    /// For connections that come later.
    pub send_timeout: Timeout,
    /// The longest silence within a stream of events: then a comment says that it lives. Default 15 s; `"off"`: never.
    pub comments: Timeout,
    /// A line for each request on stdout. Default text. After a restart.
    pub log: Log,
    /// A line for each exchange with a provider, on stdout too. Default off. After a restart.
    pub egress_log: Log,
    /// Traces, told to a collector. Default none, unless the environment names one. After a restart.
    pub otel: Option<Otel>,
    /// True if the command line says where to listen: then the file does not.
    #[serde(skip)]
    pub(crate) given: bool,
}

/// How requests are told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Log {
    /// Not at all.
    Off,
    /// A line of words and figures.
    #[default]
    Text,
    /// A line of JSON.
    Json,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: Address::default(),
            admin: None,
            tls: None,
            keys: Vec::new(),
            calls: 1024,
            queue: 1024,
            queue_timeout: Timeout::seconds(10),
            max_body: Size::mib(32),
            max_head: Size::kib(64),
            head_timeout: Timeout::seconds(60),
            body_timeout: Period::seconds(30),
            send_timeout: Timeout::seconds(60),
            comments: Timeout::seconds(15),
            log: Log::Text,
            egress_log: Log::Off,
            otel: None,
            given: false,
        }
    }
}

/// One of `[serve] keys`, as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// The environment variable that holds the key.
    pub env: Option<String>,
    /// The file that holds the key; read again when it changes.
    pub file: Option<PathBuf>,
    /// The key itself.
    pub value: Option<Secret>,
    /// What the log calls whoever uses it. By default its place: `keys[0]`.
    pub name: Option<String>,
    /// The models that it may use; a `*` at the end stands for any end. By default all.
    pub models: Option<Vec<String>>,
    /// Calls at a time with this key; one more is refused with 429. By default as many as `serve.calls`.
    pub calls: Option<usize>,
}

/// The smallest head that hyper reads into.
const LEAST_HEAD: u64 = 8 << 10;

impl Settings {
    /// Reads the section of a file, whose relative paths start at the file's folder; and warnings, one line each.
    pub(crate) fn read(document: &Document) -> Result<(Self, Vec<String>), Error> {
        let mut settings: Self = document.section("serve")?.unwrap_or_default();
        settings.check().map_err(|error| document.locate(error))?;
        for address in [Some(&mut settings.listen), settings.admin.as_mut()].into_iter().flatten() {
            if let Address::Unix(path) = address {
                *path = document.resolve(path);
            }
        }
        if let Some(tls) = &mut settings.tls {
            tls.rebase(document);
        }
        for path in settings.keys.iter_mut().filter_map(|key| key.file.as_mut()) {
            *path = document.resolve(path);
        }
        let in_file = settings.keys.iter().any(|key| key.value.is_some());
        let warning = Error::key("serve.keys", "the secret itself is in the file; `env` or `file` keeps it out");
        Ok((settings, in_file.then(|| document.locate(warning).to_string()).into_iter().collect()))
    }

    fn check(&self) -> Result<(), Error> {
        if self.calls == 0 {
            return Err(Error::key("serve.calls", "0 would admit no call; write at least 1"));
        }
        if let Some(admin) = self.admin.as_ref().filter(|admin| !admin.is_of_this_machine()) {
            let message =
                format!("{admin} can be reached from other machines; write \"unix:admin.sock\" or \"127.0.0.1:4001\"");
            return Err(Error::key("serve.admin", message));
        }
        if self.max_head.0 < LEAST_HEAD {
            return Err(Error::key("serve.max_head", "is too small for a request's head; write at least \"8KiB\""));
        }
        self.otel.as_ref().map_or(Ok(()), Otel::check)?;
        for (place, Written { env, file, value, name: _, models: _, calls }) in self.keys.iter().enumerate() {
            let told = usize::from(env.is_some()) + usize::from(file.is_some()) + usize::from(value.is_some());
            if told != 1 {
                let message = format!("keys[{place}] needs one of `env`, `file` and `value`, and has {told}");
                return Err(Error::key("serve.keys", message));
            }
            if *calls == Some(0) {
                return Err(Error::key("serve.keys", format!("keys[{place}]: `calls = 0` would admit no call")));
            }
        }
        Ok(())
    }

    /// Refuses to listen where strangers could connect and no key would stop them.
    pub(crate) fn closed(&self) -> Result<(), Error> {
        match self.keys.is_empty() && !self.listen.is_of_this_machine() {
            true => Err(Error::new(format!(
                "serve.listen: {} can be reached from other machines, and nobody needs a key; write `keys = [{{ env = \
                 \"SEAWAY_KEY\" }}]` into [serve], or listen on 127.0.0.1",
                self.listen
            ))),
            false => Ok(()),
        }
    }

    /// The keys, read where they are.
    pub(crate) fn keys(&self, environment: &Environment) -> Result<Keys, Error> {
        let keys = self.keys.iter().enumerate().map(|(place, written)| {
            let secret =
                written.secret(environment).map_err(|why| Error::key("serve.keys", format!("keys[{place}]: {why}")))?;
            let name = written.name.clone().unwrap_or_else(|| format!("keys[{place}]"));
            Ok(Key::new(name, secret, written.models.as_deref(), written.calls))
        });
        keys.collect::<Result<_, _>>().map(Keys::new)
    }
}

impl Written {
    fn secret(&self, environment: &Environment) -> Result<Secret, String> {
        let text = match self {
            Self { value: Some(secret), .. } => secret.clone(),
            Self { env: Some(variable), .. } => match environment.get(variable) {
                Some(text) => Secret::new(text),
                None => return Err(format!("the variable {variable} is not set")),
            },
            Self { file: Some(path), .. } => read(path)?,
            Self { env: None, file: None, value: None, .. } => Secret::new(""),
        };
        match text.is(b"") {
            true => Err("the key is empty".to_owned()),
            false => Ok(text),
        }
    }
}

fn read(path: &Path) -> Result<Secret, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Secret::new(text)),
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(Settings, Vec<String>), String> {
        let document = Document::parse(Path::new("/etc/seaway/seaway.toml"), text).unwrap();
        Settings::read(&document).map_err(|error| error.to_string())
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_place() {
        for (text, says) in [
            ("[serve]\nlisten = \"4000\"", "serve.listen"),
            ("[serve]\nlisten = \"localhost:4000\"", "127.0.0.1:4000"),
            ("[serve]\ncalls = 0", "serve.calls"),
            ("[serve]\nmax_body = 10", "serve.max_body"),
            ("[serve]\nmax_head = \"1KiB\"", "8KiB"),
            ("[serve]\nkeys = [{ env = \"A\", file = \"b\" }]", "keys[0]"),
            ("[serve]\nkeys = [{ env = \"A\" }, {}]", "keys[1]"),
            ("[serve]\nkeys = [{ env = \"A\", model = [] }]", "model"),
            ("[serve]\nkeys = [{ env = \"A\", calls = 0 }]", "keys[0]"),
            ("[serve]\nlog = \"xml\"", "serve.log"),
            ("[serve]\ntls = { cert = \"a\" }", "key"),
            ("[serve]\ntls = { cert = \"a\", key = \"b\", ca = \"c\" }", "serve.tls.ca"),
            ("[serve]\nadmin = \"0.0.0.0:4001\"", "serve.admin"),
            ("[serve]\negress_log = \"on\"", "serve.egress_log"),
            ("[serve.otel]\nendpoint = \"collector:4318\"", "127.0.0.1:4318"),
            ("[serve.otel]\nport = 1", "serve.otel.port"),
            ("[serve]\nkays = []", "serve.kays"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(says) && error.lines().count() == 1, "{text}: {error}");
        }
    }

    #[test]
    fn traces_are_refused_where_the_build_has_none() {
        let asked = read("[serve.otel]");
        match cfg!(feature = "otel") {
            true => assert_eq!(asked.unwrap().0.otel, Some(Otel::default())),
            false => {
                let error = asked.unwrap_err();
                let says = error.contains("serve.otel") && error.contains("feature `otel`");
                assert!(says && error.lines().count() == 1, "{error}");
            }
        }
    }

    #[test]
    fn paths_start_at_the_files_folder_and_a_key_in_the_file_is_warned_of() {
        let text = "[serve]\nlisten = \"unix:run.sock\"\nkeys = [{ file = \"key\" }, { value = \"sk-hidden\" }]";
        let (settings, warnings) = read(text).unwrap();
        assert_eq!(settings.listen, Address::Unix(PathBuf::from("/etc/seaway/run.sock")));
        assert_eq!(settings.keys[0].file, Some(PathBuf::from("/etc/seaway/key")));
        assert!(warnings.len() == 1 && !format!("{warnings:?} {settings:?}").contains("sk-hidden"), "{warnings:?}");
    }

    #[test]
    fn without_keys_only_this_machine_can_connect() {
        for (listen, closed) in [
            ("127.0.0.1:1", true),
            ("[::1]:1", true),
            ("unix:x", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("10.0.0.1:1", false),
        ] {
            let (mut settings, _) = read(&format!("[serve]\nlisten = \"{listen}\"")).unwrap();
            assert_eq!(settings.closed().is_ok(), closed, "{listen}");
            settings.keys = read("[serve]\nkeys = [{ env = \"A\" }]").unwrap().0.keys;
            settings.closed().unwrap();
        }
    }

    #[test]
    fn a_key_that_is_missing_or_empty_is_an_error_that_names_it() {
        let environment: Environment = [("EMPTY".to_owned(), String::new())].into_iter().collect();
        for (key, says) in [
            ("env = \"NONE\"", "NONE"),
            ("env = \"EMPTY\"", "EMPTY"),
            ("file = \"gone\"", "gone"),
            ("value = \"\"", "empty"),
        ] {
            let (settings, _) = read(&format!("[serve]\nkeys = [{{ {key} }}]")).unwrap();
            let error = settings.keys(&environment).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("keys[0]"), "{error}");
        }
    }
}
