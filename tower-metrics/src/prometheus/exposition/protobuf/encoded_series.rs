//! Labels and creation times of the recorder's series, encoded once.

use super::{field, label, timestamp};
use crate::prometheus::series::Series;
use crate::prometheus::snapshot::Snapshot;

/// Labels and creation times of the recorder's series as protobuf, kept from one scrape to
/// the next.
///
/// # Memory
///
/// Each series takes 24 bytes, up to 13 for the creation time and, for each label, the
/// length of its name and value and up to 8 bytes. The vectors may have twice that
/// capacity. Names and values have at most 128 bytes, except those of constant labels.
#[derive(Debug, Default)]
pub(in crate::prometheus::exposition) struct EncodedSeries {
    bytes: Vec<u8>,
    /// In the order of the snapshot.
    ends: Vec<Ends>,
}

/// Ends of a series' labels and of its creation time in the bytes.
#[derive(Clone, Copy, Debug)]
struct Ends {
    series: &'static Series,
    labels: usize,
    created: usize,
}

impl EncodedSeries {
    /// Encodes the series of a snapshot that are new. `added` are the labels that the
    /// registry adds.
    pub(super) fn update(&mut self, snapshot: &Snapshot, added: &[u8]) {
        // A new series moves those of its endpoint and of later ones.
        let kept = (self.ends.iter().zip(snapshot.series()))
            .take_while(|(ends, view)| std::ptr::eq(ends.series, view.series))
            .count();
        self.ends.truncate(kept);
        self.bytes
            .truncate(self.ends.last().map_or(0, |ends| ends.created));
        for view in snapshot.series().skip(kept) {
            let bytes = &mut self.bytes;
            let series = view.series;
            (view.endpoint).for_each_series_label(series, |name, value| {
                write_label(bytes, name, value);
            });
            bytes.extend_from_slice(added);
            let labels = bytes.len();
            timestamp(bytes, series.created);
            self.ends.push(Ends {
                series,
                labels,
                created: bytes.len(),
            });
        }
    }

    /// Returns the labels of a series as fields of its metrics, and the message of its
    /// creation time behind its length.
    pub(super) fn get(&self, index: usize) -> (&[u8], &[u8]) {
        let begin = index
            .checked_sub(1)
            .map_or(0, |before| self.ends[before].created);
        let ends = self.ends[index];
        let bytes = &self.bytes[begin..ends.created];
        bytes.split_at(ends.labels - begin)
    }
}

/// Writes a label of a metric, unless it is empty, which Prometheus does not distinguish
/// from an absent one.
pub(super) fn write_label(out: &mut Vec<u8>, name: &str, value: &str) {
    if !value.is_empty() {
        label(out, field::METRIC_LABEL, name, value);
    }
}
