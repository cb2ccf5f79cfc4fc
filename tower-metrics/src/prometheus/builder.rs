//! Sets up the recorder.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, RwLock};
use std::time::Duration;

use prometheus::Registry;

use super::cells::Layout;
use super::collector::{LIMIT, METRIC, OwnMetrics, Requests};
use super::registry::RegistryAdditions;
use super::{Endpoints, Inner, Names, Prometheus, exposition};
use crate::bounds::{DURATION_BOUNDS, duration_bounds, size_bounds};
use crate::error::BuildError;
use crate::recorder::{LabelError, Limit};
use crate::table::Table;

/// Sets up a [`Prometheus`] recorder.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct PrometheusBuilder {
    registry: Option<Registry>,
    names: Names,
    prefix: Option<String>,
    scheme: String,
    constant: Vec<(String, String)>,
    duration_bounds: Vec<f64>,
    route_duration_bounds: Vec<(String, Vec<f64>)>,
    objectives: Vec<Duration>,
    request_size_bounds: Vec<f64>,
    response_size_bounds: Vec<f64>,
    time_to_head: bool,
}

impl Default for PrometheusBuilder {
    fn default() -> Self {
        Self {
            registry: None,
            names: Names::default(),
            prefix: None,
            scheme: "http".into(),
            constant: Vec::new(),
            duration_bounds: DURATION_BOUNDS.into(),
            route_duration_bounds: Vec::new(),
            objectives: Vec::new(),
            request_size_bounds: Vec::new(),
            response_size_bounds: Vec::new(),
            time_to_head: false,
        }
    }
}

impl PrometheusBuilder {
    /// Sets the registry in which the metrics are registered. Defaults to a
    /// new one.
    ///
    /// The prefix and the labels of [`Registry::new_custom`] are part of
    /// [`Prometheus::names`] and [`Prometheus::constant_labels`]. Because a
    /// registry shows them only in what it gathers, [`build`](Self::build)
    /// gathers the registry once.
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// What metrics and labels are called. Default: OpenTelemetry's names.
    pub fn names(mut self, names: Names) -> Self {
        self.names = names;
        self
    }

    /// Goes before every metric's name, with an underscore. An empty one is
    /// none.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// The value of the constant label for the URL's scheme. Default: `http`.
    pub fn scheme(mut self, scheme: impl Into<String>) -> Self {
        self.scheme = scheme.into();
        self
    }

    /// Adds a label with the same value on every sample. Its name matches
    /// `[a-zA-Z_][a-zA-Z0-9_]*` and is no other label's.
    pub fn constant_label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.constant.push((name.into(), value.into()));
        self
    }

    /// The bounds of the duration histogram, in seconds, from a nanosecond to
    /// 1,000,000,000 s, rising. None leaves the count and the sum. Default:
    /// 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5,
    /// 10.
    pub fn duration_bounds(mut self, seconds: impl IntoIterator<Item = f64>) -> Self {
        self.duration_bounds = seconds.into_iter().collect();
        self
    }

    /// The bounds of the duration histogram for one route, in seconds. Of
    /// several for the same route the last ones hold.
    pub fn route_duration_bounds(
        mut self,
        route: impl Into<String>,
        seconds: impl IntoIterator<Item = f64>,
    ) -> Self {
        self.route_duration_bounds
            .push((route.into(), seconds.into_iter().collect()));
        self
    }

    /// A latency objective: its threshold is among the bounds of every
    /// duration histogram, so that the share of requests within it is exact.
    /// From a nanosecond to 1,000,000,000 s.
    pub fn objective(mut self, threshold: Duration) -> Self {
        self.objectives.push(threshold);
        self
    }

    /// The bounds of the request size histogram, in whole bytes up to 2^53,
    /// rising. Default: none, only the sum and the count.
    pub fn request_size_bounds(mut self, bytes: impl IntoIterator<Item = u64>) -> Self {
        self.request_size_bounds = bytes.into_iter().map(|bytes| bytes as f64).collect();
        self
    }

    /// The bounds of the response size histogram, in whole bytes up to 2^53,
    /// rising. Default: none, only the sum and the count.
    pub fn response_size_bounds(mut self, bytes: impl IntoIterator<Item = u64>) -> Self {
        self.response_size_bounds = bytes.into_iter().map(|bytes| bytes as f64).collect();
        self
    }

    /// Records the time to the response's head as a second histogram. Default:
    /// off. Costs a reading of the clock for each request.
    pub fn time_to_head(mut self, on: bool) -> Self {
        self.time_to_head = on;
        self
    }

    /// Makes the recorder and registers it.
    ///
    /// # Errors
    ///
    /// Where a name, a label or a bound cannot be, or the registry has a
    /// metric of that name already.
    pub fn build(self) -> Result<Prometheus, BuildError> {
        let mut names = self.names;
        if let Some(prefix) = self.prefix.filter(|prefix| !prefix.is_empty()) {
            names = names.prefixed(&prefix);
        }
        let name = names.duration.clone();
        let failed = |error: prometheus::Error| BuildError::Registration {
            name: name.clone(),
            why: error.to_string(),
        };
        let additions = match &self.registry {
            Some(registry) => RegistryAdditions::read(registry).map_err(failed)?,
            None => RegistryAdditions::default(),
        };
        let exposed_names = match &additions.prefix {
            Some(prefix) => names.clone().prefixed(prefix),
            None => names.clone(),
        };
        check_metric_names(&exposed_names, self.time_to_head)?;

        let scheme = names.scheme.clone().map(|name| (name, self.scheme));
        let constant: Vec<_> = scheme.into_iter().chain(self.constant).collect();
        check_labels(&names, &constant, &additions.labels)?;

        let request_size =
            optional_bounds(names.request_size.as_deref(), &self.request_size_bounds)?;
        let response_size =
            optional_bounds(names.response_size.as_deref(), &self.response_size_bounds)?;
        let layout = |bounds: &[f64]| {
            let duration = duration_bounds(&names.duration, bounds, &self.objectives)?;
            let layout = Layout::new(&duration, &request_size, &response_size, self.time_to_head);
            Ok::<&'static Layout, BuildError>(Box::leak(Box::new(layout)))
        };
        let default_layout = layout(&self.duration_bounds)?;
        let mut route_layouts = HashMap::new();
        for (route, bounds) in &self.route_duration_bounds {
            route_layouts.insert(route.clone(), layout(bounds)?);
        }

        let registry = self.registry.unwrap_or_default();
        let names: &'static Names = Box::leak(Box::new(names));
        let inner: &'static Inner = Box::leak(Box::new(Inner {
            registry,
            additions,
            names,
            exposed_names,
            constant: constant.leak(),
            custom_labels: Mutex::default(),
            layout: default_layout,
            route_layouts,
            time_to_head: self.time_to_head,
            endpoints: RwLock::new(Endpoints::default()),
            overflows: Table::new(64),
            renderers: exposition::Renderers::default(),
        }));
        // Shown from the start, so that the first overflow is seen as an increase.
        inner
            .overflows
            .get_or_add(Limit::Routes.as_str(), AtomicU64::default);
        let own_metrics = || OwnMetrics::new(inner).map(Box::new).map_err(failed);
        let requests = Box::new(Requests::new(inner).map_err(failed)?);
        // First those that are known by the duration's name alone: recorders
        // that differ in their constant labels would share families, which
        // only one of them can write.
        inner.registry.register(own_metrics()?).map_err(failed)?;
        if let Err(error) = inner.registry.register(requests) {
            // A recorder that does not come to be leaves nothing behind.
            let _ = inner.registry.unregister(own_metrics()?);
            return Err(failed(error));
        }
        Ok(Prometheus(inner))
    }
}

fn check_metric_names(names: &Names, time_to_head: bool) -> Result<(), BuildError> {
    let metrics = names.metrics(time_to_head);
    for (i, name) in metrics.iter().enumerate() {
        let valid = name.bytes().enumerate().all(|(i, b)| {
            b.is_ascii_alphabetic() || b == b'_' || b == b':' || (i > 0 && b.is_ascii_digit())
        });
        if name.is_empty() || !valid {
            return Err(BuildError::MetricName {
                name: (*name).to_owned(),
            });
        }
        // A histogram's samples have names of their own.
        let clashes = |other: &&str| {
            let rest = other.strip_prefix(*name);
            matches!(rest, Some("" | "_bucket" | "_count" | "_sum"))
        };
        let others = metrics[..i].iter().chain(&metrics[i + 1..]);
        if let Some(other) = others.into_iter().find(|other| clashes(other)) {
            return Err(BuildError::DuplicateMetric {
                name: (*other).to_owned(),
            });
        }
    }
    Ok(())
}

/// The names of all labels that the metrics have, custom ones aside.
pub(crate) fn label_names<'a>(
    names: &'a Names,
    constant: &'a [(String, String)],
) -> impl Iterator<Item = &'a str> {
    [
        &names.method,
        &names.route,
        &names.status,
        &names.grpc_status,
    ]
    .into_iter()
    .chain(&names.error_type)
    .chain(constant.iter().map(|(name, _)| name))
    .map(String::as_str)
}

fn check_labels(
    names: &Names,
    constant: &[(String, String)],
    registry: &[(String, String)],
) -> Result<(), LabelError> {
    // The registry adds its labels to the recorder's own metrics too.
    let mut seen = BTreeSet::from([METRIC, LIMIT]);
    for (name, _) in registry {
        check_label_syntax(name)?;
        if !seen.insert(name) {
            return Err(LabelError {
                name: name.to_owned(),
                why: "the registry adds a label of this name, which the recorder uses".to_owned(),
            });
        }
    }
    seen.remove(METRIC);
    seen.remove(LIMIT);
    for name in label_names(names, constant) {
        check_label_name(name)?;
        if !seen.insert(name) {
            return Err(LabelError {
                name: name.to_owned(),
                why: "it is used twice".to_owned(),
            });
        }
    }
    Ok(())
}

/// Checks the name of a label that the layer or the recorder sets.
pub(crate) fn check_label_name(name: &str) -> Result<(), LabelError> {
    if name == "job" || name == "instance" {
        return Err(LabelError {
            name: name.to_owned(),
            why: "Prometheus sets this label itself on everything it scrapes".to_owned(),
        });
    }
    check_label_syntax(name)
}

fn check_label_syntax(name: &str) -> Result<(), LabelError> {
    let valid = !name.is_empty()
        && name
            .bytes()
            .enumerate()
            .all(|(i, b)| b.is_ascii_alphabetic() || b == b'_' || (i > 0 && b.is_ascii_digit()));
    let why = if !valid {
        "must match [a-zA-Z_][a-zA-Z0-9_]*"
    } else if name.starts_with("__") {
        "names that start with two underscores belong to Prometheus"
    } else if name == "le" || name == "quantile" {
        "it belongs to histograms and summaries"
    } else {
        return Ok(());
    };
    Err(LabelError {
        name: name.to_owned(),
        why: why.to_owned(),
    })
}

/// A histogram that a preset does not have needs no bounds.
fn optional_bounds(histogram: Option<&str>, bytes: &[f64]) -> Result<Vec<(u64, f64)>, BuildError> {
    histogram.map_or_else(|| Ok(Vec::new()), |histogram| size_bounds(histogram, bytes))
}
