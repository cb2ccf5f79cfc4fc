//! Errors of dashboards, objectives and rules.

use std::borrow::Cow;

/// Error returned when a dashboard, an objective or a set of rules is invalid.
///
/// Every variant names the context in which the problem was found, such as
/// `dashboard "shop", panel "Requests"`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value is outside of what is allowed.
    #[error("{context}: invalid {what} {value:?}: must be {allowed}")]
    Invalid {
        /// The dashboard, panel, objective or rule.
        context: String,
        /// The setting.
        what: &'static str,
        /// Its value.
        value: String,
        /// The allowed values.
        allowed: Cow<'static, str>,
    },
    /// A required text or list is empty.
    #[error("{context}: the {what} must not be empty")]
    Empty {
        /// The dashboard, panel, objective or rule.
        context: String,
        /// The setting.
        what: &'static str,
    },
    /// Two items that must be distinguishable share a name.
    #[error("{context}: duplicate {what} {name:?}")]
    Duplicate {
        /// The dashboard or the set of rules.
        context: String,
        /// The kind of item.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A name refers to nothing.
    #[error("{context}: unknown {what} {name:?}: must be one of {known:?}")]
    Unknown {
        /// The dashboard, panel, objective or rule.
        context: String,
        /// The kind of item.
        what: &'static str,
        /// The name.
        name: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// A legend, a table or an operand uses a label that an expression aggregates away.
    #[error("{context}: the expression has the labels {available:?}, but not {label:?}")]
    MissingLabel {
        /// The dashboard, panel, objective or rule.
        context: String,
        /// The label.
        label: String,
        /// The labels of the expression's result.
        available: Vec<String>,
    },
}
