//! The seam between the middleware and what keeps its figures.

use crate::label::LabelValues;
use crate::outcome::{CompletedRequest, InitialSeries};

/// Keeps the figures of requests. [`Prometheus`](crate::Prometheus) is one.
///
/// The middleware says to a recorder that a request began and that it ended;
/// it knows nothing of Prometheus. For every `begin` there is exactly one
/// `end` or `abandon`, whatever becomes of the request. Between them the
/// request may move to another thread.
///
/// Two recorders side by side are a recorder: `(first, second)`.
///
/// How to write one, with a whole example, is told in
/// [the guide](crate::guides::custom_recorders).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no recorder",
    note = "`Prometheus::new()` makes one, and so does its builder's `build()?`"
)]
pub trait Recorder: 'static {
    /// One method and route.
    type Series: Copy + 'static;

    /// What a request in flight must give back when it ends.
    type InFlight;

    /// Makes the series of a method and a route. Asked once for each pair and
    /// layer; several layers may ask for the same pair.
    fn series(&self, method: &'static str, route: &'static str) -> Self::Series;

    /// A request began.
    fn begin(&self, series: Self::Series) -> Self::InFlight;

    /// A request ended.
    fn end(&self, series: Self::Series, in_flight: Self::InFlight, end: &CompletedRequest<'_>);

    /// A request is not to be counted here after all: it turned out to belong
    /// to another series, or to be left out. Takes back its `begin`.
    fn abandon(&self, series: Self::Series, in_flight: Self::InFlight);

    /// The names of a layer's custom labels, told when the layer is built.
    ///
    /// # Errors
    ///
    /// What is wrong with a name, where the recorder cannot take it.
    fn declare_labels(&self, names: &[&'static str]) -> Result<(), LabelError> {
        let _ = names;
        Ok(())
    }

    /// Shows a series before its first request, so that the first one is seen
    /// as an increase. Asked for each combination of the values that labels of
    /// an enum have, absent ones included; `labels` has no others.
    fn initialize(&self, series: Self::Series, ending: InitialSeries, labels: LabelValues<'_>) {
        let _ = (series, ending, labels);
    }

    /// A route or a label's value found no place and went to `_OTHER`.
    fn overflowed(&self, limit: Limit) {
        let _ = limit;
    }

    /// Whether the time to a response's head is to be measured; asked when the
    /// layer is built. It costs a reading of the clock.
    fn wants_time_to_head(&self) -> bool {
        false
    }
}

/// A bound on the number of series that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// The layer's routes.
    Routes,
    /// The values of the label with this name.
    Label(&'static str),
}

impl Limit {
    /// `routes`, or the label's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Routes => "routes",
            Self::Label(name) => name,
        }
    }
}

/// A label name that a recorder cannot take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("label {name:?}: {why}")]
#[non_exhaustive]
pub struct LabelError {
    /// The name.
    pub name: String,
    /// What is wrong with it, and what is allowed.
    pub why: String,
}

impl LabelError {
    /// What is wrong with the label of this name, and what is allowed.
    pub fn new(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            why: why.into(),
        }
    }
}

/// Both record every request.
impl<A: Recorder, B: Recorder> Recorder for (A, B) {
    type Series = (A::Series, B::Series);
    type InFlight = (A::InFlight, B::InFlight);

    fn series(&self, method: &'static str, route: &'static str) -> Self::Series {
        (self.0.series(method, route), self.1.series(method, route))
    }

    fn begin(&self, series: Self::Series) -> Self::InFlight {
        (self.0.begin(series.0), self.1.begin(series.1))
    }

    fn end(&self, series: Self::Series, in_flight: Self::InFlight, end: &CompletedRequest<'_>) {
        self.0.end(series.0, in_flight.0, end);
        self.1.end(series.1, in_flight.1, end);
    }

    fn abandon(&self, series: Self::Series, in_flight: Self::InFlight) {
        self.0.abandon(series.0, in_flight.0);
        self.1.abandon(series.1, in_flight.1);
    }

    fn declare_labels(&self, names: &[&'static str]) -> Result<(), LabelError> {
        self.0.declare_labels(names)?;
        self.1.declare_labels(names)
    }

    fn initialize(&self, series: Self::Series, ending: InitialSeries, labels: LabelValues<'_>) {
        self.0.initialize(series.0, ending, labels);
        self.1.initialize(series.1, ending, labels);
    }

    fn overflowed(&self, limit: Limit) {
        self.0.overflowed(limit);
        self.1.overflowed(limit);
    }

    fn wants_time_to_head(&self) -> bool {
        self.0.wants_time_to_head() || self.1.wants_time_to_head()
    }
}
