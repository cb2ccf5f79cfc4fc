//! Panels in Grafana's words.

use serde_json::{Value, json};

use super::fields::{axis_label, colour, legend, ref_id, thresholds, unit};
use super::{data_source, promql};
use crate::expr::{Expr, Selector};
use crate::panel::{Column, Drill, Panel, Series, Show, Tone};

/// A panel without its id and place.
pub(super) fn panel(panel: &Panel) -> Value {
    let mut out = match &panel.show {
        Show::Lines {
            series,
            stacked,
            exemplars,
        } => lines(panel, series, *stacked, *exemplars),
        Show::Stat(series) => stat(panel, series),
        Show::Bars(series) => bars(panel, series),
        Show::Heatmap(histogram) => heatmap(panel, histogram),
        Show::Table { by, columns, drill } => table(panel, by, columns, drill.as_ref()),
    };
    out["type"] = json!(kind(panel).0);
    out["title"] = json!(panel.title);
    out["description"] = json!(panel.help);
    out["datasource"] = data_source();
    if let Some(decimals) = panel.decimals {
        out["fieldConfig"]["defaults"]["decimals"] = json!(decimals);
    }
    out
}

/// The plugin that draws a panel: its id and its name.
pub(super) fn kind(panel: &Panel) -> (&'static str, &'static str) {
    match panel.show {
        Show::Lines { .. } => ("timeseries", "Time series"),
        Show::Stat(_) => ("stat", "Stat"),
        Show::Bars(_) => ("bargauge", "Bar gauge"),
        Show::Heatmap(_) => ("heatmap", "Heatmap"),
        Show::Table { .. } => ("table", "Table"),
    }
}

fn lines(panel: &Panel, series: &[Series], stacked: bool, exemplars: bool) -> Value {
    let mut custom = json!({
        "drawStyle": "line",
        "lineWidth": 1,
        "lineInterpolation": "linear",
        "fillOpacity": if stacked { 30 } else { 8 },
        "gradientMode": "none",
        "showPoints": "never",
        "spanNulls": false,
        "axisLabel": axis_label(&panel.unit),
        "axisSoftMin": 0,
        "stacking": { "mode": if stacked { "normal" } else { "none" }, "group": "A" },
    });
    if !panel.thresholds.is_empty() {
        custom["thresholdsStyle"] = json!({ "mode": "dashed" });
    }
    json!({
        "fieldConfig": {
            "defaults": {
                "unit": unit(&panel.unit),
                // A name keeps its colour from panel to panel.
                "color": { "mode": "palette-classic-by-name" },
                "thresholds": thresholds("transparent", &panel.thresholds),
                "custom": custom,
            },
            "overrides": tones(series),
        },
        "options": {
            "legend": {
                "displayMode": "table",
                "placement": "bottom",
                "showLegend": true,
                "calcs": ["lastNotNull", "mean", "max"],
                "sortBy": "Last *",
                "sortDesc": true,
            },
            "tooltip": { "mode": "multi", "sort": "desc" },
        },
        "targets": targets(series, exemplars),
    })
}

fn stat(panel: &Panel, series: &[Series]) -> Value {
    let over_range = series.iter().any(|s| over_range(&s.expr));
    let named = series.len() > 1 || series.iter().any(|s| s.legend.contains('{'));
    let base = if panel.thresholds.is_empty() {
        Tone::Neutral
    } else {
        Tone::Good
    };
    json!({
        "fieldConfig": {
            "defaults": {
                "unit": unit(&panel.unit),
                "color": { "mode": "thresholds" },
                "thresholds": thresholds(colour(base), &panel.thresholds),
                "noValue": "–",
            },
            "overrides": tones(series),
        },
        "options": {
            "graphMode": if over_range { "none" } else { "area" },
            "colorMode": "value",
            "justifyMode": "auto",
            "textMode": if named { "value_and_name" } else { "value" },
            "wideLayout": true,
            "showPercentChange": false,
            "percentChangeColorMode": "standard",
            "orientation": "auto",
            "reduceOptions": { "values": false, "calcs": ["lastNotNull"], "fields": "" },
        },
        "targets": targets(series, false),
    })
}

fn bars(panel: &Panel, series: &Series) -> Value {
    let base = colour(series.tone.unwrap_or(Tone::Neutral));
    json!({
        "fieldConfig": {
            "defaults": {
                "unit": unit(&panel.unit),
                "min": 0,
                "color": { "mode": "thresholds" },
                "thresholds": thresholds(base, &panel.thresholds),
            },
            "overrides": [],
        },
        "options": {
            "displayMode": "basic",
            "valueMode": "text",
            "namePlacement": "left",
            "showUnfilled": true,
            "sizing": "auto",
            "minVizWidth": 8,
            "minVizHeight": 16,
            "maxVizHeight": 24,
            "orientation": "horizontal",
            "legend": {
                "displayMode": "list",
                "placement": "bottom",
                "showLegend": false,
                "calcs": [],
            },
            "reduceOptions": { "values": false, "calcs": ["lastNotNull"], "fields": "" },
        },
        "targets": [query(&series.expr, &series.legend, 0, false, true)],
        "transformations": [],
    })
}

fn heatmap(panel: &Panel, histogram: &Selector) -> Value {
    json!({
        "fieldConfig": {
            "defaults": {
                "custom": { "scaleDistribution": { "type": "linear" } },
            },
            "overrides": [],
        },
        "options": {
            "calculate": false,
            "cellGap": 1,
            "cellValues": { "unit": "short", "decimals": 2 },
            "color": {
                "mode": "scheme",
                "scheme": "Blues",
                "fill": colour(Tone::Neutral),
                // The square root, so that the few slow requests are seen beside the many quick.
                "scale": "exponential",
                "exponent": 0.5,
                "steps": 64,
                "reverse": true,
            },
            "exemplars": { "color": colour(Tone::Warn) },
            "filterValues": { "le": 1e-9 },
            "legend": { "show": true },
            "rowsFrame": { "layout": "auto" },
            "showValue": "never",
            "tooltip": { "mode": "single", "yHistogram": true, "showColorScale": true },
            "yAxis": { "unit": unit(&panel.unit), "axisPlacement": "left", "reverse": false },
        },
        "targets": [{
            "refId": "A",
            "datasource": data_source(),
            "editorMode": "code",
            "expr": promql().buckets(histogram, &[]),
            "legendFormat": "{{le}}",
            "format": "heatmap",
            "range": true,
            "instant": false,
            "exemplar": true,
        }],
    })
}

fn table(panel: &Panel, by: &[String], columns: &[Column], drill: Option<&Drill>) -> Value {
    let targets: Vec<Value> = (columns.iter().enumerate())
        .map(|(i, column)| {
            let mut target = query(&column.expr, "", i, false, true);
            target["format"] = json!("table");
            target
        })
        .collect();
    let value_field = |i: usize| match columns.len() {
        1 => "Value".to_owned(),
        _ => format!("Value #{}", ref_id(i)),
    };
    let mut order = json!({});
    let mut names = json!({});
    let mut overrides = Vec::new();
    for (i, label) in by.iter().enumerate() {
        order[label] = json!(i);
        names[label] = json!(heading(label));
        let mut properties = vec![json!({
            "id": "mappings",
            "value": [{
                "type": "special",
                "options": { "match": "empty", "result": { "text": "(none)", "index": 0 } },
            }],
        })];
        if let Some(drill) = drill.filter(|d| d.label == *label) {
            properties.push(json!({ "id": "links", "value": [drill_link(drill)] }));
        }
        overrides.push(json!({
            "matcher": { "id": "byName", "options": heading(label) },
            "properties": properties,
        }));
    }
    for (i, column) in columns.iter().enumerate() {
        order[value_field(i)] = json!(by.len() + i);
        names[value_field(i)] = json!(column.title);
        let mut properties = vec![json!({ "id": "unit", "value": unit(&column.unit) })];
        if !column.thresholds.is_empty() {
            properties.push(json!({
                "id": "thresholds",
                "value": thresholds("text", &column.thresholds),
            }));
            properties
                .push(json!({ "id": "custom.cellOptions", "value": { "type": "color-text" } }));
        }
        overrides.push(json!({
            "matcher": { "id": "byName", "options": column.title },
            "properties": properties,
        }));
    }
    json!({
        "fieldConfig": {
            "defaults": {
                "unit": unit(&panel.unit),
                "decimals": 2,
                "noValue": "–",
                "thresholds": thresholds("text", &[]),
                "custom": { "align": "auto", "inspect": false, "filterable": true },
            },
            "overrides": overrides,
        },
        "options": {
            "frameIndex": 0,
            "showHeader": true,
            "cellHeight": "sm",
            "footer": { "show": false, "reducer": ["sum"], "countRows": false },
            "sortBy": [{ "displayName": columns.first().map(|c| &c.title), "desc": true }],
        },
        "targets": targets,
        "transformations": [
            { "id": "merge", "options": {} },
            {
                "id": "organize",
                "options": {
                    "excludeByName": { "Time": true },
                    "indexByName": order,
                    "renameByName": names,
                },
            },
        ],
    })
}

/// A label's column heading: the last word of its name, as `http_route` is read "Route".
fn heading(label: &str) -> String {
    let word = label.rsplit('_').next().unwrap_or(label);
    let mut letters = word.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => label.to_owned(),
    }
}

fn drill_link(drill: &Drill) -> Value {
    let Drill {
        label,
        dashboard,
        variable,
    } = drill;
    let value = format!("${{__data.fields.{}:percentencode}}", heading(label));
    json!({
        "title": "Show this one alone",
        "url": format!(
            "/d/{dashboard}?${{__url_time_range}}&${{datasource:queryparam}}\
             &${{job:queryparam}}&${{instance:queryparam}}&var-{variable}={value}"
        ),
        "targetBlank": false,
    })
}

fn targets(series: &[Series], exemplars: bool) -> Vec<Value> {
    (series.iter().enumerate())
        .map(|(i, s)| {
            let instant = over_range(&s.expr);
            query(&s.expr, &s.legend, i, exemplars && !instant, instant)
        })
        .collect()
}

fn query(expr: &Expr, name: &str, index: usize, exemplar: bool, instant: bool) -> Value {
    json!({
        "refId": ref_id(index),
        "datasource": data_source(),
        "editorMode": "code",
        "expr": promql().expr(expr),
        "legendFormat": legend(name),
        "format": "time_series",
        "range": !instant,
        "instant": instant,
        "exemplar": exemplar,
    })
}

/// Whether a figure is one over the whole range shown, so that a line of it over time says nothing.
fn over_range(expr: &Expr) -> bool {
    match expr {
        Expr::Increase(_) => true,
        Expr::Value(_) | Expr::Rate(_) | Expr::Quantile { .. } => false,
        Expr::Fold { of, .. } | Expr::Times { of, .. } | Expr::Top { of, .. } | Expr::Since(of) => {
            over_range(of)
        }
        Expr::Ratio { part: a, whole: b }
        | Expr::OrZero { of: a, like: b }
        | Expr::Minus { left: a, right: b } => over_range(a) || over_range(b),
    }
}

/// Fixed colours, by the query that a line comes from.
fn tones(series: &[Series]) -> Vec<Value> {
    (series.iter().enumerate())
        .filter_map(|(i, s)| {
            let colour = colour(s.tone?);
            Some(json!({
                "matcher": { "id": "byFrameRefID", "options": ref_id(i) },
                "properties": [{
                    "id": "color",
                    "value": { "mode": "fixed", "fixedColor": colour },
                }],
            }))
        })
        .collect()
}
