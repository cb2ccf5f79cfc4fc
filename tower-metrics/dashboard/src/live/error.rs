//! Errors of building a live page.

use std::time::Duration;

/// Error of [`LivePageBuilder::build`](super::LivePageBuilder::build).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The dashboard or an objective is invalid.
    #[error(transparent)]
    Dashboard(#[from] crate::Error),
    /// Two controls or two checks have the same id, which is made from the
    /// title.
    #[error("duplicate {kind} title {title:?}: the letters and digits of titles must be unique")]
    DuplicateTitle {
        /// `control` or `check`.
        kind: &'static str,
        /// The title of the second one.
        title: String,
    },
    /// A duration is out of range.
    #[error("invalid {setting} of {} s: must be between {} s and {} s",
        value.as_secs_f64(), min.as_secs(), max.as_secs())]
    OutOfRange {
        /// The method of the builder.
        setting: &'static str,
        /// The value.
        value: Duration,
        /// The smallest valid value.
        min: Duration,
        /// The largest valid value.
        max: Duration,
    },
    /// A control refers to a panel that does not exist.
    #[error("unknown panel {panel:?} of control {control:?}: must be the title of a panel")]
    UnknownPanel {
        /// The title of the control.
        control: String,
        /// The title of the panel.
        panel: String,
    },
    /// The page was built outside of a Tokio runtime, which it needs to sample
    /// the metrics.
    #[error("a live page must be built within a Tokio runtime")]
    NoRuntime,
}
