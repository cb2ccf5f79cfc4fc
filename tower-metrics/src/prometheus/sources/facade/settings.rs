//! Builder for the facade.

use std::sync::Arc;

use super::MetricsFacade;
use crate::bounds::{DURATION_BOUNDS, check_bounds};
use crate::error::{BuildError, LabelError};
use crate::prometheus::exposition::legacy_name;
use crate::prometheus::{Prometheus, builder};

/// Settings of a facade.
#[derive(Debug)]
pub(super) struct Settings {
    default_bounds: Arc<[f64]>,
    bounds: Vec<(Matcher, Arc<[f64]>)>,
    pub(super) constant: Vec<(String, String)>,
    pub(super) max_series: usize,
    pub(super) max_series_per_metric: usize,
}

#[derive(Clone, Debug)]
enum Matcher {
    Name(String),
    Suffix(String),
}

impl Settings {
    /// Returns the bounds of a histogram: those of its name, or else of the longest
    /// suffix, or else the default.
    pub(super) fn bounds(&self, name: &str) -> Arc<[f64]> {
        let name = legacy_name(name, true);
        let precedence = |matcher: &Matcher| match matcher {
            Matcher::Name(exact) => (*exact == name).then_some(usize::MAX),
            Matcher::Suffix(suffix) => name.ends_with(&**suffix).then_some(suffix.len()),
        };
        let matching = self.bounds.iter().filter_map(|(matcher, bounds)| {
            let precedence = precedence(matcher)?;
            Some((precedence, bounds))
        });
        let best = matching.max_by_key(|(precedence, _)| *precedence);
        best.map_or(&self.default_bounds, |(_, bounds)| bounds)
            .clone()
    }

    /// Returns whether a label is a constant one that no call has replaced.
    pub(super) fn is_constant(&self, label: &(String, String)) -> bool {
        self.constant.contains(label)
    }
}

/// Builder for a [`MetricsFacade`].
///
/// Returned by [`Prometheus::metrics_facade`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` or `install`"]
pub struct MetricsFacadeBuilder {
    prometheus: Prometheus,
    default_bounds: Vec<f64>,
    bounds: Vec<(Matcher, Vec<f64>)>,
    constant: Vec<(String, String)>,
    max_series: usize,
    max_series_per_metric: usize,
}

impl Prometheus {
    /// Returns a builder for a recorder of the crate `metrics` 0.24, whose metrics become
    /// part of the exposition.
    pub fn metrics_facade(&self) -> MetricsFacadeBuilder {
        MetricsFacadeBuilder {
            prometheus: *self,
            default_bounds: DURATION_BOUNDS.into(),
            bounds: Vec::new(),
            constant: Vec::new(),
            max_series: 10_000,
            max_series_per_metric: 1000,
        }
    }
}

impl MetricsFacadeBuilder {
    /// Sets the bucket bounds of histograms that have no others. Defaults to those of
    /// [`duration_bounds`](crate::PrometheusBuilder::duration_bounds), 0.005 to 10.
    ///
    /// Bounds must be finite and ascending. Without bounds, only the count and the sum are
    /// recorded.
    pub fn bounds(mut self, bounds: impl IntoIterator<Item = f64>) -> Self {
        self.default_bounds = bounds.into_iter().collect();
        self
    }

    /// Sets the bucket bounds of the histogram with this name. The last call for a name
    /// wins.
    pub fn bounds_for(mut self, name: &str, bounds: impl IntoIterator<Item = f64>) -> Self {
        let name = Matcher::Name(legacy_name(name, true).into_owned());
        self.bounds.push((name, bounds.into_iter().collect()));
        self
    }

    /// Sets the bucket bounds of histograms whose names end in `suffix`, such as
    /// `_bytes`, unless `bounds_for` sets them by name. The longest suffix wins.
    pub fn bounds_for_suffix(
        mut self,
        suffix: &str,
        bounds: impl IntoIterator<Item = f64>,
    ) -> Self {
        let suffix = Matcher::Suffix(suffix.to_owned());
        self.bounds.push((suffix, bounds.into_iter().collect()));
        self
    }

    /// Adds a label to every series of the facade, unless the call of a macro has a label
    /// of this name. The name must match `[a-zA-Z_][a-zA-Z0-9_]*`.
    pub fn constant_label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.constant.push((name.into(), value.into()));
        self
    }

    /// Sets the maximum number of series. Defaults to 10,000. See
    /// [`MetricsFacade`](MetricsFacade#memory).
    pub fn max_series(mut self, max: usize) -> Self {
        self.max_series = max;
        self
    }

    /// Sets the maximum number of series with the same name. Defaults to 1,000. See
    /// [`MetricsFacade`](MetricsFacade#memory).
    pub fn max_series_per_metric(mut self, max: usize) -> Self {
        self.max_series_per_metric = max;
        self
    }

    /// Builds the recorder and adds its metrics to the exposition. Use it with
    /// `metrics::set_global_recorder`, `metrics::with_local_recorder` or inside of another
    /// recorder.
    ///
    /// # Errors
    ///
    /// Returns an error that names the value and what is allowed if a bound is not finite,
    /// the bounds are not ascending, or the name of a label is invalid.
    pub fn build(self) -> Result<MetricsFacade, BuildError> {
        let facade = self.facade()?;
        facade.expose();
        Ok(facade)
    }

    fn facade(self) -> Result<MetricsFacade, BuildError> {
        let check = |histogram: &str, bounds: &[f64]| {
            check_bounds(
                histogram,
                bounds,
                f64::is_finite,
                "in the unit of its values",
            )
        };
        check("the histograms of the crate metrics", &self.default_bounds)?;
        for (matcher, bounds) in &self.bounds {
            match matcher {
                Matcher::Name(name) => check(name, bounds)?,
                Matcher::Suffix(suffix) => check(&format!("*{suffix}"), bounds)?,
            }
        }
        for (i, (name, _)) in self.constant.iter().enumerate() {
            builder::check_label_name(name)?;
            if self.constant[..i].iter().any(|(other, _)| other == name) {
                return Err(LabelError::new(name, "it is set twice").into());
            }
        }
        let shared = |(matcher, bounds): (Matcher, Vec<f64>)| (matcher, bounds.into());
        let settings = Settings {
            default_bounds: self.default_bounds.into(),
            bounds: self.bounds.into_iter().map(shared).collect(),
            constant: self.constant,
            max_series: self.max_series,
            max_series_per_metric: self.max_series_per_metric,
        };
        Ok(MetricsFacade::new(self.prometheus, settings))
    }

    /// Builds the recorder and installs it as the global recorder of the crate `metrics`.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`build`](Self::build), and
    /// [`BuildError::GlobalRecorder`] if the process has a global recorder already.
    pub fn install(self) -> Result<MetricsFacade, BuildError> {
        let facade = self.facade()?;
        metrics::set_global_recorder(facade.clone()).map_err(|_| BuildError::GlobalRecorder)?;
        facade.expose();
        Ok(facade)
    }
}
