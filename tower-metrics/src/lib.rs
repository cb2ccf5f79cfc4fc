//! RED metrics for every tower service: Rate, Errors and Duration per route.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod clock;
#[cfg(feature = "dashboard")]
pub mod dashboard;
mod error;
mod flight;
mod future;
mod grpc;
mod head;
mod label;
mod layer;
mod outcome;
pub mod prometheus;
mod proto;
mod recorder;
mod route;
mod service;
mod sync;
mod table;
mod trace_id;

pub use self::body::ResponseBody;
pub use self::error::BuildError;
pub use self::future::ResponseFuture;
pub use self::grpc::GrpcStatus;
pub use self::head::{RequestHead, ResponseHead};
pub use self::label::{Label, LabelKey, LabelValue, LabelValues, MAX_LABELS};
pub use self::layer::{Builder, ClassifyError, DurationTo, MetricsLayer, ServiceError, Skip};
pub use self::outcome::{End, ErrorType, Outcome};
pub use self::prometheus::{Names, Prometheus};
pub use self::recorder::{LabelError, Limit, Recorder};
pub use self::route::Route;
pub use self::service::MetricsService;
pub use self::trace_id::TraceId;
