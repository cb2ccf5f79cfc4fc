//! Values of the `concert` label.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use ticket_core::ConcertId;

/// Maximum number of labeled concerts.
pub(super) const MAX_CONCERTS: usize = 100;
/// Label value that all other concerts share.
pub(super) const OTHER: &str = "_OTHER";

/// Labeled concerts. The label value is the slug, which has at most 81 bytes. The first
/// [`MAX_CONCERTS`] concerts that are admitted keep their label for the life of the process.
#[derive(Debug, Default)]
pub(super) struct ConcertLabels(RwLock<HashMap<String, ConcertId>>);

impl ConcertLabels {
    /// Returns the label value of a concert and whether it is new. Admits the concert if there is
    /// room.
    pub(super) fn admit<'a>(&self, slug: &'a str, id: ConcertId) -> (&'a str, bool) {
        let labels = self.read();
        if labels.contains_key(slug) {
            return (slug, false);
        }
        if labels.len() == MAX_CONCERTS {
            return (OTHER, false);
        }
        drop(labels);
        let mut labels = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if labels.contains_key(slug) {
            return (slug, false);
        }
        if labels.len() == MAX_CONCERTS {
            return (OTHER, false);
        }
        labels.insert(slug.to_owned(), id);
        (slug, true)
    }

    /// Returns the label value of a concert without admitting it.
    pub(super) fn get<'a>(&self, slug: &'a str) -> &'a str {
        if self.read().contains_key(slug) {
            slug
        } else {
            OTHER
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.read().len() == MAX_CONCERTS
    }

    pub(super) fn ids(&self) -> Vec<ConcertId> {
        self.read().values().copied().collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<String, ConcertId>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}
