//! What the front page says a request costs is what the project's README says,
//! which is what `cargo bench` printed.

use std::path::Path;

/// The cells of a table's lines.
fn rows<'a>(text: &'a str, prefix: &str) -> Vec<Vec<&'a str>> {
    text.lines()
        .filter_map(|line| line.strip_prefix(prefix)?.strip_prefix('|'))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect()
}

#[test]
fn the_front_page_has_the_readmes_figures() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let Ok(readme) = std::fs::read_to_string(readme) else {
        eprintln!("skipped: the published crate stands alone, without the project's README");
        return;
    };
    let front_page = include_str!("../src/lib.rs");
    let (_, costs) = front_page.split_once("# What it costs").unwrap();
    let (costs, _) = costs.split_once("//! # ").unwrap();

    let (_, table) = readme.split_once("\n## Cost\n").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let measured = rows(table, "");
    // Two lines of head.
    for row in &rows(costs, "//! ")[2..] {
        let name = match row[0] {
            "this layer" => "**tower-metrics**",
            name => name,
        };
        let found = measured.iter().find(|measured| measured[0] == name);
        let found = found.unwrap_or_else(|| panic!("README.md has no line of {name:?}"));
        let (ns, allocations) = (found[1], found[3]);
        assert_eq!(
            (row[1], row[2]),
            (ns, allocations),
            "the line of {name:?} in src/lib.rs differs from README.md's"
        );
    }
    let labels = include_str!("../docs/labels.md");
    for (line, said_in, name) in [
        ("scrape of 15,000 series", costs, "src/lib.rs"),
        ("memory of a series", costs, "src/lib.rs"),
        ("memory of a series", labels, "docs/labels.md"),
    ] {
        let found = measured.iter().find(|row| row[0].starts_with(line));
        let found = found.unwrap_or_else(|| panic!("README.md has no line of {line:?}"));
        let figure = found[1].split(',').next().unwrap();
        assert!(
            said_in.contains(figure),
            "{line}: {name} does not say {figure:?}, as README.md does"
        );
    }
}
