//! Keyset pagination.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

use crate::{ConcertId, Error, text};

/// A page of a list.
///
/// Each page begins after the last item of the previous one, so that concurrently added or removed
/// items cause no duplicates and no gaps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items, in the order of the list.
    pub items: Vec<T>,
    /// Position of the next page; none on the last page.
    pub next_cursor: Option<Cursor>,
}

/// The maximum number of items in a page.
pub const MAX_PAGE: u32 = 100;

/// Opaque position in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(Uuid);

impl Cursor {
    pub(crate) fn after(id: ConcertId) -> Self {
        Self(id.as_uuid())
    }

    pub(crate) fn id(self) -> ConcertId {
        ConcertId::from_uuid(self.0)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Uuid::try_parse(text).map(Self).map_err(|_| {
            Error::invalid(
                "cursor",
                format!(
                    "{} is not allowed: expected the next_cursor of an earlier page",
                    text::quote(text)
                ),
            )
        })
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}
