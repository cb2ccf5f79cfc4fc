//! Collector of the age of the oldest request in flight of each route.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use prometheus::core::{Collector, Desc};
use prometheus::proto;

use super::Inner;
use super::collector::{family, pair};
use super::sync::{Mutex, PoisonError};
use crate::oldest_request::{OldestRequest, OldestRequests};

const HELP: &str = "Age of the oldest request in flight, or 0 if there is none.";

/// Series whose oldest request is exposed, by their route. Several methods and layers
/// may have the same one.
#[derive(Default)]
pub(crate) struct Watched {
    routes: Mutex<BTreeMap<&'static str, Vec<OldestRequest>>>,
    reading: Mutex<OldestRequests>,
}

impl Watched {
    pub(crate) fn add(&self, route: &'static str, oldest: OldestRequest) {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.entry(route).or_default().push(oldest);
    }

    /// Calls `each` with every route and the age of its oldest request in seconds.
    fn for_each(&self, mut each: impl FnMut(&'static str, f64)) {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        reading.read();
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        for (route, series) in &*routes {
            let ages = series.iter().filter_map(|oldest| reading.age(*oldest));
            each(route, ages.max().unwrap_or_default().as_secs_f64());
        }
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}

/// Collector of the family.
pub(crate) struct OldestRequestMetric {
    inner: &'static Inner,
    desc: Desc,
}

impl OldestRequestMetric {
    pub(crate) fn new(inner: &'static Inner) -> prometheus::Result<Self> {
        let names = inner.names;
        let constant: HashMap<_, _> = inner.constant.iter().cloned().collect();
        let labels = vec![names.route.clone()];
        let desc = Desc::new(names.oldest_request.clone(), HELP.into(), labels, constant)?;
        Ok(Self { inner, desc })
    }
}

impl Collector for OldestRequestMetric {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let inner = self.inner;
        let names = inner.names;
        let mut metrics = Vec::new();
        inner.watched.for_each(|route, seconds| {
            let constant = inner.constant.iter().map(|(name, value)| pair(name, value));
            let mut labels: Vec<_> = constant.chain([pair(&names.route, route)]).collect();
            labels.sort_by(|a, b| a.name().cmp(b.name()));
            let mut gauge = proto::Gauge::default();
            gauge.set_value(seconds);
            let mut metric = proto::Metric::from_label(labels);
            metric.set_gauge(gauge);
            metrics.push(metric);
        });
        let kind = proto::MetricType::GAUGE;
        vec![family(&names.oldest_request, HELP, kind, metrics)]
    }
}
