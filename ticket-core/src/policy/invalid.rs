use std::fmt;

/// Why a faults document was refused.
///
/// It reads `faults[1].when.probability: 1.5 is not allowed; a number from 0 to 1`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct Invalid {
    /// The way to the field, as `faults[1].when.probability`; empty where the text as a whole is
    /// meant.
    pub path: String,
    /// The value, and what is allowed instead.
    pub problem: String,
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
            let problem = plain(problem.strip_suffix(&position).unwrap_or(&problem));
            Self { path, problem }
        } else {
            Self::json_syntax(&error)
        }
    }

    /// What is not JSON has a place in the text rather than a path.
    pub(super) fn json_syntax(error: &serde_json::Error) -> Self {
        Self {
            path: String::new(),
            problem: format!("not JSON: {error}"),
        }
    }

    pub(super) fn toml_syntax(error: &toml::de::Error) -> Self {
        Self {
            path: String::new(),
            problem: format!("not TOML: {error}"),
        }
    }

    pub(super) fn toml(error: serde_path_to_error::Error<toml::de::Error>) -> Self {
        Self {
            path: path(error.path()),
            problem: plain(error.inner().message()),
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

/// The words that this module has for every refusal, for those of serde's own.
fn plain(problem: &str) -> String {
    let of_serde = ["invalid type: ", "unknown variant ", "unknown field "];
    of_serde
        .into_iter()
        .find_map(|kind| problem.strip_prefix(kind)?.split_once(", expected "))
        .map_or_else(
            || problem.to_owned(),
            |(value, allowed)| format!("{value} is not allowed; {allowed}"),
        )
}
