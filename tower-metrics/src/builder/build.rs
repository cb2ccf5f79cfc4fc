//! Checks the settings of the builder and builds the layer.

use std::collections::BTreeSet;
use std::marker::PhantomData;

use super::MetricsLayerBuilder;
use crate::error::{BuildError, LabelError};
use crate::label::{Label, LabelNumbers, LabelValues, MAX_LABELS, OTHER};
use crate::layer::MetricsLayer;
use crate::protocol_version;
use crate::recorder::{Limit, Recorder};
use crate::route::DurationFrom;
use crate::routes::Routes;
use crate::shared::{Lookup, Shared};
use crate::table::MAX_KEY_LEN;

/// Upper bound of `max_routes`. More series could not be scraped.
const MAX_ROUTES: usize = 1_000_000;
const MAX_METHODS: usize = 200;
const MAX_INITIAL_SERIES: usize = 100_000;

impl<R: Recorder, C, Q> MetricsLayerBuilder<R, C, Q> {
    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// Returns an error if a setting is out of range, if a setting names a route that
    /// the layer can never record, or if the recorder does not accept a label.
    pub fn build(mut self) -> Result<MetricsLayer<R, C, Q>, BuildError> {
        if self.network_protocol_version {
            self.labels.push(protocol_version::label(self.side));
        }
        if self.methods.is_empty() || self.methods.len() > MAX_METHODS {
            return Err(BuildError::Methods {
                count: self.methods.len(),
            });
        }
        self.check_routes()?;
        self.check_labels()?;
        let named: BTreeSet<_> = self.initialize.iter().map(|(_, route, _)| route).collect();
        let named = named.iter().filter(|route| !route.is_empty()).count();
        if !(named..=MAX_ROUTES).contains(&self.max_routes) {
            return Err(BuildError::MaxRoutes {
                max: self.max_routes,
                named,
            });
        }
        let combinations = self.initialize.iter().map(|(_, _, series)| {
            LabelNumbers::count_combinations(&self.labels, series.status.is_some())
        });
        let count = combinations.fold(0, usize::saturating_add);
        if count > MAX_INITIAL_SERIES {
            return Err(BuildError::TooManyInitialSeries {
                count,
                max: MAX_INITIAL_SERIES,
            });
        }
        let names: Vec<_> = self.labels.iter().map(Label::name).collect();
        self.recorder.declare_labels(&names)?;
        Ok(self.finish())
    }

    fn check_labels(&self) -> Result<(), BuildError> {
        if self.labels.len() > MAX_LABELS {
            return Err(BuildError::TooManyLabels {
                count: self.labels.len(),
                max: MAX_LABELS,
            });
        }
        let routes = Limit::Routes.as_str();
        if self.labels.iter().any(|label| label.name() == routes) {
            let why = "tower_metrics_overflow_total reserves this name for the route limit";
            return Err(LabelError::new(routes, why).into());
        }
        for label in &self.labels {
            if let Some(value) = label.too_long() {
                let why = format!("value {value:?}: at most {MAX_KEY_LEN} bytes are allowed");
                return Err(LabelError::new(label.name(), why).into());
            }
        }
        Ok(())
    }

    fn check_routes(&self) -> Result<(), BuildError> {
        let skip = self.routes.skip.iter().map(|route| ("skip", route));
        let initialize = self.initialize.iter();
        let initialize = initialize.map(|(_, route, _)| ("initialize", route));
        let duration_to = self.routes.route_duration_to.iter();
        let duration_to = duration_to.map(|(route, _)| ("route_duration_to", route));
        let named = skip.chain(initialize).chain(duration_to);
        let named = named.map(|(setting, route)| (setting, &**route));
        let fixed = self.route.as_fixed().map(|route| ("route", route));
        let is_skipped = |route| self.routes.skip.iter().any(|skipped| skipped == route);
        for (setting, route) in named.chain(fixed) {
            let why = match setting {
                // Requests beyond the limit are always counted.
                "skip" if route == OTHER => Some("routes beyond the limit cannot be excluded"),
                "initialize" | "route_duration_to" if is_skipped(route) => {
                    Some("`skip` excludes it")
                }
                _ => self.route.reject(route),
            };
            if let Some(why) = why {
                return Err(BuildError::Route {
                    setting,
                    route: route.to_owned(),
                    why,
                });
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> MetricsLayer<R, C, Q> {
        let observes_request_bodies =
            self.counts_request_bytes || self.duration_from == DurationFrom::Body;
        let shared: &'static Shared<R> = Box::leak(Box::new(Shared {
            wants_time_to_head: self.recorder.wants_time_to_head(),
            wants_oldest_request: self.recorder.wants_oldest_request(),
            inspects_requests: self.grpc
                || !self.labels.is_empty()
                || self.trace_id.is_some()
                || observes_request_bodies,
            counts_request_bytes: self.counts_request_bytes,
            duration_from: self.duration_from,
            observes_request_bodies,
            recorder: self.recorder,
            lookup: Lookup::new(&self.route, self.grpc),
            route: self.route,
            routes: Routes::new(self.methods, self.max_routes, self.routes),
            labels: self.labels,
            is_grpc_enabled: self.grpc,
            side: self.side,
            trace_id: self.trace_id,
        }));
        for (method, route, initial) in self.initialize {
            let entry = shared.routes.get_or_insert(&route);
            let entry = entry.unwrap_or(&shared.routes.other);
            let target = shared.target(shared.routes.method(&method), entry);
            let initial = initial.on(self.side);
            for numbers in LabelNumbers::combinations(&shared.labels, initial.status.is_some()) {
                let labels = &shared.labels;
                let labels = LabelValues { labels, numbers };
                shared.recorder.initialize(target.series, initial, labels);
            }
        }
        MetricsLayer {
            shared,
            classify: Box::leak(Box::new(self.classify)),
            request_bodies: PhantomData,
        }
    }
}
