//! What goes to the page and out of the JSON API.

use std::collections::{BTreeMap, VecDeque};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::burn::Standing;
use super::check::Equation;
use super::history::{Shown, Tracks};
use super::marks::Mark;
use crate::panel::{Color, Column, Panel, PanelKind, Threshold, Unit};

/// A number as it is sent: whole ones exactly, others with five significant digits, and `null`
/// where there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figure(pub(super) f64);

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let value = self.0;
        if !value.is_finite() {
            to.serialize_none()
        } else if value.fract() == 0.0 && value.abs() < 9e15 {
            to.serialize_i64(value as i64)
        } else {
            let scale = 10f64.powi(4 - value.abs().log10().floor() as i32);
            // So small or so large that the scale leaves the range: as it is.
            let rounded = if scale.is_normal() {
                (value * scale).round() / scale
            } else {
                value
            };
            to.serialize_f64(rounded)
        }
    }
}

/// Everything as it is now.
#[derive(Serialize)]
pub(super) struct Now<'a> {
    pub(super) t: f64,
    pub(super) panels: BTreeMap<&'a str, PanelNow<'a>>,
    pub(super) objectives: &'a [Standing],
    pub(super) checks: &'a [Checked],
    pub(super) controls: &'a BTreeMap<String, String>,
    pub(super) marks: &'a [Mark],
}

/// How a check stands.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Checked {
    pub(super) id: String,
    pub(super) holds: bool,
    pub(super) difference: Figure,
    pub(super) equations: Vec<Equation>,
    pub(super) error: Option<String>,
}

/// One panel as it is now.
pub(super) struct PanelNow<'a> {
    pub(super) shown: &'a Shown,
    pub(super) rows: Option<&'a [TableRow]>,
}

/// A line of a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct TableRow {
    pub(super) key: Vec<String>,
    pub(super) cells: Vec<Figure>,
}

impl Serialize for PanelNow<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        if let Some(rows) = self.rows {
            map.serialize_entry("rows", rows)?;
        } else if let Some(counts) = &self.shown.counts {
            map.serialize_entry("bounds", &self.shown.bounds)?;
            map.serialize_entry("counts", &figures(counts))?;
        } else {
            let series = self
                .shown
                .lines
                .iter()
                .map(|(name, value)| (name, Figure(*value)));
            map.serialize_entry("series", &series.collect::<BTreeMap<_, _>>())?;
        }
        map.end()
    }
}

fn figures<'a>(values: impl IntoIterator<Item = &'a f64>) -> Vec<Figure> {
    values.into_iter().copied().map(Figure).collect()
}

/// One panel as it was.
pub(super) struct PanelHistory<'a> {
    pub(super) tracks: &'a Tracks,
    pub(super) rows: Option<&'a [TableRow]>,
    pub(super) sparks: &'a BTreeMap<Vec<String>, VecDeque<f64>>,
}

impl Serialize for PanelHistory<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        if let Some(rows) = self.rows {
            let rows = rows.iter().map(|row| {
                let spark = self.sparks.get(&row.key);
                json!({"key": row.key, "cells": row.cells, "spark": spark.map(figures)})
            });
            map.serialize_entry("rows", &rows.collect::<Vec<_>>())?;
        } else if !self.tracks.bounds.is_empty() {
            let counts = self
                .tracks
                .counts
                .iter()
                .map(|counts| counts.as_ref().map(figures));
            map.serialize_entry("bounds", &self.tracks.bounds)?;
            map.serialize_entry("counts", &counts.collect::<Vec<_>>())?;
        } else {
            let lines = self.tracks.lines.iter();
            let lines = lines.map(|(name, values)| (name, figures(values)));
            map.serialize_entry("series", &lines.collect::<BTreeMap<_, _>>())?;
        }
        map.end()
    }
}

/// A panel's definition.
pub(super) fn panel(id: &str, panel: &Panel, requests: Option<&str>) -> Value {
    let mut definition = json!({
        "id": id,
        "title": panel.title,
        "help": panel.description,
        "unit": unit(&panel.unit),
        "decimals": panel.decimals,
        "width": panel.width,
        "thresholds": thresholds(&panel.thresholds),
    });
    let more = match &panel.kind {
        PanelKind::TimeSeries {
            series, stacked, ..
        } => {
            let toned = series
                .iter()
                .filter_map(|s| Some((&s.legend, tone(s.color?))));
            json!({
                "kind": "lines",
                "stacked": stacked,
                "legends": series.iter().map(|s| &s.legend).collect::<Vec<_>>(),
                "tones": toned.collect::<BTreeMap<_, _>>(),
            })
        }
        PanelKind::Stat(series) => json!({
            "kind": "stat",
            "legends": series.iter().map(|s| &s.legend).collect::<Vec<_>>(),
        }),
        PanelKind::BarGauge(_) => json!({"kind": "bars"}),
        PanelKind::Heatmap(histogram) => json!({
            "kind": "heatmap",
            "opens": requests == Some(histogram.metric.as_str()),
        }),
        PanelKind::Table { by, columns, .. } => {
            let drill = by
                .iter()
                .filter_map(|label| Some((label, request_field(label)?)));
            let drill: BTreeMap<_, _> = drill.collect();
            json!({
                "kind": "table",
                "by": by,
                "columns": columns.iter().map(column).collect::<Vec<_>>(),
                "opens": requests.is_some() && drill.values().any(|field| *field == "route"),
                "drill": drill,
            })
        }
    };
    if let (Some(definition), Value::Object(more)) = (definition.as_object_mut(), more) {
        definition.extend(more);
    }
    definition
}

fn column(column: &Column) -> Value {
    json!({
        "title": column.title,
        "unit": unit(&column.unit),
        "thresholds": thresholds(&column.thresholds),
    })
}

/// Which field of a request a label is, in any of the naming presets.
fn request_field(label: &str) -> Option<&'static str> {
    match label {
        _ if label.ends_with("route") || label == "endpoint" => Some("route"),
        _ if label.ends_with("method") => Some("method"),
        _ => None,
    }
}

/// What an absent label is called where its value would stand.
pub(super) fn absent(label: &str) -> &'static str {
    if request_field(label) == Some("route") {
        "no route"
    } else {
        "none"
    }
}

fn thresholds(thresholds: &[Threshold]) -> Vec<Value> {
    let one = |t: &Threshold| json!({"from": t.from, "tone": tone(t.color)});
    thresholds.iter().map(one).collect()
}

fn tone(tone: Color) -> &'static str {
    match tone {
        Color::Green => "good",
        Color::Yellow => "warn",
        Color::Red => "bad",
        Color::Blue => "neutral",
        Color::Gray => "muted",
    }
}

fn unit(unit: &Unit) -> String {
    match unit {
        Unit::Count => "count",
        Unit::Seconds => "seconds",
        Unit::Bytes => "bytes",
        Unit::BytesPerSecond => "bytes_per_second",
        Unit::RequestsPerSecond => "requests_per_second",
        Unit::PerSecond => "per_second",
        Unit::PerMinute => "per_minute",
        Unit::Ratio => "ratio",
        Unit::Currency(code) => return format!("currency:{code}"),
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_whole_ones_exact() {
        let sent = |value| serde_json::to_string(&Figure(value)).unwrap();
        assert_eq!(sent(0.0), "0");
        assert_eq!(sent(123_456_789.0), "123456789");
        assert_eq!(sent(0.012_345_678), "0.012346");
        assert_eq!(sent(-1234.5678), "-1234.6");
        assert_eq!(sent(1e-320), "1e-320");
        assert_eq!(sent(f64::NAN), "null");
        assert_eq!(sent(f64::INFINITY), "null");
    }
}
