//! Endpoints and their series.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::DerefMut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use super::cells::{Cells, Layout};
use super::key::StatusLabels;
use super::names::Names;
use super::sync::atomic::AtomicU64;
use super::sync::{Mutex, PoisonError};
use super::thread_endpoint::ThreadEndpoint;
use crate::initial_series::InitialSeries;
use crate::label::LabelValues;
use crate::slots::Slot;

/// Number of slots whose values are found without the thread-local cache.
const FIRST_THREADS: usize = 8;

/// Method and route with their series. Lives as long as the process.
#[derive(Debug)]
pub struct Endpoint {
    /// Index in every thread's cache, unique in the process.
    pub(crate) index: usize,
    pub(crate) method: &'static str,
    pub(crate) route: &'static str,
    pub(crate) layout: &'static Layout,
    names: &'static Names,
    /// Labels are the class of a status, such as `2xx`, instead of the status.
    groups_statuses: bool,
    /// Labels of the in-flight gauge in exposition format, without braces.
    pub(crate) labels: Box<str>,
    constant: &'static [(String, String)],
    /// Incremented after every addition of a thread, a series or cells.
    version: AtomicU64,
    threads: BySlot<ThreadEndpoint>,
    /// Values of the first slots.
    first_threads: [OnceLock<&'static ThreadEndpoint>; FIRST_THREADS],
    series: Mutex<AllSeries>,
}

/// Series of an endpoint.
#[derive(Debug, Default)]
struct AllSeries {
    /// By their labels in exposition format. Several keys share a series if the names
    /// have no label for what distinguishes them.
    by_labels: BTreeMap<&'static str, &'static Series>,
    /// In the order of their addition, so that a reader takes only what is new to it: 16 bytes
    /// per series and thread that has recorded it. Never removed.
    additions: Vec<Addition>,
}

/// Addition to the series of an endpoint: cells, or a series that no thread has recorded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addition {
    pub(crate) series: &'static Series,
    pub(crate) cells: Option<&'static Cells>,
}

/// Series of an endpoint.
#[derive(Debug)]
pub(crate) struct Series {
    /// Labels in exposition format, without braces.
    pub(crate) labels: Box<str>,
    status: StatusLabels,
    custom: Box<[(&'static str, &'static str)]>,
    /// When the series began at zero.
    pub(crate) created: SystemTime,
    cells: BySlot<Cells>,
}

/// One value per slot.
#[derive(Debug)]
pub(super) struct BySlot<T: 'static>(Mutex<Vec<(Slot, &'static T)>>);

impl<T> BySlot<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Returns the slot's value, creating it if necessary.
    pub(super) fn get(&self, slot: Slot, make: impl FnOnce() -> T) -> &'static T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = all.iter().find(|(owner, _)| *owner == slot) {
            return found;
        }
        all.reserve_exact(1);
        all.push((slot, Box::leak(Box::new(make()))));
        all[all.len() - 1].1
    }

    pub(super) fn for_each(&self, mut each: impl FnMut(&'static T)) {
        for (_, one) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            each(one);
        }
    }
}

/// Indices are unique in the process, so that one cache per thread serves all
/// recorders.
static NEXT_INDEX: AtomicUsize = AtomicUsize::new(0);

impl Endpoint {
    pub(crate) fn new(
        method: &'static str,
        route: &'static str,
        layout: &'static Layout,
        names: &'static Names,
        constant: &'static [(String, String)],
        groups_statuses: bool,
    ) -> Self {
        let mut endpoint = Self {
            index: NEXT_INDEX.fetch_add(1, Ordering::Relaxed),
            method,
            route,
            layout,
            names,
            groups_statuses,
            labels: Box::default(),
            constant,
            version: AtomicU64::new(0),
            threads: BySlot::new(),
            first_threads: [const { OnceLock::new() }; FIRST_THREADS],
            series: Mutex::new(AllSeries::default()),
        };
        let mut labels = String::new();
        endpoint.for_each_label(|name, value| push_label(&mut labels, name, value));
        endpoint.labels = labels.into();
        endpoint
    }

    /// Returns the values of a slot.
    pub(crate) fn thread_endpoint(&self, slot: Slot) -> &'static ThreadEndpoint {
        let mut is_new = false;
        let thread = self.threads.get(slot, || {
            is_new = true;
            ThreadEndpoint::new(slot)
        });
        if is_new {
            self.changed();
        }
        // After the change, which a later leaseholder of the slot does not repeat. The mutex of
        // `Slots` orders both before that leaseholder.
        if let Some(first) = self.first_threads.get(slot as usize) {
            first.get_or_init(|| thread);
        }
        thread
    }

    /// Returns the values of a slot if it is one of the first ones and has values.
    #[inline(always)]
    pub(crate) fn first_thread_endpoint(&self, slot: Slot) -> Option<&'static ThreadEndpoint> {
        self.first_threads.get(slot as usize)?.get().copied()
    }

    /// Returns a number that changes with every addition of a thread, a series or cells.
    /// A reader that sees the end of a request also sees the version of its addition.
    pub(crate) fn version(&self) -> u64 {
        // Pairs with `changed`: what was added before is visible.
        self.version.load(Ordering::Acquire)
    }

    fn changed(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Calls `each` with the values of every slot.
    pub(crate) fn for_each_thread(&self, each: impl FnMut(&'static ThreadEndpoint)) {
        self.threads.for_each(each);
    }

    /// Returns a slot's cells for the series with these labels.
    #[cold]
    pub(crate) fn cells(
        &self,
        slot: Slot,
        status: StatusLabels,
        labels: LabelValues<'_>,
    ) -> &'static Cells {
        let (series, _) = self.series(status, &labels);
        let mut is_new = false;
        let cells = series.cells.get(slot, || {
            is_new = true;
            Cells::new(self.layout)
        });
        if is_new {
            self.add(series, Some(cells));
        }
        cells
    }

    /// Creates a series without requests.
    pub(crate) fn initialize(&self, ending: InitialSeries, labels: &LabelValues<'_>) {
        let status = StatusLabels {
            status: ending.status,
            error_type: ending.error_type,
            grpc: ending.grpc_status,
        };
        if let (series, true) = self.series(status, labels) {
            self.add(series, None);
        }
    }

    fn add(&self, series: &'static Series, cells: Option<&'static Cells>) {
        let addition = Addition { series, cells };
        self.all_series().additions.push(addition);
        self.changed();
    }

    fn all_series(&self) -> impl DerefMut<Target = AllSeries> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the series, and whether it is new.
    fn series(&self, status: StatusLabels, custom: &LabelValues<'_>) -> (&'static Series, bool) {
        // To Prometheus an empty label is an absent one, and the order of labels
        // is irrelevant. Series that differ in nothing else would be duplicates.
        let mut custom: Vec<_> = custom
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .collect();
        custom.sort_unstable();
        let mut labels = String::new();
        self.for_each_status_label(&status, &custom, |name, value| {
            push_label(&mut labels, name, value);
        });
        let by_labels = &mut self.all_series().by_labels;
        if let Some(found) = by_labels.get(&*labels) {
            return (found, false);
        }
        let series: &Series = Box::leak(Box::new(Series {
            labels: labels.into(),
            status,
            custom: custom.into(),
            created: SystemTime::now(),
            cells: BySlot::new(),
        }));
        by_labels.insert(&series.labels, series);
        (series, true)
    }

    /// Calls `each` with the additions after the first `known` ones.
    pub(crate) fn for_each_addition(&self, known: usize, each: impl FnMut(Addition)) {
        let additions = &self.all_series().additions;
        additions[known..].iter().copied().for_each(each);
    }

    pub(crate) fn series_count(&self) -> usize {
        self.all_series().by_labels.len()
    }

    /// Calls `each` with the labels of the in-flight gauge.
    pub(crate) fn for_each_label(&self, mut each: impl FnMut(&str, &str)) {
        if let Some(name) = &self.names.method {
            each(name, self.method);
        }
        each(&self.names.route, self.route);
        for (name, value) in self.constant {
            each(name, value);
        }
    }

    /// Calls `each` with the labels of a series.
    pub(crate) fn for_each_series_label(&self, series: &Series, each: impl FnMut(&str, &str)) {
        self.for_each_status_label(&series.status, &series.custom, each);
    }

    fn for_each_status_label(
        &self,
        status: &StatusLabels,
        custom: &[(&'static str, &'static str)],
        mut each: impl FnMut(&str, &str),
    ) {
        if let Some(name) = &self.names.method {
            each(name, self.method);
        }
        each(&self.names.route, self.route);
        let (code, error_type) = status.text(self.groups_statuses);
        if let Some(name) = &self.names.status {
            each(name, code);
        }
        if let Some(name) = &self.names.error_type {
            each(name, error_type);
        }
        if let Some(grpc) = status.grpc {
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

/// Appends `name="value"` with the value escaped, after a comma unless it is the
/// first label.
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
