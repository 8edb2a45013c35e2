//! The models that a caller may use, as the host tells them.
//!
//! Before: the host has recognised the caller's key. After: a request is refused, or goes to its provider. Invariant: what the
//! host says in a form that cannot be read allows nothing.

use crate::bindings::{Error, ErrorKind};

/// The models that a caller may use: all of them, or those of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed(Option<Vec<String>>);

impl Allowed {
    /// The header that the host says it in. A client's own never arrives: the host takes it out.
    pub const HEADER: &str = "seaway-models";

    /// Reads the header: a JSON list of names, in which a `*` at the end stands for any end. Absent, it allows all.
    ///
    /// # Errors
    /// `configuration` if it is no such list.
    pub fn parse(header: Option<&[u8]>) -> Result<Self, Error> {
        let list = header.map(serde_json::from_slice).transpose();
        list.map(Self).map_err(|error| {
            Error::new(ErrorKind::Configuration, format!("the header {} is no list of names: {error}", Self::HEADER))
        })
    }

    /// Refuses a model that is not among them.
    ///
    /// # Errors
    /// `permission`, naming the model.
    pub fn check(&self, model: &str) -> Result<(), Error> {
        match self.has(model) {
            true => Ok(()),
            false => {
                let message = format!("model `{model}` is not among those that this key may use");
                Err(Error::new(ErrorKind::Permission, message).about("model"))
            }
        }
    }

    /// True if `model` is among them.
    pub fn has(&self, model: &str) -> bool {
        let fits = |name: &String| match name.strip_suffix('*') {
            Some(beginning) => model.starts_with(beginning),
            None => name == model,
        };
        self.0.as_ref().is_none_or(|names| names.iter().any(fits))
    }

    /// The names that stand for one model each.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flatten().map(String::as_str).filter(|name| !name.ends_with('*'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_allows_its_names_and_beginnings_alone() {
        let allowed = Allowed::parse(Some(br#"["fast", "openai/*"]"#)).unwrap();
        for (model, is) in [("fast", true), ("faster", false), ("openai/gpt-4o", true), ("groq/x", false), ("", false)]
        {
            assert_eq!(allowed.check(model).is_ok(), is, "{model}");
        }
        assert_eq!(allowed.names().collect::<Vec<_>>(), ["fast"]);
        assert_eq!(allowed.check("groq/x").unwrap_err().kind, ErrorKind::Permission);
    }

    #[test]
    fn no_header_allows_all_and_a_broken_one_is_refused() {
        assert!(Allowed::parse(None).unwrap().has("anything"));
        assert!(!Allowed::parse(Some(b"[]")).unwrap().has("anything"));
        for broken in ["", "fast", "{}", "[1]"] {
            assert!(Allowed::parse(Some(broken.as_bytes())).is_err(), "{broken}");
        }
    }
}
