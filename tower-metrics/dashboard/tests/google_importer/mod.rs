//! What Google's importer of Grafana dashboards keeps of a dashboard: the behavior of
//! `scripts/dashboard-importer` in GoogleCloudPlatform/monitoring-dashboard-samples (commit
//! 1f749283d242).

use std::collections::BTreeMap;

use serde_json::Value;

/// Most tiles that the importer writes, one of which is its report.
const MAX_TILES: usize = 39;
/// Rows are not tall enough to become a tile.
const MIN_HEIGHT: u64 = 2;
/// Variables of Grafana in queries that the importer replaces, or that Cloud Monitoring knows.
const KNOWN: [&str; 3] = ["$__rate_interval", "$__interval", "${__range}"];

/// Result of an import.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Why panels would be missing, or would have no data.
    pub(crate) broken: Vec<String>,
    /// What is lost, and where.
    pub(crate) lost: BTreeMap<&'static str, Vec<String>>,
}

impl Report {
    fn lose(&mut self, what: &'static str, of: &Value) {
        let title = of["title"].as_str().or(of["name"].as_str());
        let title = title.unwrap_or_default().to_owned();
        let all = self.lost.entry(what).or_default();
        if !all.contains(&title) {
            all.push(title);
        }
    }

    fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.broken.push(what());
        }
    }
}

/// Imports a dashboard.
pub(crate) fn import(dashboard: &Value) -> Report {
    let mut report = Report::default();
    let variables = list(&dashboard["templating"]["list"]);
    let names: Vec<String> = variables.iter().map(|v| text(&v["name"])).collect();
    for (variable, name) in variables.iter().zip(&names) {
        match text(&variable["type"]).as_str() {
            "query" => {
                let query = text(&variable["query"]);
                let label = query.strip_prefix("label_values(").is_some();
                report.expect(label && arguments(&query) <= 2, || query.clone());
                // It replaces `$name` also at the start of a longer name.
                let longer = names.iter().find(|n| n.starts_with(name) && *n != name);
                report.expect(longer.is_none(), || format!("{name} and {longer:?}"));
            }
            _ => report.lose("variables for the data source", variable),
        }
    }
    let annotations = list(&dashboard["annotations"]["list"]).iter();
    for annotation in annotations.filter(|a| a["builtIn"] != 1) {
        report.lose("annotations", annotation);
    }
    for link in list(&dashboard["links"]) {
        report.lose("links to other dashboards", link);
    }
    let mut tiles = 1;
    for panel in list(&dashboard["panels"]) {
        for nested in list(&panel["panels"]) {
            tiles += 1;
            import_panel(&mut report, nested, &names);
        }
        if panel["type"] == "row" {
            report.lose("rows: their panels follow each other", panel);
            continue;
        }
        tiles += 1;
        import_panel(&mut report, panel, &names);
    }
    report.expect(tiles <= MAX_TILES, || format!("{tiles} tiles"));
    report
}

fn import_panel(report: &mut Report, panel: &Value, variables: &[String]) {
    let high = panel["gridPos"]["h"].as_u64() >= Some(MIN_HEIGHT);
    report.expect(high, || format!("height of {}", panel["title"]));
    let targets = list(&panel["targets"]);
    for target in targets {
        let query = text(&target["expr"]);
        let mut rest = query.clone();
        for known in KNOWN.into_iter().map(str::to_owned) {
            rest = rest.replace(&known, "");
        }
        for name in variables {
            rest = rest.replace(&format!("${name}"), "");
        }
        // It also renames these labels of the kubelet.
        let renamed = ["kubernetes_io_hostname", "pod_name"];
        let kept = !rest.contains('$') && !renamed.iter().any(|label| query.contains(label));
        report.expect(kept, || query.clone());
    }
    let kind = text(&panel["type"]);
    match kind.as_str() {
        "stat" | "table" => {
            if targets.len() > 1 {
                report.lose("all queries of a panel but the first", panel);
            }
            if kind == "stat" && text(&targets[0]["legendFormat"]).contains("{{") {
                report.lose("all values of a stat but one", panel);
            }
        }
        "bargauge" => report.lose("bars of current values: a stacked bar chart", panel),
        "timeseries" | "heatmap" => {}
        other => report.broken.push(format!("type {other}")),
    }
    let steps = &panel["fieldConfig"]["defaults"]["thresholds"]["steps"];
    if list(steps).len() > 1 {
        report.lose("thresholds", panel);
    }
    if !panel["description"].is_null() {
        report.lose("descriptions, units, decimals and colors", panel);
    }
    let overrides = list(&panel["fieldConfig"]["overrides"]).iter();
    let mut properties = overrides.flat_map(|one| list(&one["properties"]));
    if properties.any(|property| property["id"] == "links") {
        report.lose("links from rows of a table", panel);
    }
}

/// The number of arguments of `label_values`, as the importer counts them.
fn arguments(query: &str) -> usize {
    let outside = query.split('{').map(|part| match part.split_once('}') {
        Some((_, after)) => after,
        None => part,
    });
    outside.collect::<String>().matches(',').count() + 1
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
