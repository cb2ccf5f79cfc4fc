//! Series of a recorder and their cells, kept from one reading to the next.
//!
//! An endpoint keeps its series in a map and the cells of each series in a list, both
//! behind locks. A reading that went through them would take a lock for each series and
//! wait for one cache miss after the other. Series and cells are never removed, so a list
//! of references remains valid until the endpoint's version changes. Then, the reading
//! merges the additions into the list.
//!
//! # Memory
//!
//! 32 bytes for each series and thread that has recorded it, 80 bytes for each endpoint,
//! and 8 bytes for each endpoint and thread. Vectors may have twice that capacity.

use std::ptr;

use super::cells::Cells;
use super::series::{Addition, Endpoint, Series};
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
    /// Number of the endpoint's additions that are part of the entries.
    known: usize,
    /// In the order of the labels.
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
            .is_none_or(|known| !ptr::eq(known.endpoint, endpoint))
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
            known: 0,
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
        self.threads.clear();
        self.endpoint
            .for_each_thread(|thread| self.threads.push(thread));
        let listed = self.entries.len();
        let entries = &mut self.entries;
        self.endpoint
            .for_each_addition(self.known, |Addition { series, cells }| {
                let labels = &*series.labels;
                entries.push(Entry {
                    series,
                    labels,
                    cells,
                });
            });
        let added = entries.len() - listed;
        if added > 0 {
            self.known += added;
            self.merge();
        }
        self.version = version;
    }

    /// Restores the order of the entries after some have been appended.
    fn merge(&mut self) {
        // Merges sorted runs, of which the known entries are one.
        self.entries
            .sort_by(|a, b| (a.labels, a.cells.is_none()).cmp(&(b.labels, b.cells.is_none())));
        // An entry without cells is obsolete once a thread has recorded the series.
        self.entries
            .dedup_by(|next, entry| ptr::eq(next.series, entry.series) && next.cells.is_none());
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
        self.entries.chunk_by(|a, b| ptr::eq(a.series, b.series))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use http::StatusCode;

    use super::super::cells::Layout;
    use super::super::key::StatusLabels;
    use super::super::names::Names;
    use super::*;
    use crate::error_type::ErrorType;
    use crate::initial_series::InitialSeries;
    use crate::label::LabelValues;

    #[cfg(target_pointer_width = "64")]
    #[test]
    fn the_memory_of_the_directory_is_as_documented() {
        assert_eq!(size_of::<Entry>(), 32);
        assert_eq!(size_of::<Contents>(), 80);
    }

    fn endpoint() -> &'static Endpoint {
        let layout = Box::leak(Box::new(Layout::new(&[], &[], &[], false, false)));
        let names = Box::leak(Box::new(Names::classic()));
        let endpoint = Endpoint::new("GET", "/", layout, names, &[], false);
        Box::leak(Box::new(endpoint))
    }

    fn record(endpoint: &'static Endpoint, slot: u32, status: StatusCode) {
        let labels = StatusLabels {
            status: Some(status),
            error_type: ErrorType::NONE,
            grpc: None,
        };
        endpoint.cells(slot, labels, LabelValues::NONE);
    }

    fn initialize(endpoint: &'static Endpoint, status: StatusCode) {
        endpoint.initialize(InitialSeries::from(status), &LabelValues::NONE);
    }

    /// Returns the status and the number of cells of each series.
    fn listed(contents: &Contents) -> Vec<(String, usize)> {
        let series = contents.series().map(|entries| {
            let (_, status) = entries[0].labels.split_once("code=\"").unwrap();
            let cells = entries.iter().filter(|entry| entry.cells.is_some());
            assert!(entries.len() == 1 || cells.clone().count() == entries.len());
            (status[..3].to_owned(), cells.count())
        });
        series.collect()
    }

    #[test]
    fn additions_are_merged_in_the_order_of_the_labels() {
        let endpoint = endpoint();
        let mut contents = Contents::new(endpoint);
        contents.update();
        assert_eq!(listed(&contents), []);
        record(endpoint, 0, StatusCode::NOT_FOUND);
        initialize(endpoint, StatusCode::CREATED);
        let expected = |series: &[(&str, usize)]| {
            let owned = series
                .iter()
                .map(|(status, cells)| ((*status).to_owned(), *cells));
            owned.collect::<Vec<_>>()
        };
        contents.update();
        assert_eq!(listed(&contents), expected(&[("201", 0), ("404", 1)]));
        // A series in between, one that was empty, and another thread of one that was not.
        record(endpoint, 1, StatusCode::NOT_FOUND);
        record(endpoint, 0, StatusCode::FORBIDDEN);
        record(endpoint, 0, StatusCode::CREATED);
        initialize(endpoint, StatusCode::OK);
        contents.update();
        let all = expected(&[("200", 0), ("201", 1), ("403", 1), ("404", 2)]);
        assert_eq!(listed(&contents), all);
        // A new directory has the same contents.
        let mut other = Contents::new(endpoint);
        other.update();
        assert_eq!(listed(&other), all);
    }

    #[test]
    fn a_lookup_that_adds_nothing_leaves_the_version() {
        let endpoint = endpoint();
        let look_up = || {
            endpoint.thread_endpoint(0);
            record(endpoint, 0, StatusCode::OK);
            initialize(endpoint, StatusCode::OK);
            initialize(endpoint, StatusCode::CREATED);
            endpoint.version()
        };
        let version = look_up();
        assert_eq!(version, 3);
        assert_eq!(look_up(), version);
    }
}
