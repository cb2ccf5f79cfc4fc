//! Messages of the JSON API and the event stream.

use std::collections::{BTreeMap, VecDeque};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::burn::ObjectiveStatus;
use super::check::CheckStatus;
use super::history::{Current, Tracks};
use super::marks::MarkStatus;
use super::number::{Number, numbers};
use crate::panel::{Color, Column, Panel, PanelKind, Threshold, Unit};

/// Current state of the page.
#[derive(Serialize)]
pub(super) struct Now<'a> {
    /// Unix seconds.
    pub(super) t: f64,
    /// Number of wall-clock steps so far. A client discards what it has from
    /// before a step, because its timestamps have changed.
    pub(super) clock: u64,
    pub(super) panels: BTreeMap<&'a str, PanelNow<'a>>,
    pub(super) objectives: &'a [ObjectiveStatus],
    pub(super) checks: &'a [CheckStatus],
    /// The value of each control, `null` if it is unknown.
    pub(super) controls: &'a BTreeMap<String, Option<String>>,
    /// The details of the controls that have one.
    pub(super) control_details: &'a BTreeMap<String, String>,
    pub(super) marks: &'a [MarkStatus],
    pub(super) problems: &'a [Problem],
}

/// A hook or collector that failed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Problem {
    pub(super) source: String,
    pub(super) detail: String,
}

/// Current state of a panel.
pub(super) struct PanelNow<'a> {
    pub(super) current: &'a Current,
    pub(super) rows: Option<&'a [TableRow]>,
}

/// A row of a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct TableRow {
    pub(super) key: Vec<String>,
    pub(super) cells: Vec<Number>,
}

impl Serialize for PanelNow<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        if let Some(rows) = self.rows {
            map.serialize_entry("rows", rows)?;
        } else if let Some(counts) = &self.current.counts {
            map.serialize_entry("bounds", &self.current.bounds)?;
            map.serialize_entry("counts", &numbers(counts))?;
        } else {
            let series = self
                .current
                .lines
                .iter()
                .map(|(name, value)| (name, Number(*value)));
            map.serialize_entry("series", &series.collect::<BTreeMap<_, _>>())?;
        }
        map.end()
    }
}

/// History of a panel.
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
                json!({"key": row.key, "cells": row.cells, "spark": spark.map(numbers)})
            });
            map.serialize_entry("rows", &rows.collect::<Vec<_>>())?;
        } else if !self.tracks.bounds.is_empty() {
            let counts = self
                .tracks
                .counts
                .iter()
                .map(|counts| counts.as_ref().map(numbers));
            map.serialize_entry("bounds", &self.tracks.bounds)?;
            map.serialize_entry("counts", &counts.collect::<Vec<_>>())?;
        } else {
            let lines = self.tracks.lines.iter();
            let lines = lines.map(|(name, values)| (name, numbers(values)));
            map.serialize_entry("series", &lines.collect::<BTreeMap<_, _>>())?;
        }
        map.end()
    }
}

/// Returns the definition of a panel.
pub(super) fn panel(id: &str, panel: &Panel, requests: Option<&str>) -> Value {
    let mut definition = json!({
        "id": id,
        "title": panel.title,
        "description": panel.description,
        "unit": unit(&panel.unit),
        "decimals": panel.decimals,
        "width": panel.width,
        "height": panel.height,
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

/// Returns the request field that a label of any naming preset corresponds to.
fn request_field(label: &str) -> Option<&'static str> {
    match label {
        _ if label.ends_with("route") || label == "endpoint" => Some("route"),
        _ if label.ends_with("method") => Some("method"),
        _ => None,
    }
}

/// Returns the text that is shown for an absent label.
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
