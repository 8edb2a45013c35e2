//! Where a secret comes from, and its header values at the moment they are needed.
//!
//! A variable is read once, at load. A file is looked at when it is needed, at most once a second, and read again when it
//! changed; so a rotated key arrives without a restart, and a missing one fails only the requests that need it.

use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use serde::Deserialize;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::secret::{Ready, Secret};
use crate::Environment;
use crate::policy::Stamp;

/// Where a secret comes from. By itself it is written as a table of one key: `{ env = "NAME" }`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub enum Source {
    /// An environment variable, by name.
    Env(String),
    /// A file, which is read again when it changes.
    File(PathBuf),
    /// The policy itself.
    Value(Secret),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    env: Option<String>,
    file: Option<PathBuf>,
    value: Option<Secret>,
}

impl TryFrom<Written> for Source {
    type Error = &'static str;

    fn try_from(Written { env, file, value }: Written) -> Result<Self, &'static str> {
        Self::one_of(env, file, value)
    }
}

impl Source {
    /// The one of three that is written.
    pub(super) fn one_of(
        env: Option<String>,
        file: Option<PathBuf>,
        value: Option<Secret>,
    ) -> Result<Self, &'static str> {
        match (env, file, value) {
            (Some(variable), None, None) if variable.is_empty() => Err("`env` is empty; write a variable's name"),
            (Some(variable), None, None) => Ok(Self::Env(variable)),
            (None, Some(path), None) => Ok(Self::File(path)),
            (None, None, Some(secret)) => Ok(Self::Value(secret)),
            (None, None, None) => Err("has no secret; write one of `env`, `file` and `value`"),
            (Some(_), _, _) | (_, Some(_), _) => Err("has several secrets; keep one of `env`, `file` and `value`"),
        }
    }
}

/// Why there is no secret, and what would change it.
#[derive(Clone, Debug)]
pub(crate) struct Absent {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

/// A secret as it is held ready.
pub(crate) enum Held {
    Fixed(Result<Ready, Absent>),
    File(Watched<Ready>),
}

impl Held {
    pub(crate) fn new(source: Source, environment: &Environment) -> Self {
        match source {
            Source::Env(variable) => Self::Fixed(match environment.get(&variable) {
                Some(text) => Ready::new(&Secret::new(text))
                    .map_err(|reason| Absent { message: format!("the variable {variable} {reason}"), hint: None }),
                None => Err(Absent {
                    message: format!("the variable {variable} is not set"),
                    hint: Some(format!("set {variable}")),
                }),
            }),
            Source::File(path) => Self::File(Watched::new(path, LARGEST)),
            Source::Value(secret) => Self::Fixed(
                Ready::new(&secret).map_err(|reason| Absent { message: format!("its `value` {reason}"), hint: None }),
            ),
        }
    }

    /// The secret between `before` and `after`, as a header's value; absent if those do not fit into a header.
    pub(crate) fn between(&self, before: &[u8], after: &[u8]) -> Result<Option<HeaderValue>, Absent> {
        match self {
            Self::Fixed(Ok(ready)) => Ok(ready.between(before, after)),
            Self::Fixed(Err(absent)) => Err(absent.clone()),
            Self::File(watched) => Ok(watched.at(Instant::now(), read)?.between(before, after)),
        }
    }

    /// The secret as text.
    pub(super) fn text(&self) -> Result<Zeroizing<String>, Absent> {
        let value = self.between(b"", b"")?;
        let text = value.as_ref().and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
        Ok(Zeroizing::new(text.expect("a secret that is ready is text").to_owned()))
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(Ok(_)) => out.write_str("Held"),
            Self::Fixed(Err(absent)) => absent.fmt(out),
            Self::File(watched) => watched.fmt(out),
        }
    }
}

/// A file with secrets in it, and what was read there.
pub(crate) struct Watched<T> {
    path: PathBuf,
    largest: u64,
    seen: Mutex<Option<Seen<T>>>,
}

struct Seen<T> {
    stamp: Stamp,
    looked: Instant,
    value: T,
}

/// How often a file is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// A larger file is not a secret, whatever it is.
pub(super) const LARGEST: u64 = 64 * 1024;

impl<T: Clone> Watched<T> {
    /// A file that holds at most `largest` bytes.
    pub(super) fn new(path: PathBuf, largest: u64) -> Self {
        Self { path, largest, seen: Mutex::default() }
    }

    /// What the file says at `now`. `read` makes it of the text where that is another than before; of what is wrong it says
    /// what follows the file's name in a sentence.
    pub(super) fn at(&self, now: Instant, read: impl FnOnce(&str) -> Result<T, String>) -> Result<T, Absent> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = seen.as_ref().filter(|known| now.saturating_duration_since(known.looked) < LOOK) {
            return Ok(known.value.clone());
        }
        // What could not be read is looked at again by the next request: only success is remembered.
        let known = match self.look(seen.take(), now, read) {
            Ok(known) => seen.insert(known),
            Err(reason) => {
                let message = format!("the file {} {reason}", self.path.display());
                return Err(Absent { message, hint: None });
            }
        };
        Ok(known.value.clone())
    }

    /// The file as it is now; `known` stays where nothing changed.
    fn look(
        &self,
        known: Option<Seen<T>>,
        now: Instant,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Seen<T>, String> {
        let Self { path, largest, seen: _ } = self;
        let unreadable = |error: io::Error| format!("cannot be read: {error}");
        let metadata = fs::metadata(path).map_err(unreadable)?;
        // Opening a pipe would wait for whoever writes into it.
        if !metadata.is_file() {
            return Err("is not a regular file".to_owned());
        }
        let stamp = Stamp::of(&metadata);
        if let Some(known) = known.filter(|known| known.stamp == stamp) {
            return Ok(Seen { looked: now, ..known });
        }
        let mut text = Zeroizing::new(Vec::new());
        fs::File::open(path).and_then(|file| file.take(largest + 1).read_to_end(&mut text)).map_err(unreadable)?;
        if text.len() as u64 > *largest {
            return Err(format!("is larger than {largest} bytes"));
        }
        let text = std::str::from_utf8(&text).map_err(|_| "is not UTF-8 text".to_owned())?;
        Ok(Seen { stamp, looked: now, value: read(text)? })
    }
}

impl<T> fmt::Debug for Watched<T> {
    /// The path only: what was read there is secret.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(out)
    }
}

/// A file whose whole text is one secret.
fn read(text: &str) -> Result<Ready, String> {
    Ready::new(&Secret::new(text)).map_err(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of this test's own, gone with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("seaway-secret-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    fn shown(watched: &Watched<Ready>, now: Instant) -> Result<String, String> {
        let value = watched.at(now, read).map_err(|absent| absent.message)?.between(b"", b"");
        Ok(value.unwrap().to_str().unwrap().to_owned())
    }

    #[test]
    fn a_file_is_read_again_when_it_changed_and_a_second_has_passed() {
        let folder = Folder::new("rotate");
        let path = folder.0.join("key");
        fs::write(&path, "first\n").unwrap();
        let watched = Watched::new(path.clone(), LARGEST);
        let start = Instant::now();
        assert_eq!(shown(&watched, start), Ok("first".to_owned()));
        // Replaced the way a secret's mount is: a new file takes the name.
        fs::write(folder.0.join("next"), "second").unwrap();
        fs::rename(folder.0.join("next"), &path).unwrap();
        assert_eq!(shown(&watched, start + Duration::from_millis(999)), Ok("first".to_owned()));
        assert_eq!(shown(&watched, start + LOOK), Ok("second".to_owned()));
        fs::remove_file(&path).unwrap();
        assert_eq!(shown(&watched, start + LOOK), Ok("second".to_owned()));
        assert!(shown(&watched, start + 2 * LOOK).unwrap_err().contains("cannot be read"));
        // A file that comes back is there at once.
        fs::write(&path, "third").unwrap();
        assert_eq!(shown(&watched, start + 2 * LOOK), Ok("third".to_owned()));
    }

    #[test]
    fn what_is_no_secret_is_said_without_its_content() {
        let folder = Folder::new("bad");
        let look = |name: &str, content: &[u8]| {
            let path = folder.0.join(name);
            fs::write(&path, content).unwrap();
            shown(&Watched::new(path, LARGEST), Instant::now()).unwrap_err()
        };
        assert!(look("empty", b"\n").ends_with("is empty"));
        assert!(look("lines", b"hidden\nhidden").ends_with("control character, a line break perhaps"));
        assert!(look("binary", b"\xff\xfe").ends_with("is not UTF-8 text"));
        assert!(look("large", &[b'x'; LARGEST as usize + 1]).ends_with("is larger than 65536 bytes"));
        let folder = Watched::new(folder.0.clone(), LARGEST);
        assert!(shown(&folder, Instant::now()).unwrap_err().ends_with("is not a regular file"));
    }
}
