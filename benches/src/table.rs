//! Tables on the screen.

/// Prints rows under a header: the first column to the left, the others to the
/// right.
pub fn print<const N: usize>(title: &str, header: [&str; N], rows: &[[String; N]]) {
    let mut widths = header.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |cells: [&str; N]| {
        let mut line = format!("{:<1$}", cells[0], widths[0]);
        for (cell, width) in cells.iter().zip(widths).skip(1) {
            line += &format!("  {cell:>width$}");
        }
        println!("{}", line.trim_end());
    };
    println!("\n{title}\n");
    line(header);
    line(
        widths
            .map(|width| "-".repeat(width))
            .each_ref()
            .map(|s| &**s),
    );
    for row in rows {
        line(row.each_ref().map(|s| &**s));
    }
}
