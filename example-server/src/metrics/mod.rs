//! Metrics of the server beside those of the HTTP middleware.

mod concert_labels;
mod platform;
mod process;
pub(crate) mod stock;

pub(crate) use platform::PlatformMetrics;
pub(crate) use process::register_process;
