//! `command`: a program of the operator's own tells the secret, and tells it again when it has expired.
//!
//! Run without a shell, by the first request that needs the secret: all who need it meanwhile wait for that one run, and a
//! run that nobody waits for any more is killed. What it prints is the secret; nothing of that, and nothing of what it
//! complains of, is ever repeated.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_smithy_types::date_time::{DateTime, Format};
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared, WeakShared};
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;
use tokio::process;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use super::secret::{Ready, Secret};
use super::source::{Absent, LARGEST};
use crate::policy::units::Timeout;

/// A command that tells a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// How long what it tells is used, at most. Default 5 min; off: for as long as it says itself.
    pub expires: Timeout,
    /// Where it runs: the policy file's folder. Empty: where this process does.
    pub folder: PathBuf,
}

impl Settings {
    /// What `expires` is where nobody wrote it.
    pub(super) const EXPIRES: Timeout = Timeout::seconds(300);

    /// Puts its folder, and a program by path, to where `resolve` says that they are. A program by name is looked for where
    /// programs are.
    pub(super) fn rebase(&mut self, resolve: impl Fn(&Path) -> PathBuf) {
        self.folder = resolve(Path::new(""));
        for program in self.argv.iter_mut().take(1).filter(|program| program.contains('/')) {
            *program = resolve(Path::new(&*program)).to_string_lossy().into_owned();
        }
    }
}

impl fmt::Debug for Settings {
    /// The program alone: an argument may be a secret.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { argv, expires, folder } = self;
        let program = argv.first().map_or("", String::as_str);
        out.debug_struct("Command")
            .field("program", &program)
            .field("expires", expires)
            .field("folder", folder)
            .finish()
    }
}

/// How long a run may take.
const LIMIT: Duration = Duration::from_secs(30);
/// How long a run that failed is not repeated.
const PAUSE: Duration = Duration::from_secs(1);
/// How long before its end a secret is not used any more, where it says itself when that is: a request takes a while.
const MARGIN: Duration = Duration::from_secs(30);

/// What a command can tell.
pub(super) trait Tale: Clone + Send + Sync + 'static {
    /// Reads what was printed; also when it ends, where that is said. Of what is wrong it says what follows the command in a
    /// sentence, without a byte of what was printed.
    fn read(text: &str) -> Result<(Self, Option<SystemTime>), String>;
}

/// A command, and what it told last.
pub(super) struct Asked<T> {
    pub(super) settings: Settings,
    limit: Duration,
    state: Mutex<State<T>>,
}

struct State<T> {
    told: Option<Told<T>>,
    /// The last run, if it failed, and when.
    failed: Option<(Absent, Instant)>,
    /// The run that is under way. It belongs to those who wait for it.
    run: Option<WeakShared<Run<T>>>,
}

#[derive(Clone)]
struct Told<T> {
    value: T,
    /// Absent: for ever.
    until: Option<Instant>,
}

type Run<T> = BoxFuture<'static, Result<Told<T>, Absent>>;

impl<T: Tale> Asked<T> {
    pub(super) fn new(settings: Settings) -> Self {
        let state = State { told: None, failed: None, run: None };
        Self { settings, limit: LIMIT, state: Mutex::new(state) }
    }

    /// The one with these settings: `previous`, if it has them, with what it was told.
    pub(super) fn anew(settings: Settings, previous: Option<&Arc<Self>>) -> Arc<Self> {
        match previous.filter(|previous| previous.settings == settings) {
            Some(same) => Arc::clone(same),
            None => Arc::new(Self::new(settings)),
        }
    }

    /// What there is to wait for until [`Asked::told`] knows an answer. Absent: it does.
    pub(super) fn due(self: &Arc<Self>) -> Option<BoxFuture<'static, ()>> {
        let mut state = self.lock();
        if state.is_known(Instant::now()) {
            return None;
        }
        let run: Shared<Run<T>> = state.run.as_ref().and_then(WeakShared::upgrade).unwrap_or_else(|| {
            let run = run(self.settings.clone(), self.limit).boxed().shared();
            state.run = run.downgrade();
            run
        });
        let asked = Arc::clone(self);
        Some(run.map(move |outcome| asked.lock().book(outcome)).boxed())
    }

    /// What it told last.
    pub(super) fn told(&self) -> Result<T, Absent> {
        let State { told, failed, run: _ } = &*self.lock();
        match (failed, told) {
            (Some((absent, _)), _) => Err(absent.clone()),
            (None, Some(told)) => Ok(told.value.clone()),
            (None, None) => Err(absent("was not run")),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn is_known(&self, now: Instant) -> bool {
        match (&self.failed, &self.told) {
            (Some((_, since)), _) => now.saturating_duration_since(*since) < PAUSE,
            (None, Some(told)) => told.until.is_none_or(|until| now < until),
            (None, None) => false,
        }
    }

    fn book(&mut self, outcome: Result<Told<T>, Absent>) {
        self.run = None;
        match outcome {
            Ok(told) => (self.told, self.failed) = (Some(told), None),
            Err(absent) => self.failed = Some((absent, Instant::now())),
        }
    }
}

impl<T> fmt::Debug for Asked<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(out)
    }
}

/// Runs the command to its end.
async fn run<T: Tale>(settings: Settings, limit: Duration) -> Result<Told<T>, Absent> {
    let (status, output) =
        timeout(limit, output(&settings)).await.map_err(|_| absent(&format!("did not end within {limit:?}")))??;
    if !status.success() {
        return Err(absent(&format!("failed: {status}")));
    }
    let text = std::str::from_utf8(&output).map_err(|_| absent("printed what is not UTF-8 text"))?;
    let (value, ends) = T::read(text).map_err(|reason| absent(&reason))?;
    let mut life = settings.expires.0;
    if let Some(ends) = ends {
        let left = ends.duration_since(SystemTime::now()).map_err(|_| absent("printed a secret that has expired"))?;
        let left = left - MARGIN.min(left / 2);
        life = Some(life.map_or(left, |life| life.min(left)));
    }
    Ok(Told { value, until: life.and_then(|life| Instant::now().checked_add(life)) })
}

async fn output(settings: &Settings) -> Result<(ExitStatus, Zeroizing<Vec<u8>>), Absent> {
    let Settings { argv, expires: _, folder } = settings;
    let Some((program, arguments)) = argv.split_first() else { return Err(absent("names no program")) };
    let mut command = process::Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    if !folder.as_os_str().is_empty() {
        command.current_dir(folder);
    }
    let mut child = command.spawn().map_err(|error| absent(&format!("`{program}` cannot be started: {error}")))?;
    let failed = |error| absent(&format!("cannot be listened to: {error}"));
    let mut output = Zeroizing::new(Vec::new());
    if let Some(stdout) = child.stdout.take() {
        stdout.take(LARGEST + 1).read_to_end(&mut output).await.map_err(failed)?;
    }
    if output.len() as u64 > LARGEST {
        return Err(absent(&format!("printed more than {LARGEST} bytes")));
    }
    Ok((child.wait().await.map_err(failed)?, output))
}

fn absent(what: &str) -> Absent {
    let hint = "run it by hand: what it complains of is not repeated here".to_owned();
    Absent { message: format!("its `command` {what}"), hint: Some(hint) }
}

/// What a credential plugin of Kubernetes prints, as far as it matters here
/// (<https://kubernetes.io/docs/reference/config-api/client-authentication.v1/>).
#[derive(Deserialize)]
struct ExecCredential {
    status: ExecStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecStatus {
    token: Secret,
    expiration_timestamp: Option<String>,
}

impl Tale for Ready {
    fn read(text: &str) -> Result<(Self, Option<SystemTime>), String> {
        let (secret, ends) = read(text)?;
        let ready = Self::new(&secret).map_err(|reason| format!("printed a secret that {reason}"))?;
        Ok((ready, ends))
    }
}

/// The secret: the text itself, or the token of a JSON object; and when it ends, where that is said.
fn read(text: &str) -> Result<(Secret, Option<SystemTime>), &'static str> {
    if !text.trim_start().starts_with('{') {
        return Ok((Secret::new(text), None));
    }
    let told: ExecCredential = serde_json::from_str(text)
        .map_err(|_| "printed a JSON object that is no ExecCredential: it lacks `status.token`")?;
    let ExecStatus { token, expiration_timestamp } = told.status;
    let ends = expiration_timestamp
        .map(|text| time(&text).ok_or("printed an `expirationTimestamp` that is no time of RFC 3339"));
    Ok((token, ends.transpose()?))
}

/// A moment as RFC 3339 writes it.
pub(super) fn time(text: &str) -> Option<SystemTime> {
    let time = DateTime::from_str(text, Format::DateTimeWithOffset).ok()?;
    SystemTime::try_from(time).ok()
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    fn shell(script: &str) -> Arc<Asked<Ready>> {
        let argv = ["sh", "-c", script].map(str::to_owned).into();
        Arc::new(Asked::new(Settings { argv, expires: Settings::EXPIRES, folder: std::env::temp_dir() }))
    }

    async fn told(asked: &Arc<Asked<Ready>>) -> Result<String, String> {
        if let Some(due) = asked.due() {
            due.await;
        }
        let value = asked.told().map_err(|absent| absent.message)?.between(b"", b"");
        Ok(value.unwrap().to_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn what_it_prints_is_the_secret_and_one_run_is_for_all() {
        let asked = shell("echo $$");
        let first = join_all((0..50).map(|_| told(&asked))).await;
        assert!(first.iter().all(|one| one.is_ok() && *one == first[0]), "{first:?}");
        assert_eq!(told(&asked).await, first[0]);
        // It is told again once it has expired.
        asked.lock().told.as_mut().unwrap().until = Some(Instant::now());
        assert_ne!(told(&asked).await, first[0]);
    }

    #[tokio::test]
    async fn a_failure_says_how_and_repeats_nothing() {
        let table = [
            ("echo hidden; echo hidden >&2; exit 3", "its `command` failed: exit status: 3"),
            ("", "its `command` printed a secret that is empty"),
            (
                "printf 'hidden\\nhidden'",
                "its `command` printed a secret that holds a control character, a line break perhaps",
            ),
            ("printf '\\377'", "its `command` printed what is not UTF-8 text"),
            ("yes hidden", "its `command` printed more than 65536 bytes"),
            (
                "echo '{\"token\": \"hidden\"}'",
                "its `command` printed a JSON object that is no ExecCredential: it lacks `status.token`",
            ),
            (
                "echo '{\"status\": {\"token\": \"hidden\", \"expirationTimestamp\": \"2020-01-01T00:00:00Z\"}}'",
                "its `command` printed a secret that has expired",
            ),
        ];
        for (script, expected) in table {
            assert_eq!(told(&shell(script)).await, Err(expected.to_owned()));
        }
        let argv = vec!["/nonexistent/program".to_owned(), "hidden".to_owned()];
        let asked = Arc::new(Asked::new(Settings { argv, expires: Timeout::OFF, folder: PathBuf::new() }));
        assert!(told(&asked).await.unwrap_err().contains("`/nonexistent/program` cannot be started"));
        assert!(!format!("{asked:?}").contains("hidden"));
    }

    #[tokio::test]
    async fn a_run_that_takes_too_long_is_an_error_and_is_killed() {
        let argv = ["sleep", "1000"].map(str::to_owned).into();
        let settings = Settings { argv, expires: Timeout::OFF, folder: PathBuf::new() };
        let asked = Arc::new(Asked { limit: Duration::from_millis(50), ..Asked::new(settings) });
        assert_eq!(told(&asked).await, Err("its `command` did not end within 50ms".to_owned()));
        // For a moment the failure is the answer.
        assert!(asked.due().is_none());
    }

    #[tokio::test]
    async fn a_run_that_nobody_waits_for_is_given_up_and_begun_anew() {
        let asked = shell("sleep 0.05; echo secret");
        let _ = asked.due().map(futures::FutureExt::now_or_never);
        assert!(asked.lock().run.as_ref().unwrap().upgrade().is_none());
        assert_eq!(told(&asked).await, Ok("secret".to_owned()));
    }

    #[tokio::test]
    async fn a_json_object_says_when_its_token_ends() {
        let ends = |text: &str| {
            let (_, ends) =
                read(&format!("{{\"kind\":\"ExecCredential\",\"status\":{{\"token\":\"secret\"{text}}}}}\n")).unwrap();
            ends.map(|ends| ends.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
        };
        assert_eq!(ends(""), None);
        assert_eq!(ends(",\"expirationTimestamp\":\"2015-08-30T12:36:00Z\""), Some(1_440_938_160));
        assert_eq!(ends(",\"expirationTimestamp\":\"2015-08-30T14:36:00+02:00\""), Some(1_440_938_160));
        let soon = DateTime::from(SystemTime::now() + Duration::from_secs(40)).fmt(Format::DateTime).unwrap();
        let asked =
            shell(&format!("echo '{{\"status\": {{\"token\": \"secret\", \"expirationTimestamp\": \"{soon}\"}}}}'"));
        assert_eq!(told(&asked).await, Ok("secret".to_owned()));
        let until = asked.lock().told.as_ref().unwrap().until.unwrap();
        assert!(until <= Instant::now() + Duration::from_secs(20), "the margin is not kept");
    }
}
