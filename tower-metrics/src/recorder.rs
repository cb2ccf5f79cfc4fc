//! Interface between the middleware and its storage backends.

use std::sync::Arc;

use crate::completed_request::CompletedRequest;
use crate::error::LabelError;
use crate::initial_series::InitialSeries;
use crate::label::LabelValues;
use crate::oldest_request::OldestRequest;

/// Backend that stores request metrics, such as
#[cfg_attr(feature = "prometheus", doc = "[`Prometheus`](crate::Prometheus).")]
#[cfg_attr(not(feature = "prometheus"), doc = "a Prometheus registry.")]
///
/// The middleware notifies a recorder when a request begins and when it ends. For
/// every [`begin`](Self::begin) there is exactly one [`end`](Self::end) or
/// [`abandon`](Self::abandon), even if the request is cancelled or panics. In
/// between, the request may move to another thread.
///
/// A pair `(A, B)` records every request in both recorders. `Option<R>` records if it
/// is `Some`, so that configuration can enable a recorder at run time, and `Arc<R>`
/// shares a recorder with the rest of the program.
///
#[cfg_attr(
    feature = "prometheus",
    doc = "The guide to [custom recorders](crate::guides::custom_recorders) has a complete example."
)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a recorder",
    note = "`Prometheus::new()` and `Prometheus::builder().build()?` return one"
)]
pub trait Recorder: 'static {
    /// Series of one method and route, usually a `&'static` reference.
    type Series: Copy + 'static;

    /// State of a request in flight, which [`begin`](Self::begin) returns and
    /// [`end`](Self::end) receives.
    type InFlight;

    /// Returns the series of a method and a route.
    ///
    /// Called once per layer for each pair. Layers that share a recorder may ask for
    /// the same pair.
    fn series(&self, method: &'static str, route: &'static str) -> Self::Series;

    /// Records that a request began.
    fn begin(&self, series: Self::Series) -> Self::InFlight;

    /// Records a completed request.
    fn end(&self, series: Self::Series, in_flight: Self::InFlight, request: &CompletedRequest<'_>);

    /// Reverts [`begin`](Self::begin): the request belongs to another series, or is
    /// excluded by [`Skip`](crate::Skip).
    fn abandon(&self, series: Self::Series, in_flight: Self::InFlight);

    /// Receives the names of a layer's custom labels when the layer is built.
    ///
    /// # Errors
    ///
    /// Returns an error if the recorder does not accept a name. The default
    /// implementation accepts all.
    fn declare_labels(&self, names: &[&'static str]) -> Result<(), LabelError> {
        let _ = names;
        Ok(())
    }

    /// Creates a series before its first request, so that the first request shows as
    /// an increase.
    ///
    /// Called when a layer is built, for each combination of the enum values of its
    /// labels, including the empty ones. The default implementation does nothing.
    fn initialize(&self, series: Self::Series, initial: InitialSeries, labels: LabelValues<'_>) {
        let _ = (series, initial, labels);
    }

    /// Records that a route or a label value was beyond its limit and is recorded as
    /// `_OTHER`.
    ///
    /// Called before the [`end`](Self::end) of every such request. The default
    /// implementation does nothing.
    fn overflowed(&self, limit: Limit) {
        let _ = limit;
    }

    /// Returns whether to measure [`CompletedRequest::time_to_head`], which costs an
    /// additional clock read.
    ///
    /// Called when a layer is built. The default implementation returns `false`.
    fn wants_time_to_head(&self) -> bool {
        false
    }

    /// Returns whether to track the oldest request in flight of each series, which
    /// costs two stores per request.
    ///
    /// Called when a layer is built. The default implementation returns `false`.
    fn wants_oldest_request(&self) -> bool {
        false
    }

    /// Receives the oldest request in flight of a series in one layer, whose age can be
    /// read at any time.
    ///
    /// Called after [`series`](Self::series) if a recorder
    /// [wants it](Self::wants_oldest_request). The default implementation does nothing.
    fn watch_oldest_request(&self, series: Self::Series, oldest: OldestRequest) {
        let _ = (series, oldest);
    }
}

/// Limit on the number of series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// Limit on the routes of a layer.
    Routes,
    /// Limit on the values of the label with this name.
    Label(&'static str),
}

impl Limit {
    /// Returns `routes`, or the name of the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Routes => "routes",
            Self::Label(name) => name,
        }
    }
}

/// Records every request in both recorders.
impl<A: Recorder, B: Recorder> Recorder for (A, B) {
    type Series = (A::Series, B::Series);
    type InFlight = (A::InFlight, B::InFlight);

    fn series(&self, method: &'static str, route: &'static str) -> Self::Series {
        (self.0.series(method, route), self.1.series(method, route))
    }

    fn begin(&self, series: Self::Series) -> Self::InFlight {
        (self.0.begin(series.0), self.1.begin(series.1))
    }

    fn end(&self, series: Self::Series, in_flight: Self::InFlight, request: &CompletedRequest<'_>) {
        self.0.end(series.0, in_flight.0, request);
        self.1.end(series.1, in_flight.1, request);
    }

    fn abandon(&self, series: Self::Series, in_flight: Self::InFlight) {
        self.0.abandon(series.0, in_flight.0);
        self.1.abandon(series.1, in_flight.1);
    }

    fn declare_labels(&self, names: &[&'static str]) -> Result<(), LabelError> {
        self.0.declare_labels(names)?;
        self.1.declare_labels(names)
    }

    fn initialize(&self, series: Self::Series, initial: InitialSeries, labels: LabelValues<'_>) {
        self.0.initialize(series.0, initial, labels);
        self.1.initialize(series.1, initial, labels);
    }

    fn overflowed(&self, limit: Limit) {
        self.0.overflowed(limit);
        self.1.overflowed(limit);
    }

    fn wants_time_to_head(&self) -> bool {
        self.0.wants_time_to_head() || self.1.wants_time_to_head()
    }

    fn wants_oldest_request(&self) -> bool {
        self.0.wants_oldest_request() || self.1.wants_oldest_request()
    }

    fn watch_oldest_request(&self, series: Self::Series, oldest: OldestRequest) {
        self.0.watch_oldest_request(series.0, oldest);
        self.1.watch_oldest_request(series.1, oldest);
    }
}

/// Records requests if there is a recorder.
impl<R: Recorder> Recorder for Option<R> {
    type Series = Option<R::Series>;
    type InFlight = Option<R::InFlight>;

    fn series(&self, method: &'static str, route: &'static str) -> Self::Series {
        self.as_ref().map(|recorder| recorder.series(method, route))
    }

    fn begin(&self, series: Self::Series) -> Self::InFlight {
        Some(self.as_ref()?.begin(series?))
    }

    fn end(&self, series: Self::Series, in_flight: Self::InFlight, request: &CompletedRequest<'_>) {
        if let (Some(recorder), Some(series), Some(in_flight)) = (self, series, in_flight) {
            recorder.end(series, in_flight, request);
        }
    }

    fn abandon(&self, series: Self::Series, in_flight: Self::InFlight) {
        if let (Some(recorder), Some(series), Some(in_flight)) = (self, series, in_flight) {
            recorder.abandon(series, in_flight);
        }
    }

    fn declare_labels(&self, names: &[&'static str]) -> Result<(), LabelError> {
        self.as_ref()
            .map_or(Ok(()), |recorder| recorder.declare_labels(names))
    }

    fn initialize(&self, series: Self::Series, initial: InitialSeries, labels: LabelValues<'_>) {
        if let (Some(recorder), Some(series)) = (self, series) {
            recorder.initialize(series, initial, labels);
        }
    }

    fn overflowed(&self, limit: Limit) {
        if let Some(recorder) = self {
            recorder.overflowed(limit);
        }
    }

    fn wants_time_to_head(&self) -> bool {
        self.as_ref().is_some_and(R::wants_time_to_head)
    }

    fn wants_oldest_request(&self) -> bool {
        self.as_ref().is_some_and(R::wants_oldest_request)
    }

    fn watch_oldest_request(&self, series: Self::Series, oldest: OldestRequest) {
        if let (Some(recorder), Some(series)) = (self, series) {
            recorder.watch_oldest_request(series, oldest);
        }
    }
}

/// Records with the recorder that the `Arc` points to, so that a program can keep
/// access to a recorder that is not [`Clone`].
impl<R: Recorder> Recorder for Arc<R> {
    type Series = R::Series;
    type InFlight = R::InFlight;

    fn series(&self, method: &'static str, route: &'static str) -> Self::Series {
        R::series(self, method, route)
    }

    fn begin(&self, series: Self::Series) -> Self::InFlight {
        R::begin(self, series)
    }

    fn end(&self, series: Self::Series, in_flight: Self::InFlight, request: &CompletedRequest<'_>) {
        R::end(self, series, in_flight, request);
    }

    fn abandon(&self, series: Self::Series, in_flight: Self::InFlight) {
        R::abandon(self, series, in_flight);
    }

    fn declare_labels(&self, names: &[&'static str]) -> Result<(), LabelError> {
        R::declare_labels(self, names)
    }

    fn initialize(&self, series: Self::Series, initial: InitialSeries, labels: LabelValues<'_>) {
        R::initialize(self, series, initial, labels);
    }

    fn overflowed(&self, limit: Limit) {
        R::overflowed(self, limit);
    }

    fn wants_time_to_head(&self) -> bool {
        R::wants_time_to_head(self)
    }

    fn wants_oldest_request(&self) -> bool {
        R::wants_oldest_request(self)
    }

    fn watch_oldest_request(&self, series: Self::Series, oldest: OldestRequest) {
        R::watch_oldest_request(self, series, oldest);
    }
}
