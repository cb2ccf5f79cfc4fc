//! Files of the page, embedded in the binary.

/// Content type and content of a file.
pub(super) type Asset = (&'static str, &'static str);

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// The HTML page. `{{title}}` is replaced when it is served.
pub(super) const PAGE: &str = include_str!("assets/page.html");

/// All other files by name.
pub(super) const FILES: [(&str, Asset); 17] = [
    ("boot.js", (SCRIPT, include_str!("assets/boot.js"))),
    ("chart.js", (SCRIPT, include_str!("assets/chart.js"))),
    ("dom.js", (SCRIPT, include_str!("assets/dom.js"))),
    ("values.js", (SCRIPT, include_str!("assets/values.js"))),
    ("format.js", (SCRIPT, include_str!("assets/format.js"))),
    ("heatmap.js", (SCRIPT, include_str!("assets/heatmap.js"))),
    (
        "icon.svg",
        ("image/svg+xml", include_str!("assets/icon.svg")),
    ),
    ("main.js", (SCRIPT, include_str!("assets/main.js"))),
    ("page.css", (STYLE, include_str!("assets/page.css"))),
    ("requests.js", (SCRIPT, include_str!("assets/requests.js"))),
    ("status.js", (SCRIPT, include_str!("assets/status.js"))),
    ("store.js", (SCRIPT, include_str!("assets/store.js"))),
    ("stream.js", (SCRIPT, include_str!("assets/stream.js"))),
    ("table.js", (SCRIPT, include_str!("assets/table.js"))),
    (
        "uPlot.LICENSE",
        (
            "text/plain; charset=utf-8",
            include_str!("assets/uPlot.LICENSE"),
        ),
    ),
    (
        "uPlot.min.css",
        (STYLE, include_str!("assets/uPlot.min.css")),
    ),
    (
        "uPlot.min.js",
        (SCRIPT, include_str!("assets/uPlot.min.js")),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_together_are_smaller_than_150_kb() {
        let files: usize = FILES.iter().map(|(_, (_, content))| content.len()).sum();
        let whole = PAGE.len() + files;
        assert!(whole < 150_000, "{whole} bytes");
    }

    #[test]
    fn no_file_refers_to_another_host() {
        for (name, (_, content)) in FILES.iter().filter(|(name, _)| !name.starts_with("uPlot")) {
            let others = content
                .matches("http")
                .filter(|_| content.contains("https://"));
            assert_eq!(others.count(), 0, "{name}");
        }
        assert!(!PAGE.contains("http://") && !PAGE.contains("https://"));
    }
}
