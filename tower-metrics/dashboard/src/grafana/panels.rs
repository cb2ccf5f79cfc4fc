//! Panels in Grafana's model.

use serde_json::{Value, json};

use super::fields::{axis_label, color, legend, ref_id, thresholds, unit};
use super::{data_source, promql};
use crate::expr::Expr;
use crate::panel::{Color, Column, DataLink, Panel, PanelKind, Series};
use crate::selector::Selector;

/// A panel without its id and position.
pub(super) fn panel(panel: &Panel) -> Value {
    let mut out = match &panel.kind {
        PanelKind::TimeSeries {
            series,
            stacked,
            exemplars,
        } => time_series(panel, series, *stacked, *exemplars),
        PanelKind::Stat(series) => stat(panel, series),
        PanelKind::BarGauge(series) => bar_gauge(panel, series),
        PanelKind::Heatmap(histogram) => heatmap(panel, histogram),
        PanelKind::Table {
            by,
            columns,
            data_link,
        } => table(panel, by, columns, data_link.as_ref()),
    };
    out["type"] = json!(plugin(panel).0);
    out["title"] = json!(panel.title);
    out["description"] = json!(panel.description);
    out["datasource"] = data_source();
    if let Some(decimals) = panel.decimals {
        out["fieldConfig"]["defaults"]["decimals"] = json!(decimals);
    }
    out
}

/// The id and the name of the plugin that draws a panel.
pub(super) fn plugin(panel: &Panel) -> (&'static str, &'static str) {
    match panel.kind {
        PanelKind::TimeSeries { .. } => ("timeseries", "Time series"),
        PanelKind::Stat(_) => ("stat", "Stat"),
        PanelKind::BarGauge(_) => ("bargauge", "Bar gauge"),
        PanelKind::Heatmap(_) => ("heatmap", "Heatmap"),
        PanelKind::Table { .. } => ("table", "Table"),
    }
}

fn time_series(panel: &Panel, series: &[Series], stacked: bool, exemplars: bool) -> Value {
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
                // The same legend has the same color in every panel.
                "color": { "mode": "palette-classic-by-name" },
                "thresholds": thresholds("transparent", &panel.thresholds),
                "custom": custom,
            },
            "overrides": fixed_colors(series),
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
    let covers_range = series.iter().any(|s| s.expr.covers_range());
    let named = series.len() > 1 || series.iter().any(|s| s.legend.contains('{'));
    let base = if panel.thresholds.is_empty() {
        Color::Blue
    } else {
        Color::Green
    };
    json!({
        "fieldConfig": {
            "defaults": {
                "unit": unit(&panel.unit),
                "color": { "mode": "thresholds" },
                "thresholds": thresholds(color(base), &panel.thresholds),
                "noValue": "–",
            },
            "overrides": fixed_colors(series),
        },
        "options": {
            "graphMode": if covers_range { "none" } else { "area" },
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

fn bar_gauge(panel: &Panel, series: &Series) -> Value {
    let base = color(series.color.unwrap_or(Color::Blue));
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
                "fill": color(Color::Blue),
                // A square-root scale makes buckets with few observations visible.
                "scale": "exponential",
                "exponent": 0.5,
                "steps": 64,
                "reverse": true,
            },
            "exemplars": { "color": color(Color::Yellow) },
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

fn table(panel: &Panel, by: &[String], columns: &[Column], link: Option<&DataLink>) -> Value {
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
        let heading = heading(label, by, columns);
        order[label] = json!(i);
        names[label] = json!(heading);
        let mut properties = vec![json!({
            "id": "mappings",
            "value": [{
                "type": "special",
                "options": { "match": "empty", "result": { "text": "(none)", "index": 0 } },
            }],
        })];
        if let Some(link) = link.filter(|link| link.label == *label) {
            properties.push(json!({ "id": "links", "value": [data_link(link, &heading)] }));
        }
        overrides.push(json!({
            "matcher": { "id": "byName", "options": heading },
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

/// The heading of a label's column: the last word of its name, such as "Route" for `http_route`.
/// The whole name if another column would have the same heading.
fn heading(label: &str, by: &[String], columns: &[Column]) -> String {
    let word = capitalized_last_word(label);
    let others = by.iter().filter(|other| *other != label);
    let taken = others
        .map(|other| capitalized_last_word(other))
        .any(|other| other == word)
        || columns.iter().any(|column| column.title == word);
    if taken { label.to_owned() } else { word }
}

fn capitalized_last_word(label: &str) -> String {
    let word = label.rsplit('_').next().unwrap_or(label);
    let mut letters = word.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => label.to_owned(),
    }
}

fn data_link(link: &DataLink, heading: &str) -> Value {
    let DataLink {
        dashboard,
        variable,
        ..
    } = link;
    let value = format!("${{__data.fields.{heading}:percentencode}}");
    json!({
        "title": "Show details",
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
            let instant = s.expr.covers_range();
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

/// Overrides that set the fixed color of a query's series.
fn fixed_colors(series: &[Series]) -> Vec<Value> {
    (series.iter().enumerate())
        .filter_map(|(i, s)| {
            let color = color(s.color?);
            Some(json!({
                "matcher": { "id": "byFrameRefID", "options": ref_id(i) },
                "properties": [{
                    "id": "color",
                    "value": { "mode": "fixed", "fixedColor": color },
                }],
            }))
        })
        .collect()
}
