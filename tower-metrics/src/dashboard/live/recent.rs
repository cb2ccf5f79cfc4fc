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
#[derive(Clone, Debug, PartialEq)]
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

const SLOT: u64 = 5;
const SLOTS: usize = 180;
const KEPT_ALIKE: usize = 4;
const MOST_IN_SLOT: usize = 256;

/// A bounded sample of recent requests: of each 5 seconds of the last 15 minutes, the latest few of
/// every duration class, so that the rare slow ones and the failed ones are not pushed out by the
/// many. At most 46,080 are kept.
#[derive(Debug, Default)]
pub struct RecentRequests {
    slots: Mutex<VecDeque<Slot>>,
}

#[derive(Debug)]
struct Slot {
    number: u64,
    count: usize,
    classes: BTreeMap<(i32, bool), VecDeque<LoggedRequest>>,
}

impl RecentRequests {
    /// An empty sample.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps a request, where there is room for its like.
    pub fn record(&self, request: LoggedRequest) {
        let since = request.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let number = since.as_secs() / SLOT;
        let quarter_octave = (request.duration.as_secs_f64().max(1e-6).log2() * 4.0).floor() as i32;
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.back().is_none_or(|slot| slot.number < number) {
            slots.push_back(Slot {
                number,
                count: 0,
                classes: BTreeMap::new(),
            });
            while slots.len() > SLOTS {
                slots.pop_front();
            }
        }
        // A request of an earlier slot is a straggler of some microseconds: it goes with the last.
        let Some(slot) = slots.back_mut() else { return };
        let alike = slot
            .classes
            .entry((quarter_octave, request.failed))
            .or_default();
        if alike.len() == KEPT_ALIKE {
            alike.pop_front();
        } else if slot.count == MOST_IN_SLOT {
            return;
        } else {
            slot.count += 1;
        }
        alike.push_back(request);
    }
}

impl RequestLog for RecentRequests {
    fn find(&self, query: &RequestQuery) -> Vec<LoggedRequest> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = slots
            .iter()
            .flat_map(|slot| slot.classes.values().flatten());
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
        assert_eq!(log.find(&RequestQuery::default()).len(), 2 + KEPT_ALIKE);
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
        assert_eq!(oldest, Some(UNIX_EPOCH + Duration::from_secs(4101)));
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
