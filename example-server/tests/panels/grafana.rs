//! Reads queries from Grafana dashboards and expands their variables as Grafana does.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::prometheus::SCRAPE_INTERVAL;

/// A query of a panel or of an annotation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Query {
    pub(crate) dashboard: String,
    /// The panel's title.
    pub(crate) title: String,
    /// Its `refId` in the panel.
    pub(crate) letter: String,
    pub(crate) text: String,
    /// Whether it is an instant query.
    pub(crate) instant: bool,
    /// Whether it queries exemplars too.
    pub(crate) exemplars: bool,
}

/// A variable whose values are the result of a query.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) text: String,
    /// The value of *All*.
    pub(crate) all: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dashboard {
    pub(crate) title: String,
    pub(crate) panels: Vec<Query>,
    /// Number of panels, including those without a query.
    pub(crate) panel_count: usize,
    pub(crate) annotations: Vec<Query>,
    pub(crate) variables: Vec<Variable>,
}

/// The dashboards in this folder.
pub(crate) fn dashboards(folder: &Path) -> Vec<Dashboard> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let parse = |path| serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    files.into_iter().map(|path| read(&parse(path))).collect()
}

fn read(dashboard: &Value) -> Dashboard {
    let title = text(&dashboard["title"]);
    let panels: Vec<&Value> = list(&dashboard["panels"])
        .iter()
        .flat_map(|panel| std::iter::once(panel).chain(list(&panel["panels"])))
        .filter(|panel| panel["type"] != "row")
        .collect();
    let query = |name: &str, target: &Value| Query {
        dashboard: title.clone(),
        title: name.to_owned(),
        letter: target["refId"].as_str().unwrap_or("-").to_owned(),
        text: text(&target["expr"]),
        instant: target["instant"] == true,
        exemplars: target["exemplar"] == true,
    };
    let targets = panels.iter().flat_map(|panel| {
        let title = text(&panel["title"]);
        let targets = list(&panel["targets"]).iter();
        targets.map(move |target| query(&title, target))
    });
    let annotations = list(&dashboard["annotations"]["list"]).iter();
    let variables = list(&dashboard["templating"]["list"]).iter();
    Dashboard {
        panels: targets.collect(),
        panel_count: panels.len(),
        annotations: annotations
            .filter(|one| one["builtIn"] != 1)
            .map(|one| query(one["name"].as_str().unwrap(), one))
            .collect(),
        variables: variables
            .filter(|one| one["type"] == "query")
            .map(|one| Variable {
                name: text(&one["name"]),
                text: text(&one["query"]),
                all: text(&one["allValue"]),
            })
            .collect(),
        title: title.clone(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Values of the variables in a query.
#[derive(Clone, Debug)]
pub(crate) struct Bindings(BTreeMap<String, String>);

impl Bindings {
    /// Binds Grafana's own variables, for a time range of `range` seconds and graphs with a point
    /// every `interval` seconds.
    pub(crate) fn over(range: f64, interval: f64) -> Self {
        let scrape = f64::from(SCRAPE_INTERVAL);
        let rate_interval = (interval + scrape).max(4.0 * scrape);
        let values = [
            ("__range", format!("{range:.0}s")),
            ("__interval", format!("{interval:.0}s")),
            ("__rate_interval", format!("{rate_interval:.0}s")),
        ];
        Self(values.map(|(name, value)| (name.into(), value)).into())
    }

    /// Selects *All* in each variable.
    pub(crate) fn all(mut self, variables: &[Variable]) -> Self {
        let all = variables
            .iter()
            .map(|one| (one.name.clone(), one.all.clone()));
        self.0.extend(all);
        self
    }

    /// Selects these values in a variable.
    pub(crate) fn chosen(mut self, variable: &str, values: &[&str]) -> Self {
        let escaped: Vec<_> = values.iter().map(|value| escaped(value)).collect();
        let value = match &*escaped {
            [one] => one.clone(),
            several => format!("({})", several.join("|")),
        };
        self.0.insert(variable.to_owned(), value);
        self
    }

    /// Expands every variable in `query`.
    pub(crate) fn fill(&self, query: &str) -> String {
        let mut filled = query.to_owned();
        // In reverse order, because a name may be a prefix of a later one.
        for (name, value) in self.0.iter().rev() {
            filled = filled.replace(&format!("${{{name}}}"), value);
            filled = filled.replace(&format!("${name}"), value);
        }
        assert!(!filled.contains('$'), "a variable is left over in {filled}");
        filled
    }
}

/// Escapes a value as Grafana does, for a regular expression in a PromQL string.
fn escaped(value: &str) -> String {
    value
        .chars()
        .map(|char| match char {
            '\\' => "\\\\\\\\".to_owned(),
            '$' | '^' | '*' | '{' | '}' | '[' | ']' | '\'' | '+' | '?' | '.' | '(' | ')' | '|' => {
                format!("\\\\{char}")
            }
            other => other.to_string(),
        })
        .collect()
}

/// The selectors of a query, without ranges.
pub(crate) fn selectors(query: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = query;
    while let Some(brace) = rest.find('{') {
        let name = rest[..brace]
            .rfind(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
            .map_or(0, |at| at + 1);
        let end = brace + closing(&rest[brace..]);
        found.push(rest[name..=end].to_owned());
        rest = &rest[end + 1..];
    }
    found
}

/// Finds the brace that closes the one at the start of `text`. Ignores strings.
fn closing(text: &str) -> usize {
    let (mut quoted, mut escape) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escape => escape = false,
            b'\\' => escape = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return at,
            _ => {}
        }
    }
    panic!("a brace stays open in {text}")
}

/// Replaces rates and increases by the counters themselves: the query over the lifetime of counters
/// that started at zero.
pub(crate) fn over_lifetime(query: &str) -> String {
    let mut query = query.to_owned();
    for function in ["rate(", "increase("] {
        while let Some(at) = query.find(function) {
            let inside = at + function.len();
            let selector = inside + query[inside..].find('{').unwrap();
            let range = selector + closing(&query[selector..]) + 1;
            let end = range + query[range..].find(')').unwrap();
            query = [&query[..at], &query[inside..range], &query[end + 1..]].concat();
        }
    }
    query
}

#[test]
fn selectors_are_found_and_rates_replaced() {
    let query = r#"sum by (a) (rate(b{c=~"x{2}|}",d="\"}"}[4s])) or 0 * e:f{g!=""}"#;
    assert_eq!(
        selectors(query),
        [r#"b{c=~"x{2}|}",d="\"}"}"#, r#"e:f{g!=""}"#]
    );
    assert_eq!(
        over_lifetime(query),
        r#"sum by (a) (b{c=~"x{2}|}",d="\"}"}) or 0 * e:f{g!=""}"#
    );
}

#[test]
fn variables_are_expanded_as_grafana_does() {
    let values = Bindings::over(20.0, 27.0)
        .chosen("route", &["/a/{id}"])
        .chosen("job", &["x", "y.z"]);
    assert_eq!(
        values.fill("increase(m{r=~\"$route\",j=~\"${job}\"}[$__range]) [$__rate_interval]"),
        "increase(m{r=~\"/a/\\\\{id\\\\}\",j=~\"(x|y\\\\.z)\"}[20s]) [30s]"
    );
}
