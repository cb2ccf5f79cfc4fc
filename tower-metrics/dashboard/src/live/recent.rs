//! Recent requests, which cells of a heatmap and rows of a table open.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::clock::{Timestamp, WallClock};

/// Log of recent requests, searched when a user opens a cell of a heatmap or a row of a table.
///
/// [`RecentRequests`] keeps a sample in memory. Implement the trait to search another log.
pub trait RequestLog: Send + Sync + 'static {
    /// Returns the requests that match the query, latest first.
    ///
    /// Called on the Tokio runtime of the page, so it must not block for long.
    fn find(&self, query: &RequestQuery) -> Vec<LoggedRequest>;
}

/// Completed request of a [`RequestLog`].
///
/// ```
/// # use std::time::{Duration, SystemTime};
/// # use tower_metrics_dashboard::live::LoggedRequest;
/// let mut request = LoggedRequest::new(SystemTime::now(), Duration::from_millis(40));
/// request.method = "GET".into();
/// request.route = "/concerts/{id}".into();
/// request.status = Some(200);
/// request.line = "INFO response sent status=200 duration=40ms".into();
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LoggedRequest {
    /// Time at which the response ended.
    pub at: SystemTime,
    /// Time from the request to the end of the response.
    pub duration: Duration,
    /// Request ID.
    pub id: String,
    /// Request method.
    pub method: String,
    /// Route template, empty if none matched.
    pub route: String,
    /// Status code of the response, `None` if no response was sent.
    pub status: Option<u16>,
    /// Error type, empty if there was no error.
    pub error_type: String,
    /// True if the request counts as a server error.
    pub failed: bool,
    /// Log line.
    pub line: String,
}

impl LoggedRequest {
    /// Creates a successful request with empty texts and without a status code.
    #[must_use]
    pub fn new(at: SystemTime, duration: Duration) -> Self {
        Self {
            at,
            duration,
            id: String::new(),
            method: String::new(),
            route: String::new(),
            status: None,
            error_type: String::new(),
            failed: false,
            line: String::new(),
        }
    }
}

/// Criteria of [`RequestLog::find`]. Requests must meet all of them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RequestQuery {
    /// Earliest time, inclusive. Defaults to the Unix epoch.
    pub from: SystemTime,
    /// Latest time, exclusive. Defaults to an hour from now.
    pub to: SystemTime,
    /// Shortest duration, exclusive. Defaults to zero, which includes all.
    pub at_least: Duration,
    /// Longest duration, inclusive. Defaults to [`Duration::MAX`].
    pub at_most: Duration,
    /// Request method. Defaults to any.
    pub method: Option<String>,
    /// Route template, empty for requests without a route. Defaults to any.
    pub route: Option<String>,
    /// Request ID. Defaults to any.
    pub id: Option<String>,
    /// Maximum number of requests. Defaults to 50.
    pub limit: usize,
}

impl Default for RequestQuery {
    fn default() -> Self {
        Self {
            from: UNIX_EPOCH,
            to: SystemTime::now() + Duration::from_secs(3600),
            at_least: Duration::ZERO,
            at_most: Duration::MAX,
            method: None,
            route: None,
            id: None,
            limit: 50,
        }
    }
}

impl RequestQuery {
    /// Returns whether the request meets the criteria. As in a histogram, a duration equal to a
    /// bucket bound belongs to the bucket below it.
    #[must_use]
    pub fn matches(&self, request: &LoggedRequest) -> bool {
        let LoggedRequest { at, duration, .. } = *request;
        self.matches_parts(at, duration, &request.id, &request.method, &request.route)
    }

    fn matches_parts(
        &self,
        at: SystemTime,
        duration: Duration,
        id: &str,
        method: &str,
        route: &str,
    ) -> bool {
        let same = |expected: &Option<String>, actual: &str| {
            expected
                .as_deref()
                .is_none_or(|expected| expected == actual)
        };
        at >= self.from
            && at < self.to
            && (duration > self.at_least || self.at_least.is_zero())
            && duration <= self.at_most
            && same(&self.method, method)
            && same(&self.route, route)
            && same(&self.id, id)
    }
}

/// Number of seconds that are kept.
const SLOTS: u64 = 900;
/// Maximum number of requests of the same class in a second.
const MAX_ALIKE: u8 = 2;
/// Maximum number of requests in a second.
const MAX_IN_SLOT: usize = 48;
/// Maximum size of all requests in bytes.
const MAX_BYTES: usize = 16 << 20;
/// Maximum size of a log line, and of every other text, in bytes.
const MAX_LINE: usize = 2 << 10;
const MAX_TEXT: usize = 128;

/// Bounded sample of recent requests.
///
/// Of each second of the last 15 minutes, it keeps the first few requests of every
/// duration class, so that frequent requests do not displace slow or failed ones.
///
/// # Memory
/// At most 16 MiB are kept, for at most 43,200 requests. The oldest are dropped
/// first. Log lines are cut at 2 KiB, other texts at 128 bytes.
///
/// The requests of a second share two allocations. Texts with an allocation each,
/// kept for 15 minutes between the short-lived ones of other requests, would
/// fragment the heap.
#[derive(Debug)]
pub struct RecentRequests {
    started: Instant,
    sample: Mutex<Sample>,
}

#[derive(Debug, Default)]
struct Sample {
    /// In order of the monotonic clock. Only the last one is still being filled.
    slots: VecDeque<Slot>,
    /// Requests of the last slot by class. Empty if there is no slot.
    classes: Vec<u8>,
    clock: WallClock,
    bytes: usize,
}

/// Requests of one second of the monotonic clock.
#[derive(Debug)]
struct Slot {
    second: u64,
    entries: Vec<Entry>,
    /// The texts of all entries, one after the other.
    texts: String,
}

/// A [`LoggedRequest`] without its texts.
#[derive(Debug)]
struct Entry {
    /// Monotonic time of the recording.
    steady: f64,
    at: SystemTime,
    duration: Duration,
    status: Option<u16>,
    failed: bool,
    /// Ends of the texts, in the order of [`LoggedRequest::texts`].
    ends: [u32; TEXTS],
}

/// Number of texts of a request.
const TEXTS: usize = 5;

/// Shortest and longest duration that are distinguished, in seconds.
const SHORTEST: f64 = 1e-6;
const LONGEST: f64 = 65_536.0;
/// Quarters of an octave between them, for successful and for failed requests.
const CLASSES: usize = 2 * 144;

/// Returns the number of a duration class, of which an octave has four, and of the outcome.
///
/// The class is a number, because every request of the service asks for the room of its class.
fn class(duration: Duration, failed: bool) -> usize {
    let seconds = duration.as_secs_f64().clamp(SHORTEST, LONGEST);
    let quarter_octave = (seconds / SHORTEST).log2() * 4.0;
    2 * quarter_octave as usize + usize::from(failed)
}

impl Slot {
    fn new(second: u64) -> Self {
        Self {
            second,
            entries: Vec::new(),
            texts: String::new(),
        }
    }

    fn push(&mut self, steady: f64, request: &LoggedRequest) {
        let ends = request.texts().map(|(text, max)| {
            self.texts.push_str(truncate(text, max));
            u32::try_from(self.texts.len()).expect("the texts of a second are bounded")
        });
        self.entries.push(Entry {
            steady,
            at: request.at,
            duration: request.duration,
            status: request.status,
            failed: request.failed,
            ends,
        });
    }

    fn shrink_to_fit(&mut self) {
        self.entries.shrink_to_fit();
        self.texts.shrink_to_fit();
    }

    fn bytes(&self) -> usize {
        self.texts.len() + self.entries.len() * size_of::<Entry>()
    }

    /// Returns the entries with their texts.
    fn requests(&self) -> impl Iterator<Item = (&Entry, [&str; TEXTS])> {
        let mut start = 0;
        self.entries.iter().map(move |entry| {
            let texts = entry.ends.map(|end| {
                let text = &self.texts[start..end as usize];
                start = end as usize;
                text
            });
            (entry, texts)
        })
    }
}

impl Entry {
    fn to_request(&self, texts: [&str; TEXTS]) -> LoggedRequest {
        let [id, method, route, error_type, line] = texts.map(str::to_owned);
        LoggedRequest {
            at: self.at,
            duration: self.duration,
            id,
            method,
            route,
            status: self.status,
            error_type,
            failed: self.failed,
            line,
        }
    }
}

impl LoggedRequest {
    /// Returns the texts with their maximum sizes.
    fn texts(&self) -> [(&str, usize); TEXTS] {
        [
            (&self.id, MAX_TEXT),
            (&self.method, MAX_TEXT),
            (&self.route, MAX_TEXT),
            (&self.error_type, MAX_TEXT),
            (&self.line, MAX_LINE),
        ]
    }
}

/// Cuts a text at a character boundary.
fn truncate(text: &str, max: usize) -> &str {
    let mut boundaries = (0..=max.min(text.len())).rev();
    let boundary = boundaries.find(|at| text.is_char_boundary(*at));
    &text[..boundary.unwrap_or(0)]
}

impl Default for RecentRequests {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            sample: Mutex::default(),
        }
    }
}

impl RecentRequests {
    /// Creates an empty sample.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns whether [`record`](Self::record) would keep a request with this
    /// duration and outcome now. Call it before formatting the log line.
    #[must_use]
    pub fn has_room(&self, duration: Duration, failed: bool) -> bool {
        let second = self.started.elapsed().as_secs();
        self.lock().has_room(second, class(duration, failed))
    }

    /// Adds a request that has just ended, unless enough requests like it have
    /// been kept in this second.
    pub fn record(&self, request: LoggedRequest) {
        self.lock().record(Timestamp::now(self.started), &request);
    }

    fn lock(&self) -> MutexGuard<'_, Sample> {
        self.sample.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sample {
    fn has_room(&self, second: u64, class: usize) -> bool {
        let last = self.slots.back();
        last.is_none_or(|slot| slot.second < second || self.last_has_room(slot, class))
    }

    fn last_has_room(&self, last: &Slot, class: usize) -> bool {
        self.classes[class] < MAX_ALIKE && last.entries.len() < MAX_IN_SLOT
    }

    fn record(&mut self, now: Timestamp, request: &LoggedRequest) {
        if self.clock.observe(now) {
            self.retime();
        }
        let second = now.steady as u64;
        let class = class(request.duration, request.failed);
        if !self.has_room(second, class) {
            return;
        }
        if self.slots.back().is_none_or(|slot| slot.second < second) {
            if let Some(complete) = self.slots.back_mut() {
                complete.shrink_to_fit();
            }
            self.slots.push_back(Slot::new(second));
            self.classes.clear();
            self.classes.resize(CLASSES, 0);
        }
        if let Some(slot) = self.slots.back_mut() {
            let before = slot.bytes();
            slot.push(now.steady, request);
            self.bytes += slot.bytes() - before;
            self.classes[class] += 1;
        }
        let expired = |slot: &Slot| slot.second + SLOTS <= second;
        while self.slots.front().is_some_and(expired) || self.bytes > MAX_BYTES {
            let Some(oldest) = self.slots.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes();
        }
    }

    /// Moves requests that lie in the future after the wall clock stepped back,
    /// as the page does with its history.
    fn retime(&mut self) {
        for entry in self.slots.iter_mut().flat_map(|slot| &mut slot.entries) {
            let latest = Duration::try_from_secs_f64(self.clock.wall(entry.steady));
            let latest = UNIX_EPOCH + latest.unwrap_or_default();
            entry.at = entry.at.min(latest);
        }
    }

    fn find(&self, query: &RequestQuery) -> Vec<LoggedRequest> {
        let requests = self.slots.iter().flat_map(Slot::requests);
        let mut found: Vec<_> = requests
            .filter(|(entry, [id, method, route, ..])| {
                query.matches_parts(entry.at, entry.duration, id, method, route)
            })
            .collect();
        found.sort_by_key(|(entry, _)| std::cmp::Reverse(entry.at));
        let latest = found.into_iter().take(query.limit);
        latest
            .map(|(entry, texts)| entry.to_request(texts))
            .collect()
    }
}

impl RequestLog for RecentRequests {
    fn find(&self, query: &RequestQuery) -> Vec<LoggedRequest> {
        self.lock().find(query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(second)
    }

    fn request(second: u64, millis: u64, status: u16) -> LoggedRequest {
        let mut request = LoggedRequest::new(at(second), Duration::from_millis(millis));
        request.id = format!("{second}-{millis}");
        request.method = "GET".into();
        request.route = "/concerts".into();
        request.status = Some(status);
        request.failed = status >= 500;
        request
    }

    /// Records a request at a wall time of `steady` seconds plus `offset`.
    fn record(sample: &mut Sample, steady: u64, offset: u64, millis: u64, status: u16) {
        let wall = steady + offset;
        let now = Timestamp {
            steady: steady as f64,
            wall: wall as f64,
        };
        sample.record(now, &request(wall, millis, status));
    }

    fn all() -> RequestQuery {
        RequestQuery {
            limit: usize::MAX,
            ..RequestQuery::default()
        }
    }

    #[test]
    fn many_fast_requests_do_not_displace_a_slow_or_failed_one() {
        let mut sample = Sample::default();
        record(&mut sample, 100, 0, 900, 200);
        record(&mut sample, 100, 0, 3, 500);
        (0..10_000).for_each(|_| record(&mut sample, 101, 0, 3, 200));
        let slow = RequestQuery {
            at_least: Duration::from_millis(500),
            ..all()
        };
        assert_eq!(sample.find(&slow), [request(100, 900, 200)]);
        assert!(sample.find(&all()).contains(&request(100, 3, 500)));
        assert_eq!(sample.find(&all()).len(), 2 + usize::from(MAX_ALIKE));
        let class = |failed| class(Duration::from_millis(3), failed);
        assert!(!sample.has_room(101, class(false)) && sample.has_room(101, class(true)));
    }

    #[test]
    fn an_octave_has_four_classes_for_each_outcome() {
        let of = |micros| [false, true].map(|failed| class(Duration::from_micros(micros), failed));
        assert_eq!([of(0), of(1)], [[0, 1]; 2]);
        assert_eq!([of(1000), of(1024)], [[78, 79], [80, 81]]);
        assert_eq!(of(1100), of(1200));
        assert_ne!(of(1200), of(1300));
        assert_eq!(class(Duration::MAX, true), CLASSES - 1);
    }

    #[test]
    fn the_sample_is_bounded_in_time() {
        let mut sample = Sample::default();
        (0..5_000).for_each(|second| record(&mut sample, second, 0, 3, 200));
        let oldest = sample.find(&all()).last().map(|request| request.at);
        assert_eq!(oldest, Some(at(4100)));
    }

    #[test]
    fn the_sample_is_bounded_in_bytes() {
        let mut sample = Sample::default();
        for second in 0..400 {
            for class in 0..48 {
                let mut request = request(second, 1 << (class / 4), 200);
                request.failed = class % 2 == 0;
                request.id = "i".repeat(3_900);
                request.line = "ü".repeat(3_900);
                let now = Timestamp {
                    steady: second as f64,
                    wall: second as f64,
                };
                sample.record(now, &request);
            }
        }
        let slots = sample.slots.iter();
        let bytes: usize = slots.map(Slot::bytes).sum();
        assert_eq!(bytes, sample.bytes);
        assert!(
            (MAX_BYTES - (1 << 20)..=MAX_BYTES).contains(&bytes),
            "{bytes}"
        );
        let latest = &sample.find(&all())[0];
        assert_eq!((latest.id.len(), latest.line.len()), (MAX_TEXT, MAX_LINE));
        assert_eq!(latest.at, at(399));
    }

    #[test]
    fn a_complete_second_has_no_spare_capacity() {
        let mut sample = Sample::default();
        for second in 0..100 {
            for millis in 1..=5 {
                record(&mut sample, second, 5_000, 1 << millis, 200);
            }
        }
        let complete = sample.slots.iter().take(99);
        let spare = complete.map(|slot| {
            let entries = slot.entries.capacity() - slot.entries.len();
            entries + slot.texts.capacity() - slot.texts.len()
        });
        assert_eq!(spare.sum::<usize>(), 0);
    }

    #[test]
    fn requests_are_recorded_after_the_wall_clock_stepped_back() {
        let mut sample = Sample::default();
        for second in 0..100 {
            record(&mut sample, second, 5_000, 3, 200);
        }
        for second in 100..200 {
            record(&mut sample, second, 4_400, 4, 500);
        }
        assert_eq!(sample.find(&all()).len(), 200);
        let query = RequestQuery {
            from: at(4_480),
            to: at(4_520),
            ..all()
        };
        let found = sample.find(&query);
        let times: Vec<SystemTime> = found.iter().map(|request| request.at).collect();
        let expected: Vec<SystemTime> = (4_480..4_520).rev().map(at).collect();
        assert_eq!(times, expected);
    }

    #[test]
    fn a_duration_at_a_bound_belongs_to_the_bucket_below() {
        let below = RequestQuery {
            at_least: Duration::from_millis(5),
            at_most: Duration::from_millis(10),
            ..all()
        };
        let above = RequestQuery {
            at_least: Duration::from_millis(10),
            ..all()
        };
        assert!(below.matches(&request(1, 10, 200)) && !above.matches(&request(1, 10, 200)));
    }
}
