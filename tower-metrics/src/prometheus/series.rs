//! The series there are.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::StatusCode;

use super::cells::{Cells, Layout};
use super::local::ThreadEndpoint;
use super::names::Names;
use super::slots::Slot;
use super::sync::{Mutex, PoisonError};
use crate::grpc::GrpcStatus;
use crate::label::{LabelKey, LabelValues};
use crate::outcome::{CompletedRequest, ErrorType, InitialSeries};

/// A method and route: the series of its in-flight gauge, and those of its
/// answers. Lives as long as the process.
#[derive(Debug)]
pub struct Endpoint {
    /// Its place in every thread's list; unique in the process.
    pub(crate) index: usize,
    pub(crate) method: &'static str,
    pub(crate) route: &'static str,
    pub(crate) layout: &'static Layout,
    names: &'static Names,
    /// The labels of the in-flight gauge, as they are written.
    pub(crate) labels: Box<str>,
    constant: &'static [(String, String)],
    owns: BySlot<ThreadEndpoint>,
    /// By their labels as they are written: presets without a label for it do
    /// not tell errors apart, and then several answers are one series.
    series: Mutex<BTreeMap<&'static str, &'static Series>>,
}

/// The series of one way to end.
#[derive(Debug)]
pub(crate) struct Series {
    /// As they are written, without braces.
    pub(crate) labels: Box<str>,
    answer: Answer,
    custom: Box<[(&'static str, &'static str)]>,
    cells: BySlot<Cells>,
}

/// What tells the series of an endpoint apart, custom labels aside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    status: Option<StatusCode>,
    error_type: ErrorType,
    grpc: Option<GrpcStatus>,
}

impl Answer {
    #[inline]
    pub(crate) fn of(end: &CompletedRequest<'_>) -> Self {
        Self {
            status: end.status,
            error_type: end.error_type,
            grpc: end.grpc_status,
        }
    }
}

/// Like the labels of a request's end, quick to compare. Different keys may
/// have the same labels, never the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// The status, the gRPC status, and the length of the error type.
    answer: u64,
    error_type: usize,
    labels: LabelKey,
}

impl Key {
    #[inline(always)]
    pub(crate) fn of(end: &CompletedRequest<'_>) -> Self {
        let status = end.status.map_or(0, |status| status.as_u16());
        let grpc = end.grpc_status.map_or(u8::MAX, GrpcStatus::code);
        let error_type = end.error_type.as_str();
        Self {
            answer: u64::from(status) | u64::from(grpc) << 16 | (error_type.len() as u64) << 24,
            error_type: error_type.as_ptr().addr(),
            labels: end.labels.key(),
        }
    }
}

/// Every slot's own.
#[derive(Debug)]
struct BySlot<T: 'static>(Mutex<Vec<(Slot, &'static T)>>);

impl<T> BySlot<T> {
    fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// The slot's own, made where it is missing.
    fn get(&self, slot: Slot, make: impl FnOnce() -> T) -> &'static T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = all.iter().find(|(owner, _)| *owner == slot) {
            return found;
        }
        all.reserve_exact(1);
        all.push((slot, Box::leak(Box::new(make()))));
        all[all.len() - 1].1
    }

    fn for_each(&self, mut each: impl FnMut(&'static T)) {
        for (_, one) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            each(one);
        }
    }
}

/// Indices are handed out once in a process, so that one list a thread serves
/// all recorders.
static NEXT_INDEX: AtomicUsize = AtomicUsize::new(0);

impl Endpoint {
    pub(crate) fn new(
        method: &'static str,
        route: &'static str,
        layout: &'static Layout,
        names: &'static Names,
        constant: &'static [(String, String)],
    ) -> Self {
        let mut endpoint = Self {
            index: NEXT_INDEX.fetch_add(1, Ordering::Relaxed),
            method,
            route,
            layout,
            names,
            labels: Box::default(),
            constant,
            owns: BySlot::new(),
            series: Mutex::new(BTreeMap::new()),
        };
        let mut labels = String::new();
        endpoint.for_each_label(|name, value| push_label(&mut labels, name, value));
        endpoint.labels = labels.into();
        endpoint
    }

    /// What the holder of a slot counts here.
    pub(crate) fn own_of(&self, slot: Slot) -> &'static ThreadEndpoint {
        self.owns.get(slot, || ThreadEndpoint::new(slot))
    }

    /// All requests that began here.
    pub(crate) fn begun(&self) -> u64 {
        let mut begun = 0u64;
        self.owns
            .for_each(|own| begun = begun.wrapping_add(own.begun.get()));
        begun
    }

    /// A thread's cells for requests with this answer.
    #[cold]
    pub(crate) fn cells_of(
        &self,
        slot: Slot,
        answer: Answer,
        labels: LabelValues<'_>,
    ) -> &'static Cells {
        self.series(answer, &labels)
            .cells
            .get(slot, || Cells::new(self.layout))
    }

    /// Shows a series that has no request yet.
    pub(crate) fn initialize(&self, ending: InitialSeries, labels: &LabelValues<'_>) {
        self.series(
            Answer {
                status: ending.status,
                error_type: ending.error_type,
                grpc: ending.grpc_status,
            },
            labels,
        );
    }

    fn series(&self, answer: Answer, custom: &LabelValues<'_>) -> &'static Series {
        // An empty label is an absent one, and labels have no order: what
        // differs in these alone would stand twice in a scrape.
        let mut custom: Vec<_> = custom
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .collect();
        custom.sort_unstable();
        let mut labels = String::new();
        self.for_each_answer_label(&answer, &custom, |name, value| {
            push_label(&mut labels, name, value);
        });
        let mut all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = all.get(&*labels) {
            return found;
        }
        let series: &Series = Box::leak(Box::new(Series {
            labels: labels.into(),
            answer,
            custom: custom.into(),
            cells: BySlot::new(),
        }));
        all.insert(&series.labels, series);
        series
    }

    /// The series there are now.
    pub(crate) fn for_each_series(&self, mut each: impl FnMut(&'static Series)) {
        for series in self
            .series
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
        {
            each(series);
        }
    }

    pub(crate) fn series_count(&self) -> usize {
        self.series
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// The labels of the in-flight gauge.
    pub(crate) fn for_each_label(&self, mut each: impl FnMut(&str, &str)) {
        each(&self.names.method, self.method);
        each(&self.names.route, self.route);
        for (name, value) in self.constant {
            each(name, value);
        }
    }

    /// The labels of a series.
    pub(crate) fn for_each_label_of(&self, series: &Series, each: impl FnMut(&str, &str)) {
        self.for_each_answer_label(&series.answer, &series.custom, each);
    }

    fn for_each_answer_label(
        &self,
        answer: &Answer,
        custom: &[(&'static str, &'static str)],
        mut each: impl FnMut(&str, &str),
    ) {
        each(&self.names.method, self.method);
        each(&self.names.route, self.route);
        each(
            &self.names.status,
            answer.status.as_ref().map_or("", |status| status.as_str()),
        );
        if let Some(name) = &self.names.error_type {
            each(name, answer.error_type.as_str());
        }
        if let Some(grpc) = answer.grpc {
            each(&self.names.grpc_status, grpc.as_str());
        }
        for (name, value) in custom {
            each(name, value);
        }
        for (name, value) in self.constant {
            each(name, value);
        }
    }
}

impl Series {
    pub(crate) fn for_each_cells(&self, each: impl FnMut(&'static Cells)) {
        self.cells.for_each(each);
    }
}

/// `name="value"`, escaped, with a comma before it where it is not the first.
pub(crate) fn push_label(out: &mut String, name: &str, value: &str) {
    if !out.is_empty() {
        out.push(',');
    }
    // Writing to a `String` cannot fail.
    let _ = write!(out, "{name}=\"");
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
}
