//! JSON in little code: written straight into bytes, and read straight into structs.
//!
//! Before and after: the guest's dialects and its API. Invariant: what is written is one JSON value, with every string
//! escaped; raw JSON goes in only through [`Object::raw`], whose callers have parsed it.
//!
//! A crate of its own, since it is where the time of an event goes: it is compiled for speed, the rest for size.

#![forbid(unsafe_code)]

mod read;
mod slots;
mod wrong;
mod declare;
#[cfg(test)]
mod tests;

pub use read::{Field, Rules, Scalar, Slot, read};
pub use slots::{Any, Content, Loose, Pairs, Raws};
pub use wrong::{Fault, Wrong};

use serde::Serialize;

/// A JSON object in the making.
#[derive(Debug)]
pub struct Object<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

/// Writes an object.
///
/// # Errors
/// Those of what writes it.
pub fn object<E>(out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>) -> Result<(), E>) -> Result<(), E> {
    out.push(b'{');
    fill(&mut Object { out, empty: true })?;
    out.push(b'}');
    Ok(())
}

/// Writes a list, one `write` an item.
///
/// # Errors
/// Those of what writes it.
pub fn list<T, E>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T) -> Result<(), E>,
) -> Result<(), E> {
    out.push(b'[');
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write(out, item)?;
    }
    out.push(b']');
    Ok(())
}

/// Writes a value.
///
/// # Panics
/// If its own `Serialize` fails, which those of strings, numbers and lists of them never do.
#[inline(never)]
pub fn value(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(out, value).expect("strings and numbers go into memory");
}

impl Object<'_> {
    /// Writes a key, and returns where its value goes. It stays one function: inlined at every key
    /// of every dialect it would be 40 KB of the component.
    #[inline(never)]
    pub fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.empty) {
            self.out.push(b',');
        }
        value(self.out, key);
        self.out.push(b':');
        self.out
    }

    /// Writes a key and its value.
    pub fn set(&mut self, key: &str, to: &(impl Serialize + ?Sized)) {
        value(self.key(key), to);
    }

    /// Writes a key and its value, if there is one.
    pub fn some(&mut self, key: &str, to: Option<&(impl Serialize + ?Sized)>) {
        if let Some(to) = to {
            self.set(key, to);
        }
    }

    /// Writes a key and JSON that the caller has parsed.
    pub fn raw(&mut self, key: &str, json: &str) {
        self.key(key).extend_from_slice(json.as_bytes());
    }

    /// Writes a key and an object.
    ///
    /// # Errors
    /// Those of what writes it.
    pub fn object<E>(&mut self, key: &str, fill: impl FnOnce(&mut Object<'_>) -> Result<(), E>) -> Result<(), E> {
        object(self.key(key), fill)
    }

    /// Writes a key and a list.
    ///
    /// # Errors
    /// Those of what writes it.
    pub fn list<T, E>(
        &mut self,
        key: &str,
        items: impl IntoIterator<Item = T>,
        write: impl FnMut(&mut Vec<u8>, T) -> Result<(), E>,
    ) -> Result<(), E> {
        list(self.key(key), items, write)
    }
}
