use serde::de::DeserializeOwned;

use crate::Error;

/// Reads `T` from JSON. What serde would only say by line and column comes with the path of the
/// field: a text that is no JSON is [`Error::Malformed`], a value that `T` refuses is
/// [`Error::Invalid`].
///
/// # Errors
/// The two above.
pub(crate) fn from_slice<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        if !error.is_data() {
            return malformed(&error);
        }
        // serde_json appends the position, which the path makes superfluous.
        let text = error.to_string();
        let problem = text
            .rsplit_once(" at line ")
            .map_or(&*text, |(problem, _)| problem);
        Error::invalid(if path == "." { "body" } else { &path }, problem)
    })?;
    deserializer.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

fn malformed(error: &serde_json::Error) -> Error {
    Error::Malformed {
        problem: error.to_string(),
    }
}
