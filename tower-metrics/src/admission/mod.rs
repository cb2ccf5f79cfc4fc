//! Measurement of the wait for admission.
//!
//! Limits of tower apply back-pressure: [`poll_ready`](tower_service::Service::poll_ready)
//! returns `Pending` until there is capacity, and the request waits before the service is
//! called. A [`MetricsLayer`](crate::MetricsLayer) does not see that wait.
//! [`AdmissionLayer`] measures it:
//!
//! | metric | type | labels |
//! |---|---|---|
//! | `http_server_admission_wait_seconds` | histogram | `outcome`: `admitted`, `rejected`, `cancelled` |
//! | `http_server_admission_queued` | gauge | |
//!
//! For an OpenTelemetry meter, they are `http.server.admission.wait` and
//! `http.server.admission.queued`.
//!
//! The lowest bucket bound of the wait is 0, whose bucket has the requests that did not
//! wait: a 99th percentile of 0 means that at most 1% of the requests waited.
//!
//! # When a wait begins and ends
//!
//! - A wait begins with the first `poll_ready` of a service, or with `call` if there was
//!   none. If that `poll_ready` returns `Ready`, its duration is 0.
//! - It is queued from the first `Pending` until `poll_ready` returns `Ready`. The duration
//!   is that time. The time from `Ready` to `call` does not count.
//! - It ends as `admitted` when the response future is polled for the first time, unless
//!   that poll rejects the request. If that poll or `call` panics, it ends as `admitted`, too.
//! - It ends as `rejected` if that poll returns the error
//!   [`Overloaded`](tower::load_shed::error::Overloaded) of tower's `LoadShed` or one that
//!   [`rejected_if`](AdmissionLayer::rejected_if) recognizes, and if `poll_ready` returns
//!   an error, as tower's `Buffer` does when its worker has failed.
//! - It ends as `cancelled` if the service is dropped after `poll_ready` without a `call`,
//!   such as a clone that axum made for a request whose client disconnected, or if the
//!   response future is dropped before it is polled.
//! - A `poll_ready` after `Ready` continues the same wait. A clone of a service starts
//!   without one.
//!
//! Every wait ends exactly once.
//!
//! # Waits of common limits
//!
//! - **`ConcurrencyLimit`** waits for a permit. In axum, `Router::layer` applies a layer to
//!   each route; use `GlobalConcurrencyLimitLayer` for a limit of the whole router.
//! - **`RateLimit`** waits for the next period.
//! - **`LoadShed`** around a limit never waits: requests are admitted or rejected at once.
//! - **`Buffer`** waits for a slot in its queue. The time *in* the queue follows `call` and
//!   belongs to the response. To measure the wait of the service inside, put the
//!   `AdmissionLayer` inside of the `Buffer`: it then measures the request at the front of
//!   the queue.
//! - **In axum**, the layers of one `Router::layer` wait for each other, in the future of the
//!   layer that is added next. A timeout that is added later therefore includes the wait, and
//!   one in the same `ServiceBuilder` does not.
//! - A limit that waits in its future, such as a middleware function that acquires a
//!   semaphore, applies no back-pressure. Use [`AdmissionWait`] there.
//!
//! Put the layer outside of limits and load shedding, and inside of the metrics layer, so
//! that a rejection counts as a request, too.
//!
//! # Cost
//!
//! A wait that is ready at once costs no clock read, no lock and no allocation: a few
//! atomic additions to one of 16 shards, which are assigned to threads in turn.
//!
//! # Examples
//!
//! ```
//! # #[cfg(feature = "axum")] {
//! use axum::error_handling::HandleErrorLayer;
//! use axum::{Extension, Router, http::StatusCode, routing::get};
//! use tower::ServiceBuilder;
//! use tower::limit::GlobalConcurrencyLimitLayer;
//! use tower_metrics::{AdmissionLayer, ErrorType, MetricsLayer, Prometheus};
//!
//! let prometheus = Prometheus::new();
//! let app: Router = Router::new().route("/", get(|| async { "hello" })).layer(
//!     ServiceBuilder::new()
//!         .layer(MetricsLayer::new(prometheus))
//!         // Without an error type, a rejection is recorded as `503`, like any other.
//!         .layer(HandleErrorLayer::new(|_| async {
//!             (StatusCode::SERVICE_UNAVAILABLE, Extension(ErrorType::SHED))
//!         }))
//!         .layer(AdmissionLayer::new(prometheus)?)
//!         .load_shed()
//!         .layer(GlobalConcurrencyLimitLayer::new(100)),
//! );
//! # }
//! # Ok::<_, tower_metrics::BuildError>(())
//! ```
//!
//! The example `admission` runs such a server under load.

mod future;
mod layer;
mod recorder;
mod rejection;
mod service;
mod wait;

pub use self::future::AdmissionFuture;
pub use self::layer::AdmissionLayer;
pub use self::recorder::{AdmissionOutcome, AdmissionRecorder, CompletedWait};
pub use self::rejection::{IsOverloaded, IsRejection};
pub use self::service::AdmissionService;
pub use self::wait::AdmissionWait;

/// Bucket bounds of the wait in seconds: a wait of more than 10 s exceeds most timeouts.
/// Requests that do not wait have a bucket, so that they do not appear in quantiles as a
/// part of the shortest wait.
#[cfg(any(feature = "opentelemetry", feature = "prometheus"))]
pub(crate) const BOUNDS: [f64; 14] = [
    0.0, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
