//! Layout of panels in a grid of 24 columns.

use crate::panel::Panel;

pub(crate) const COLUMNS: u32 = 24;

/// A panel and its position relative to its row.
#[derive(Debug)]
pub(crate) struct Placed<'a> {
    pub(crate) panel: &'a Panel,
    pub(crate) x: u32,
    pub(crate) y: u32,
}

/// Places the panels of a row from left to right. Returns them with the height of all lines.
pub(crate) fn place(panels: &[Panel]) -> (Vec<Placed<'_>>, u32) {
    let (mut x, mut y, mut line) = (0, 0, 0);
    let mut placed = Vec::new();
    for panel in panels {
        let (width, height) = (u32::from(panel.width), u32::from(panel.height));
        if x + width > COLUMNS {
            y += line;
            (x, line) = (0, 0);
        }
        placed.push(Placed { panel, x, y });
        x += width;
        line = line.max(height);
    }
    (placed, y + line)
}
