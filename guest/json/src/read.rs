//! Reads JSON straight into structs.
//!
//! Before: an answer, an event or a request, as text. After: `dialect` and `api` have structs. Invariant: text is borrowed
//! where its place can borrow it, what is kept as it was written has been seen to be JSON, and keys that nobody asks for are
//! passed over without being kept.
//!
//! serde's derived readers are a copy of the parser for every type: with six dialects, a quarter of the component. Here
//! serde_json parses once, into places that say by themselves what they take; a struct of [`reader!`](crate::reader) only
//! knows which of its fields a key names.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};

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

/// Why a value cannot be read. Boxed, so that a result is small where all is well.
#[derive(Debug)]
pub struct Wrong(Box<Fault>);

/// What is wrong.
#[derive(Debug)]
pub enum Fault {
    /// It is no JSON.
    Json(serde_json::Error),
    /// An object that is strict has this key.
    Unknown(String),
    /// An object lacks this key.
    Missing(&'static str),
    /// What is at this place is not this.
    Shape(String, &'static str),
}

impl Wrong {
    /// What is wrong.
    pub fn fault(&self) -> &Fault {
        &self.0
    }

    #[cold]
    fn new(fault: Fault) -> Self {
        Self(Box::new(fault))
    }

    /// The same, seen from the object that has the value under `key`.
    #[cold]
    fn under(&mut self, key: &str) {
        if let Fault::Shape(place, _) = &mut *self.0 {
            *place = if place.is_empty() { key.to_owned() } else { format!("{key}.{place}") };
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault() {
            Fault::Json(error) => error.fmt(out),
            Fault::Unknown(key) => write!(out, "unknown field `{key}`"),
            Fault::Missing(key) => write!(out, "missing field `{key}`"),
            Fault::Shape(place, what) if place.is_empty() => write!(out, "it is not {what}"),
            Fault::Shape(place, what) => write!(out, "`{place}` is not {what}"),
        }
    }
}

/// Declares a struct and how it is read: each field's key, with `[needed]` where it has to be there. `[strict]` before all
/// refuses other keys.
#[macro_export]
macro_rules! reader {
    ([strict] $($rest:tt)*) => { $crate::reader!(+ true, $($rest)*); };
    (+ $strict:literal, $(#[$meta:meta])* $vis:vis struct $name:ident<'a> { $($fields:tt)* }) => {
        $crate::reader!(@ $strict, [$(#[$meta])*] [$vis] $name [<'a>] $($fields)*);
    };
    (+ $strict:literal, $(#[$meta:meta])* $vis:vis struct $name:ident { $($fields:tt)* }) => {
        $crate::reader!(@ $strict, [$(#[$meta])*] [$vis] $name [] $($fields)*);
    };
    (@ $strict:literal, [$(#[$meta:meta])*] [$vis:vis] $name:ident [$($life:tt)*]
        $($(#[$about:meta])* $([$needed:ident])? $key:literal $(| $alias:literal)* => $seen:vis $field:ident: $kind:ty,)*
    ) => {
        $(#[$meta])*
        #[derive(Default)]
        $vis struct $name $($life)* {
            $($(#[$about])* $seen $field: $kind,)*
        }

        $crate::fields!(@ $strict, $name [$($life)*] $($([$needed])? $key $(| $alias)* => $field,)*);
    };
    ($($rest:tt)*) => { $crate::reader!(+ false, $($rest)*); };
}

/// How a struct is read that is declared elsewhere: as [`reader!`](crate::reader), without the types.
#[macro_export]
macro_rules! fields {
    ([strict] $name:ident { $($fields:tt)* }) => { $crate::fields!(@ true, $name [] $($fields)*); };
    (@ $strict:literal, $name:ident [$($life:tt)*]
        $($([$needed:ident])? $key:literal $(| $alias:literal)* => $field:ident,)*
    ) => {
        impl<'a> $crate::Slot<'a> for $name $($life)* {
            fn what(&self) -> &'static str {
                "an object"
            }

            fn open(&mut self, list: bool) -> Option<&'static $crate::Rules> {
                const RULES: &$crate::Rules = &$crate::Rules {
                    strict: $strict,
                    needed: &[$($({ stringify!($needed); $key },)?)*],
                };
                (!list).then_some(RULES)
            }

            fn field(&mut self, key: &str) -> $crate::Field<'_, 'a> {
                // A field that has no key does not compile.
                let Self { $($field,)* } = self;
                match key {
                    $($key $(| $alias)* => $crate::Slot::place($field),)*
                    _ => $crate::Field::Unknown,
                }
            }
        }
    };
}

/// How an enum is read whose variants are words.
#[macro_export]
macro_rules! words {
    ($name:ident { $($word:literal => $variant:ident,)* }) => {
        impl<'a> $crate::Slot<'a> for $name {
            fn what(&self) -> &'static str {
                concat!("one of" $(, " `", $word, "`")*)
            }

            fn put(&mut self, value: $crate::Scalar<'a>) -> bool {
                let $crate::Scalar::Text(word) = value else { return false };
                *self = match &*word {
                    $($word => Self::$variant,)*
                    _ => return false,
                };
                true
            }
        }
    };
}

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
            Field::Known(slot) => deserializer.deserialize_any(Into { slot, wrong: self.wrong }),
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
struct Into<'s, 'w, 'a> {
    slot: &'s mut dyn Slot<'a>,
    wrong: &'w mut Option<Wrong>,
}

impl<'a> Into<'_, '_, 'a> {
    fn put<E: Error>(self, value: Scalar<'a>) -> Result<(), E> {
        if self.slot.put(value) { Ok(()) } else { self.refuse() }
    }

    #[cold]
    fn refuse<E: Error>(self) -> Result<(), E> {
        *self.wrong = Some(Wrong::new(Fault::Shape(String::new(), self.slot.what())));
        Err(E::custom(""))
    }
}

impl<'a> Visitor<'a> for Into<'_, '_, 'a> {
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

#[cfg(test)]
mod tests {
    use super::*;

    crate::reader! {
        [strict]
        struct Order<'a> {
            [needed] "name" => name: Cow<'a, str>,
            "count" | "amount" => count: Option<u32>,
            "tags" => tags: Vec<String>,
            "parts" => parts: Vec<Part>,
            "schema" => schema: Option<&'a RawValue>,
            "notes" => notes: Raws<'a>,
            "labels" => labels: Pairs<f64>,
            "hint" => hint: Option<Loose>,
        }
    }

    crate::reader! {
        #[derive(Debug, PartialEq)]
        struct Part {
            "size" => size: Option<i64>,
        }
    }

    fn wrong(text: &str) -> String {
        read::<Order<'_>>(text).err().unwrap().to_string()
    }

    #[test]
    fn every_kind_of_value_finds_its_place() {
        let text = r#"{"n\u0061me": "x", "amount": 3, "tags": ["a", "b"], "parts": [{"size": -1, "more": [{}]}, {}],
            "schema": {"b": 1.0, "a": 1e2}, "notes": [1, null, "c"], "labels": {"u": 1, "v": 0.5, "u": 2}, "hint": {"k": []}}"#;
        let order: Order<'_> = read(text).unwrap();
        assert_eq!((&*order.name, order.count), ("x", Some(3)));
        assert_eq!(order.tags, ["a", "b"]);
        assert_eq!(order.parts, [Part { size: Some(-1) }, Part { size: None }]);
        assert_eq!(order.schema.unwrap().get(), r#"{"b": 1.0, "a": 1e2}"#);
        assert_eq!(order.notes.into_iter().map(RawValue::get).collect::<Vec<_>>(), ["1", "\"c\""]);
        assert_eq!(order.labels.0, [("u".to_owned(), 2.0), ("v".to_owned(), 0.5)]);
        assert!(order.hint.is_some());
    }

    #[test]
    fn a_text_is_borrowed_where_it_has_no_escape() {
        let borrowed = |text: &str| matches!(read::<Order<'_>>(text).unwrap().name, Cow::Borrowed(_));
        assert!(borrowed(r#"{"name": "plain"}"#));
        assert!(!borrowed(r#"{"name": "line\nfeed"}"#));
    }

    #[test]
    fn null_is_nothing_where_nothing_may_be() {
        let order: Order<'_> = read(r#"{"name": "x", "count": null, "schema": null, "hint": null}"#).unwrap();
        assert!(order.count.is_none() && order.schema.is_none() && order.hint.is_none());
        assert_eq!(wrong(r#"{"name": null}"#), "`name` is not a text");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        assert_eq!(wrong(r#"{"count": 1}"#), "missing field `name`");
        assert_eq!(wrong(r#"{"name": "x", "colour": 1}"#), "unknown field `colour`");
        assert_eq!(wrong(r#"{"name": "x", "parts": [{"size": "big"}]}"#), "`parts.size` is not a whole number");
        assert_eq!(wrong(r#"{"name": "x", "count": 4294967296}"#), "`count` is not a whole number");
        assert_eq!(wrong("[]"), "it is not an object");
        assert!(wrong(r#"{"name": "x""#).starts_with("EOF while parsing"));
        assert!(wrong(r#"{"name": "x"} {"#).starts_with("trailing characters"));
    }

    #[test]
    fn what_nobody_asks_for_may_be_as_deep_as_it_likes() {
        let deep = format!(r#"{{"size": 1, "more": {}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(read::<Part>(&deep).unwrap(), Part { size: Some(1) });
    }
}
