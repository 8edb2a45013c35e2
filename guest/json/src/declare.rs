//! How structs and enums say which keys and words are theirs.
//!
//! Before: a dialect's or the API's types. After: `read` fills them. Invariant: a struct knows its keys, and nothing of JSON.

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
