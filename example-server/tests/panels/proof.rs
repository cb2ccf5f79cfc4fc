//! What is asked of Prometheus once the traffic has ended.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::expected::{self, Expected, Figures};
use crate::grafana::{self, Dashboard, Query, Values, selectors, whole};
use crate::load::{LIST, PURCHASES, Tally};
use crate::process::until;
use crate::prometheus::{JOB, Prometheus, Series};

/// Queries whose figures may all be zero, and why.
const ZERO: [(&str, &str); 3] = [
    // hyper takes an answer that is one piece whole, and this server has no others.
    ("Client disconnects and overload", "B"),
    // No cap was reached: that it stays at zero is its message.
    ("Cardinality overflow", "A"),
    // The workers keep up.
    ("Global queue", "A"),
];

/// Selectors that match nothing here: see the first of [`ZERO`].
const NOTHING: [&str; 1] = ["error_type=\"body_cancelled\""];

/// Alerts that must not be true here, and why.
const SILENT: [&str; 5] = [
    // The target answers every scrape, with its metrics.
    "TicketsAbsent",
    "TicketsMetricsAbsent",
    // The recording rules have results.
    "TicketsAvailabilityAbsent",
    "TicketsLatencyAbsent",
    // SQLite's pools are not that busy.
    "TicketsDatabasePoolExhausted",
];

pub(crate) struct Proof<'a> {
    prometheus: &'a Prometheus,
    range: (f64, f64),
    tally: Tally,
}

impl<'a> Proof<'a> {
    /// Of what was seen in this range, at whose end everything had been scraped.
    pub(crate) fn new(prometheus: &'a Prometheus, range: (f64, f64), tally: Tally) -> Self {
        Self {
            prometheus,
            range,
            tally,
        }
    }

    async fn now(&self, query: &str) -> Vec<Series> {
        let found = self.prometheus.query(query, self.range.1).await;
        found.unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// Every query of every dashboard in both flavours, and the figures of those that the load
    /// can count.
    pub(crate) async fn dashboards(&self, written: &Path) {
        let dashboards = grafana::dashboards(&written.join("grafana/dashboards"));
        let to_import = grafana::dashboards(&written.join("grafana/import"));
        assert_eq!(dashboards, to_import, "both flavours ask for the same");
        let mut expected = expected::all(&self.tally);
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
        let grafana = Values::over(self.range.1 - self.range.0);
        let all = grafana.clone().all(&dashboard.variables);
        for variable in &dashboard.variables {
            self.variable(variable, &all).await;
        }
        for query in dashboard.panels.iter().chain(&dashboard.annotations) {
            let shown = self.shows(query, &all).await;
            let figure = shown.last().map_or(f64::NAN, Series::last);
            println!(
                "{:14} {:32} {} {:3} series, the last at {figure}",
                query.dashboard,
                query.title,
                query.letter,
                shown.len()
            );
        }
        // As one who picks a single value of each variable sees it.
        let instance = self.now(&format!("up{{job=\"{JOB}\"}}")).await;
        let chosen = all
            .clone()
            .chosen("job", &[JOB])
            .chosen("instance", &[instance[0].label("instance")])
            .chosen("route", &[PURCHASES, LIST])
            .chosen("concert", &["nina-simone"]);
        for query in &dashboard.panels {
            self.answers(query, &chosen).await;
        }
        for query in &dashboard.panels {
            let is_it = |one: &Expected| {
                (one.dashboard, one.title, one.letter)
                    == (&*query.dashboard, &*query.title, &*query.letter)
            };
            let known: Vec<_> = expected.extract_if(.., |one| is_it(one)).collect();
            for one in known {
                let text = whole(&all.fill(&query.text));
                let shown = figures(&self.now(&text).await, &one.by);
                agree(&one, shown, &text);
            }
        }
        if let Some(left) = dashboard
            .panels
            .iter()
            .find(|query| query.title == "Tickets available")
        {
            let wanted = expected::stock(&self.tally);
            until("the stock is the database's", async || {
                let query = all.fill(&left.text);
                let now = self.prometheus.query(&query, crate::now()).await.unwrap();
                figures(&now, &["concert"]) == wanted
            })
            .await;
        }
    }

    async fn variable(&self, variable: &grafana::Variable, values: &Values) {
        let text = values.fill(&variable.text);
        let inside = text
            .strip_prefix("label_values(")
            .and_then(|text| text.strip_suffix(')'));
        let (selector, label) = inside.unwrap().rsplit_once(", ").unwrap();
        let found = self.prometheus.label_values(selector, label).await.unwrap();
        assert!(!found.is_empty(), "nothing to choose from: {text}");
        if label == "http_route" {
            for (_, route, _, _) in self.tally.requests.keys().filter(|kind| !kind.1.is_empty()) {
                assert!(found.contains(route), "{route} cannot be chosen: {found:?}");
            }
        }
    }

    /// The answer to a query, which has series, and nothing but finite values.
    async fn answers(&self, query: &Query, values: &Values) -> Vec<Series> {
        let text = values.fill(&query.text);
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

    /// The answer to a query, which shows something at some time, and whose selectors all match
    /// something.
    async fn shows(&self, query: &Query, values: &Values) -> Vec<Series> {
        let found = self.answers(query, values).await;
        let text = values.fill(&query.text);
        let name = format!(
            "{}, {}, {}: {text}",
            query.dashboard, query.title, query.letter
        );
        let all_along = self.prometheus.range(&text, self.range).await.unwrap();
        let mut figures = all_along.iter().flat_map(|series| &series.values);
        let zero = ZERO.contains(&(&query.title, &query.letter));
        assert!(
            zero || figures.any(|(_, value)| *value != 0.0),
            "nothing but zero: {name}"
        );
        self.matches(&text, &name).await;
        found
    }

    /// Each selector of the query matches a series, also where an `or` would hide that it does not.
    async fn matches(&self, query: &str, name: &str) {
        for selector in selectors(query) {
            let found = NOTHING.iter().any(|known| selector.contains(known))
                || !self.now(&selector).await.is_empty();
            assert!(found, "{selector} matches nothing: {name}");
        }
    }

    /// Every rule: recordings are there, alerts say what they must.
    pub(crate) async fn rules(&self) {
        let rules = self.prometheus.rules().await;
        assert!(rules.iter().any(|rule| rule["type"] == "alerting"));
        let mut silent = BTreeSet::from(SILENT);
        for rule in &rules {
            let (name, query) = (
                rule["name"].as_str().unwrap(),
                rule["query"].as_str().unwrap(),
            );
            assert_eq!(
                (&rule["health"], rule["lastError"].as_str()),
                (&Value::from("ok"), None),
                "{rule}"
            );
            self.matches(query, name).await;
            let found = if rule["type"] == "recording" {
                let recorded = format!("{name}{{slo={}}}", rule["labels"]["slo"]);
                let found = self.now(&recorded).await;
                assert!(!found.is_empty(), "nothing is recorded as {recorded}");
                let slo = rule["labels"]["slo"].as_str().unwrap();
                if let Some(counted) = expected::objective(&self.tally, slo, name) {
                    let whole = self.now(&whole(query)).await;
                    assert_eq!(whole[0].last(), counted, "{recorded}: {query}");
                }
                found
            } else {
                let found = self.now(query).await;
                assert_eq!(found.is_empty(), silent.remove(name), "{name}: {found:?}");
                let state = if found.is_empty() {
                    "inactive"
                } else if rule["duration"] == 0 {
                    "firing"
                } else {
                    "pending"
                };
                assert_eq!(rule["state"], state, "{name}");
                found
            };
            assert!(
                found.iter().all(|series| series.last().is_finite()),
                "{name}: {found:?}"
            );
            let figure = found.last().map_or(f64::NAN, Series::last);
            println!(
                "{:14} {name:52} {:3} series, the last at {figure}",
                rule["type"].as_str().unwrap(),
                found.len()
            );
        }
        assert!(silent.is_empty(), "there are no alerts {silent:?}");

        let recorded = "job_slo:bad_requests_per_requests:ratio_rate5m{slo=\"availability\"}";
        let recorded = self.now(recorded).await[0].last();
        let counted = expected::error_ratio(&self.tally);
        // Rates are extrapolated to the ends of their window, and do not see what a series is
        // born with: that of a few answers which are no errors.
        assert!(
            (recorded / counted - 1.0).abs() < 0.25,
            "{recorded}, not {counted}"
        );
    }

    /// Traces beside the buckets, where the format has a place for them.
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

fn figures(series: &[Series], by: &[&str]) -> Figures {
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

/// What is zero need not be shown.
fn agree(expected: &Expected, mut shown: Figures, text: &str) {
    let mut wanted = expected.figures.clone();
    wanted.retain(|_, figure| *figure != 0.0);
    shown.retain(|key, figure| *figure != 0.0 && (!expected.more || wanted.contains_key(key)));
    let same = wanted.len() == shown.len()
        && wanted.iter().all(|(key, wanted)| {
            shown
                .get(key)
                .is_some_and(|shown| (shown / wanted - 1.0).abs() < 1e-9)
        });
    assert!(
        same && !wanted.is_empty(),
        "{}, {}, {}: {shown:#?} is shown where {wanted:#?} was counted: {text}",
        expected.dashboard,
        expected.title,
        expected.letter
    );
}
