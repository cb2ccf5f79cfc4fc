use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

use crate::{ConcertId, Error, text};

/// One page of a list, and where the next one begins.
///
/// Pages are keyset pages: each begins after the last item of the one before, so that what is
/// added or removed meanwhile neither repeats nor hides an item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// Where the next page begins; none on the last page.
    pub next_cursor: Option<Cursor>,
}

/// The most items that a page can have.
pub const MAX_PAGE: u32 = 100;

/// A place in a list, opaque to whoever reads the list.
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
                    "{} is not allowed: the next_cursor of an earlier page is",
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
