//! Verifies the responses of Prometheus after the traffic has ended.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::expected::{self, Expected, Values};
use crate::grafana::{self, Bindings, Dashboard, Query, over_lifetime, selectors};
use crate::load::{Counts, LIST, PURCHASES};
use crate::process::until;
use crate::prometheus::{JOB, Prometheus, Series};

/// Queries whose values may all be zero.
const ZERO: [(&str, &str); 5] = [
    // Response bodies consist of one frame, which hyper takes before a client can disconnect.
    ("Client disconnects and overload", "B"),
    // No cardinality limit is reached.
    ("Cardinality overflow", "A"),
    // Workers keep up with the load.
    ("Global queue", "A"),
    // No connection is rejected, and most requests do not wait for admission.
    ("Rejected connections", "A"),
    ("Admission wait", "A"),
];

/// Queries without a result.
const EMPTY: [(&str, &str); 1] = [
    // The server plays no scenario.
    ("Scenario", "-"),
];

/// Selectors that match no series; see the first of [`ZERO`].
const NOTHING: [&str; 1] = ["error_type=\"body_cancelled\""];

/// Alerts whose condition must not hold.
const SILENT: [&str; 6] = [
    // Every scrape succeeds and returns the metrics.
    "TicketsAbsent",
    "TicketsMetricsAbsent",
    // The recording rules have results.
    "TicketsAvailabilityAbsent",
    "TicketsLatencyAbsent",
    // The server has room for more connections, and requests end.
    "TicketsConnectionsNearLimit",
    "TicketsRequestsHung",
];

/// Alerts whose condition holds on a machine that is slow or busy enough. The tests of the rules
/// contain their conditions.
const SLOW_MACHINE: [&str; 3] = [
    "TicketsDatabasePoolExhausted",
    "TicketsRuntimeBlocked",
    "TicketsSchedulingDelayed",
];

pub(crate) struct Verifier<'a> {
    prometheus: &'a Prometheus,
    range: (f64, f64),
    /// Seconds that include several scrapes before the end of the range.
    interval: f64,
    counts: Counts,
}

impl<'a> Verifier<'a> {
    /// Creates a verifier for a time range that ends with the first scrape after `ended`, when every
    /// request had been counted.
    pub(crate) async fn new(
        prometheus: &'a Prometheus,
        (begun, ended): (f64, f64),
        counts: Counts,
    ) -> Self {
        let last = prometheus.scraped(ended).await;
        let mut scrapes = prometheus.scrapes().await;
        scrapes.retain(|time| *time <= last);
        // On a busy machine, some scrapes fail.
        let several = scrapes[scrapes.len().saturating_sub(5)];
        Self {
            prometheus,
            range: (begun, last),
            interval: (last - several).ceil(),
            counts,
        }
    }

    pub(crate) async fn now(&self, query: &str) -> Vec<Series> {
        let found = self.prometheus.query(query, self.range.1).await;
        found.unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// Verifies every query of every dashboard, and the values of those that the load counts.
    pub(crate) async fn dashboards(&self, written: &Path) {
        let dashboards = grafana::dashboards(&written.join("grafana/dashboards"));
        let to_import = grafana::dashboards(&written.join("grafana/import"));
        assert_eq!(dashboards, to_import, "both exports have the same queries");
        let mut expected = expected::all(&self.counts);
        for dashboard in &dashboards {
            self.dashboard(dashboard, &mut expected).await;
        }
        let left: Vec<_> = expected
            .iter()
            .map(|one| (one.dashboard, one.title, one.letter))
            .collect();
        assert!(left.is_empty(), "no panel shows {left:?}");
    }

    async fn dashboard(&self, dashboard: &Dashboard, expected: &mut Vec<Expected>) {
        let grafana = Bindings::over(self.range.1 - self.range.0, self.interval);
        let all = grafana.clone().all(&dashboard.variables);
        for variable in &dashboard.variables {
            self.variable(variable, &all).await;
        }
        for query in dashboard.panels.iter().chain(&dashboard.annotations) {
            if EMPTY.contains(&(&query.title, &query.letter)) {
                assert!(self.now(&all.fill(&query.text)).await.is_empty());
                continue;
            }
            let shown = self.nonzero_result(query, &all).await;
            let value = shown.last().map_or(f64::NAN, Series::last);
            println!(
                "{:14} {:32} {} {:3} series, the last at {value}",
                query.dashboard,
                query.title,
                query.letter,
                shown.len()
            );
        }
        // With a single value selected in each variable.
        let instance = self.now(&format!("up{{job=\"{JOB}\"}}")).await;
        let chosen = all
            .clone()
            .chosen("job", &[JOB])
            .chosen("instance", &[instance[0].label("instance")])
            .chosen("route", &[PURCHASES, LIST])
            .chosen("concert", &["nina-simone"]);
        for query in &dashboard.panels {
            self.result(query, &chosen).await;
        }
        for query in &dashboard.panels {
            let is_it = |one: &Expected| {
                (one.dashboard, one.title, one.letter)
                    == (&*query.dashboard, &*query.title, &*query.letter)
            };
            let known: Vec<_> = expected.extract_if(.., |one| is_it(one)).collect();
            for one in known {
                let text = over_lifetime(&all.fill(&query.text));
                let shown = values(&self.now(&text).await, &one.by);
                agree(&one, shown, &text);
            }
        }
        if let Some(left) = dashboard
            .panels
            .iter()
            .find(|query| query.title == "Available tickets")
        {
            let wanted = expected::stock(&self.counts);
            until("the stock is the database's", async || {
                let query = all.fill(&left.text);
                let now = self.prometheus.query(&query, crate::now()).await.unwrap();
                values(&now, &["concert"]) == wanted
            })
            .await;
        }
    }

    async fn variable(&self, variable: &grafana::Variable, bindings: &Bindings) {
        let text = bindings.fill(&variable.text);
        let inside = text
            .strip_prefix("label_values(")
            .and_then(|text| text.strip_suffix(')'));
        let (selector, label) = inside.unwrap().rsplit_once(", ").unwrap();
        let found = self.prometheus.label_values(selector, label).await.unwrap();
        assert!(!found.is_empty(), "nothing to choose from: {text}");
        if label == "http_route" {
            for (_, route, _, _) in self
                .counts
                .requests
                .keys()
                .filter(|kind| !kind.1.is_empty())
            {
                assert!(found.contains(route), "{route} cannot be chosen: {found:?}");
            }
        }
    }

    /// Returns the result of a query, which has series and only finite values.
    async fn result(&self, query: &Query, bindings: &Bindings) -> Vec<Series> {
        let text = bindings.fill(&query.text);
        let found = if query.instant {
            self.prometheus.query(&text, self.range.1).await
        } else {
            self.prometheus.range(&text, self.range).await
        };
        let name = format!(
            "{}, {}, {}: {text}",
            query.dashboard, query.title, query.letter
        );
        let found = found.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!found.is_empty(), "empty: {name}");
        for series in &found {
            let finite = series.values.iter().all(|(_, value)| value.is_finite());
            assert!(finite, "{name}: {series:?}");
        }
        found
    }

    /// Returns the result of a query, which is not always zero and whose selectors all match series.
    async fn nonzero_result(&self, query: &Query, bindings: &Bindings) -> Vec<Series> {
        let found = self.result(query, bindings).await;
        let text = bindings.fill(&query.text);
        let name = format!(
            "{}, {}, {}: {text}",
            query.dashboard, query.title, query.letter
        );
        let all_along = self.prometheus.range(&text, self.range).await.unwrap();
        let mut values = all_along.iter().flat_map(|series| &series.values);
        let zero = ZERO.contains(&(&query.title, &query.letter));
        assert!(
            zero || values.any(|(_, value)| *value != 0.0),
            "nothing but zero: {name}"
        );
        self.matches(&text, &name).await;
        found
    }

    /// Asserts that each selector matches series, which an `or` would otherwise hide.
    async fn matches(&self, query: &str, name: &str) {
        for selector in selectors(query) {
            let found = NOTHING.iter().any(|known| selector.contains(known))
                || !self.now(&selector).await.is_empty();
            assert!(found, "{selector} matches nothing: {name}");
        }
    }

    /// Verifies that alerts are in the expected states.
    pub(crate) async fn alerts(&self) {
        let mut silent = BTreeSet::from(SILENT);
        let mut unknown = BTreeSet::from(SLOW_MACHINE);
        for rule in &self.rules("alerting").await {
            let (name, query) = (text(&rule["name"]), text(&rule["query"]));
            let found = self.now(query).await;
            if !unknown.remove(name) {
                assert_eq!(found.is_empty(), silent.remove(name), "{name}: {found:?}");
                let state = if found.is_empty() {
                    "inactive"
                } else if rule["duration"] == 0 {
                    "firing"
                } else {
                    "pending"
                };
                // A failed scrape makes an alert pending until the next one succeeds.
                until(&format!("{name} is {state}"), async || {
                    let rules = self.prometheus.rules().await;
                    let rule = rules.iter().find(|rule| rule["name"] == name);
                    rule.unwrap()["state"] == state
                })
                .await;
            }
            shown("alert", name, &found);
        }
        assert!(silent.is_empty(), "there are no alerts {silent:?}");
        assert!(unknown.is_empty(), "there are no alerts {unknown:?}");
    }

    /// Verifies that the selectors of rules match series, and that recording rules record what their
    /// queries return.
    pub(crate) async fn recordings(&self) {
        for rule in &self.rules("alerting").await {
            self.matches(text(&rule["query"]), text(&rule["name"]))
                .await;
        }
        for rule in &self.rules("recording").await {
            let (name, query) = (text(&rule["name"]), text(&rule["query"]));
            self.matches(query, name).await;
            let slo = text(&rule["labels"]["slo"]);
            let recorded = format!("{name}{{slo=\"{slo}\"}}");
            let found = self.recorded(&recorded, query).await;
            if let Some(counted) = expected::objective(&self.counts, slo, name) {
                let lifetime = self.now(&over_lifetime(query)).await;
                assert_eq!(lifetime[0].last(), counted, "{recorded}: {query}");
            }
            shown("recording", name, &found);
        }
    }

    /// Returns the rules of a type, which have been evaluated without errors.
    async fn rules(&self, kind: &str) -> Vec<Value> {
        let mut rules = self.prometheus.rules().await;
        rules.retain(|rule| rule["type"] == kind);
        assert!(!rules.is_empty());
        for rule in &rules {
            let is_healthy = rule["health"] == "ok" && rule["lastError"].is_null();
            assert!(is_healthy, "{rule}");
        }
        rules
    }

    /// Asserts that one of the last samples of a recorded series is what its query returns for the
    /// time of the sample. Of a scrape that was in progress at that time, only the query sees the
    /// result.
    async fn recorded(&self, recorded: &str, query: &str) -> Vec<Series> {
        let found = self.now(&format!("{recorded}[10m]")).await;
        assert_eq!(found.len(), 1, "{recorded}");
        for (time, value) in found[0].values.iter().rev().take(5) {
            let returned = self.prometheus.query(query, *time).await.unwrap();
            let returned = returned.first().map_or(f64::NAN, Series::last);
            if (returned - value).abs() <= value.abs() * 1e-9 {
                return found;
            }
        }
        panic!("{recorded} is not the result of {query}: {found:?}");
    }

    /// Verifies that exemplars with trace IDs exist if the format supports them.
    pub(crate) async fn exemplars(&self, are_there: bool) {
        let query = format!("http_server_request_duration_seconds_bucket{{job=\"{JOB}\"}}");
        let exemplars = self.prometheus.exemplars(&query, self.range).await;
        assert_eq!(!exemplars.is_empty(), are_there);
        for exemplar in exemplars {
            assert_eq!(
                exemplar["labels"]["trace_id"].as_str().unwrap().len(),
                32,
                "{exemplar}"
            );
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Prints the result of a rule, whose values are finite.
fn shown(kind: &str, name: &str, found: &[Series]) {
    assert!(
        found.iter().all(|series| series.last().is_finite()),
        "{name}: {found:?}"
    );
    let value = found.last().map_or(f64::NAN, Series::last);
    println!(
        "{kind:14} {name:52} {:3} series, the last at {value}",
        found.len()
    );
}

fn values(series: &[Series], by: &[&str]) -> Values {
    let key = |series: &Series| {
        by.iter()
            .map(|name| series.label(name).to_owned())
            .collect()
    };
    series
        .iter()
        .map(|series| (key(series), series.last()))
        .collect()
}

/// Asserts that the expected values are shown. Zeros may be absent.
fn agree(expected: &Expected, mut shown: Values, text: &str) {
    let mut wanted = expected.values.clone();
    wanted.retain(|_, value| *value != 0.0);
    shown.retain(|key, value| *value != 0.0 && (!expected.partial || wanted.contains_key(key)));
    let same = wanted.len() == shown.len()
        && wanted.iter().all(|(key, wanted)| {
            shown
                .get(key)
                .is_some_and(|shown| (shown / wanted - 1.0).abs() < 1e-9)
        });
    assert!(
        same && !wanted.is_empty(),
        "{}, {}, {}: {shown:#?} is shown, but {wanted:#?} was counted: {text}",
        expected.dashboard,
        expected.title,
        expected.letter
    );
}
