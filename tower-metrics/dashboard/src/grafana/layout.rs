//! Rows and panels in Grafana's model.

use serde_json::{Value, json};

use super::panels;
use crate::dashboard::Dashboard;
use crate::layout::{COLUMNS, Placed, place};

/// Rows and panels in Grafana's order: panels follow an open row, and are part of a collapsed one.
pub(super) fn panels(dashboard: &Dashboard) -> Vec<Value> {
    let mut ids = 1..;
    let mut next_id = || ids.next().unwrap_or_default();
    let mut out = Vec::new();
    let mut y = 0;
    for row in &dashboard.rows {
        let mut heading = json!({
            "type": "row",
            "id": next_id(),
            "title": row.title,
            "collapsed": row.collapsed,
            "gridPos": { "h": 1, "w": COLUMNS, "x": 0, "y": y },
            "panels": [],
        });
        y += 1;
        let (placed, height) = place(&row.panels);
        let placed = placed.into_iter().map(|Placed { panel, x, y: line }| {
            let mut json = panels::panel(panel);
            json["id"] = json!(next_id());
            json["gridPos"] = json!({ "h": panel.height, "w": panel.width, "x": x, "y": y + line });
            json
        });
        let placed: Vec<Value> = placed.collect();
        if row.collapsed {
            // A collapsed row occupies only the line of its heading.
            heading["panels"] = Value::Array(placed);
            out.push(heading);
        } else {
            y += height;
            out.push(heading);
            out.extend(placed);
        }
    }
    out
}
