//! Reads samples out of an exposition.

#![allow(dead_code, reason = "every test file uses some of it")]

use std::collections::BTreeMap;

use tower_metrics::prometheus::Format;
use tower_metrics::{Names, Prometheus};

/// A sample's name and its labels, without the empty ones: to Prometheus an
/// empty label is an absent one.
pub(crate) type Key = (String, BTreeMap<String, String>);

/// The samples of one scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Figures(pub(crate) BTreeMap<Key, f64>);

impl Figures {
    pub(crate) fn of(prometheus: &Prometheus) -> Self {
        Self::parse(&prometheus.exposition().render(Format::Text))
    }

    pub(crate) fn parse(text: &str) -> Self {
        let mut samples = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (key, value) = sample(line);
            let twice = samples.insert(key, value);
            assert!(twice.is_none(), "a sample stands twice: {line}");
        }
        Self(samples)
    }

    /// The sum of the samples with this name and (at least) these labels; an
    /// empty value means that the label is absent or empty.
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

    /// Comparable, which `NaN` is not.
    pub(crate) fn texts(&self) -> BTreeMap<Key, String> {
        let text = |(key, value): (&Key, &f64)| (key.clone(), value.to_string());
        self.0.iter().map(text).collect()
    }

    /// How many samples have this name.
    pub(crate) fn series(&self, name: &str) -> usize {
        self.0.keys().filter(|(found, _)| found == name).count()
    }

    /// Requests with OpenTelemetry's names.
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
                    // `TextEncoder` writes `1` where we write `1.0`.
                    "le" => value.parse::<f64>().unwrap().to_string(),
                    _ => value,
                };
                if !value.is_empty() {
                    let twice = labels.insert(label.to_owned(), value);
                    assert!(twice.is_none(), "a label stands twice: {line}");
                }
                rest = after.strip_prefix(',').unwrap_or(after);
            }
            name
        }
    };
    ((name.to_owned(), labels), value.parse().unwrap())
}

/// An escaped value and what follows its closing quote.
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
