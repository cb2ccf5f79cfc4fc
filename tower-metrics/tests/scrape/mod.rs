//! Parses expositions.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::BTreeMap;

use tower_metrics::prometheus::Format;
use tower_metrics::{Names, Prometheus};

/// Name and labels of a sample, without empty labels, which are absent to
/// Prometheus.
pub(crate) type Key = (String, BTreeMap<String, String>);

/// Samples of one scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Samples(pub(crate) BTreeMap<Key, f64>);

impl Samples {
    pub(crate) fn of(prometheus: &Prometheus) -> Self {
        Self::parse(&prometheus.exposition().render(Format::Text))
    }

    pub(crate) fn parse(text: &str) -> Self {
        let mut samples = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (key, value) = sample(line);
            let previous = samples.insert(key, value);
            assert!(previous.is_none(), "duplicate sample: {line}");
        }
        Self(samples)
    }

    /// Returns the sum of the samples with this name and at least these labels. An
    /// empty value selects samples without the label.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted = |(found, all): &Key| {
            found == name
                && labels
                    .iter()
                    .all(|(label, value)| all.get(*label).map_or("", String::as_str) == *value)
        };
        self.0
            .iter()
            .filter(|(key, _)| wanted(key))
            .map(|(_, value)| value)
            .sum()
    }

    /// Returns the values as text, so that `NaN` compares equal.
    pub(crate) fn texts(&self) -> BTreeMap<Key, String> {
        let text = |(key, value): (&Key, &f64)| (key.clone(), value.to_string());
        self.0.iter().map(text).collect()
    }

    /// Returns the number of samples with this name.
    pub(crate) fn series(&self, name: &str) -> usize {
        self.0.keys().filter(|(found, _)| found == name).count()
    }

    /// Returns whether there is a sample with this name and label.
    pub(crate) fn series_with(&self, name: &str, (label, value): (&str, &str)) -> bool {
        let has = |(found, all): &Key| {
            found == name && all.get(label).is_some_and(|found| found == value)
        };
        self.0.keys().any(has)
    }

    /// Returns the number of requests with these labels, under OpenTelemetry's names.
    pub(crate) fn requests(&self, labels: &[(&str, &str)]) -> f64 {
        self.sum("http_server_request_duration_seconds_count", labels)
    }

    pub(crate) fn in_flight(&self) -> f64 {
        self.sum(&Names::open_telemetry().in_flight, &[])
    }

    pub(crate) fn response_bytes(&self) -> f64 {
        self.sum("http_server_response_body_size_bytes_sum", &[])
    }

    pub(crate) fn request_bytes(&self) -> f64 {
        self.sum("http_server_request_body_size_bytes_sum", &[])
    }
}

fn sample(line: &str) -> (Key, f64) {
    let line = line.split(" # ").next().unwrap();
    let (series, value) = line.rsplit_once(' ').unwrap();
    let mut labels = BTreeMap::new();
    let name = match series.split_once('{') {
        None => series,
        Some((name, rest)) => {
            let mut rest = rest.strip_suffix('}').unwrap();
            while !rest.is_empty() {
                let (label, after) = rest.split_once("=\"").unwrap();
                let (value, after) = quoted(after);
                let value = match label {
                    // `TextEncoder` writes `1` instead of `1.0`.
                    "le" => value.parse::<f64>().unwrap().to_string(),
                    _ => value,
                };
                if !value.is_empty() {
                    let previous = labels.insert(label.to_owned(), value);
                    assert!(previous.is_none(), "duplicate label: {line}");
                }
                rest = after.strip_prefix(',').unwrap_or(after);
            }
            name
        }
    };
    ((name.to_owned(), labels), value.parse().unwrap())
}

/// Splits an escaped value from the text after its closing quote.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => return (value, &text[i + 1..]),
            '\\' => match chars.next().unwrap().1 {
                'n' => value.push('\n'),
                c => value.push(c),
            },
            c => value.push(c),
        }
    }
    panic!("no closing quote: {text}");
}
