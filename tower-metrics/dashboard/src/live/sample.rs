//! Current values and labels of series.

use std::sync::Arc;

/// Label names and values, sorted by name.
pub(super) type Labels = Vec<(Arc<str>, Arc<str>)>;

/// Calls its argument with the name and value of each label.
pub(super) type ForEachLabel<'a> = dyn Fn(&mut dyn FnMut(&str, &str)) + 'a;

/// Returns the value of a label, empty if it is absent.
pub(super) fn label<'a>(labels: &'a [(Arc<str>, Arc<str>)], name: &str) -> &'a str {
    labels
        .iter()
        .find(|(known, _)| **known == *name)
        .map_or("", |(_, value)| value)
}

/// Current value of a series.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sample<'a> {
    Gauge(f64),
    Counter(f64),
    Histogram {
        /// Finite bounds, ascending.
        bounds: &'a [f64],
        /// Observations up to each bound.
        cumulative: &'a [f64],
        count: f64,
        sum: f64,
    },
}

impl<'a> Sample<'a> {
    pub(super) fn bounds(&self) -> &'a [f64] {
        match self {
            Self::Histogram { bounds, .. } => bounds,
            Self::Gauge(_) | Self::Counter(_) => &[],
        }
    }

    pub(super) fn is_histogram(&self) -> bool {
        matches!(self, Self::Histogram { .. })
    }

    pub(super) fn value(&self, index: usize) -> f64 {
        match self {
            Self::Gauge(value) | Self::Counter(value) => *value,
            Self::Histogram {
                cumulative,
                count,
                sum,
                ..
            } => match index.checked_sub(cumulative.len()) {
                None => cumulative[index],
                Some(0) => *count,
                Some(_) => *sum,
            },
        }
    }
}
