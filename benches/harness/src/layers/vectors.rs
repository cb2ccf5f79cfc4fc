//! Typical hand-written layer on the crate `prometheus`.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::extract::MatchedPath;
use http::{Method, Request, Response};
use pin_project::{pin_project, pinned_drop};
use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use tower_layer::Layer;
use tower_service::Service;

/// Default bounds of tower-metrics in seconds.
pub(crate) const BOUNDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Layer with a counter, a histogram and a gauge by method, route and status. It
/// allocates nothing for labels.
#[derive(Clone, Debug)]
pub struct VectorsLayer {
    requests: IntCounterVec,
    duration: HistogramVec,
    in_flight: IntGaugeVec,
}

/// Service of [`VectorsLayer`].
#[derive(Clone, Debug)]
pub struct Vectors<S> {
    inner: S,
    layer: VectorsLayer,
}

/// Response future of [`Vectors`].
#[derive(Debug)]
#[pin_project(PinnedDrop)]
pub struct VectorsFuture<F> {
    #[pin]
    inner: F,
    layer: VectorsLayer,
    in_flight: IntGauge,
    method: Method,
    path: Option<MatchedPath>,
    start: Instant,
}

impl VectorsLayer {
    /// Creates a layer with metrics in the registry.
    pub fn new(registry: &Registry) -> Self {
        let labels = ["method", "route", "status"];
        let layer = Self {
            requests: IntCounterVec::new(Opts::new("requests_total", "Requests."), &labels)
                .expect("the name is valid"),
            duration: HistogramVec::new(
                HistogramOpts::new("duration_seconds", "Durations.").buckets(BOUNDS.into()),
                &labels,
            )
            .expect("the name is valid"),
            in_flight: IntGaugeVec::new(Opts::new("in_flight", "In flight."), &labels[..2])
                .expect("the name is valid"),
        };
        let metrics: [Box<dyn prometheus::core::Collector>; 3] = [
            Box::new(layer.requests.clone()),
            Box::new(layer.duration.clone()),
            Box::new(layer.in_flight.clone()),
        ];
        for metric in metrics {
            registry.register(metric).expect("the registry is new");
        }
        layer
    }
}

impl<S> Layer<S> for VectorsLayer {
    type Service = Vectors<S>;

    fn layer(&self, inner: S) -> Vectors<S> {
        Vectors {
            inner,
            layer: self.clone(),
        }
    }
}

impl<S, Q, B> Service<Request<Q>> for Vectors<S>
where
    S: Service<Request<Q>, Response = Response<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = VectorsFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let start = Instant::now();
        let method = request.method().clone();
        let path = request.extensions().get::<MatchedPath>().cloned();
        let route = path.as_ref().map_or("", MatchedPath::as_str);
        let labels = [method.as_str(), route];
        let in_flight = self.layer.in_flight.with_label_values(&labels);
        in_flight.inc();
        VectorsFuture {
            inner: self.inner.call(request),
            layer: self.layer.clone(),
            in_flight,
            method,
            path,
            start,
        }
    }
}

impl<F, B, E> Future for VectorsFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx))?;
        let status = response.status();
        let route = this.path.as_ref().map_or("", MatchedPath::as_str);
        let labels = [this.method.as_str(), route, status.as_str()];
        this.layer.requests.with_label_values(&labels).inc();
        let seconds = this.start.elapsed().as_secs_f64();
        let duration = this.layer.duration.with_label_values(&labels);
        duration.observe(seconds);
        Poll::Ready(Ok(response))
    }
}

#[pinned_drop]
impl<F> PinnedDrop for VectorsFuture<F> {
    fn drop(self: Pin<&mut Self>) {
        self.in_flight.dec();
    }
}
