//! The parameters of a body, and which of its keys have been written.
//!
//! Before: `carry` says whether a parameter may go. After: a dialect's JSON. Invariant: every key that the dialect writes is
//! noted, so that the model's own JSON stands back where the caller has said something.

use std::ops::Deref;

use serde::Serialize;

use super::carry::{Carrier, Extra};
use crate::{
    bindings::{Error, Request},
    json::Object,
    provider::Target,
};

/// A [`Carrier`] that fills one body.
pub(super) struct Parameters<'e> {
    carrier: Carrier<'e>,
    /// The keys that the body has.
    written: Vec<&'e str>,
}

impl<'e> Parameters<'e> {
    pub(super) fn new(target: &'e Target<'e>, request: &'e Request) -> Self {
        Self { carrier: Carrier { target, request }, written: Vec::with_capacity(16) }
    }

    /// Writes a key of the dialect's own.
    pub(super) fn put(&mut self, body: &mut Object<'_>, key: &'e str, value: &(impl Serialize + ?Sized)) {
        self.note(key);
        body.set(key, value);
    }

    /// Writes a parameter, named as OpenAI does, under the dialect's key, if it is there.
    pub(super) fn some(
        &mut self,
        body: &mut Object<'_>,
        parameter: &str,
        key: &'e str,
        value: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<(), Error> {
        if let Some(value) = value
            && self.carries(parameter, true)?
        {
            self.put(body, key, value);
        }
        Ok(())
    }

    /// Notes that a key has been written, so that the model's own JSON stands back.
    pub(super) fn note(&mut self, key: &'e str) {
        self.written.push(key);
    }

    /// Merges the request's and the model's own JSON, last: the request's may not name an owned key.
    pub(super) fn extra(&self, body: &mut Object<'_>, owned: &[&str]) -> Result<(), Error> {
        Extra::of(&self.carrier, owned)?.write(body, &self.written);
        Ok(())
    }
}

impl<'e> Deref for Parameters<'e> {
    type Target = Carrier<'e>;

    fn deref(&self) -> &Carrier<'e> {
        &self.carrier
    }
}
