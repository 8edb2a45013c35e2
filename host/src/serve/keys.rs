//! Who may call, and what with.
//!
//! Runs on every request but those for health, before its body is read. Invariant: a key is compared in a time that tells
//! nothing of it, and appears in no log.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use seaway_session::credentials::Secret;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A key, and what it allows.
#[derive(Debug)]
pub(crate) struct Key {
    pub(super) name: String,
    secret: Secret,
    /// What the component is told of the models that it may use; absent for all.
    pub(super) models: Option<HeaderValue>,
    /// Room for its calls; absent where nothing but the server's own limit counts.
    room: Option<Arc<Semaphore>>,
}

impl Key {
    pub(crate) fn new(name: String, secret: Secret, models: Option<&[String]>, calls: Option<usize>) -> Self {
        let room = calls.map(|calls| Arc::new(Semaphore::new(calls.min(Semaphore::MAX_PERMITS))));
        Self { name, secret, models: models.map(header), room }
    }

    /// Room for one call, for as long as it is held.
    pub(super) fn enter(&self) -> Result<Option<OwnedSemaphorePermit>, Full> {
        match &self.room {
            None => Ok(None),
            Some(room) => Arc::clone(room).try_acquire_owned().map(Some).map_err(|_| Full),
        }
    }
}

/// A key has as many calls under way as it may.
#[derive(Debug)]
pub(super) struct Full;

/// The keys that are in force.
#[derive(Debug)]
pub(crate) struct Keys(Vec<Arc<Key>>);

impl Keys {
    pub(crate) fn new(keys: Vec<Key>) -> Self {
        Self(keys.into_iter().map(Arc::new).collect())
    }

    /// Goes on counting the calls of the same keys, whose secrets may be others.
    pub(super) fn keep_rooms(&mut self, before: &Self) {
        for (key, before) in self.0.iter_mut().zip(&before.0) {
            if let Some(key) = Arc::get_mut(key) {
                key.room.clone_from(&before.room);
            }
        }
    }

    /// True if nobody needs one.
    pub(super) fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// The key of a request. `Ok(None)` where nobody needs one.
    pub(super) fn recognise(&self, headers: &HeaderMap) -> Result<Option<Arc<Key>>, Unknown> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let offered = offered(headers).ok_or(Unknown::Absent)?;
        // All are compared, whichever it is: the time does not tell its place.
        let mut found = None;
        for key in &self.0 {
            if key.secret.is(offered) {
                found = Some(key);
            }
        }
        found.cloned().map(Some).ok_or(Unknown::Wrong)
    }
}

/// Why a request is nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// It has no key.
    Absent,
    /// It has one that is none of ours.
    Wrong,
}

/// The key that a request brings: as OpenAI's clients send it, or as Azure's and Anthropic's do.
fn offered(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).and_then(|value| {
        let (scheme, key) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
    });
    bearer.or_else(|| ["api-key", "x-api-key"].iter().find_map(|name| headers.get(*name)).map(HeaderValue::as_bytes))
}

/// The names as a JSON list that a header can hold: whatever is not ASCII is escaped.
fn header(models: &[String]) -> HeaderValue {
    let json = serde_json::Value::from(models).to_string();
    let mut ascii = String::with_capacity(json.len());
    for letter in json.chars() {
        match letter.is_ascii() && !letter.is_ascii_control() {
            true => ascii.push(letter),
            false => {
                letter.encode_utf16(&mut [0; 2]).iter().for_each(|unit| ascii.push_str(&format!("\\u{unit:04x}")));
            }
        }
    }
    HeaderValue::from_str(&ascii).expect("visible ASCII fits into a header")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        let key = |name: &str, text: &str| Key::new(name.to_owned(), Secret::new(text), None, None);
        Keys::new(vec![key("one", "sk-one"), key("two", "sk-two")])
    }

    fn recognised(keys: &Keys, name: &'static str, value: &'static str) -> Result<String, Unknown> {
        let headers = [(http::HeaderName::from_static(name), HeaderValue::from_static(value))].into_iter().collect();
        keys.recognise(&headers).map(|key| key.map(|key| key.name.clone()).unwrap_or_default())
    }

    #[test]
    fn a_key_is_recognised_wherever_clients_put_it() {
        for (name, value, key) in [
            ("authorization", "Bearer sk-one", Ok("one")),
            ("authorization", "bearer  sk-two", Ok("two")),
            ("api-key", "sk-two", Ok("two")),
            ("x-api-key", "sk-one", Ok("one")),
            ("authorization", "Basic sk-one", Err(Unknown::Absent)),
            ("authorization", "Bearer", Err(Unknown::Absent)),
            ("authorization", "Bearer ", Err(Unknown::Wrong)),
            ("authorization", "Bearer sk-on", Err(Unknown::Wrong)),
            ("authorization", "Bearer sk-onee", Err(Unknown::Wrong)),
            ("cookie", "sk-one", Err(Unknown::Absent)),
        ] {
            assert_eq!(recognised(&keys(), name, value), key.map(str::to_owned), "{name}: {value}");
        }
        assert_eq!(recognised(&Keys::new(Vec::new()), "cookie", "x"), Ok(String::new()));
    }

    #[test]
    fn names_of_models_survive_the_header() {
        let names = ["fast".to_owned(), "\u{e9}\u{1f30a}\n\"".to_owned()];
        let told: Vec<String> = serde_json::from_slice(header(&names).as_bytes()).unwrap();
        assert_eq!(told, names);
    }

    #[test]
    fn a_key_with_another_secret_has_no_more_room() {
        let keys = |secret: &str| Keys::new(vec![Key::new("one".to_owned(), Secret::new(secret), None, Some(1))]);
        let (before, mut after) = (keys("sk-old"), keys("sk-new"));
        let _held = before.0[0].enter().unwrap();
        after.keep_rooms(&before);
        assert!(after.0[0].enter().is_err());
        assert_eq!(recognised(&after, "api-key", "sk-new"), Ok("one".to_owned()));
    }

    #[test]
    fn a_key_has_room_for_so_many_calls() {
        let key = Key::new("one".to_owned(), Secret::new("sk"), None, Some(1));
        let held = key.enter().unwrap();
        assert!(key.enter().is_err());
        drop(held);
        key.enter().unwrap();
    }
}
