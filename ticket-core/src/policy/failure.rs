//! Injected failures.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Operation, Random};

/// Kind of an injected failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fail {
    /// The payment is declined. A retry with the same card fails again.
    Declined,
    /// The operation is unavailable. A retry may succeed.
    Unavailable,
}

impl Fail {
    /// Returns the name in documents, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Declined => "declined",
            Self::Unavailable => "unavailable",
        }
    }
}

impl fmt::Display for Fail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Decides whether an operation fails.
///
/// Implementations are pure functions of the operation, the time and the [`Random`]. In a slice of
/// policies, the first that fails the operation applies. Each policy of a slice has an independent
/// random source, so that its draws do not affect the others.
pub trait FailurePolicy {
    /// Returns how `operation` fails at the time `at` since the activation of the policies, or `None`
    /// if it does not fail.
    fn failure(&self, operation: Operation, at: Duration, random: Random) -> Option<Fail>;
}

/// Always fails.
impl FailurePolicy for Fail {
    fn failure(&self, _: Operation, _: Duration, _: Random) -> Option<Fail> {
        Some(*self)
    }
}

impl<P: FailurePolicy> FailurePolicy for [P] {
    fn failure(&self, operation: Operation, at: Duration, random: Random) -> Option<Fail> {
        self.iter()
            .zip(0..)
            .find_map(|(policy, index)| policy.failure(operation, at, random.fork(index)))
    }
}
