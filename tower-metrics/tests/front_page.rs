//! Costs in the crate documentation agree with the project's README, which
//! contains the output of `cargo bench`.

use std::path::Path;

/// Returns the cells of each row of a table.
fn rows<'a>(text: &'a str, prefix: &str) -> Vec<Vec<&'a str>> {
    text.lines()
        .filter_map(|line| line.strip_prefix(prefix)?.strip_prefix('|'))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect()
}

#[test]
fn costs_in_the_documentation_match_the_readme() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let Ok(readme) = std::fs::read_to_string(readme) else {
        eprintln!("skipped: the published crate does not contain the project's README");
        return;
    };
    let front_page = include_str!("../src/lib.rs");
    let (_, costs) = front_page.split_once("//! # Cost").unwrap();
    let (costs, _) = costs.split_once("//! # ").unwrap();

    let (_, table) = readme.split_once("\n## Cost\n").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let measured = rows(table, "");
    // Skip the header and the separator.
    for row in &rows(costs, "//! ")[2..] {
        let name = match row[0] {
            "this layer" => "**tower-metrics**",
            "a hand-written layer on `HistogramVec`" => "a hand-written layer on `HistogramVec`",
            name => name,
        };
        let found = measured.iter().find(|measured| measured[0] == name);
        let found = found.unwrap_or_else(|| panic!("README.md has no row for {name:?}"));
        let (ns, allocations) = (found[1], found[4]);
        assert_eq!(
            (row[1], row[2]),
            (ns, allocations),
            "the row for {name:?} in src/lib.rs differs from README.md"
        );
    }
    let labels = include_str!("../docs/labels.md");
    for (line, text, name) in [
        ("scrape of 15,000 series", costs, "src/lib.rs"),
        ("memory of a series", costs, "src/lib.rs"),
        ("memory of a series", labels, "docs/labels.md"),
    ] {
        let found = measured.iter().find(|row| row[0].starts_with(line));
        let found = found.unwrap_or_else(|| panic!("README.md has no row for {line:?}"));
        let value = found[1].split(',').next().unwrap();
        assert!(
            text.contains(value),
            "{line}: {name} does not contain {value:?} of README.md"
        );
    }
}
