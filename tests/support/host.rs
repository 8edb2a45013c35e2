//! The component over a session, as an embedder has it: one provider, `test`, at a recording origin.

use std::sync::{Mutex, PoisonError};

use seaway::config::Config;
use seaway::reload::Reload;
use seaway::runtime::{Runtime, Source, StartError, types};
use seaway_session::{Environment, Session};

use crate::cargo;
use crate::error::SECRET;
use crate::folder::Folder;
use crate::origin::Origin;

/// A runtime with its session.
#[derive(Debug)]
pub struct Host {
    /// The component.
    pub runtime: Runtime,
    /// The session beneath it.
    pub session: Session,
    /// Where its file would lie.
    pub folder: Folder,
    config: Config,
    environment: Environment,
}

/// Components are compiled one at a time: the first compiles, the others find its work in wasmtime's cache.
static COMPILING: Mutex<()> = Mutex::new(());

impl Host {
    /// The built-in component. `more` stands at the top of the file, before the provider.
    #[must_use]
    pub fn of(origin: &Origin, more: &str) -> Self {
        Self::running(&Source::Embedded, origin, more).expect("the embedded component starts")
    }

    /// The hostile component.
    #[must_use]
    pub fn hostile(origin: &Origin, more: &str) -> Self {
        Self::running(&Source::File(cargo::hostile().to_owned()), origin, more).expect("the hostile component starts")
    }

    /// Any component.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn running(source: &Source, origin: &Origin, more: &str) -> Result<Self, StartError> {
        let folder = Folder::new();
        let environment: Environment = [("TEST_KEY".to_owned(), SECRET.to_owned())].into_iter().collect();
        let text = format!("{more}\n{}", file(origin));
        let config = Config::parse(&folder.path().join("seaway.toml"), &text, &environment)
            .unwrap_or_else(|error| panic!("the test's own file is refused: {error}"));
        let session = Session::new(config.policy.clone(), &environment, config.destinations.clone());
        let session = session.unwrap_or_else(|error| panic!("the test's own policy is refused: {error}"));
        let _one = COMPILING.lock().unwrap_or_else(PoisonError::into_inner);
        let runtime = Runtime::new(config.limits.clone(), source, session.clone(), config.models())?;
        Ok(Self { runtime, session, folder, config, environment })
    }

    /// Another guest over the same session.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn sibling(&self) -> Runtime {
        let Self { session, config, .. } = self;
        let sibling = Runtime::new(config.limits.clone(), &Source::Embedded, session.clone(), config.models());
        sibling.expect("the embedded component starts")
    }

    /// Watches its file, which has not been written yet.
    #[must_use]
    pub fn reload(&self) -> Reload {
        let reload = Reload::new(&self.config, self.environment.clone(), self.runtime.clone());
        reload.expect("a test's configuration has a file")
    }
}

/// The sections of a file that make an origin the provider `test`, whose key is in `TEST_KEY`.
#[must_use]
pub fn file(origin: &Origin) -> String {
    let base = origin.url("/v1");
    format!(
        "[providers.test]\ndialect = \"openai\"\nbase_url = \"{base}\"\n\
         [credentials.test]\nenv = \"TEST_KEY\"\nurls = [\"{base}\"]\n"
    )
}

/// A prompt of one message.
#[must_use]
pub fn prompt(model: &str, text: &str) -> types::Request {
    types::Request::new(model, vec![types::Message::user(text)])
}
