//! Writes everything that an exposition contains in the text formats.

use std::collections::{BTreeMap, HashSet};

use super::contents::{Contents, Source};
use super::family::{Family, Form, resolve_clashes, write_metadata};
use super::output::Output;
use super::{Format, others, recorded};
use crate::prometheus::family::Kind;
use crate::prometheus::series::push_label;

/// Writes the contents in a text format.
pub(super) fn write_text(out: &mut Output, contents: &Contents<'_>, format: Format) {
    let (mut families, sources) = contents.families(format);
    resolve_clashes(&mut families, format);

    let mut added_labels = String::new();
    for (name, value) in contents.added_labels() {
        push_label(&mut added_labels, name, value);
    }
    if !added_labels.is_empty() {
        added_labels.push(',');
    }

    let mut by_sample = SampleFamilies::default();
    for (family, source) in families.iter().zip(&sources) {
        let samples = |out: &mut Output| {
            write_samples(out, contents, family, source, &added_labels, format);
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

fn write_samples(
    out: &mut Output,
    contents: &Contents<'_>,
    family: &Family<'_>,
    source: &Source<'_>,
    added_labels: &str,
    format: Format,
) {
    let name = &*family.name;
    if let Some(kind) = source.recorded {
        let exemplars =
            kind == Kind::Duration && family.form == Form::Typed && format == Format::OpenMetrics;
        let snapshot = contents.snapshot;
        recorded::write_samples(out, name, kind, snapshot, added_labels, exemplars);
    }
    if let Some(other) = source.other {
        for metric in &other.metrics {
            others::write_metric(out.block(), name, metric, family.form, format);
            out.written();
        }
    }
}

/// Families whose names clash, regrouped by the names of their samples.
#[derive(Default)]
struct SampleFamilies<'a>(BTreeMap<Vec<u8>, Samples<'a>>);

#[derive(Default)]
struct Samples<'a> {
    help: &'a str,
    lines: Vec<u8>,
    /// Names and labels. The first of two equal series counts: Prometheus rejects a scrape
    /// with repeated samples.
    series: HashSet<Vec<u8>>,
}

impl<'a> SampleFamilies<'a> {
    fn add(&mut self, help: &'a str, lines: &[u8]) {
        // Escaping leaves no newline inside a line.
        for line in lines.split_inclusive(|b| *b == b'\n') {
            let end = line.iter().position(|b| matches!(b, b'{' | b' '));
            let name = &line[..end.unwrap_or(line.len())];
            if !self.0.contains_key(name) {
                let samples = Samples {
                    help,
                    ..Samples::default()
                };
                self.0.insert(name.to_owned(), samples);
            }
            if let Some(samples) = self.0.get_mut(name)
                && samples.series.insert(series(line).to_owned())
            {
                samples.lines.extend_from_slice(line);
            }
        }
    }

    fn write(&self, out: &mut Vec<u8>, format: Format) {
        for (name, samples) in &self.0 {
            let name = String::from_utf8_lossy(name);
            write_metadata(
                out,
                &name,
                samples.help,
                format.unknown_type(),
                None,
                format,
            );
            out.extend_from_slice(&samples.lines);
        }
    }
}

/// Returns the name and the labels of a sample.
fn series(line: &[u8]) -> &[u8] {
    let mut quoted = false;
    let mut escaped = false;
    let end = line.iter().position(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b' ' => return !quoted,
            _ => {}
        }
        false
    });
    &line[..end.unwrap_or(line.len())]
}
