//! A live page, served by the service itself.
//!
//! [`page`] takes a [`Dashboard`](crate::Dashboard) and the registry its metrics are in, and gives
//! an [`axum::Router`] to nest anywhere, behind whatever guards the rest of your operations port.
//! Once a second it reads the registry, evaluates every panel, keeps the last 15 minutes in a
//! bounded ring (whether anyone looks or not), and sends what is new to all open pages as one
//! server-sent event, serialized once.
//!
//! ```no_run
//! # use tower_metrics_dashboard::{Dashboard, Row, Selector, TimeSeries, Unit, live};
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), live::Error> {
//! let registry = prometheus::Registry::new();
//! let requests = Selector::new("http_requests_total").rate().sum_by(["route"]);
//! let dashboard = Dashboard::new("shop", "Shop", "What the shop does.").row(
//!     Row::new("Traffic")
//!         .panel(TimeSeries::new("Requests", Unit::RequestsPerSecond)
//!             .description("Requests per second, by route.")
//!             .series("{route}", requests)),
//! );
//! let ops: axum::Router = axum::Router::new()
//!     .nest("/live", live::page(dashboard, registry).into_router()?);
//! # Ok(()) }
//! ```
//!
//! The page asks nothing of another host, runs under a strict content security policy, and needs
//! no build step. Its optional parts are hooks: a [`Control`] is a switch, a [`Check`] a badge that
//! says whether figures agree, a [`RequestLog`] what a cell of a heatmap opens, an
//! [`Slo`](crate::Slo) a card with its alerts.
//!
//! # The JSON API
//!
//! Relative to where the router is nested. Times are Unix seconds; a figure that is not known is
//! `null`. Errors are `application/problem+json`.
//!
//! | | |
//! |---|---|
//! | `GET api/` | this list |
//! | `GET api/dashboard` | rows, panels, units, objectives, controls, checks |
//! | `GET api/now` | the latest figures of every panel, objectives, checks, controls, marks |
//! | `GET api/history` | every panel's figures, second by second, and `now` |
//! | `GET api/panels/{id}` | the same of one panel |
//! | `GET api/stream` | server-sent events: one `history`, then an `update` each second |
//! | `GET api/requests?from&to&at_least&at_most&limit&{label}` | recent requests, the latest first |
//! | `GET api/controls` · `PUT api/controls/{id}` | switches: `{"value": "…"}` |
//!
//! Only `PUT` changes anything: a guard in front of it, by method, is enough.

mod assets;
mod burn;
mod check;
mod clock;
mod control;
mod eval;
mod history;
mod hook;
mod marks;
mod number;
mod page;
mod recent;
mod router;
mod sampler;
mod series;
mod slug;
mod source;
mod wire;

pub use self::check::{Check, Equation, Side};
pub use self::control::Control;
pub use self::page::{Error, Page, page};
pub use self::recent::{LoggedRequest, RecentRequests, RequestLog, RequestQuery};
pub use self::source::MetricsSource;
