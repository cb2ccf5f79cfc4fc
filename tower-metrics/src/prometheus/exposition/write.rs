//! Writes a registry in the text formats.

use std::collections::BTreeMap;

use prometheus::proto::{MetricFamily, MetricType};

use super::family::{Family, Form, resolve_clashes, write_metadata};
use super::output::Output;
use super::{Format, Inner, gathered, recorded};
use crate::prometheus::collector::{self, Kind};
use crate::prometheus::series::push_label;
use crate::prometheus::snapshot::Snapshot;

/// Origin of the samples of a family: the recorder, a collector, or both.
struct Source<'a> {
    recorded: Option<Kind>,
    gathered: Option<&'a MetricFamily>,
}

/// Writes everything in the recorder's registry.
pub(super) fn write_registry(
    out: &mut Output,
    inner: &'static Inner,
    snapshot: &mut Snapshot,
    format: Format,
) {
    let others = collector::gather_others(inner);
    snapshot.read(&inner.endpoints());
    let (mut families, sources) = families(inner, snapshot, &others, format);
    resolve_clashes(&mut families, format);

    let mut added_labels = String::new();
    for (name, value) in &inner.additions.labels {
        push_label(&mut added_labels, name, value);
    }
    if !added_labels.is_empty() {
        added_labels.push(',');
    }

    let mut by_sample = SampleFamilies::default();
    for (family, source) in families.iter().zip(&sources) {
        let samples = |out: &mut Output| {
            if let Some(kind) = source.recorded {
                let exemplars = kind == Kind::Duration
                    && family.form == Form::Typed
                    && format == Format::OpenMetrics;
                let name = &family.name;
                recorded::write_samples(out, name, kind, snapshot, &added_labels, exemplars);
            }
            if let Some(gathered) = source.gathered {
                for metric in gathered.get_metric() {
                    gathered::write_metric(out.block(), &family.name, gathered, metric, format);
                    out.written();
                }
            }
        };
        if family.form == Form::Samples {
            let mut lines = Output::default();
            samples(&mut lines);
            by_sample.add(family.help, &lines.finish());
        } else {
            family.write_metadata(out.block(), format);
            samples(out);
        }
    }
    by_sample.write(out.block(), format);
    if format == Format::OpenMetrics {
        out.block().extend_from_slice(b"# EOF\n");
    }
}

/// The families that have samples, the recorder's first.
fn families<'a>(
    inner: &'static Inner,
    snapshot: &Snapshot,
    others: &'a [MetricFamily],
    format: Format,
) -> (Vec<Family<'a>>, Vec<Source<'a>>) {
    let mut families = Vec::new();
    let mut sources = Vec::new();
    for family in collector::families(&inner.exposed_names, inner.time_to_head) {
        let empty = match family.kind {
            Kind::InFlight => snapshot.endpoints().next().is_none(),
            _ => snapshot.series().next().is_none(),
        };
        if !empty {
            families.push(Family::new(
                family.name,
                family.help,
                family.kind.metric_type(),
            ));
            sources.push(Source {
                recorded: Some(family.kind),
                gathered: None,
            });
        }
    }
    let recorded = families.len();
    for other in others {
        let family = Family::gathered(other, format);
        if family.kind == MetricType::UNTYPED {
            continue;
        }
        // A collector that forwards another recorder's families: they are
        // continuations of this recorder's.
        let same = |own: &Family<'_>| own.name == family.name && own.kind == family.kind;
        let own = families[..recorded].iter().position(same);
        if let Some(own) = own
            && family.form == Form::Typed
            && sources[own].gathered.is_none()
        {
            sources[own].gathered = Some(other);
        } else {
            families.push(family);
            sources.push(Source {
                recorded: None,
                gathered: Some(other),
            });
        }
    }
    (families, sources)
}

/// Families whose names clash, regrouped by the names of their samples.
#[derive(Default)]
struct SampleFamilies<'a>(BTreeMap<Vec<u8>, (&'a str, Vec<u8>)>);

impl<'a> SampleFamilies<'a> {
    fn add(&mut self, help: &'a str, lines: &[u8]) {
        // Escaping leaves no newline inside a line.
        for line in lines.split_inclusive(|b| *b == b'\n') {
            let end = line.iter().position(|b| matches!(b, b'{' | b' '));
            let name = &line[..end.unwrap_or(line.len())];
            if !self.0.contains_key(name) {
                self.0.insert(name.to_owned(), (help, Vec::new()));
            }
            if let Some((_, samples)) = self.0.get_mut(name) {
                samples.extend_from_slice(line);
            }
        }
    }

    fn write(&self, out: &mut Vec<u8>, format: Format) {
        for (name, (help, samples)) in &self.0 {
            let name = String::from_utf8_lossy(name);
            write_metadata(out, &name, help, format.unknown_type(), format);
            out.extend_from_slice(samples);
        }
    }
}
