//! The requests behind a figure: what a cell of a heatmap opens.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A source of recent requests. [`RecentRequests`] is one; a service that keeps its log elsewhere
/// brings its own.
pub trait RequestLog: Send + Sync + 'static {
    /// The requests that answer the query, the latest first. Called for a click, off the hot path.
    fn find(&self, query: &RequestQuery) -> Vec<LoggedRequest>;
}

/// A request that has ended.
///
/// ```
/// # use std::time::{Duration, SystemTime};
/// # use tower_metrics_dashboard::live::LoggedRequest;
/// let mut request = LoggedRequest::new(SystemTime::now(), Duration::from_millis(40));
/// request.method = "GET".into();
/// request.route = "/concerts/{id}".into();
/// request.status = Some(200);
/// request.line = "INFO answered status=200 took=40ms".into();
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LoggedRequest {
    /// When it ended.
    pub at: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// Its id, as the log and the client know it.
    pub id: String,
    /// Its method.
    pub method: String,
    /// Its route, the template; empty where none matched.
    pub route: String,
    /// The status it was answered with; `None` where no head was sent.
    pub status: Option<u16>,
    /// Its `error_type`; empty where there was none.
    pub error_type: String,
    /// Whether the service failed it.
    pub failed: bool,
    /// Its line in the log.
    pub line: String,
}

impl LoggedRequest {
    /// A request that ended at this time and took so long. Nothing else is known of it: its texts
    /// are empty, it has no status and has not failed.
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

/// Which requests are asked for.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RequestQuery {
    /// Ended at this time or later.
    pub from: SystemTime,
    /// Ended before this time.
    pub to: SystemTime,
    /// Took longer than this.
    pub at_least: Duration,
    /// Took at most this.
    pub at_most: Duration,
    /// Of this method.
    pub method: Option<String>,
    /// Of this route.
    pub route: Option<String>,
    /// With this id.
    pub id: Option<String>,
    /// At most so many.
    pub limit: usize,
}

impl Default for RequestQuery {
    /// The 50 latest, whatever they are.
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
    /// Whether the request is asked for. A duration on a bound belongs to the bucket below it, as
    /// in a histogram.
    #[must_use]
    pub fn accepts(&self, request: &LoggedRequest) -> bool {
        let same = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|w| w == is);
        request.at >= self.from
            && request.at < self.to
            && (request.duration > self.at_least || self.at_least.is_zero())
            && request.duration <= self.at_most
            && same(&self.method, &request.method)
            && same(&self.route, &request.route)
            && same(&self.id, &request.id)
    }
}

/// Seconds.
const SLOTS: usize = 900;
const KEPT_ALIKE: u8 = 2;
const MOST_IN_SLOT: usize = 48;

/// A bounded sample of recent requests: of each second of the last 15 minutes, the first few of
/// every duration class, so that the rare slow ones and the failed ones are not pushed out by the
/// many. At most 43,200 are kept.
#[derive(Debug, Default)]
pub struct RecentRequests {
    slots: Mutex<VecDeque<Slot>>,
}

/// A second.
#[derive(Debug)]
struct Slot {
    number: u64,
    classes: BTreeMap<Class, u8>,
    kept: Vec<LoggedRequest>,
}

/// The requests that are alike: a quarter of an octave of durations, and whether they failed.
type Class = (i32, bool);

fn class(duration: Duration, failed: bool) -> Class {
    let quarter_octave = (duration.as_secs_f64().max(1e-6).log2() * 4.0).floor();
    (quarter_octave as i32, failed)
}

fn number(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Slot {
    fn has_room(&self, class: Class) -> bool {
        let alike = self.classes.get(&class).copied().unwrap_or_default();
        alike < KEPT_ALIKE && self.kept.len() < MOST_IN_SLOT
    }
}

impl RecentRequests {
    /// An empty sample.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a request that ended then, took so long, and did or did not fail would be kept: to be
    /// asked before its line is written for nothing.
    #[must_use]
    pub fn has_room(&self, at: SystemTime, duration: Duration, failed: bool) -> bool {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots
            .back()
            .is_none_or(|slot| slot.number < number(at) || slot.has_room(class(duration, failed)))
    }

    /// Keeps a request, where there is room for its like.
    pub fn record(&self, request: LoggedRequest) {
        let number = number(request.at);
        let class = class(request.duration, request.failed);
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.back().is_none_or(|slot| slot.number < number) {
            slots.push_back(Slot {
                number,
                classes: BTreeMap::new(),
                kept: Vec::new(),
            });
            while slots.len() > SLOTS {
                slots.pop_front();
            }
        }
        // A request of an earlier slot is a straggler of some microseconds: it goes with the last.
        if let Some(slot) = slots.back_mut()
            && slot.has_room(class)
        {
            *slot.classes.entry(class).or_default() += 1;
            slot.kept.push(request);
        }
    }
}

impl RequestLog for RecentRequests {
    fn find(&self, query: &RequestQuery) -> Vec<LoggedRequest> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = slots.iter().flat_map(|slot| &slot.kept);
        let mut found: Vec<&LoggedRequest> =
            kept.filter(|request| query.accepts(request)).collect();
        found.sort_by_key(|request| std::cmp::Reverse(request.at));
        found.into_iter().take(query.limit).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(at: u64, millis: u64, status: u16) -> LoggedRequest {
        LoggedRequest {
            at: UNIX_EPOCH + Duration::from_secs(at),
            duration: Duration::from_millis(millis),
            id: format!("{at}-{millis}"),
            method: "GET".into(),
            route: "/concerts".into(),
            status: Some(status),
            error_type: String::new(),
            failed: status >= 500,
            line: String::new(),
        }
    }

    #[test]
    fn many_quick_requests_do_not_push_out_a_slow_or_failed_one() {
        let log = RecentRequests::new();
        log.record(request(100, 900, 200));
        log.record(request(100, 3, 500));
        (0..10_000).for_each(|_| log.record(request(101, 3, 200)));
        let slow = RequestQuery {
            at_least: Duration::from_millis(500),
            ..RequestQuery::default()
        };
        assert_eq!(log.find(&slow), [request(100, 900, 200)]);
        assert!(
            log.find(&RequestQuery::default())
                .contains(&request(100, 3, 500))
        );
        let all = log.find(&RequestQuery::default());
        assert_eq!(all.len(), 2 + usize::from(KEPT_ALIKE));
        let at = UNIX_EPOCH + Duration::from_secs(101);
        let quick = Duration::from_millis(3);
        assert!(!log.has_room(at, quick, false) && log.has_room(at, quick, true));
    }

    #[test]
    fn the_sample_is_bounded_in_time() {
        let log = RecentRequests::new();
        (0..5_000).for_each(|at| log.record(request(at, 3, 200)));
        let all = RequestQuery {
            limit: usize::MAX,
            ..RequestQuery::default()
        };
        let oldest = log.find(&all).last().map(|request| request.at);
        assert_eq!(oldest, Some(UNIX_EPOCH + Duration::from_secs(4100)));
    }

    #[test]
    fn a_duration_on_a_bound_belongs_to_the_bucket_below() {
        let below = RequestQuery {
            at_least: Duration::from_millis(5),
            at_most: Duration::from_millis(10),
            ..RequestQuery::default()
        };
        let above = RequestQuery {
            at_least: Duration::from_millis(10),
            ..RequestQuery::default()
        };
        assert!(below.accepts(&request(1, 10, 200)) && !above.accepts(&request(1, 10, 200)));
    }
}
