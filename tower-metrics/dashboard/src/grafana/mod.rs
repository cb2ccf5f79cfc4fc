//! Dashboards as Grafana JSON (the classic model, Grafana 10.4 and later).

mod fields;
mod layout;
mod panels;

use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::expr::Selector;
use crate::panel::{Annotation, Dashboard, Link, Show, Variable};
use crate::promql::Promql;

/// The classic model's version as of Grafana 10.4. Later ones are migrated to when loaded.
const SCHEMA_VERSION: u32 = 39;

/// How a dashboard reaches Grafana.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flavour {
    /// Imported by hand: Grafana asks for the data source (`__inputs`, `__requires`).
    Import,
    /// Provisioned from a file: the data source is the variable's default.
    Provision,
}

impl Dashboard {
    /// The dashboard as Grafana's JSON. Each query is narrowed by the variables `job` and
    /// `instance` and reads from the data source variable, so that it suits plain Prometheus and
    /// managed ones alike.
    ///
    /// # Errors
    /// What [`check`](Self::check) finds.
    pub fn grafana(&self, flavour: Flavour) -> Result<String, Error> {
        self.check()?;
        let mut root = json!({
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": self.tags,
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": false,
            // One crosshair over all charts.
            "graphTooltip": 1,
            "timezone": "browser",
            "refresh": "10s",
            "time": { "from": "now-30m", "to": "now" },
            "templating": { "list": self.templating(flavour) },
            "annotations": { "list": self.annotation_list() },
            "links": self.links.iter().map(link).collect::<Vec<_>>(),
            "panels": layout::panels(self),
        });
        if flavour == Flavour::Import {
            root["__inputs"] = json!([{
                "name": "DS_PROMETHEUS",
                "label": "Prometheus",
                "description": "",
                "type": "datasource",
                "pluginId": "prometheus",
                "pluginName": "Prometheus",
            }]);
            root["__requires"] = self.requires();
        }
        Ok(format!("{:#}\n", sorted(root)))
    }

    fn templating(&self, flavour: Flavour) -> Vec<Value> {
        let mut source = json!({
            "type": "datasource",
            "name": "datasource",
            "label": "Data source",
            "query": "prometheus",
            "refresh": 1,
        });
        if flavour == Flavour::Import {
            let chosen = "${DS_PROMETHEUS}";
            source["current"] = json!({ "selected": true, "text": chosen, "value": chosen });
        }
        let mut list = vec![source];
        if let Some(any) = self.any_series() {
            let job = format!("label_values({any}, job)");
            let instance = format!("label_values({any}{{job=~\"$job\"}}, instance)");
            list.push(choice("job", "Job", &job, ".+"));
            list.push(choice("instance", "Instance", &instance, ".+"));
        }
        list.extend(self.variables.iter().map(|variable| {
            let Variable {
                name,
                title,
                label,
                of,
            } = variable;
            let query = format!("label_values({}, {label})", promql().selector(of));
            // `.*`, because series without the label are among all of them.
            choice(name, title, &query, ".*")
        }));
        list
    }

    /// The metric whose jobs and instances are offered: the first that is shown.
    fn any_series(&self) -> Option<String> {
        let mut first = None;
        let mut keep = |selector: &Selector| {
            first.get_or_insert_with(|| selector.series_name());
        };
        for panel in self.panels() {
            if let Show::Heatmap(histogram) = &panel.show {
                keep(&histogram.clone().count());
            }
            for expr in panel.expressions() {
                expr.selectors(&mut keep);
            }
        }
        first
    }

    fn annotation_list(&self) -> Vec<Value> {
        let built_in = json!({
            "builtIn": 1,
            "datasource": { "type": "grafana", "uid": "-- Grafana --" },
            "enable": true,
            "hide": true,
            "iconColor": "rgba(0, 211, 255, 1)",
            "name": "Annotations & Alerts",
            "type": "dashboard",
        });
        let mut list = vec![built_in];
        list.extend(self.annotations.iter().map(annotation));
        list
    }

    fn requires(&self) -> Value {
        let mut list = vec![
            json!({ "type": "grafana", "id": "grafana", "name": "Grafana", "version": "10.4.0" }),
            json!({ "type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0" }),
        ];
        let mut kinds: Vec<(&str, &str)> = self.panels().map(panels::kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        list.extend(
            kinds.into_iter().map(
                |(id, name)| json!({ "type": "panel", "id": id, "name": name, "version": "" }),
            ),
        );
        Value::Array(list)
    }
}

/// Queries as Grafana's panels write them.
fn promql() -> Promql<'static> {
    Promql {
        window: "$__rate_interval",
        range: "$__range",
        everywhere: &["job=~\"$job\"", "instance=~\"$instance\""],
        variables: true,
        keep: &[],
    }
}

fn data_source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

fn choice(name: &str, title: &str, query: &str, all: &str) -> Value {
    json!({
        "type": "query",
        "name": name,
        "label": title,
        "datasource": data_source(),
        "query": query,
        "definition": query,
        // On each change of the time range.
        "refresh": 2,
        "sort": 1,
        "multi": true,
        "includeAll": true,
        "allValue": all,
        "current": { "selected": true, "text": ["All"], "value": ["$__all"] },
    })
}

fn link(link: &Link) -> Value {
    json!({
        "type": "link",
        "title": link.title,
        "url": format!("/d/{}", link.dashboard),
        "icon": "dashboard",
        "tooltip": "",
        "tags": [],
        "asDropdown": false,
        "targetBlank": false,
        "includeVars": true,
        "keepTime": true,
    })
}

fn annotation(annotation: &Annotation) -> Value {
    // A fixed window: it says how long it must be still before it can begin anew, and that must
    // not change with the zoom.
    let queries = Promql {
        window: "2m",
        ..promql()
    };
    let text: Vec<String> = (annotation.by.iter())
        .map(|label| format!("{label}: {{{{{label}}}}}"))
        .collect();
    json!({
        "name": annotation.title,
        "datasource": data_source(),
        "enable": true,
        "iconColor": fields::colour(annotation.tone),
        "expr": queries.beginning(&annotation.event, &annotation.by),
        "step": "15s",
        "titleFormat": annotation.title,
        "textFormat": text.join(", "),
        "tagKeys": annotation.by.join(","),
    })
}

/// Keys in order, whatever map `serde_json` was built with: the files are checked in.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().collect();
            entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            let entries = entries.into_iter().map(|(k, v)| (k, sorted(v)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
        other => other,
    }
}
