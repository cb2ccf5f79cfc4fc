//! Scenarios by name or file.

use std::io;
use std::path::{Path, PathBuf};

use ticket_core::policy::{Invalid, Scenario};

use crate::faults_file;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{} is neither a scenario ({}) nor a readable file", path.display(), names())]
    Unknown {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    #[error("{}{} is invalid", path.display(), position(source))]
    Invalid { path: PathBuf, source: Invalid },
}

/// Returns the position for an error message, such as `:3:12`, as compilers write it.
fn position(invalid: &Invalid) -> String {
    match invalid.position {
        Some((line, column)) => format!(":{line}:{column}"),
        None => String::new(),
    }
}

/// Returns the names of the scenarios that need no file.
pub(crate) fn names() -> String {
    let names: Vec<_> = Scenario::all().iter().map(Scenario::name).collect();
    names.join(", ")
}

/// Returns the scenario with this name, or the one in the file at this path. The name of a scenario in
/// a file is that of the file, without its extension.
///
/// # Errors
///
/// Returns an error if there is neither, or if the file is invalid.
pub(crate) fn load(source: &Path) -> Result<Scenario, Error> {
    if let Some(scenario) = source.to_str().and_then(Scenario::named) {
        return Ok(scenario);
    }
    let path = source.to_owned();
    let text = faults_file::read(source).map_err(|error| Error::Unknown {
        path: path.clone(),
        error,
    })?;
    let name = source.file_stem().unwrap_or_default().to_string_lossy();
    Scenario::from_toml(&name, &text).map_err(|source| Error::Invalid { path, source })
}
