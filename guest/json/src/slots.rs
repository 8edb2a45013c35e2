//! What can be read by itself: numbers, texts, lists, maps, and JSON as it is written.
//!
//! Before: `read` has a value. After: the fields of structs. Invariant: a number is taken only where it fits.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Map, Value, value::RawValue};

use crate::read::{Field, Rules, Scalar, Slot};

impl<'a, T: Slot<'a> + Default> Slot<'a> for Option<T> {
    fn what(&self) -> &'static str {
        self.as_ref().map_or("null", Slot::what)
    }

    fn put(&mut self, value: Scalar<'a>) -> bool {
        if matches!(value, Scalar::Null) {
            *self = None;
            return true;
        }
        self.get_or_insert_default().put(value)
    }

    fn open(&mut self, list: bool) -> Option<&'static Rules> {
        self.get_or_insert_default().open(list)
    }

    fn field(&mut self, key: &str) -> Field<'_, 'a> {
        self.get_or_insert_default().field(key)
    }

    fn item(&mut self) -> Field<'_, 'a> {
        self.get_or_insert_default().item()
    }
}

impl<'a, T: Slot<'a> + Default> Slot<'a> for Vec<T> {
    fn what(&self) -> &'static str {
        "a list"
    }

    fn open(&mut self, list: bool) -> Option<&'static Rules> {
        self.clear();
        list.then_some(Rules::NONE)
    }

    fn item(&mut self) -> Field<'_, 'a> {
        self.push(T::default());
        self.last_mut().map_or(Field::Unknown, Slot::place)
    }
}

impl<'a> Slot<'a> for Option<&'a RawValue> {
    fn what(&self) -> &'static str {
        "JSON"
    }

    fn place(&mut self) -> Field<'_, 'a> {
        Field::Raw(self)
    }
}

/// An object's fields, where the keys are anyone's.
#[derive(Debug)]
pub struct Pairs<T>(pub Vec<(String, T)>);

impl<T> Default for Pairs<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'a, T: Slot<'a> + Default> Slot<'a> for Pairs<T> {
    fn what(&self) -> &'static str {
        "an object"
    }

    fn open(&mut self, list: bool) -> Option<&'static Rules> {
        self.0.clear();
        (!list).then_some(Rules::NONE)
    }

    fn field(&mut self, key: &str) -> Field<'_, 'a> {
        let place = self.0.iter().position(|(known, _)| known == key).unwrap_or_else(|| {
            self.0.push((key.to_owned(), T::default()));
            self.0.len() - 1
        });
        self.0[place].1.place()
    }
}

impl<'a, T: Slot<'a> + Default> Slot<'a> for BTreeMap<String, T> {
    fn what(&self) -> &'static str {
        "an object"
    }

    fn open(&mut self, list: bool) -> Option<&'static Rules> {
        (!list).then_some(Rules::NONE)
    }

    fn field(&mut self, key: &str) -> Field<'_, 'a> {
        self.entry(key.to_owned()).or_default().place()
    }
}

impl<'a> Slot<'a> for Map<String, Value> {
    fn what(&self) -> &'static str {
        "an object"
    }

    fn open(&mut self, list: bool) -> Option<&'static Rules> {
        (!list).then_some(Rules::NONE)
    }

    fn field(&mut self, key: &str) -> Field<'_, 'a> {
        self.entry(key).or_insert(Value::Null).place()
    }
}

impl<'a> Slot<'a> for Value {
    fn what(&self) -> &'static str {
        "JSON"
    }

    fn put(&mut self, value: Scalar<'a>) -> bool {
        *self = match value {
            Scalar::Null => Self::Null,
            Scalar::Bool(yes) => yes.into(),
            Scalar::Unsigned(number) => number.into(),
            Scalar::Signed(number) => number.into(),
            Scalar::Float(number) => number.into(),
            Scalar::Text(text) => Self::String(text.into_owned()),
        };
        true
    }

    fn open(&mut self, list: bool) -> Option<&'static Rules> {
        *self = if list { Self::Array(Vec::new()) } else { Self::Object(Map::new()) };
        Some(Rules::NONE)
    }

    fn field(&mut self, key: &str) -> Field<'_, 'a> {
        self.as_object_mut().map_or(Field::Unknown, |object| object.field(key))
    }

    fn item(&mut self) -> Field<'_, 'a> {
        self.as_array_mut().map_or(Field::Unknown, Slot::item)
    }
}

/// Any value, as it is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Any<'a>(Option<&'a RawValue>);

impl<'a> Any<'a> {
    /// Its JSON.
    pub fn get(self) -> &'a str {
        self.0.map_or("null", RawValue::get)
    }
}

impl<'a> Slot<'a> for Any<'a> {
    fn what(&self) -> &'static str {
        "JSON"
    }

    fn place(&mut self) -> Field<'_, 'a> {
        Field::Raw(&mut self.0)
    }
}

/// A list of JSON as it is written, without what is null.
#[derive(Debug, Default)]
pub struct Raws<'a>(Vec<Option<&'a RawValue>>);

impl<'a> IntoIterator for Raws<'a> {
    type Item = &'a RawValue;
    type IntoIter = std::iter::Flatten<std::vec::IntoIter<Option<&'a RawValue>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().flatten()
    }
}

impl<'a> Slot<'a> for Raws<'a> {
    fn what(&self) -> &'static str {
        self.0.what()
    }

    fn open(&mut self, list: bool) -> Option<&'static Rules> {
        self.0.clear();
        list.then_some(Rules::NONE)
    }

    fn item(&mut self) -> Field<'_, 'a> {
        self.0.push(None);
        self.0.last_mut().map_or(Field::Unknown, Field::Raw)
    }
}

/// A text, where some write something else under the same key: that is passed over.
#[derive(Debug, Default)]
pub struct Loose(pub Option<String>);

impl<'a> Slot<'a> for Loose {
    fn what(&self) -> &'static str {
        "anything"
    }

    fn put(&mut self, value: Scalar<'a>) -> bool {
        self.0 = match value {
            Scalar::Text(text) => Some(text.into_owned()),
            Scalar::Null | Scalar::Bool(_) | Scalar::Unsigned(_) | Scalar::Signed(_) | Scalar::Float(_) => None,
        };
        true
    }

    fn open(&mut self, _list: bool) -> Option<&'static Rules> {
        Some(Rules::NONE)
    }
}

/// A content as OpenAI has it: text, or parts.
#[derive(Debug, Default)]
pub enum Content<T> {
    /// Nothing.
    #[default]
    None,
    /// Text.
    Text(String),
    /// Parts.
    Parts(Vec<T>),
}

impl<'a, T: Slot<'a> + Default> Slot<'a> for Content<T> {
    fn what(&self) -> &'static str {
        "a text or a list of parts"
    }

    fn put(&mut self, value: Scalar<'a>) -> bool {
        *self = match value {
            Scalar::Null => Self::None,
            Scalar::Text(text) => Self::Text(text.into_owned()),
            Scalar::Bool(_) | Scalar::Unsigned(_) | Scalar::Signed(_) | Scalar::Float(_) => return false,
        };
        true
    }

    fn open(&mut self, list: bool) -> Option<&'static Rules> {
        *self = Self::Parts(Vec::new());
        list.then_some(Rules::NONE)
    }

    fn item(&mut self) -> Field<'_, 'a> {
        match self {
            Self::Parts(parts) => parts.item(),
            Self::None | Self::Text(_) => Field::Unknown,
        }
    }
}

impl<'a> Slot<'a> for Cow<'a, str> {
    fn what(&self) -> &'static str {
        "a text"
    }

    fn put(&mut self, value: Scalar<'a>) -> bool {
        let Scalar::Text(text) = value else { return false };
        *self = text;
        true
    }
}

impl<'a> Slot<'a> for String {
    fn what(&self) -> &'static str {
        "a text"
    }

    fn put(&mut self, value: Scalar<'a>) -> bool {
        let Scalar::Text(text) = value else { return false };
        *self = text.into_owned();
        true
    }
}

/// A number, or yes or no: `$kind` out of those scalars that can be one.
macro_rules! scalar {
    ($kind:ty, $what:literal, $($value:pat => $read:expr),+) => {
        impl<'a> Slot<'a> for $kind {
            fn what(&self) -> &'static str {
                $what
            }

            fn put(&mut self, value: Scalar<'a>) -> bool {
                let read: Option<$kind> = match value {
                    $($value => $read,)+
                    _ => None,
                };
                read.is_some_and(|read| {
                    *self = read;
                    true
                })
            }
        }
    };
}
scalar!(bool, "true or false", Scalar::Bool(yes) => Some(yes));
scalar!(u64, "a whole number", Scalar::Unsigned(number) => Some(number));
scalar!(usize, "a whole number", Scalar::Unsigned(number) => number.try_into().ok());
scalar!(u32, "a whole number", Scalar::Unsigned(number) => number.try_into().ok());
scalar!(u8, "a byte", Scalar::Unsigned(number) => number.try_into().ok());
scalar!(
    i64, "a whole number",
    Scalar::Unsigned(number) => number.try_into().ok(),
    Scalar::Signed(number) => Some(number)
);
scalar!(
    f64, "a number",
    Scalar::Unsigned(number) => Some(number as Self),
    Scalar::Signed(number) => Some(number as Self),
    Scalar::Float(number) => Some(number)
);
