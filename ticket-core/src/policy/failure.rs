use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Operation, Random};

/// How an operation is made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fail {
    /// The payment provider says no: trying again with the same card is no use.
    Declined,
    /// The part does not answer: trying again later may help.
    Unavailable,
}

impl Fail {
    /// Its name in a faults document, in logs and in metrics.
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

/// Whether an operation fails.
///
/// A pure function: the same operation, time and [`Random`] give the same answer. Of several
/// policies in a slice the first that fails wins; each has a source of its own, so that what one
/// draws moves nothing in the others.
pub trait FailurePolicy {
    /// How `operation` fails, `at` this long after the policies came in force; `None`: it does not.
    fn failure(&self, operation: Operation, at: Duration, random: Random) -> Option<Fail>;
}

/// Fails always, and always so.
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
