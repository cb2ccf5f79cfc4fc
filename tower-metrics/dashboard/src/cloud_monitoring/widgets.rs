//! Panels as widgets of Cloud Monitoring.

use serde_json::{Value, json};

use super::promql;
use crate::expr::Expr;
use crate::panel::{Color, Column, Panel, PanelKind, Series, Threshold, Unit};
use crate::selector::Selector;

/// Smallest step of a query. It is also the smallest `${__interval}`, and with the usual scrape
/// interval of 30 seconds a rate has no value over a shorter one.
const STEP: &str = "60s";

pub(super) fn widget(panel: &Panel) -> Value {
    let mut widget = match &panel.kind {
        PanelKind::TimeSeries {
            series, stacked, ..
        } => chart(panel, series, *stacked),
        PanelKind::Stat(series) => match series.as_slice() {
            [one] if one.expr.labels() == Some(&[]) => scorecard(panel, &one.expr),
            series => values(panel, series, "NUMBER"),
        },
        PanelKind::BarGauge(series) => values(panel, std::slice::from_ref(series), "BAR"),
        PanelKind::Heatmap(histogram) => heatmap(panel, histogram),
        PanelKind::Table { by, columns, .. } => table(by, columns),
    };
    widget["title"] = json!(panel.title);
    widget
}

fn chart(panel: &Panel, series: &[Series], stacked: bool) -> Value {
    let data_sets = series.iter().map(|series| {
        json!({
            "plotType": if stacked { "STACKED_AREA" } else { "LINE" },
            "targetAxis": "Y1",
            "minAlignmentPeriod": STEP,
            "legendTemplate": template(&series.legend),
            "timeSeriesQuery": query(&series.expr, &panel.unit),
        })
    });
    let thresholds = panel.thresholds.iter();
    let thresholds = thresholds.map(|t| json!({ "value": t.from, "targetAxis": "Y1" }));
    json!({ "xyChart": {
        "chartOptions": { "mode": "COLOR" },
        "dataSets": data_sets.collect::<Vec<_>>(),
        "thresholds": thresholds.collect::<Vec<_>>(),
        "yAxis": { "scale": "LINEAR" },
    }})
}

fn heatmap(panel: &Panel, histogram: &Selector) -> Value {
    json!({ "xyChart": {
        "dataSets": [{
            "plotType": "HEATMAP",
            "targetAxis": "Y1",
            "minAlignmentPeriod": STEP,
            "timeSeriesQuery": {
                "prometheusQuery": promql().buckets(histogram, &[]),
                "unitOverride": unit(&panel.unit),
            },
        }],
        "yAxis": { "scale": "LINEAR" },
    }})
}

/// A single value with its history, or without one if it covers the whole time range.
fn scorecard(panel: &Panel, expr: &Expr) -> Value {
    let (view, shown) = if expr.covers_range() {
        ("blankView", json!({}))
    } else {
        let spark = json!({ "sparkChartType": "SPARK_LINE", "minAlignmentPeriod": STEP });
        ("sparkChartView", spark)
    };
    json!({ "scorecard": {
        "timeSeriesQuery": query(expr, &panel.unit),
        "thresholds": colored(&panel.thresholds),
        view: shown,
    }})
}

/// Several current values, each with its legend.
fn values(panel: &Panel, series: &[Series], visualization: &str) -> Value {
    let data_sets = series.iter().map(|series| {
        json!({
            "minAlignmentPeriod": STEP,
            "tableTemplate": template(&series.legend),
            "timeSeriesQuery": query(&series.expr, &panel.unit),
        })
    });
    json!({ "timeSeriesTable": {
        "dataSets": data_sets.collect::<Vec<_>>(),
        "metricVisualization": visualization,
    }})
}

fn table(by: &[String], columns: &[Column]) -> Value {
    let data_sets = columns.iter().map(|column| {
        json!({
            "minAlignmentPeriod": STEP,
            "tableTemplate": column.title,
            "timeSeriesQuery": query(&column.expr, &column.unit),
        })
    });
    let labels = by.iter();
    let labels = labels.map(|label| json!({ "column": label, "visible": true }));
    json!({ "timeSeriesTable": {
        "columnSettings": labels.collect::<Vec<_>>(),
        "dataSets": data_sets.collect::<Vec<_>>(),
        "metricVisualization": "NUMBER",
    }})
}

fn query(expr: &Expr, of: &Unit) -> Value {
    json!({ "prometheusQuery": promql().expr(expr), "unitOverride": unit(of) })
}

/// A legend, in which Cloud Monitoring writes labels as `${labels.name}`.
fn template(legend: &str) -> String {
    legend.replace('{', "${labels.")
}

/// Thresholds in the two colors that Cloud Monitoring has.
fn colored(thresholds: &[Threshold]) -> Vec<Value> {
    let colored = thresholds.iter().filter_map(|threshold| {
        let color = match threshold.color {
            Color::Yellow => "YELLOW",
            Color::Red => "RED",
            Color::Green | Color::Blue | Color::Gray => return None,
        };
        Some(json!({ "value": threshold.from, "color": color, "direction": "ABOVE" }))
    });
    colored.collect()
}

/// A unit in the notation of UCUM, or none for counts and currencies.
fn unit(unit: &Unit) -> &'static str {
    match unit {
        Unit::Count | Unit::Currency(_) => "",
        Unit::Seconds => "s",
        Unit::Bytes => "By",
        Unit::BytesPerSecond => "By/s",
        Unit::RequestsPerSecond | Unit::PerSecond => "1/s",
        Unit::PerMinute => "1/min",
        // Percent of a ratio from 0 to 1.
        Unit::Ratio => "10^2.%",
    }
}
