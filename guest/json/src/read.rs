//! Reads JSON straight into structs.
//!
//! Before: an answer, an event or a request, as text. After: `dialect` and `api` have structs. Invariant: text is borrowed
//! where its place can borrow it, what is kept as it was written has been seen to be JSON, and keys that nobody asks for are
//! passed over without being kept.
//!
//! serde's derived readers are a copy of the parser for every type: with six dialects, a quarter of the component. Here
//! serde_json parses once, into places that say by themselves what they take; a struct of [`reader!`](crate::reader) only
//! knows which of its fields a key names.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::wrong::{Fault, Wrong};

/// Reads a value.
///
/// # Errors
/// If it is no JSON, or not of that shape.
pub fn read<'a, T: Slot<'a> + Default>(text: &'a str) -> Result<T, Wrong> {
    let mut value = T::default();
    fill(text, value.place())?;
    Ok(value)
}

/// Where a value goes.
pub trait Slot<'a> {
    /// What it takes, in words.
    fn what(&self) -> &'static str;

    /// Takes a value that is neither a list nor an object. `false` if it takes none such.
    fn put(&mut self, _: Scalar<'a>) -> bool {
        false
    }

    /// A list or an object begins. `None` if it takes none such.
    fn open(&mut self, _list: bool) -> Option<&'static Rules> {
        None
    }

    /// Where the value under a key of the object goes.
    fn field(&mut self, _key: &str) -> Field<'_, 'a> {
        Field::Unknown
    }

    /// Where the next item of the list goes.
    fn item(&mut self) -> Field<'_, 'a> {
        Field::Unknown
    }

    /// This, as a field or an item.
    fn place(&mut self) -> Field<'_, 'a>
    where
        Self: Sized,
    {
        Field::Known(self)
    }
}

/// A value that is neither a list nor an object.
#[derive(Debug)]
pub enum Scalar<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number from 0.
    Unsigned(u64),
    /// A whole number below 0.
    Signed(i64),
    /// Another number.
    Float(f64),
    /// A text.
    Text(Cow<'a, str>),
}

/// Where the value of a field or an item goes.
pub enum Field<'s, 'a> {
    /// Nowhere: nobody knows it.
    Unknown,
    /// There.
    Known(&'s mut dyn Slot<'a>),
    /// There, as it is written; `null` is nothing.
    Raw(&'s mut Option<&'a RawValue>),
}

/// What an object may and has to hold.
#[derive(Debug)]
pub struct Rules {
    /// Refuses keys that it does not know.
    pub strict: bool,
    /// The keys that have to be there.
    pub needed: &'static [&'static str],
}

impl Rules {
    /// Everything may be there, and nothing has to be.
    pub const NONE: &'static Self = &Self { strict: false, needed: &[] };
}

/// Parses a text into its place.
fn fill<'a>(text: &'a str, place: Field<'_, 'a>) -> Result<(), Wrong> {
    let mut json = serde_json::Deserializer::from_str(text);
    let mut wrong = None;
    let read = Fill { place, wrong: &mut wrong }.deserialize(&mut json).and_then(|()| json.end());
    read.map_err(|error| wrong.unwrap_or_else(|| Wrong::new(Fault::Json(error))))
}

/// Reads one value into its place. serde_json's errors cannot carry ours, so what is wrong stands beside.
struct Fill<'s, 'w, 'a> {
    place: Field<'s, 'a>,
    wrong: &'w mut Option<Wrong>,
}

impl<'a> DeserializeSeed<'a> for Fill<'_, '_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.place {
            Field::Known(slot) => deserializer.deserialize_any(Filling { slot, wrong: self.wrong }),
            Field::Raw(slot) => {
                *slot = Some(<&RawValue>::deserialize(deserializer)?).filter(|raw| raw.get() != "null");
                Ok(())
            }
            Field::Unknown => IgnoredAny::deserialize(deserializer).map(|_| ()),
        }
    }
}

/// The next item of a list: its place is made once it is known that there is one.
struct Item<'s, 'w, 'a> {
    list: &'s mut dyn Slot<'a>,
    wrong: &'w mut Option<Wrong>,
}

impl<'a> DeserializeSeed<'a> for Item<'_, '_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        Fill { place: self.list.item(), wrong: self.wrong }.deserialize(deserializer)
    }
}

/// What serde_json tells of a value.
struct Filling<'s, 'w, 'a> {
    slot: &'s mut dyn Slot<'a>,
    wrong: &'w mut Option<Wrong>,
}

impl<'a> Filling<'_, '_, 'a> {
    fn put<E: Error>(self, value: Scalar<'a>) -> Result<(), E> {
        if self.slot.put(value) { Ok(()) } else { self.refuse() }
    }

    #[cold]
    fn refuse<E: Error>(self) -> Result<(), E> {
        *self.wrong = Some(Wrong::new(Fault::Shape(String::new(), self.slot.what())));
        Err(E::custom(""))
    }
}

impl<'a> Visitor<'a> for Filling<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.slot.what())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.put(Scalar::Null)
    }

    fn visit_bool<E: Error>(self, yes: bool) -> Result<(), E> {
        self.put(Scalar::Bool(yes))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.put(Scalar::Unsigned(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.put(Scalar::Signed(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.put(Scalar::Float(number))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'a str) -> Result<(), E> {
        self.put(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.put(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<(), A::Error> {
        if self.slot.open(true).is_none() {
            return self.refuse();
        }
        while list.next_element_seed(Item { list: self.slot, wrong: self.wrong })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'a>>(self, mut object: A) -> Result<(), A::Error> {
        let Some(rules) = self.slot.open(false) else { return self.refuse() };
        let mut found: u32 = 0;
        while let Some(key) = object.next_key_seed(Key)? {
            let place = self.slot.field(&key);
            if rules.strict && matches!(place, Field::Unknown) {
                *self.wrong = Some(Wrong::new(Fault::Unknown(key.into_owned())));
                return Err(A::Error::custom(""));
            }
            object.next_value_seed(Fill { place, wrong: self.wrong }).inspect_err(|_| {
                if let Some(wrong) = self.wrong {
                    wrong.under(&key);
                }
            })?;
            if let Some(place) = rules.needed.iter().position(|needed| *needed == key) {
                found |= 1 << place;
            }
        }
        if let Some(place) = (0..rules.needed.len()).find(|place| found & 1 << place == 0) {
            *self.wrong = Some(Wrong::new(Fault::Missing(rules.needed[place])));
            return Err(A::Error::custom(""));
        }
        Ok(())
    }
}

/// A key, borrowed where it has no escapes.
struct Key;

impl<'a> DeserializeSeed<'a> for Key {
    type Value = Cow<'a, str>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Cow<'a, str>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Key {
    type Value = Cow<'a, str>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'a str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}
