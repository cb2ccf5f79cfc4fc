//! Rendering of dashboards as Grafana JSON (the classic schema, Grafana 10.4 and later).

mod fields;
mod layout;
mod panels;

use serde_json::{Value, json};

use crate::dashboard::{Annotation, Dashboard, Link, Variable};
use crate::error::Error;
use crate::json::sorted;
use crate::panel::PanelKind;
use crate::promql::{Promql, Variables};
use crate::selector::Selector;

/// Version of the schema in Grafana 10.4. Later versions of Grafana migrate it when they load it.
const SCHEMA_VERSION: u32 = 39;

/// How a dashboard gets into Grafana.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GrafanaTarget {
    /// Manual import, where Grafana prompts for the data source (`__inputs`, `__requires`).
    Import,
    /// Provisioning from a file, where the data source is Grafana's default for Prometheus.
    Provision,
}

impl Dashboard {
    /// Renders the dashboard as JSON for Grafana.
    ///
    /// The dashboard has variables for the data source, the job and the instance, and every query
    /// uses them. It works with Prometheus and with compatible services.
    ///
    /// # Errors
    ///
    /// Returns the first problem that [`validate`](Self::validate) finds.
    pub fn grafana_json(&self, target: GrafanaTarget) -> Result<String, Error> {
        self.validate()?;
        let mut root = json!({
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": self.tags,
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": false,
            // A crosshair shared by all panels.
            "graphTooltip": 1,
            "timezone": "browser",
            "refresh": "10s",
            "time": { "from": "now-30m", "to": "now" },
            "templating": { "list": self.templating(target) },
            "annotations": { "list": self.annotation_list() },
            "links": self.links.iter().map(link).collect::<Vec<_>>(),
            "panels": layout::panels(self),
        });
        if target == GrafanaTarget::Import {
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

    fn templating(&self, target: GrafanaTarget) -> Vec<Value> {
        let mut source = json!({
            "type": "datasource",
            "name": "datasource",
            "label": "Data source",
            "query": "prometheus",
            "refresh": 1,
        });
        if target == GrafanaTarget::Import {
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
                series,
            } = variable;
            let query = format!("label_values({}, {label})", promql().selector(series));
            // `.*` includes series without the label.
            choice(name, title, &query, ".*")
        }));
        list
    }

    /// The metric whose jobs and instances are offered: the first that a panel uses.
    fn any_series(&self) -> Option<String> {
        let mut first = None;
        let mut keep = |selector: &Selector| {
            first.get_or_insert_with(|| match selector.native {
                true => selector.metric.clone(),
                false => selector.series_name(),
            });
        };
        for panel in self.panels() {
            if let PanelKind::Heatmap(histogram) = &panel.kind {
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
        let mut plugins: Vec<(&str, &str)> = self.panels().map(panels::plugin).collect();
        plugins.sort_unstable();
        plugins.dedup();
        list.extend(
            plugins.into_iter().map(
                |(id, name)| json!({ "type": "panel", "id": id, "name": name, "version": "" }),
            ),
        );
        Value::Array(list)
    }
}

/// Settings of queries in Grafana.
fn promql() -> Promql<'static> {
    Promql {
        window: "$__rate_interval",
        // With braces, Google's importer of Grafana dashboards keeps it.
        range: "${__range}",
        matchers: &["job=~\"$job\"", "instance=~\"$instance\""],
        variables: Variables::Grafana,
        native: true,
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
        // When the time range changes.
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
    // The window is the pause after which an event can start again. It must not change with the
    // zoom level.
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
        "iconColor": fields::color(annotation.color),
        "expr": queries.event(&annotation.event, &annotation.by),
        "step": "15s",
        "titleFormat": annotation.title,
        "textFormat": text.join(", "),
        "tagKeys": annotation.by.join(","),
    })
}
