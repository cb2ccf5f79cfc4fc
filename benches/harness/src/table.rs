//! Tables on standard output.

/// Prints a table. Columns of numbers are right-aligned.
pub fn print(title: &str, header: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<_> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let numeric: Vec<_> = (0..header.len())
        .map(|column| rows.iter().all(|row| row[column].parse::<f64>().is_ok()))
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (column, cell) in cells.enumerate() {
            let width = widths[column];
            if numeric[column] {
                line += &format!("{cell:>width$}  ");
            } else {
                line += &format!("{cell:<width$}  ");
            }
        }
        println!("{}", line.trim_end());
    };
    println!("\n{title}\n");
    line(&mut header.iter().copied());
    let rules: Vec<_> = widths.iter().map(|width| "-".repeat(*width)).collect();
    line(&mut rules.iter().map(String::as_str));
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
}

/// Prints a Markdown table.
pub fn print_markdown(header: &[&str], rows: &[Vec<String>]) {
    println!("| {} |", header.join(" | "));
    println!("|{}", "---|".repeat(header.len()));
    for row in rows {
        println!("| {} |", row.join(" | "));
    }
}
