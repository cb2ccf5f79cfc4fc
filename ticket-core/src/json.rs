//! Deserialization of JSON with typed errors.

use std::{fmt, marker::PhantomData};

use serde::de::{
    Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer,
};
use serde_path_to_error::Track;

use crate::Error;

/// Parses a JSON object.
///
/// # Errors
/// [`Error::Malformed`] if the text is not JSON, or [`Error::Invalid`] with the path of the field if
/// `T` rejects a value.
pub(crate) fn from_slice<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let mut track = Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut deserializer, &mut track);
    let value = object(tracked).map_err(|error| {
        if !error.is_data() {
            return malformed(&error);
        }
        // The path replaces the position that serde_json appends.
        let text = error.to_string();
        let problem = text
            .rsplit_once(" at line ")
            .map_or(&*text, |(problem, _)| problem);
        let field = path(&track.path().to_string(), problem);
        // The name of a Rust type means nothing to a client.
        let problem = match problem.strip_suffix("expected i64") {
            Some(start) => format!("{start}expected an integer"),
            None => problem.to_owned(),
        };
        Error::invalid(field, problem)
    })?;
    deserializer.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

/// Returns the path of the invalid field. serde reports missing and duplicate fields at the
/// enclosing object.
fn path(parent: &str, problem: &str) -> String {
    let field = ["missing field `", "duplicate field `"]
        .into_iter()
        .find_map(|start| problem.strip_prefix(start)?.strip_suffix('`'));
    match (parent, field) {
        (".", Some(field)) => field.to_owned(),
        (".", None) => "body".to_owned(),
        (parent, Some(field)) => format!("{parent}.{field}"),
        (parent, None) => parent.to_owned(),
    }
}

fn malformed(error: &serde_json::Error) -> Error {
    Error::Malformed {
        problem: error.to_string(),
    }
}

/// Deserializes `T` only from an object. A derived implementation accepts a list of the fields' values
/// too.
pub(crate) fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    struct Object<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_map(Object(PhantomData))
}
