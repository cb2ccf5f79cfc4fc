//! Objects that hold exactly one key, which says what the value is: `{"fixed": {"ms": 10}}`.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{self, DeserializeOwned, Deserializer, MapAccess, Visitor};

/// A type that is written as an object with one key.
pub(super) trait OneOf: Sized {
    /// What the key can be.
    type Key: DeserializeOwned;

    /// The keys, for people.
    const KEYS: &'static str;

    /// The value that `key` asks for.
    fn read<'de, A: MapAccess<'de>>(key: Self::Key, map: &mut A) -> Result<Self, A::Error>;
}

pub(super) fn deserialize<'de, T: OneOf, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    from.deserialize_map(OneKey(PhantomData))
}

struct OneKey<T>(PhantomData<T>);

impl<'de, T: OneOf> Visitor<'de> for OneKey<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with one of {}", T::KEYS)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let refuse = |what: &str| {
            <A::Error as de::Error>::custom(format_args!("{what}; exactly one of {}", T::KEYS))
        };
        let Some(key) = map.next_key()? else {
            return Err(refuse("an empty object is not allowed"));
        };
        let value = T::read(key, &mut map)?;
        match map.next_key::<String>()? {
            None => Ok(value),
            Some(second) => Err(refuse(&format!("`{second}` is not allowed beside another"))),
        }
    }
}

/// What a type's fields must be to one another.
pub(super) trait Check {
    fn check<E: de::Error>(&self) -> Result<(), E>;
}

/// Refuses at the place of the value, so that the error has its path.
pub(super) struct Checked<T>(pub(super) T);

impl<'de, T: Check + Deserialize<'de>> Deserialize<'de> for Checked<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = T::deserialize(deserializer)?;
        value.check()?;
        Ok(Self(value))
    }
}
