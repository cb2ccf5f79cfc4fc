//! What can be wrong with a dashboard or an objective.

/// A dashboard or an objective that cannot be rendered.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name, unit or text that must follow a rule does not.
    #[error("{place}: {what} {value:?} is not valid: {allowed}")]
    Invalid {
        /// Where: the dashboard, panel or objective.
        place: String,
        /// Which of its fields.
        what: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A text that a viewer needs is empty.
    #[error("{place}: the {what} is empty")]
    Empty {
        /// Where.
        place: String,
        /// Which field.
        what: &'static str,
    },
    /// Two things have the same name.
    #[error("{place}: two {what} are called {name:?}")]
    Twice {
        /// Where.
        place: String,
        /// What kind of thing.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A name that nothing bears.
    #[error("{place}: no {what} is called {name:?}")]
    Unknown {
        /// Where.
        place: String,
        /// What kind of thing.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A legend or a table names a label that its expression does not keep.
    #[error("{place}: the expression keeps the labels {kept:?}, not {label:?}")]
    LabelLost {
        /// Where.
        place: String,
        /// The label.
        label: String,
        /// The labels that the expression keeps.
        kept: Vec<String>,
    },
}
