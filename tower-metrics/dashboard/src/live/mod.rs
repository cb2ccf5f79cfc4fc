//! Live page that a service serves itself.
//!
//! A [`LivePage`] shows a [`Dashboard`](crate::Dashboard) of the process without Prometheus or
//! Grafana: during development, in a demonstration, or when the monitoring system is unavailable.
//! Once a second it reads the metrics, evaluates every panel, and sends the new values to all open
//! pages as one server-sent event that is serialized once. It keeps the last 15 minutes in memory,
//! even if no page is open.
//!
//! ```
//! use axum::{Router, routing::get};
//! use tower_metrics::{MetricsLayer, Prometheus};
//! use tower_metrics_dashboard::{Red, live::LivePage};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let prometheus = Prometheus::new();
//!     let app: Router = Router::new()
//!         .route("/concerts/{id}", get(|| async { "hello" }))
//!         .layer(MetricsLayer::new(prometheus));
//!
//!     let red = Red::of(&prometheus).availability(0.999).build()?;
//!     let page = LivePage::builder(red.overview(), prometheus)
//!         .slos(red.slos())
//!         .build()?;
//!
//!     // Serve this router on an internal port.
//!     let ops: Router = Router::new()
//!         .route_service("/metrics", prometheus.exposition())
//!         .nest_service("/live", page.into_router());
//!     # use tower::ServiceExt;
//!     # let request = http::Request::get("/live/").body(axum::body::Body::empty())?;
//!     # assert_eq!(ops.oneshot(request).await?.status(), 200);
//!     # drop(app);
//!     Ok(())
//! }
//! ```
//!
//! The page loads no resources from other hosts, has a strict content security policy, and needs no
//! build step. It works behind proxies that buffer responses or map its path to another one.
//!
//! A chart with more than 12 series omits those that are 0 in the whole visible time range. A series
//! with a fixed legend and color among series by label value is dashed, such as a total or a limit.
//!
//! Optional parts are hooks: a [`Control`] is a switch, a [`Check`] a badge that compares values from
//! several sources, a [`RequestLog`] provides the requests behind a cell of a heatmap. The page
//! reports a hook that panics and keeps running.
//!
//! # Access
//! Only `PUT` requests change anything. Guard them by method, and do not expose the page to the
//! internet: it shows routes, error types and, with a request log, log lines.
//!
//! # JSON API
//! Paths are relative to the page. Times are Unix seconds. A value that is unknown is `null`. Errors
//! are `application/problem+json`.
//!
//! | Request | Response |
//! |---|---|
//! | `GET api/` | this list |
//! | `GET api/dashboard` | definition of the page: rows, panels, units, objectives, controls, checks |
//! | `GET api/now` | current values of all panels, objectives, checks, controls, marks and problems |
//! | `GET api/history` | values of all panels by second, and `now` |
//! | `GET api/panels/{id}` | values of one panel by second |
//! | `GET api/stream` | server-sent events: a `history` event, then an `update` event every second |
//! | `GET api/requests?from&to&at_least&at_most&method&route&id&limit` | recent requests, latest first |
//! | `GET api/controls` | controls and their current values |
//! | `PUT api/controls/{id}` | sets the value of a control: `{"value": "…"}` |
//!
//! If the wall clock of the server steps, the timestamps of earlier values may change: `now.clock`
//! counts the steps, and the stream sends another `history` event.

mod assets;
mod builder;
mod burn;
mod check;
mod clock;
mod control;
mod definition;
mod error;
mod eval;
mod feed;
mod history;
mod hook;
mod layout;
mod marks;
mod number;
mod page;
mod recent;
mod requests;
mod response;
mod ring;
mod router;
mod sample;
mod sampler;
mod series;
mod slug;
mod source;
mod store;
mod wire;

pub use self::builder::LivePageBuilder;
pub use self::check::{Check, Equation, Side};
pub use self::control::Control;
pub use self::error::Error;
pub use self::page::LivePage;
pub use self::recent::{LoggedRequest, RecentRequests, RequestLog, RequestQuery};
pub use self::source::MetricsSource;
