//! Dashboards for Grafana and Cloud Monitoring, Prometheus rules and a live page for services measured
//! by [tower-metrics].
//!
//! [`Red`] knows the metrics of a recorder and creates an overview dashboard, a dashboard with the
//! details of each route, service level objectives, and recording and alerting rules. Because it
//! takes names, labels and bucket bounds from the recorder, dashboards and rules cannot disagree
//! with what the service exposes.
//!
//! ```
//! use std::time::Duration;
//! use tower_metrics::Prometheus;
//! use tower_metrics_dashboard::{GrafanaTarget, Red};
//!
//! const THRESHOLD: Duration = Duration::from_millis(300);
//!
//! // The recorder of the service's `MetricsLayer`.
//! let prometheus = Prometheus::builder().objective(THRESHOLD).build()?;
//!
//! let red = Red::of(&prometheus)
//!     .uid("shop-http")
//!     .title("Shop")
//!     .availability(0.999)
//!     .latency(THRESHOLD, 0.99)
//!     .build()?;
//!
//! // Import this JSON in Grafana, and load the rules in Prometheus.
//! let overview: String = red.overview().grafana_json(GrafanaTarget::Import)?;
//! let rules: String = red.rules("Shop", "shop").rule_file()?;
//! # assert!(overview.contains("\"Shop overview\"") && rules.contains("ShopAvailabilityBurnFast"));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # Custom dashboards
//!
//! A [`Dashboard`] consists of [`Row`]s of panels. Each visualization has a builder: [`TimeSeries`],
//! [`Stat`], [`BarGauge`], [`Heatmap`] and [`Table`]. A panel shows expressions ([`Expr`]) over
//! series ([`Selector`]), not query strings, so that the same panel renders as PromQL and is
//! evaluated in the process by the live page.
//!
//! ```
//! use tower_metrics_dashboard::{Dashboard, GrafanaTarget, Row, Selector, TimeSeries, Unit};
//!
//! let waiting = Selector::new("jobs_waiting").value().sum_by(["queue"]);
//! let dashboard = Dashboard::new("jobs", "Jobs", "State of the job queues.").row(
//!     Row::new("Queues").panel(
//!         TimeSeries::new("Waiting jobs", Unit::Count)
//!             .description("Jobs that wait for a worker, by queue.")
//!             .series("{queue}", waiting),
//!     ),
//! );
//! let json = dashboard.grafana_json(GrafanaTarget::Provision)?;
//! # assert!(json.contains("sum by (queue) (jobs_waiting{"));
//! # Ok::<_, tower_metrics_dashboard::Error>(())
//! ```
//!
//! Rendering validates a dashboard first and reports a label that an expression aggregates away, an
//! unknown variable, or a missing description, together with the panel.
//!
//! # Guide
//!
//! [Dashboards and alerts](guides::dashboards): from a service's metrics to dashboards in Grafana and
//! alerts in Prometheus.
//!
//! # Features
//!
//! - `live`: a live page that the service serves itself; see the module `live`. Requires Tokio and
//!   axum. Off by default.
//!
//! [tower-metrics]: https://docs.rs/tower-metrics
#![cfg_attr(docsrs, feature(doc_cfg))]

mod burn_rate;
mod cloud_monitoring;
mod dashboard;
mod error;
mod expr;
mod format;
mod grafana;
#[cfg(any(doc, doctest))]
pub mod guides;
mod json;
mod layout;
#[cfg(feature = "live")]
pub mod live;
mod objectives;
mod panel;
mod period;
mod promql;
mod red;
mod rules;
mod selector;
mod slo;
mod validate;
mod yaml;

pub use self::burn_rate::{BurnRateAlert, RequestCounts, Severity};
pub use self::dashboard::{Annotation, Dashboard, Event, Link, Row, Variable};
pub use self::error::Error;
pub use self::expr::{Aggregation, Expr};
pub use self::grafana::GrafanaTarget;
pub use self::objectives::objectives_row;
pub use self::panel::{
    BarGauge, Color, Column, DataLink, Heatmap, Panel, PanelKind, Series, Stat, Table, Threshold,
    TimeSeries, Unit,
};
pub use self::period::Period;
pub use self::red::{Red, RedBuilder};
pub use self::rules::{Alert, Rules};
pub use self::selector::{Matcher, Part, Pattern, Selector};
pub use self::slo::{Indicator, MinimumEvents, Slo};
