//! Parameters of the path and the query.

use std::str::FromStr;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;

use crate::problem::Problem;

/// Parses the ID in a path. `name` is the name of the path parameter.
pub(super) fn path_id<T>(name: &str, id: Result<Path<String>, PathRejection>) -> Result<T, Problem>
where
    T: FromStr<Err = ticket_core::Error>,
{
    parse(name, &path_text(name, id)?)
}

/// Returns the text of a path parameter.
pub(super) fn path_text(
    name: &str,
    text: Result<Path<String>, PathRejection>,
) -> Result<String, Problem> {
    match text {
        Ok(Path(text)) => Ok(text),
        Err(_) => Err(Problem::malformed_field(
            name,
            "expected percent-encoded UTF-8",
        )),
    }
}

/// Parses a parameter of the path or the query. One that cannot be parsed is malformed, not invalid.
pub(super) fn parse<T: FromStr<Err = ticket_core::Error>>(
    name: &str,
    text: &str,
) -> Result<T, Problem> {
    text.parse().map_err(|error| match error {
        ticket_core::Error::Invalid { problem, .. } => Problem::malformed_field(name, problem),
        other => other.into(),
    })
}
