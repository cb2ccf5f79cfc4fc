//! Consistent readings of all series.
//!
//! All values of a family come from one reading, so the `_count` of a histogram
//! equals the sum of its buckets in every scrape.

use super::cells::{DURATION_SUM, Layout, REQUEST_SUM, RESPONSE_SUM};
use super::directory::{Contents, Directory, Entry};
use super::exemplars::Exemplar;
use super::family::Number;
use super::native::{NativeBuckets, Sums};
use super::oldest_request::{RouteLabels, Watched};
use super::series::{Endpoint, Series};
use crate::clock;

/// Values of all series at one time. Reuses its memory for the next reading.
///
/// # Memory
///
/// 80 bytes for each series, 8 for each of its values, and 16 for each of its populated
/// native buckets, of which there are at most 513; 16 bytes for each endpoint and each
/// route; and the [`Directory`]. Vectors may have twice that capacity.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    directory: Directory,
    endpoints: Vec<(&'static Endpoint, u64)>,
    /// Nanoseconds since the oldest request of each route began.
    oldest_requests: Vec<(&'static RouteLabels, u64)>,
    rows: Vec<Row>,
    cells: Vec<u64>,
    /// Populated native buckets of all rows.
    native: Vec<(u16, u64)>,
    sums: Sums,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    endpoint: &'static Endpoint,
    series: &'static Series,
    layout: &'static Layout,
    labels: &'static str,
    has_exemplars: bool,
    cells: usize,
    /// Number of requests that have ended.
    count: u64,
    /// Range of its native buckets.
    native: (usize, usize),
}

impl Snapshot {
    /// Replaces the values with those of a new reading.
    pub(crate) fn read(&mut self, endpoints: &[&'static Endpoint]) {
        clock::synchronize();
        self.endpoints.clear();
        self.rows.clear();
        self.cells.clear();
        self.native.clear();
        let mut directory = std::mem::take(&mut self.directory);
        for (at, endpoint) in endpoints.iter().enumerate() {
            let contents = directory.contents(at, endpoint);
            let in_flight = self.read_endpoint(endpoint, contents);
            self.endpoints.push((endpoint, in_flight));
        }
        self.directory = directory;
    }

    /// Replaces the ages of the oldest requests with those of a new reading.
    pub(crate) fn read_oldest_requests(&mut self, watched: &Watched) {
        let oldest_requests = &mut self.oldest_requests;
        oldest_requests.clear();
        watched.for_each(|route, age| oldest_requests.push((route, age)));
    }

    /// Reads an endpoint's series and returns the number of its requests in
    /// flight.
    fn read_endpoint(&mut self, endpoint: &'static Endpoint, contents: &mut Contents) -> u64 {
        let (rows, cells, native) = (self.rows.len(), self.cells.len(), self.native.len());
        let mut attempts = 3;
        loop {
            contents.update();
            let before = contents.begun();
            contents.prefetch();
            for entries in contents.series() {
                self.read_series(endpoint, entries);
            }
            let ended: u64 = self.rows[rows..]
                .iter()
                .map(|row| row.count)
                .fold(0, u64::wrapping_add);
            // Read last, so that the beginning of every request whose end was
            // seen is included, even if its thread was added in between.
            contents.update();
            let begun = contents.begun();
            attempts -= 1;
            // Requests that began and ended during the reading appear to be in
            // flight. They are few unless this thread was preempted: read again.
            if begun.wrapping_sub(before) <= 16 || attempts == 0 {
                return begun.wrapping_sub(ended);
            }
            self.rows.truncate(rows);
            self.cells.truncate(cells);
            self.native.truncate(native);
        }
    }

    fn read_series(&mut self, endpoint: &'static Endpoint, entries: &[Entry]) {
        let layout = endpoint.layout;
        let at = self.cells.len();
        self.cells.resize(at + layout.cells, 0);
        let totals = &mut self.cells[at..];
        let classic = layout.duration.at..layout.duration.at + layout.duration.buckets();
        let native = layout.native.as_ref();
        let buckets = classic.start..native.map_or(classic.end, |native| native.zero + 1);
        let mut has_exemplars = false;
        for cells in entries.iter().filter_map(|entry| entry.cells) {
            // The buckets first: the release store that increments a bucket
            // follows the stores to all other cells.
            for index in buckets.clone() {
                totals[index] = totals[index].wrapping_add(cells.cell(index).get_acquire());
            }
            if let Some(native) = &cells.native {
                self.sums.add(native);
            }
            for index in (0..layout.cells).filter(|index| !buckets.contains(index)) {
                totals[index] = totals[index].saturating_add(cells.cell(index).get_acquire());
            }
            has_exemplars |= cells.has_exemplars();
        }
        let begin = self.native.len();
        if let Some(native) = native {
            let zero = totals[native.zero];
            let classic = &mut totals[classic.clone()];
            self.sums.finish(native, classic, zero, &mut self.native);
        }
        let count = totals[classic].iter().sum();
        let Entry { series, labels, .. } = entries[0];
        self.rows.push(Row {
            endpoint,
            series,
            layout,
            labels,
            has_exemplars,
            cells: at,
            count,
            native: (begin, self.native.len()),
        });
    }

    /// Iterates over the endpoints and the number of their requests in flight.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = (&'static Endpoint, u64)> + '_ {
        // Clamp to zero: a reading may see a request leave this endpoint for
        // another before it sees the request begin here.
        self.endpoints
            .iter()
            .map(|(endpoint, n)| (*endpoint, if *n > u64::MAX / 2 { 0 } else { *n }))
    }

    /// Returns the routes and the ages of their oldest requests in nanoseconds.
    pub(crate) fn oldest_requests(&self) -> &[(&'static RouteLabels, u64)] {
        &self.oldest_requests
    }

    pub(crate) fn series(&self) -> impl Iterator<Item = View<'_>> {
        let rows = self.rows.iter().enumerate();
        rows.map(|(index, row)| self.view(index, row))
    }

    fn view(&self, index: usize, row: &Row) -> View<'_> {
        let layout = row.layout;
        View {
            index,
            endpoint: row.endpoint,
            series: row.series,
            labels: row.labels,
            layout,
            has_exemplars: row.has_exemplars,
            cells: &self.cells[row.cells..row.cells + layout.cells],
            count: row.count,
            native: &self.native[row.native.0..row.native.1],
        }
    }
}

/// Series with its values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    /// Position among the series of the snapshot.
    pub(crate) index: usize,
    pub(crate) endpoint: &'static Endpoint,
    pub(crate) series: &'static Series,
    /// Labels in exposition format, without braces.
    pub(crate) labels: &'static str,
    layout: &'static Layout,
    /// `true` if a duration bucket has an exemplar.
    pub(crate) has_exemplars: bool,
    cells: &'a [u64],
    count: u64,
    native: &'a [(u16, u64)],
}

/// Values of a histogram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Histogram<'a> {
    /// Finite bucket bounds, ascending.
    pub(crate) bounds: &'a [f64],
    /// Value of the `le` label of each bucket.
    pub(crate) le: &'a [Box<str>],
    /// Observations of each bucket, not cumulative. Empty without finite bounds.
    pub(crate) buckets: &'a [u64],
    pub(crate) count: u64,
    pub(crate) sum: Number,
    pub(crate) native: Option<NativeBuckets<'a>>,
}

impl<'a> View<'a> {
    /// Returns the number of requests that have ended.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn duration(&self) -> Histogram<'a> {
        let sum = Number::Nanoseconds(self.cells[DURATION_SUM]);
        let layout = self.layout.native.as_ref();
        Histogram {
            native: layout.map(|layout| NativeBuckets {
                zero_count: self.cells[layout.zero],
                populated: self.native,
            }),
            ..self.histogram(&self.layout.duration, sum)
        }
    }

    pub(crate) fn time_to_head(&self) -> Option<Histogram<'a>> {
        let bounds = self.layout.time_to_head.as_ref()?;
        let sum = Number::Nanoseconds(self.cells[self.layout.time_to_head_sum]);
        Some(self.histogram(bounds, sum))
    }

    pub(crate) fn request_size(&self) -> Histogram<'a> {
        self.size(&self.layout.request_size, REQUEST_SUM)
    }

    pub(crate) fn response_size(&self) -> Histogram<'a> {
        self.size(&self.layout.response_size, RESPONSE_SUM)
    }

    fn size(&self, bounds: &'a super::cells::Bounds, sum: usize) -> Histogram<'a> {
        let sum = Number::Integer(self.cells[sum]);
        if bounds.upper.is_empty() {
            Histogram {
                bounds: &bounds.bounds,
                le: &bounds.le,
                buckets: &[],
                count: self.count(),
                sum,
                native: None,
            }
        } else {
            self.histogram(bounds, sum)
        }
    }

    fn histogram(&self, bounds: &'a super::cells::Bounds, sum: Number) -> Histogram<'a> {
        let buckets = &self.cells[bounds.at..bounds.at + bounds.buckets()];
        Histogram {
            bounds: &bounds.bounds,
            le: &bounds.le,
            buckets,
            count: buckets.iter().sum(),
            sum,
            native: None,
        }
    }

    /// Returns the latest exemplar of a duration bucket.
    pub(crate) fn exemplar(&self, bucket: usize) -> Option<Exemplar> {
        let mut newest: Option<Exemplar> = None;
        self.series.for_each_cells(|cells| {
            if let Some(exemplar) = cells.exemplar(bucket)
                && newest.is_none_or(|newest| newest.at <= exemplar.at)
            {
                newest = Some(exemplar);
            }
        });
        newest
    }
}

/// `RUSTFLAGS="--cfg loom" cargo test -p tower-metrics --lib --no-default-features --features prometheus loom`
///
/// The reader runs last: loom lets it read any older value of a cell, but never
/// schedules it between a thread's load and store of the same cell.
#[cfg(all(test, loom))]
mod loom_tests {
    use std::time::Duration;

    use http::StatusCode;
    use loom::thread;

    use super::super::key::StatusLabels;
    use super::*;
    use crate::completed_request::CompletedRequest;
    use crate::error_type::ErrorType;
    use crate::label::LabelValues;
    use crate::outcome::Outcome;
    use crate::prometheus::Names;

    fn endpoint() -> &'static Endpoint {
        let layout = Box::leak(Box::new(Layout::new(&[(10, 1e-8)], &[], &[], false, false)));
        let names = Box::leak(Box::new(Names::open_telemetry()));
        Box::leak(Box::new(Endpoint::new(
            "GET",
            "/",
            layout,
            names,
            &[],
            false,
        )))
    }

    const END: CompletedRequest<'_> = CompletedRequest {
        outcome: Outcome::Complete,
        status: Some(StatusCode::OK),
        error_type: ErrorType::NONE,
        duration: Duration::from_nanos(7),
        time_to_head: None,
        request_size: 0,
        response_size: 5,
        grpc_status: None,
        labels: LabelValues::NONE,
        trace_id: None,
        ended: None,
    };

    /// Returns the requests in flight, and the count, duration and response size
    /// of the only series.
    fn read(endpoint: &'static Endpoint) -> (u64, u64, u64, u64) {
        let mut snapshot = Snapshot::default();
        snapshot.read(&[endpoint]);
        let (_, in_flight) = snapshot.endpoints[0];
        let view = snapshot.series().next().expect("it was made before");
        let (duration, size) = (view.duration(), view.response_size());
        let (Number::Nanoseconds(nanoseconds), Number::Integer(bytes)) = (duration.sum, size.sum)
        else {
            panic!("the sums have the units of their histograms");
        };
        (in_flight, duration.count, nanoseconds, bytes)
    }

    #[test]
    fn a_scrape_that_sees_the_end_of_a_request_sees_its_beginning() {
        loom::model(|| {
            let endpoint = endpoint();
            // Threads keep these references and find them without a lock.
            let began = endpoint.thread_endpoint(0);
            let cells = endpoint.cells(1, StatusLabels::of(&END), END.labels);
            let begins = thread::spawn(move || began.begun.add(1));
            let reader = thread::spawn(move || {
                let (in_flight, count, nanoseconds, bytes) = read(endpoint);
                assert!(in_flight <= 1, "{in_flight} in flight");
                match count {
                    0 => {}
                    1 => assert_eq!((in_flight, nanoseconds, bytes), (0, 7, 5)),
                    _ => panic!("{count} have ended"),
                }
            });
            // The request has moved to this thread.
            begins.join().unwrap();
            cells.record(endpoint.layout, &END);
            reader.join().unwrap();
            assert_eq!(read(endpoint), (0, 1, 7, 5));
        });
    }

    #[test]
    fn a_series_that_is_created_during_a_scrape_is_read_completely_or_not_at_all() {
        loom::model(|| {
            let endpoint = endpoint();
            let began = endpoint.thread_endpoint(0);
            let thread = thread::spawn(move || {
                began.begun.add(1);
                endpoint
                    .cells(0, StatusLabels::of(&END), END.labels)
                    .record(endpoint.layout, &END);
            });
            let mut snapshot = Snapshot::default();
            snapshot.read(&[endpoint]);
            let ended: u64 = snapshot.series().map(|view| view.count()).sum();
            let (_, in_flight) = snapshot.endpoints[0];
            assert!(
                in_flight + ended <= 1,
                "{in_flight} in flight, {ended} ended"
            );
            thread.join().unwrap();
        });
    }
}
