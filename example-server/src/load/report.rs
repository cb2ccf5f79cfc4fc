//! Results of a run: counts by route and status, latencies by route.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::schedule::Summary;
use crate::config;
use crate::traffic::{Action, Outcome};

/// Longest latency that is distinguished, in microseconds.
const HOUR: u64 = 3_600_000_000;
/// Significant decimal digits of a latency.
const DIGITS: u8 = 3;

/// Method and route.
type Route = (&'static str, &'static str);

/// Results of the requests that have completed so far.
#[derive(Debug)]
pub(super) struct Results {
    counts: BTreeMap<(Route, String), u64>,
    all: Histogram<u64>,
    routes: BTreeMap<Route, Histogram<u64>>,
    failed: u64,
}

impl Results {
    /// Starts with the requests that read the list of concerts before the run.
    pub(super) fn new(listed: u64) -> Self {
        Self {
            counts: [((Action::List.route(), "200".to_owned()), listed)].into(),
            all: latencies(),
            routes: BTreeMap::new(),
            failed: 0,
        }
    }

    /// Records a request that has completed.
    pub(super) fn record(&mut self, action: Action, outcome: Outcome, latency: Duration) {
        let status = match &outcome {
            Outcome::Response(status) => status.as_str().to_owned(),
            Outcome::Disconnected => "disconnected".to_owned(),
            Outcome::Failed(error) => error.name().to_owned(),
        };
        if !matches!(&outcome, Outcome::Response(status) if !status.is_server_error()) {
            self.failed += 1;
        }
        let route = action.route();
        *self.counts.entry((route, status)).or_default() += 1;
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.all.saturating_record(micros);
        self.routes
            .entry(route)
            .or_insert_with(latencies)
            .saturating_record(micros);
    }

    /// Returns the number of requests of the run that have completed.
    pub(super) fn completed(&self) -> u64 {
        self.all.len()
    }

    /// Returns the number of requests with a 5xx response or without a complete response.
    pub(super) fn failed(&self) -> u64 {
        self.failed
    }

    pub(super) fn report(
        &self,
        options: &config::Load,
        seed: u64,
        summary: Summary,
        took: Duration,
    ) -> Report {
        let routes = self
            .routes
            .iter()
            .map(|(&(method, route), histogram)| Latencies {
                method: Some(method),
                route: Some(route),
                quantiles: Quantiles::of(histogram),
            });
        Report {
            url: options.url.to_string(),
            seed,
            users: options.users,
            target_rate: options.rate,
            rate: self.completed() as f64 / took.as_secs_f64(),
            seconds: took.as_secs_f64(),
            requests: self.counts.values().sum(),
            failed: self.failed,
            unsent: summary.unsent,
            skipped: summary.skipped,
            abandoned: summary.sent - self.completed(),
            counts: self
                .counts
                .iter()
                .map(|(&((method, route), ref status), &count)| Count {
                    method,
                    route,
                    status: status.clone(),
                    count,
                })
                .collect(),
            latencies: [Latencies {
                method: None,
                route: None,
                quantiles: Quantiles::of(&self.all),
            }]
            .into_iter()
            .chain(routes)
            .collect(),
        }
    }
}

fn latencies() -> Histogram<u64> {
    Histogram::new_with_max(HOUR, DIGITS)
        .expect("one hour with three digits is within the range of a histogram")
}

/// Report of a finished run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    url: String,
    seed: u64,
    users: u32,
    /// Requests per second that were scheduled.
    target_rate: f64,
    /// Requests per second that completed.
    rate: f64,
    seconds: f64,
    /// Requests that completed, including those that read the list of concerts before the run.
    requests: u64,
    /// Requests with a 5xx response or without a complete response.
    failed: u64,
    /// Requests that were due, but found no free user in time.
    unsent: u64,
    /// Requests that were not sent because the run was interrupted.
    skipped: u64,
    /// Requests in flight when a second signal ended the run.
    abandoned: u64,
    counts: Vec<Count>,
    latencies: Vec<Latencies>,
}

#[derive(Debug, Serialize)]
struct Count {
    method: &'static str,
    /// Empty for an unmatched path, as in the server's metrics.
    route: &'static str,
    /// The status code, or the reason why there is none.
    status: String,
    count: u64,
}

/// Latencies of one route, or of all requests if `method` and `route` are `None`.
#[derive(Debug, Serialize)]
struct Latencies {
    method: Option<&'static str>,
    route: Option<&'static str>,
    #[serde(flatten)]
    quantiles: Quantiles,
}

/// Quantiles in milliseconds, from the scheduled start of a request to the end of its response.
#[derive(Debug, Serialize)]
struct Quantiles {
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    p99_9_ms: f64,
    max_ms: f64,
}

impl Quantiles {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p99_9_ms: at(0.999),
            max_ms: histogram.max() as f64 / 1e3,
        }
    }
}

impl Report {
    /// Returns how many requests failed or were not sent in time, and of how many.
    pub(super) fn failures(&self) -> (u64, u64) {
        (self.failed + self.unsent, self.requests + self.unsent)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{}: {} in {:.1} s, {:.1}/s (target {}/s), {} failed, {}, seed {}",
            self.url,
            counted(self.requests, "request"),
            self.seconds,
            self.rate,
            self.target_rate,
            self.failed,
            counted(self.users.into(), "user"),
            self.seed,
        )?;
        if self.unsent > 0 {
            writeln!(
                f,
                "{} not sent in time: the server is too slow for this rate, or more --users are needed",
                were(self.unsent)
            )?;
        }
        if self.skipped > 0 {
            writeln!(
                f,
                "{} not sent: the run was interrupted",
                were(self.skipped)
            )?;
        }
        if self.abandoned > 0 {
            writeln!(
                f,
                "{} in flight when the run was interrupted",
                were(self.abandoned)
            )?;
        }
        writeln!(f, "\n{:<48} {:>16} {:>10}", "route", "status", "count")?;
        for count in &self.counts {
            let name = name(Some(count.method), Some(count.route));
            writeln!(f, "{name:<48} {:>16} {:>10}", count.status, count.count)?;
        }
        writeln!(
            f,
            "\n{:<48} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "latency from scheduled start, ms", "p50", "p90", "p99", "p99.9", "max"
        )?;
        for latencies in &self.latencies {
            let name = name(latencies.method, latencies.route);
            let q = &latencies.quantiles;
            writeln!(
                f,
                "{name:<48} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.2}",
                q.p50_ms, q.p90_ms, q.p99_ms, q.p99_9_ms, q.max_ms
            )?;
        }
        Ok(())
    }
}

/// Formats a count with its noun, such as `1 request`.
fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Begins a sentence about `count` requests.
fn were(count: u64) -> String {
    let verb = if count == 1 { "was" } else { "were" };
    format!("{} {verb}", counted(count, "request"))
}

fn name(method: Option<&str>, route: Option<&str>) -> String {
    match (method, route) {
        (Some(method), Some("")) => format!("{method} (unmatched)"),
        (Some(method), Some(route)) => format!("{method} {route}"),
        _ => "all".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn the_report_counts_every_request_once() {
        let mut results = Results::new(2);
        for status in [
            StatusCode::OK,
            StatusCode::OK,
            StatusCode::SERVICE_UNAVAILABLE,
        ] {
            results.record(
                Action::Read,
                Outcome::Response(status),
                Duration::from_millis(4),
            );
        }
        results.record(
            Action::Unmatched,
            Outcome::Disconnected,
            Duration::from_millis(8),
        );
        let options = config::Load {
            url: "http://127.0.0.1:1".parse().unwrap(),
            rate: 4.0,
            duration: Duration::from_secs(1),
            users: 1,
            timeout: Duration::from_secs(1),
            max_failures: 0.0,
            seed: None,
            json: false,
        };
        let summary = Summary {
            sent: 4,
            unsent: 1,
            skipped: 0,
        };
        let report = results.report(&options, 7, summary, Duration::from_secs(1));
        assert_eq!(report.requests, 6);
        assert_eq!(
            report.counts.iter().map(|count| count.count).sum::<u64>(),
            6
        );
        assert_eq!(report.failed, 2);
        assert_eq!(report.failures(), (3, 7));
        assert_eq!(report.latencies[0].quantiles.max_ms.round(), 8.0);
        let text = report.to_string();
        for part in [
            ": 6 requests in ",
            ", 1 user, ",
            "\n1 request was not sent in time: ",
            "GET (unmatched)",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
