//! Contents of a scrape, independent of its format.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};

use prometheus::proto::MetricFamily;

use super::family::{Family, Form, is_legacy_name, legacy_name};
use super::query::NameFilter;
use super::{Format, Inner, gathered, others};
use crate::prometheus::family::{Kind, families};
use crate::prometheus::other::{OtherFamily, OtherMetric};
use crate::prometheus::snapshot::Snapshot;

/// Families that a scrape writes.
pub(super) struct Contents<'a> {
    inner: &'static Inner,
    pub(super) snapshot: &'a Snapshot,
    others: Vec<OtherFamily<'a>>,
    filter: Option<&'a NameFilter>,
}

/// Origin of the samples of a family: the recorder, another source, or both.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    pub(super) recorded: Option<Kind>,
    pub(super) other: Option<&'a OtherFamily<'a>>,
}

impl<'a> Contents<'a> {
    /// Collects the metrics of all sources. `gathered` are those of
    /// [`gather_others`](crate::prometheus::collector::gather_others).
    pub(super) fn new(
        inner: &'static Inner,
        snapshot: &'a mut Snapshot,
        gathered: &'a [MetricFamily],
        filter: Option<&'a NameFilter>,
    ) -> Self {
        let mut others: Vec<_> = gathered.iter().filter_map(gathered::convert).collect();
        let from_sources = inner.other_families();
        // The names of a registry's families are unique.
        let may_repeat = !from_sources.is_empty();
        if may_repeat {
            others.extend(from_sources);
            others = merge(others);
        }
        // Read last: a request that a collector caused is part of the scrape.
        inner.read(snapshot);
        if may_repeat {
            remove_recorded(&mut others, inner, snapshot);
        }
        Self {
            inner,
            snapshot,
            others,
            filter,
        }
    }

    /// Returns the labels that the registry adds to the recorder's metrics.
    pub(super) fn added_labels(&self) -> &'static [(String, String)] {
        &self.inner.additions.labels
    }

    /// Returns whether the duration has native buckets.
    pub(super) fn has_native(&self) -> bool {
        self.inner.layout.native.is_some()
    }

    /// Returns whether every name is one that Prometheus allows without
    /// escaping.
    pub(super) fn has_legacy_names(&self) -> bool {
        self.others.iter().all(|family| {
            let mut metrics = family.metrics.iter();
            is_legacy_name(&family.name, true)
                && metrics.all(|metric| {
                    let mut labels = metric.labels.iter();
                    labels.all(|(name, _)| is_legacy_name(name, false))
                })
        })
    }

    /// Returns the families that have samples, the recorder's first, and their
    /// sources.
    pub(super) fn families(&self, format: Format) -> (Vec<Family<'_>>, Vec<Source<'_>>) {
        let mut all = Vec::new();
        let mut sources = Vec::new();
        let selects = |family: &Family<'_>| self.filter.is_none_or(|filter| filter.selects(family));
        for family in families(self.inner, &self.inner.exposed_names) {
            let kind = family.kind;
            let family = Family::new(family.name, family.help, kind.metric_type());
            if !kind.is_empty(self.snapshot) && selects(&family) {
                all.push(family);
                sources.push(Source {
                    recorded: Some(kind),
                    other: None,
                });
            }
        }
        let recorded = all.len();
        for other in &self.others {
            let family = Family::other(other, format);
            if other.metrics.is_empty() || !selects(&family) {
                continue;
            }
            // A collector that forwards another recorder's families: they are
            // continuations of this recorder's.
            let same = |own: &Family<'_>| own.name == family.name && own.kind == family.kind;
            let own = all[..recorded].iter().position(same);
            if let Some(own) = own
                && family.form == Form::Typed
                && sources[own].other.is_none()
            {
                sources[own].other = Some(other);
            } else {
                all.push(family);
                sources.push(Source {
                    recorded: None,
                    other: Some(other),
                });
            }
        }
        (all, sources)
    }
}

/// Merges families whose names and types are the same when they are written. The first of
/// two equal series counts: Prometheus rejects a scrape with repeated samples.
fn merge(families: Vec<OtherFamily<'_>>) -> Vec<OtherFamily<'_>> {
    let mut merged: Vec<OtherFamily<'_>> = Vec::with_capacity(families.len());
    let mut positions: HashMap<_, usize> = HashMap::new();
    let mut repeated = BTreeSet::new();
    for mut family in families {
        let name = legacy_name(&family.name, true).into_owned();
        // Different names of labels may be the same when they are written.
        let mut labels = family.metrics.iter().flat_map(|metric| &metric.labels);
        let may_repeat = !labels.all(|(name, _)| is_legacy_name(name, false));
        let at = match positions.entry((name, family.kind)) {
            Entry::Occupied(at) => {
                repeated.insert(*at.get());
                merged[*at.get()].metrics.append(&mut family.metrics);
                *at.get()
            }
            Entry::Vacant(at) => {
                merged.push(family);
                *at.insert(merged.len() - 1)
            }
        };
        if may_repeat {
            repeated.insert(at);
        }
    }
    for at in repeated {
        let mut seen = HashSet::new();
        let metrics = &mut merged[at].metrics;
        metrics.retain(|metric| seen.insert(identity(others::distinct(&metric.labels))));
    }
    merged
}

/// Removes the metrics of other sources that the recorder has as well.
fn remove_recorded(others: &mut [OtherFamily<'_>], inner: &'static Inner, snapshot: &Snapshot) {
    for family in families(inner, &inner.exposed_names) {
        let same = |other: &&mut OtherFamily<'_>| legacy_name(&other.name, true) == family.name;
        for other in others.iter_mut().filter(same) {
            let mut recorded = HashSet::new();
            family.kind.for_each_metric(snapshot, |metric| {
                let mut labels = Vec::new();
                metric
                    .labels
                    .for_each(|name, value| labels.push((name.to_owned(), value.to_owned())));
                let added = inner.additions.labels.iter().cloned();
                let labels: Vec<_> = labels.into_iter().chain(added).collect();
                let labels = labels.iter().map(|(name, value)| (&**name, &**value));
                recorded.insert(identity(labels));
            });
            let is_other = |metric: &OtherMetric<'_>| {
                !recorded.contains(&identity(others::distinct(&metric.labels)))
            };
            other.metrics.retain(is_other);
        }
    }
}

/// Returns the labels that identify a series. An empty label equals an absent one.
fn identity<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> BTreeSet<(String, String)> {
    let present = labels.filter(|(_, value)| !value.is_empty());
    present
        .map(|(name, value)| (legacy_name(name, false).into_owned(), value.to_owned()))
        .collect()
}
