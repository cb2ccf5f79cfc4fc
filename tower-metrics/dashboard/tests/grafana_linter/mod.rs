//! The rules of Grafana's dashboard linter (grafana/dashboard-linter v0.2.0) that apply to Prometheus
//! dashboards, under the same names. It tokenizes PromQL but does not parse it; other tests evaluate
//! every query.

use serde_json::Value;

/// Returns the problems of a dashboard.
pub(crate) fn lint(dashboard: &Value) -> Vec<String> {
    let mut problems = Problems(Vec::new());
    problems.template_datasource_rule(dashboard);
    problems.template_choice_rule(dashboard, "template-job-rule", "job", "Job");
    problems.template_choice_rule(dashboard, "template-instance-rule", "instance", "Instance");
    for variable in variables(dashboard).filter(|v| v["type"] == "query") {
        problems.template_label_promql_rule(variable);
        problems.template_on_time_change_reload_rule(variable);
    }
    for panel in panels(dashboard) {
        problems.panel_datasource_rule(panel);
        problems.panel_title_description_rule(panel);
        problems.panel_units_rule(panel);
        problems.panel_no_targets_rule(panel);
        for target in panel["targets"].as_array().into_iter().flatten() {
            problems.target_rules(panel, target);
        }
    }
    problems.check(
        dashboard["editable"] != true,
        "uneditable-dashboard",
        || "editable".to_owned(),
    );
    problems.0
}

/// Returns every panel, including those in collapsed rows.
pub(crate) fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let top = dashboard["panels"].as_array().into_iter().flatten();
    top.flat_map(|panel| {
        let nested = panel["panels"].as_array().into_iter().flatten();
        std::iter::once(panel).chain(nested)
    })
    .filter(|panel| panel["type"] != "row")
}

fn variables(dashboard: &Value) -> impl Iterator<Item = &Value> {
    dashboard["templating"]["list"]
        .as_array()
        .into_iter()
        .flatten()
}

struct Problems(Vec<String>);

impl Problems {
    fn check(&mut self, holds: bool, rule: &str, what: impl FnOnce() -> String) {
        if !holds {
            self.0.push(format!("{rule}: {}", what()));
        }
    }

    fn template_datasource_rule(&mut self, dashboard: &Value) {
        let sources: Vec<&Value> = variables(dashboard)
            .filter(|v| v["type"] == "datasource")
            .collect();
        let rule = "template-datasource-rule";
        let [source] = sources.as_slice() else {
            self.check(false, rule, || format!("{} data sources", sources.len()));
            return;
        };
        self.check(
            source["name"] == "datasource"
                && source["label"] == "Data source"
                && source["query"] == "prometheus",
            rule,
            || source.to_string(),
        );
    }

    fn template_choice_rule(&mut self, dashboard: &Value, rule: &str, name: &str, label: &str) {
        let Some(choice) = variables(dashboard).find(|v| v["name"] == name) else {
            self.check(false, rule, || "missing".to_owned());
            return;
        };
        self.check(
            choice["type"] == "query"
                && choice["datasource"]["uid"] == "${datasource}"
                && choice["multi"] == true
                && choice["allValue"] == ".+"
                && choice["label"] == label,
            rule,
            || choice.to_string(),
        );
    }

    fn template_label_promql_rule(&mut self, variable: &Value) {
        let query = variable["query"].as_str().unwrap_or_default();
        let selector = query
            .strip_prefix("label_values(")
            .and_then(|rest| rest.strip_suffix(')'))
            .and_then(|rest| rest.rsplit_once(", "));
        let well_formed = selector.is_some_and(|(selector, label)| {
            let selectors = selectors(&tokens(selector));
            selectors.len() == 1
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'_')
        });
        self.check(well_formed, "template-label-promql-rule", || {
            query.to_owned()
        });
    }

    fn template_on_time_change_reload_rule(&mut self, variable: &Value) {
        let rule = "template-on-time-change-reload-rule";
        self.check(variable["refresh"] == 2, rule, || variable.to_string());
    }

    fn panel_datasource_rule(&mut self, panel: &Value) {
        // Stricter than the linter, which ignores heatmaps and bar gauges.
        let own = panel["datasource"]["uid"] == "${datasource}";
        self.check(own, "panel-datasource-rule", || title(panel));
    }

    fn panel_title_description_rule(&mut self, panel: &Value) {
        let filled = |field: &str| panel[field].as_str().is_some_and(|text| !text.is_empty());
        let both = filled("title") && filled("description");
        self.check(both, "panel-title-description-rule", || title(panel));
    }

    fn panel_units_rule(&mut self, panel: &Value) {
        if panel["type"] == "heatmap" {
            return;
        }
        let unit = &panel["fieldConfig"]["defaults"]["unit"];
        let overrides = panel["fieldConfig"]["overrides"]
            .as_array()
            .into_iter()
            .flatten();
        let properties = overrides.flat_map(|o| o["properties"].as_array().into_iter().flatten());
        let overridden = properties
            .filter(|p| p["id"] == "unit")
            .map(|p| &p["value"]);
        for unit in std::iter::once(unit).chain(overridden) {
            let known = unit.as_str().is_some_and(|unit| UNITS.contains(&unit));
            self.check(known, "panel-units-rule", || {
                format!("{}: {unit}", title(panel))
            });
        }
    }

    fn panel_no_targets_rule(&mut self, panel: &Value) {
        let some = panel["targets"]
            .as_array()
            .is_some_and(|targets| !targets.is_empty());
        self.check(some, "panel-no-targets-rule", || title(panel));
    }

    fn target_rules(&mut self, panel: &Value, target: &Value) {
        let query = target["expr"].as_str().unwrap_or_default();
        let context = || format!("{}: {query}", title(panel));
        let tokens = tokens(query);
        self.check(balanced(&tokens), "target-promql-rule", context);
        let selectors = selectors(&tokens);
        self.check(!selectors.is_empty(), "target-promql-rule", context);
        for selector in &selectors {
            let has = |wanted: &str| selector.matchers.iter().filter(|m| *m == wanted).count() == 1;
            self.check(has("job=~\"$job\""), "target-job-rule", context);
            self.check(
                has("instance=~\"$instance\""),
                "target-instance-rule",
                context,
            );
            let range = selector.range.as_deref();
            let ranged = match selector.function.as_deref() {
                Some("rate" | "irate") => range == Some("$__rate_interval"),
                Some("increase") => range == Some("${__range}"),
                _ => range.is_none(),
            };
            self.check(ranged, "target-rate-interval-rule", context);
            let counter = selector.metric.ends_with("_total");
            self.check(
                !counter || range.is_some(),
                "target-counter-agg-rule",
                context,
            );
        }
    }
}

fn title(panel: &Value) -> String {
    panel["title"].to_string()
}

/// A vector selector in a query.
struct Selector {
    metric: String,
    matchers: Vec<String>,
    range: Option<String>,
    /// The function that is applied to it.
    function: Option<String>,
}

const WORDS: [&str; 14] = [
    "and",
    "avg",
    "bool",
    "by",
    "histogram_quantile",
    "ignoring",
    "max",
    "min",
    "offset",
    "on",
    "or",
    "sum",
    "unless",
    "without",
];

fn selectors(tokens: &[String]) -> Vec<Selector> {
    let mut found = Vec::new();
    // In the labels of `by (…)` and in matchers, names are not metrics.
    let mut inside = false;
    for (i, token) in tokens.iter().enumerate() {
        let before = i.checked_sub(1).map(|i| tokens[i].as_str());
        let after = tokens.get(i + 1).map(String::as_str);
        let grouping = token == "(" && matches!(before, Some("by" | "without" | "on" | "ignoring"));
        if grouping || token == "{" {
            inside = true;
        } else if token == ")" || token == "}" {
            inside = false;
        }
        let name = token.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !name || inside || after == Some("(") || WORDS.contains(&token.as_str()) {
            continue;
        }
        let mut next = i + 1;
        let mut matchers = Vec::new();
        if after == Some("{") {
            let end = tokens[i..]
                .iter()
                .position(|t| t == "}")
                .map_or(tokens.len(), |n| i + n);
            let between = tokens[i + 2..end].split(|t| t == ",");
            matchers = between.map(|matcher| matcher.concat()).collect();
            next = end + 1;
        }
        let range = tokens
            .get(next)
            .filter(|t| t.starts_with('['))
            .map(|t| t[1..t.len() - 1].to_owned());
        let function = (before == Some("("))
            .then(|| tokens.get(i.wrapping_sub(2)).cloned())
            .flatten();
        found.push(Selector {
            metric: token.clone(),
            matchers,
            range,
            function,
        });
    }
    found
}

/// Splits a query into names, strings, ranges, numbers, operators and brackets.
fn tokens(query: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = query.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            'a'..='z' | 'A'..='Z' | '_' => {
                let end = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':');
                rest.find(end).unwrap_or(rest.len())
            }
            '"' => {
                let mut escaped = false;
                let end = rest[1..].find(|c| {
                    let closes = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    closes
                });
                end.map_or(rest.len(), |n| n + 2)
            }
            '[' => rest.find(']').map_or(rest.len(), |n| n + 1),
            _ => first.len_utf8(),
        };
        tokens.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    tokens
}

fn balanced(tokens: &[String]) -> bool {
    let mut open = Vec::new();
    for token in tokens {
        match token.as_str() {
            "(" => open.push(")"),
            "{" => open.push("}"),
            ")" | "}" if open.pop() != Some(token) => return false,
            _ => {}
        }
    }
    open.is_empty()
}

/// The subset of the linter's units that the library renders.
const UNITS: [&str; 29] = [
    "short",
    "s",
    "bytes",
    "binBps",
    "reqps",
    "percentunit",
    "none",
    "ops",
    "cps",
    "currencyUSD",
    "currencyGBP",
    "currencyEUR",
    "currencyJPY",
    "currencyRUB",
    "currencyUAH",
    "currencyBRL",
    "currencyDKK",
    "currencyISK",
    "currencyNOK",
    "currencySEK",
    "currencyCZK",
    "currencyCHF",
    "currencyPLN",
    "currencyZAR",
    "currencyINR",
    "currencyKRW",
    "currencyIDR",
    "currencyPHP",
    "currencyVND",
];

#[test]
fn the_linter_reports_every_kind_of_problem() {
    let query = |expr: &str| serde_json::json!({ "targets": [{ "expr": expr }], "title": "t", "type": "timeseries" });
    let found = |expr: &str| {
        let mut problems = Problems(Vec::new());
        let panel = query(expr);
        problems.target_rules(&panel, &panel["targets"][0]);
        problems
            .0
            .iter()
            .map(|p| p.split(':').next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    let both = "job=~\"$job\",instance=~\"$instance\"";
    assert!(
        found(&format!(
            "sum by (a, b) (rate(x_total{{{both}}}[$__rate_interval]))"
        ))
        .is_empty()
    );
    assert!(
        found(&format!(
            "max(x{{{both}}}) or 0 * sum(y{{c=\"}}\",{both}}})"
        ))
        .is_empty()
    );
    assert_eq!(found("sum(x)"), ["target-job-rule", "target-instance-rule"]);
    assert_eq!(found("sum(x{job=~\"$job\"})"), ["target-instance-rule"]);
    assert_eq!(
        found(&format!("rate(x_total{{{both}}}[5m])")),
        ["target-rate-interval-rule"]
    );
    assert_eq!(
        found(&format!("sum(x_total{{{both}}})")),
        ["target-counter-agg-rule"]
    );
    assert_eq!(found(&format!("sum(x{{{both}}}")), ["target-promql-rule"]);
}
