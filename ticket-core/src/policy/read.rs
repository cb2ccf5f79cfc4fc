//! Deserialization of the parts of a faults document. Each part validates itself, so that errors have
//! the path of the invalid value.

use std::{fmt, marker::PhantomData, ops::RangeInclusive};

use serde::{
    Deserialize,
    de::{self, Deserializer, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

/// Returns the error of a value that has the right type but is not allowed.
pub(super) fn refused<E: de::Error>(value: impl fmt::Display, allowed: impl fmt::Display) -> E {
    E::custom(format_args!("{value} is not allowed: expected {allowed}"))
}

/// Object with named fields. A derived implementation would accept a list of their values too.
pub(super) trait Object<'de>: Deserialize<'de> {
    /// Description for error messages.
    const WHAT: &'static str;

    /// Validates the fields in combination.
    fn check<E: de::Error>(&self) -> Result<(), E> {
        Ok(())
    }
}

pub(super) fn object<'de, T: Object<'de>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    from.deserialize_map(ObjectVisitor(PhantomData))
}

/// Type that deserializes with [`object`].
pub(super) struct Checked<T>(pub(super) T);

impl<'de, T: Object<'de>> Deserialize<'de> for Checked<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        object(deserializer).map(Self)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Object<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::WHAT)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        let object = T::deserialize(MapAccessDeserializer::new(map))?;
        object.check()?;
        Ok(object)
    }
}

/// Object with exactly one key, which selects the type of the value: `{"fixed": {"ms": 10}}`.
pub(super) trait OneOf: Sized {
    /// The keys, for error messages.
    const KEYS: &'static str;

    /// Reads the value of `key`, or returns `None` if the key is unknown.
    fn read<'de, A: MapAccess<'de>>(key: &str, map: &mut A) -> Result<Option<Self>, A::Error>;
}

pub(super) fn one_of<'de, T: OneOf, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    from.deserialize_map(OneOfVisitor(PhantomData))
}

struct OneOfVisitor<T>(PhantomData<T>);

impl<'de, T: OneOf> Visitor<'de> for OneOfVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with one of {}", T::KEYS)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let allowed = format_args!("one of {}", T::KEYS);
        let Some(key) = map.next_key::<String>()? else {
            return Err(refused("an empty object", allowed));
        };
        let Some(value) = T::read(&key, &mut map)? else {
            return Err(refused(format_args!("{key:?}"), allowed));
        };
        match map.next_key::<String>()? {
            None => Ok(value),
            Some(second) => Err(refused(format_args!("{second:?} beside {key:?}"), allowed)),
        }
    }
}

/// Deserializes a list whose length is in a range. `what` describes it for error messages.
pub(super) fn list<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
    lengths: RangeInclusive<usize>,
    what: &'static str,
) -> Result<Vec<T>, D::Error> {
    from.deserialize_seq(ListVisitor {
        lengths,
        what,
        item: PhantomData,
    })
}

struct ListVisitor<T> {
    lengths: RangeInclusive<usize>,
    what: &'static str,
    item: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            if list.len() == *self.lengths.end() {
                return Err(refused("a longer list", self.what));
            }
            list.push(item);
        }
        if self.lengths.contains(&list.len()) {
            Ok(list)
        } else {
            Err(refused(format_args!("a list of {}", list.len()), self.what))
        }
    }
}
