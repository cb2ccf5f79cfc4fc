//! Layout of rows and panels in Grafana's grid of 24 columns.

use serde_json::{Value, json};

use super::panels;
use crate::dashboard::Dashboard;

const COLUMNS: u32 = 24;

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
        let mut placed = Vec::new();
        let (mut x, mut line) = (0, 0);
        for panel in &row.panels {
            let (w, h) = (u32::from(panel.width), u32::from(panel.height));
            if x + w > COLUMNS {
                y += line;
                (x, line) = (0, 0);
            }
            let mut json = panels::panel(panel);
            json["id"] = json!(next_id());
            json["gridPos"] = json!({ "h": h, "w": w, "x": x, "y": y });
            placed.push(json);
            x += w;
            line = line.max(h);
        }
        if row.collapsed {
            // A collapsed row occupies only the line of its heading.
            heading["panels"] = Value::Array(placed);
            out.push(heading);
        } else {
            y += line;
            out.push(heading);
            out.extend(placed);
        }
    }
    out
}
