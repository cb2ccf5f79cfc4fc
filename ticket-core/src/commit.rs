//! How purchases are committed.

use std::{fmt, str::FromStr};

use crate::{Error, text};

/// How purchases are committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Commit {
    /// One transaction per purchase.
    Each,
    /// One transaction for all purchases that are waiting (group commit).
    #[default]
    Group,
}

impl Commit {
    /// Returns the name that [`FromStr`] parses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Each => "each",
            Self::Group => "group",
        }
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Commit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "each" => Ok(Self::Each),
            "group" => Ok(Self::Group),
            other => Err(Error::invalid(
                "commit",
                format!(
                    "{} is not allowed: expected \"each\" or \"group\"",
                    text::quote(other)
                ),
            )),
        }
    }
}
