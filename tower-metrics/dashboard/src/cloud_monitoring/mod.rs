//! Rendering of dashboards for Google Cloud Monitoring (the resource `Dashboard` of its API v1).

mod layout;
mod widgets;

use serde_json::{Value, json};

use crate::dashboard::Dashboard;
use crate::error::Error;
use crate::json::sorted;
use crate::promql::{Promql, Variables};
use crate::validate::check;

/// Most widgets that the API accepts in a dashboard.
const MAX_WIDGETS: usize = 100;

/// Labels of the monitored resource `prometheus_target`. All others are labels of the metric.
const RESOURCE_LABELS: [&str; 6] = [
    "project_id",
    "location",
    "cluster",
    "namespace",
    "job",
    "instance",
];

impl Dashboard {
    /// Renders the dashboard as JSON for Google Cloud Monitoring, which shows the metrics that
    /// Managed Service for Prometheus collects.
    ///
    /// `gcloud monitoring dashboards create --config-from-file=FILE` creates the dashboard. Panels
    /// query with PromQL, and have the position that they have in Grafana. Rows are collapsible
    /// groups. The variables are those of [`grafana_json`](Self::grafana_json), except the data source.
    ///
    /// Cloud Monitoring has no equivalent of
    ///
    /// - descriptions of panels, colors and decimals,
    /// - [annotations](Self::annotation), [links](Self::link) and the data links of tables,
    /// - thresholds in other colors than yellow and red,
    /// - a panel of several single values. It becomes a table.
    ///
    /// # Errors
    ///
    /// Returns the first problem that [`validate`](Self::validate) finds, or an error if the
    /// dashboard has more than 100 rows and panels, which the API does not accept.
    pub fn cloud_monitoring_json(&self) -> Result<String, Error> {
        self.validate()?;
        let widgets = self.rows.len() + self.panels().count();
        check(
            &format!("dashboard {:?}", self.uid),
            "number of rows and panels",
            &widgets.to_string(),
            widgets <= MAX_WIDGETS,
            "at most 100 for Cloud Monitoring",
        )?;
        let variables = ["job", "instance"].into_iter().map(|name| (name, name));
        let own = (self.variables.iter()).map(|v| (v.name.as_str(), v.label.as_str()));
        let filters: Vec<Value> = variables.chain(own).map(filter).collect();
        let root = json!({
            "displayName": self.title,
            "dashboardFilters": filters,
            "mosaicLayout": { "columns": layout::COLUMNS, "tiles": layout::tiles(self) },
        });
        Ok(format!("{:#}\n", sorted(root)))
    }
}

/// A variable that offers the values of a label. The empty default selects all of them.
fn filter((name, label): (&str, &str)) -> Value {
    let kind = match RESOURCE_LABELS.contains(&label) {
        true => "RESOURCE_LABEL",
        false => "METRIC_LABEL",
    };
    json!({
        "filterType": kind,
        "labelKey": label,
        "stringValue": "",
        "templateVariable": name,
        "valueType": "STRING",
    })
}

/// Settings of queries in Cloud Monitoring.
fn promql() -> Promql<'static> {
    Promql {
        window: "${__interval}",
        range: "${__range}",
        matchers: &["job=~\"${job.value}\"", "instance=~\"${instance.value}\""],
        variables: Variables::CloudMonitoring,
        native: false,
        keep: &[],
    }
}
