//! Layout of rows and panels in the mosaic of Cloud Monitoring.

use serde_json::{Value, json};

use super::widgets;
use crate::dashboard::Dashboard;
use crate::layout::{Placed, place};

/// Columns of the mosaic, the most that the API accepts. Its cells are square, so that with two
/// columns for each of the panels' grid, a unit of height is about as high as in Grafana.
pub(super) const COLUMNS: u32 = 48;

/// Tiles of groups, each followed by the tiles of its widgets, which lie in the area of the group.
pub(super) fn tiles(dashboard: &Dashboard) -> Vec<Value> {
    let mut tiles = Vec::new();
    let mut y = 0;
    for row in &dashboard.rows {
        let (placed, height) = place(&row.panels);
        tiles.push(json!({
            "xPos": 0,
            "yPos": y,
            "width": COLUMNS,
            "height": height,
            "widget": {
                "title": row.title,
                "collapsibleGroup": { "collapsed": row.collapsed },
            },
        }));
        tiles.extend(placed.into_iter().map(|Placed { panel, x, y: line }| {
            json!({
                "xPos": 2 * x,
                "yPos": y + line,
                "width": 2 * u32::from(panel.width),
                "height": panel.height,
                "widget": widgets::widget(panel),
            })
        }));
        y += height;
    }
    tiles
}
