//! Families of the facade and their limits.

use std::collections::BTreeMap;
use std::sync::Arc;

use metrics::{Key, Unit};
use prometheus::proto::MetricType;

use super::cells::{Cell, CounterCell, GaugeCell, HistogramCell};
use super::settings::Settings;
use crate::prometheus::exposition::legacy_name;
use crate::prometheus::other::{OtherFamily, OtherMetric};
use crate::table::MAX_KEY_LEN;

/// Number of names.
const MAX_FAMILIES: usize = 1000;
/// Length of a name in bytes.
const MAX_NAME: usize = 256;
/// Length of a description in bytes; longer ones are cut off.
const MAX_HELP: usize = 1024;
/// Number of labels of a series.
const MAX_LABELS: usize = 16;
/// Number of series that take what exceeds the limit of a family, one for each set of
/// label names.
const MAX_OVERFLOWS: usize = 8;
/// Label value of what exceeds a limit.
const OTHER: &str = "_OTHER";

/// Names and values of labels, sorted by name.
type Labels = Vec<(String, String)>;

/// All families. Locked to create a series and to read the families, not to record.
#[derive(Debug, Default)]
pub(super) struct Families {
    by_name: BTreeMap<String, Entry>,
    /// Number of series of all families.
    series: usize,
}

#[derive(Debug, Default)]
struct Entry {
    /// `None` if the family is only described so far.
    kind: Option<MetricType>,
    help: String,
    unit: Option<Unit>,
    bounds: Arc<[f64]>,
    series: BTreeMap<Labels, Cell>,
    overflows: usize,
}

/// Result of a registration.
#[derive(Debug)]
pub(super) enum Registered {
    Series(Cell),
    /// The series that takes what exceeds a limit.
    Overflow(Cell),
    /// Nothing can be recorded under this name or with these labels.
    Rejected(&'static str),
}

impl Families {
    pub(super) fn describe(&mut self, name: &str, unit: Option<Unit>, help: &str) {
        let Some(entry) = self.entry(name) else {
            return;
        };
        let mut end = help.len().min(MAX_HELP);
        while !help.is_char_boundary(end) {
            end -= 1;
        }
        help[..end].clone_into(&mut entry.help);
        entry.unit = unit.or(entry.unit);
    }

    /// Returns the cell of a series, and creates it unless a limit is reached.
    pub(super) fn register(
        &mut self,
        key: &Key,
        kind: MetricType,
        settings: &Settings,
    ) -> Registered {
        let Some((labels, mut complete)) = labels(key, kind, settings) else {
            return Registered::Rejected(
                "it has more than 16 labels, or names longer than 128 bytes",
            );
        };
        let series = self.series;
        let Some(entry) = self.entry(key.name()) else {
            return Registered::Rejected(
                "its name is longer than 256 bytes, or there are 1000 names already",
            );
        };
        match entry.kind {
            None => {
                entry.kind = Some(kind);
                entry.bounds = settings.bounds(key.name());
            }
            Some(first) if first != kind => {
                return Registered::Rejected("its name is in use for another type of metric");
            }
            Some(_) => {}
        }
        if let Some(cell) = entry.series.get(&labels) {
            return Registered::of(complete, cell.clone());
        }
        let own = entry.series.len() - entry.overflows;
        let labels = if own < settings.max_series_per_metric && series < settings.max_series {
            labels
        } else {
            complete = false;
            let other = |label| match settings.is_constant(&label) {
                true => label,
                false => (label.0, OTHER.to_owned()),
            };
            let labels: Labels = labels.into_iter().map(other).collect();
            if let Some(cell) = entry.series.get(&labels) {
                return Registered::of(complete, cell.clone());
            }
            if entry.overflows == MAX_OVERFLOWS {
                return Registered::Rejected(
                    "the series for other values have too many sets of labels",
                );
            }
            entry.overflows += 1;
            labels
        };
        let cell = match kind {
            MetricType::COUNTER => Cell::Counter(Arc::new(CounterCell::default())),
            MetricType::HISTOGRAM => Cell::Histogram(Arc::new(HistogramCell::new(&entry.bounds))),
            _ => Cell::Gauge(Arc::new(GaugeCell::default())),
        };
        entry.series.insert(labels, cell.clone());
        self.series += 1;
        Registered::of(complete, cell)
    }

    fn entry(&mut self, name: &str) -> Option<&mut Entry> {
        let name = legacy_name(name, true);
        if !self.by_name.contains_key(&*name) {
            if name.len() > MAX_NAME || self.by_name.len() >= MAX_FAMILIES {
                return None;
            }
            self.by_name
                .insert(name.clone().into_owned(), Entry::default());
        }
        self.by_name.get_mut(&*name)
    }

    pub(super) fn read(&self) -> Vec<OtherFamily<'static>> {
        let known = self.by_name.iter().filter_map(|(name, entry)| {
            let kind = entry.kind?;
            Some(OtherFamily {
                name: name.clone().into(),
                help: entry.help.clone().into(),
                unit: entry.unit.map(|unit| unit.as_str().into()),
                kind,
                info: false,
                metrics: entry.series.iter().map(metric).collect(),
            })
        });
        known.collect()
    }
}

fn metric((labels, cell): (&Labels, &Cell)) -> OtherMetric<'static> {
    let labels = labels.iter().cloned();
    OtherMetric {
        labels: labels
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        value: cell.read(),
        timestamp_ms: None,
        created: None,
    }
}

impl Registered {
    fn of(complete: bool, cell: Cell) -> Self {
        if complete {
            Self::Series(cell)
        } else {
            Self::Overflow(cell)
        }
    }
}

/// Returns the exposed labels, and whether all values are complete. Returns
/// `None` if they exceed a limit.
fn labels(key: &Key, kind: MetricType, settings: &Settings) -> Option<(Labels, bool)> {
    let mut complete = true;
    // The last value of a label wins. Those of the call replace constant ones.
    let mut labels = BTreeMap::new();
    for (name, value) in &settings.constant {
        labels.insert(name.clone(), value.clone());
    }
    for label in key.labels() {
        let name = label_name(label.key(), kind);
        let mut value = label.value();
        if value.len() > MAX_KEY_LEN {
            complete = false;
            value = OTHER;
        }
        labels.insert(name, value.to_owned());
        if labels.len() > MAX_LABELS {
            return None;
        }
    }
    let short = labels.keys().all(|name| name.len() <= MAX_KEY_LEN);
    short.then(|| (labels.into_iter().collect(), complete))
}

/// Returns the name of a label, which differs from those that the exposition and
/// Prometheus use themselves.
fn label_name(name: &str, kind: MetricType) -> String {
    let name = legacy_name(name, false);
    let reserved = name.starts_with("__") || (kind == MetricType::HISTOGRAM && name == "le");
    if reserved {
        format!("exported_{name}")
    } else {
        name.into_owned()
    }
}
