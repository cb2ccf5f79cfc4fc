//! The error of a faults document.

use std::fmt;

/// Nesting that serde_json parses.
const MAX_DEPTH: &str = "at most 127 levels of lists and objects are allowed";

/// Error of a faults document.
///
/// Displayed as `faults[1].when.probability: 1.5 is not allowed: expected a number from 0 to 1`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct Invalid {
    /// The path of the field, such as `faults[1].when.probability`; empty if the error concerns the
    /// whole text.
    pub path: String,
    /// The value, and what is expected.
    pub problem: String,
    /// Whether the text cannot be parsed, in contrast to a value in it that is not allowed.
    pub malformed: bool,
    /// Line and column in the text, counted from 1, if they are known.
    pub position: Option<(usize, usize)>,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.problem)
    }
}

impl Invalid {
    pub(super) fn json(error: serde_path_to_error::Error<serde_json::Error>) -> Self {
        let path = path(error.path());
        let error = error.into_inner();
        if error.is_data() {
            let problem = error.to_string();
            let position = format!(" at line {} column {}", error.line(), error.column());
            let problem = reword(problem.strip_suffix(&position).unwrap_or(&problem));
            Self {
                path,
                problem,
                malformed: false,
                position: None,
            }
        } else {
            Self::json_syntax(&error)
        }
    }

    /// A syntax error, which has a position in the text and no path.
    pub(super) fn json_syntax(error: &serde_json::Error) -> Self {
        let text = error.to_string();
        let (problem, malformed) = if text.starts_with("number out of range") {
            // Valid JSON that no number here can hold.
            let problem = format!("{text}: the largest number is 1.8e308");
            (problem, false)
        } else if let Some(position) = text.strip_prefix("recursion limit exceeded") {
            (format!("nested too deeply{position}: {MAX_DEPTH}"), true)
        } else {
            (format!("not JSON: {text}"), true)
        };
        Self {
            path: String::new(),
            problem,
            malformed,
            position: None,
        }
    }

    pub(super) fn toml_syntax(error: &toml::de::Error) -> Self {
        Self {
            path: String::new(),
            problem: format!("not TOML: {error}"),
            malformed: true,
            position: None,
        }
    }

    pub(super) fn toml(error: serde_path_to_error::Error<toml::de::Error>) -> Self {
        Self {
            path: path(error.path()),
            problem: reword(error.inner().message()),
            malformed: false,
            position: None,
        }
    }
}

fn path(path: &serde_path_to_error::Path) -> String {
    if path.iter().next().is_none() {
        String::new()
    } else {
        path.to_string()
    }
}

/// Rewords messages of serde like those of this module.
fn reword(problem: &str) -> String {
    let prefixes = ["invalid type: ", "unknown variant ", "unknown field "];
    prefixes
        .into_iter()
        .find_map(|kind| problem.strip_prefix(kind)?.split_once(", expected "))
        .map_or_else(
            || problem.to_owned(),
            |(value, allowed)| format!("{value} is not allowed: expected {allowed}"),
        )
}
