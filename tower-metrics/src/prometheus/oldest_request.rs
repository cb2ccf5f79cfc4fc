//! Age of the oldest request in flight of each route.

use std::collections::BTreeMap;
use std::fmt;

use super::names::Names;
use super::series::push_label;
use super::sync::{Mutex, PoisonError};
use crate::oldest_request::{OldestRequest, OldestRequests};

/// Routes whose oldest request is exposed.
#[derive(Default)]
pub(crate) struct Watched {
    routes: Mutex<BTreeMap<&'static str, Route>>,
    reading: Mutex<OldestRequests>,
}

/// Route with the series whose oldest requests it has. Several methods and layers may
/// have the same route.
struct Route {
    labels: &'static RouteLabels,
    series: Vec<OldestRequest>,
}

/// Labels of the gauge of a route. They live as long as the process.
#[derive(Debug)]
pub(crate) struct RouteLabels {
    route: &'static str,
    names: &'static Names,
    constant: &'static [(String, String)],
    /// In exposition format, without braces.
    pub(crate) text: Box<str>,
}

impl RouteLabels {
    fn new(
        route: &'static str,
        names: &'static Names,
        constant: &'static [(String, String)],
    ) -> Self {
        let mut labels = Self {
            route,
            names,
            constant,
            text: Box::default(),
        };
        let mut text = String::new();
        labels.for_each(|name, value| push_label(&mut text, name, value));
        labels.text = text.into();
        labels
    }

    /// Calls `each` with the name and value of every label.
    pub(crate) fn for_each(&self, mut each: impl FnMut(&str, &str)) {
        each(&self.names.route, self.route);
        for (name, value) in self.constant {
            each(name, value);
        }
    }
}

impl Watched {
    /// Adds a series of a route of the recorder with these names and constant labels.
    pub(crate) fn add(
        &self,
        route: &'static str,
        oldest: OldestRequest,
        names: &'static Names,
        constant: &'static [(String, String)],
    ) {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let route = routes.entry(route).or_insert_with(|| Route {
            labels: Box::leak(Box::new(RouteLabels::new(route, names, constant))),
            series: Vec::new(),
        });
        route.series.push(oldest);
    }

    /// Calls `each` with every route and the age of its oldest request in nanoseconds,
    /// or 0 if there is none.
    pub(crate) fn for_each(&self, mut each: impl FnMut(&'static RouteLabels, u64)) {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        reading.read();
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        for Route { labels, series } in routes.values() {
            let ages = series.iter().filter_map(|oldest| reading.age(*oldest));
            let age = ages.max().unwrap_or_default();
            each(labels, age.as_nanos().try_into().unwrap_or(u64::MAX));
        }
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}
