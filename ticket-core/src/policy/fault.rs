//! A single fault of a document.

use std::time::Duration;

use serde::{
    Deserialize, Serialize,
    de::{self, Deserializer},
    ser::Serializer,
};

use super::{
    Delay, Fail, FailurePolicy, LatencyPolicy, Operation, Random, When,
    read::{self, Object, refused},
};

/// A fault: an operation is delayed, fails, or is delayed and then fails.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    operation: Target,
    #[serde(
        default,
        deserialize_with = "failure",
        skip_serializing_if = "Option::is_none"
    )]
    fail: Option<Failure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delay: Option<Delay>,
    #[serde(default, skip_serializing_if = "is_false")]
    blocks: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    when: Option<When>,
}

fn is_false(value: &bool) -> bool {
    !value
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Failure {
    r#as: Fail,
}

fn failure<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Failure>, D::Error> {
    read::object(from).map(Some)
}

impl Object<'_> for Failure {
    const WHAT: &'static str = "an object with as";
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Every,
    One(Operation),
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Every => "*",
            Self::One(operation) => operation.as_str(),
        })
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        if name == "*" {
            return Ok(Self::Every);
        }
        let named = Operation::ALL
            .into_iter()
            .find(|operation| operation.as_str() == name);
        named.map(Self::One).ok_or_else(|| {
            let allowed = Operation::ALL.map(Operation::as_str).join(", ");
            refused(
                format_args!("{name:?}"),
                format_args!("one of {allowed}, *"),
            )
        })
    }
}

impl Object<'_> for Fault {
    const WHAT: &'static str = "an object with operation, and fail or delay or both";

    fn check<E: de::Error>(&self) -> Result<(), E> {
        if self.blocks && self.delay.is_none() {
            return Err(E::custom("has blocks without delay: expected both"));
        }
        if self.fail.is_some() || self.delay.is_some() {
            Ok(())
        } else {
            Err(E::custom(
                "has neither fail nor delay: expected at least one of them",
            ))
        }
    }
}

impl Fault {
    /// Returns whether the fault is declared for `operation`.
    pub fn applies_to(&self, operation: Operation) -> bool {
        match self.operation {
            Target::Every => true,
            Target::One(one) => one == operation,
        }
    }

    /// Returns whether the delay blocks the thread, as code does that waits without `await`.
    pub fn blocks(&self) -> bool {
        self.blocks
    }

    fn is_active(&self, operation: Operation, at: Duration, random: Random) -> bool {
        self.applies_to(operation)
            && self
                .when
                .as_ref()
                .is_none_or(|when| when.is_active(at, random.fork(0)))
    }
}

/// A fault with `delay` and `fail` applies both or neither: both policies evaluate `when` with the
/// same random source.
impl FailurePolicy for Fault {
    fn failure(&self, operation: Operation, at: Duration, random: Random) -> Option<Fail> {
        let Failure { r#as: fail } = self.fail.as_ref()?;
        self.is_active(operation, at, random).then_some(*fail)
    }
}

impl LatencyPolicy for Fault {
    fn latency(&self, operation: Operation, at: Duration, random: Random) -> Duration {
        match &self.delay {
            Some(delay) if self.is_active(operation, at, random) => {
                delay.latency(operation, at, random.fork(1))
            }
            _ => Duration::ZERO,
        }
    }
}
