//! Prefix and labels that a registry adds to every metric.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::core::{Collector, Desc};
use prometheus::{Registry, proto};

/// Prefix and labels that a registry made with [`Registry::new_custom`] adds
/// to every metric in it.
#[derive(Debug, Default)]
pub(crate) struct RegistryAdditions {
    pub(crate) prefix: Option<String>,
    /// Sorted by name.
    pub(crate) labels: Vec<(String, String)>,
}

const PROBE: &str = "tower_metrics_probe";
const ID: &str = "id";

thread_local! {
    /// Probe that reports a metric when this thread gathers. Zero for none, so
    /// that a concurrent scrape does not show the probe.
    static ACTIVE_PROBE: Cell<u64> = const { Cell::new(0) };
}

impl RegistryAdditions {
    /// Determines the additions by gathering a probe metric: a registry
    /// reveals them only in its output.
    pub(crate) fn read(registry: &Registry) -> prometheus::Result<Self> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        registry.register(Box::new(Probe::new(id)?))?;
        let probing = Probing { registry, id };
        ACTIVE_PROBE.set(id);
        let families = registry.gather();
        drop(probing);

        let id = id.to_string();
        let is_probe = |label: &proto::LabelPair| label.name() == ID && label.value() == id;
        for family in &families {
            let Some(prefix) = family.name().strip_suffix(PROBE) else {
                continue;
            };
            for metric in family.get_metric() {
                // The registry appends its labels to the metric's own ones.
                let Some((own, added)) = metric.get_label().split_first() else {
                    continue;
                };
                if is_probe(own) {
                    let pair = |l: &proto::LabelPair| (l.name().to_owned(), l.value().to_owned());
                    let mut labels: Vec<_> = added.iter().map(pair).collect();
                    labels.sort_unstable();
                    let prefix = prefix.strip_suffix('_').map(str::to_owned);
                    return Ok(Self { prefix, labels });
                }
            }
        }
        Ok(Self::default())
    }

    /// Returns the name under which a metric registered as `name` is exposed.
    pub(crate) fn exposed_name(&self, name: &str) -> String {
        match &self.prefix {
            Some(prefix) => format!("{prefix}_{name}"),
            None => name.to_owned(),
        }
    }
}

/// Removes the probe, also when another collector panics.
struct Probing<'a> {
    registry: &'a Registry,
    id: u64,
}

impl Drop for Probing<'_> {
    fn drop(&mut self) {
        ACTIVE_PROBE.set(0);
        if let Ok(probe) = Probe::new(self.id) {
            let _ = self.registry.unregister(Box::new(probe));
        }
    }
}

struct Probe {
    id: u64,
    desc: Desc,
}

impl Probe {
    fn new(id: u64) -> prometheus::Result<Self> {
        let constant = HashMap::from([(ID.to_owned(), id.to_string())]);
        let help = "Reveals the registry's prefix and labels.";
        let desc = Desc::new(PROBE.to_owned(), help.to_owned(), Vec::new(), constant)?;
        Ok(Self { id, desc })
    }
}

impl Collector for Probe {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        if ACTIVE_PROBE.get() != self.id {
            return Vec::new();
        }
        let mut label = proto::LabelPair::default();
        label.set_name(ID.to_owned());
        label.set_value(self.id.to_string());
        let mut metric = proto::Metric::from_label(vec![label]);
        metric.set_gauge(proto::Gauge::default());
        let mut family = proto::MetricFamily::default();
        family.set_name(PROBE.to_owned());
        family.set_field_type(proto::MetricType::GAUGE);
        family.set_metric(vec![metric]);
        vec![family]
    }
}
