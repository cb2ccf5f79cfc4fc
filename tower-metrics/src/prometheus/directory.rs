//! Series of a recorder and their cells, kept from one reading to the next.
//!
//! An endpoint keeps its series in a map and the cells of each series in a list, both
//! behind locks. A reading that went through them would take a lock for each series and
//! wait for one cache miss after the other. Series and cells are never removed, so a list
//! of references remains valid until the endpoint's version changes.
//!
//! # Memory
//!
//! 32 bytes for each series and thread that has recorded it, 72 bytes for each endpoint,
//! and 8 bytes for each endpoint and thread. Vectors may have twice that capacity.

use super::cells::Cells;
use super::series::{Endpoint, Series};
use super::thread_endpoint::ThreadEndpoint;

/// Directory of the endpoints of one recorder.
#[derive(Debug, Default)]
pub(super) struct Directory(Vec<Contents>);

/// Contents of an endpoint.
#[derive(Debug)]
pub(super) struct Contents {
    endpoint: &'static Endpoint,
    /// Version of the endpoint that the lists are of, or `None` before the first reading.
    version: Option<u64>,
    threads: Vec<&'static ThreadEndpoint>,
    entries: Vec<Entry>,
}

/// Series with the cells of one thread, or without cells if no thread has recorded it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) series: &'static Series,
    /// Labels in exposition format, without braces.
    pub(super) labels: &'static str,
    pub(super) cells: Option<&'static Cells>,
}

impl Directory {
    /// Returns the contents of the endpoint at this position among the recorder's.
    pub(super) fn contents(&mut self, at: usize, endpoint: &'static Endpoint) -> &mut Contents {
        if self
            .0
            .get(at)
            .is_none_or(|known| !std::ptr::eq(known.endpoint, endpoint))
        {
            self.0.truncate(at);
            self.0.push(Contents::new(endpoint));
        }
        &mut self.0[at]
    }
}

impl Contents {
    fn new(endpoint: &'static Endpoint) -> Self {
        Self {
            endpoint,
            version: None,
            threads: Vec::new(),
            entries: Vec::new(),
        }
    }

    /// Brings the lists up to date.
    pub(super) fn update(&mut self) {
        // Read first, so that a change during the update leads to another one.
        let version = Some(self.endpoint.version());
        if self.version == version {
            return;
        }
        let Self {
            threads, entries, ..
        } = self;
        threads.clear();
        entries.clear();
        self.endpoint.for_each_thread(|thread| threads.push(thread));
        self.endpoint.for_each_series(|series| {
            let first = entries.len();
            let mut entry = Entry {
                series,
                labels: &series.labels,
                cells: None,
            };
            series.for_each_cells(|cells| {
                entry.cells = Some(cells);
                entries.push(entry);
            });
            if entries.len() == first {
                entries.push(entry);
            }
        });
        self.version = version;
    }

    /// Loads one value of every cache line. The loads are independent, so that the
    /// processor waits for all lines at once instead of for one after the other.
    pub(super) fn prefetch(&self) {
        if cfg!(loom) {
            // The values are discarded, but loom would explore them.
            return;
        }
        let cells = self.entries.iter().filter_map(|entry| entry.cells);
        let sum = cells.map(Cells::touch).fold(0, u64::wrapping_add);
        std::hint::black_box(sum);
    }

    /// Returns the number of requests that have begun on the listed threads.
    pub(super) fn begun(&self) -> u64 {
        let begun = self.threads.iter().map(|thread| thread.begun.get());
        begun.fold(0, u64::wrapping_add)
    }

    /// Returns the entries of each series.
    pub(super) fn series(&self) -> impl Iterator<Item = &[Entry]> {
        self.entries
            .chunk_by(|a, b| std::ptr::eq(a.series, b.series))
    }
}

#[cfg(all(test, not(loom), target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_the_directory_is_as_documented() {
        assert_eq!(size_of::<Entry>(), 32);
        assert_eq!(size_of::<Contents>(), 72);
    }
}
