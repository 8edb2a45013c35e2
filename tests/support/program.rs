//! The `seaway` binary as a person runs it: arguments, a folder, an environment of its own, and an end to waiting.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::cargo;
use crate::folder::Folder;

/// A folder to run the binary in, with its environment.
#[derive(Debug, Default)]
pub struct Program {
    folder: Folder,
    environment: Vec<(String, String)>,
}

/// What a run of the binary said.
#[derive(Clone, Debug)]
pub struct Said {
    /// The exit code; absent if it had to be killed.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Program {
    /// An empty folder and an empty environment.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lays a file into the folder.
    #[must_use]
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.folder.write(name, content);
        self
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Runs the binary to its end.
    pub async fn run(&self, arguments: &[&str]) -> Said {
        self.run_on("", arguments).await
    }

    /// The same, with something on standard input.
    ///
    /// # Panics
    /// If it does not end within a minute: nothing may hang.
    pub async fn run_on(&self, input: &str, arguments: &[&str]) -> Said {
        let mut command = self.command(arguments);
        let input = input.to_owned();
        let run = tokio::task::spawn_blocking(move || {
            Self::warm();
            let mut child = command.spawn().expect("the binary can be started");
            let mut stdin = child.stdin.take().expect("it is piped");
            // It may end without reading.
            drop(stdin.write_all(input.as_bytes()));
            drop(stdin);
            let output = child.wait_with_output().expect("it can be waited for");
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
        });
        let said = run.await.expect("the thread that waits does not panic");
        assert!(said.code != Some(124), "it hung: {said:?}");
        said
    }

    /// Compiled components, kept between runs.
    pub(crate) fn cache() -> PathBuf {
        let binary = cargo::binary();
        binary.with_file_name("seaway-tests-cache")
    }

    /// Compiles the embedded component once, before many runs would do so at the same time.
    pub(crate) fn warm() {
        static WARM: OnceLock<()> = OnceLock::new();
        WARM.get_or_init(|| {
            let folder = Folder::new();
            let mut command = Command::new(cargo::binary());
            command.args(["complete", "-m", "nobody/none", "warm"]).current_dir(folder.path()).env_clear();
            command.env("HOME", folder.path()).env("XDG_CACHE_HOME", Self::cache()).stdin(Stdio::null());
            drop(command.output());
        });
    }

    /// coreutils' `timeout` ends with 124 what does not end by itself.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", "60"]).arg(cargo::binary()).args(arguments);
        command.current_dir(self.folder.path()).env_clear();
        command.env("HOME", self.folder.path()).env("XDG_CACHE_HOME", Self::cache());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl Said {
    /// Asserts that it failed with this code, printed nothing on standard output, and said one `error: ` line that holds
    /// each of `words`, with nothing else but a `hint: ` line and warnings.
    ///
    /// # Panics
    /// If anything of it is not so.
    pub fn assert_fails(&self, code: i32, words: &[&str]) {
        assert_eq!((self.code, self.out.as_str()), (Some(code), ""), "{self:?}");
        self.assert_one_error(words);
    }

    /// The same, about standard error alone.
    ///
    /// # Panics
    /// If anything of it is not so.
    pub fn assert_one_error(&self, words: &[&str]) {
        let talk = |line: &&str| !line.starts_with("warning: ");
        let lines: Vec<_> = self.err.lines().filter(talk).collect();
        assert!(lines.first().is_some_and(|line| line.starts_with("error: ")), "{self:?}");
        assert!(
            lines[1..].iter().all(|line| line.starts_with("hint: ")) && lines.len() <= 2,
            "not one clear line: {self:?}"
        );
        for word in words {
            assert!(self.err.contains(word), "`{word}` is not in: {}", self.err);
        }
    }

    /// Asserts that nothing was said beside the answer.
    ///
    /// # Panics
    /// If something was.
    pub fn assert_no_talk(&self) {
        assert_eq!(self.err, "", "{self:?}");
    }

    /// Asserts that it worked.
    ///
    /// # Panics
    /// If it did not.
    pub fn fine(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }
}
