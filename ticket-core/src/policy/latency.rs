//! Injected delays.

use std::time::Duration;

use rand::RngExt;
use rand_distr::{Exp1, StandardNormal};
use serde::{
    Deserialize, Serialize,
    de::{self, Deserializer, MapAccess},
};

use super::{
    Operation, Random,
    number::{Millis, PositiveMillis, Shape, Sigma},
    read::{self, Checked, Object, OneOf, refused},
};

/// The maximum delay of one decision. Longer draws and sums are clamped to it.
pub const MAX_DELAY: Duration = Duration::from_secs(60);

/// Decides how long an operation is delayed.
///
/// Implementations are pure functions of the operation, the time and the [`Random`]. The delays of a
/// slice of policies are added. Each policy of a slice has an independent random source, so that its
/// draws do not affect the others.
pub trait LatencyPolicy {
    /// Returns the delay of `operation` at the time `at` since the activation of the policies, at
    /// most [`MAX_DELAY`].
    fn latency(&self, operation: Operation, at: Duration, random: Random) -> Duration;
}

/// A constant delay, at most [`MAX_DELAY`].
impl LatencyPolicy for Duration {
    fn latency(&self, _: Operation, _: Duration, _: Random) -> Duration {
        MAX_DELAY.min(*self)
    }
}

impl<P: LatencyPolicy> LatencyPolicy for [P] {
    fn latency(&self, operation: Operation, at: Duration, random: Random) -> Duration {
        self.iter()
            .zip(0..)
            .map(|(policy, index)| policy.latency(operation, at, random.fork(index)))
            .fold(Duration::ZERO, |sum, delay| {
                MAX_DELAY.min(sum.saturating_add(delay))
            })
    }
}

/// A delay: a constant, a distribution, or a recorded list.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Delay(Distribution);

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Distribution {
    Fixed(Fixed),
    Uniform(Uniform),
    Normal(Normal),
    LogNormal(LogNormal),
    Exponential(Exponential),
    Pareto(Pareto),
    Replay(Replay),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixed {
    ms: Millis,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Uniform {
    min_ms: Millis,
    max_ms: Millis,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Normal {
    mean_ms: Millis,
    std_dev_ms: Millis,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogNormal {
    median_ms: PositiveMillis,
    sigma: Sigma,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exponential {
    mean_ms: PositiveMillis,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pareto {
    scale_ms: PositiveMillis,
    shape: Shape,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Replay {
    #[serde(deserialize_with = "replay_list")]
    ms: Vec<Millis>,
}

fn replay_list<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Millis>, D::Error> {
    read::list(from, 1..=10_000, "a list of 1 to 10000 numbers")
}

impl Object<'_> for Fixed {
    const WHAT: &'static str = "an object with ms";
}

impl Object<'_> for Uniform {
    const WHAT: &'static str = "an object with min_ms and max_ms";

    fn check<E: de::Error>(&self) -> Result<(), E> {
        let (min, max) = (self.min_ms.get(), self.max_ms.get());
        if min <= max {
            Ok(())
        } else {
            Err(refused(
                format_args!("min_ms {min}"),
                format_args!("at most max_ms, {max}"),
            ))
        }
    }
}

impl Object<'_> for Normal {
    const WHAT: &'static str = "an object with mean_ms and std_dev_ms";
}

impl Object<'_> for LogNormal {
    const WHAT: &'static str = "an object with median_ms and sigma";
}

impl Object<'_> for Exponential {
    const WHAT: &'static str = "an object with mean_ms";
}

impl Object<'_> for Pareto {
    const WHAT: &'static str = "an object with scale_ms and shape";
}

impl Object<'_> for Replay {
    const WHAT: &'static str = "an object with ms, a list";
}

impl OneOf for Distribution {
    const KEYS: &'static str = "fixed, uniform, normal, log_normal, exponential, pareto, replay";

    fn read<'de, A: MapAccess<'de>>(key: &str, map: &mut A) -> Result<Option<Self>, A::Error> {
        Ok(Some(match key {
            "fixed" => Self::Fixed(map.next_value::<Checked<_>>()?.0),
            "uniform" => Self::Uniform(map.next_value::<Checked<_>>()?.0),
            "normal" => Self::Normal(map.next_value::<Checked<_>>()?.0),
            "log_normal" => Self::LogNormal(map.next_value::<Checked<_>>()?.0),
            "exponential" => Self::Exponential(map.next_value::<Checked<_>>()?.0),
            "pareto" => Self::Pareto(map.next_value::<Checked<_>>()?.0),
            "replay" => Self::Replay(map.next_value::<Checked<_>>()?.0),
            _ => return Ok(None),
        }))
    }
}

impl<'de> Deserialize<'de> for Delay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read::one_of(deserializer).map(Self)
    }
}

impl LatencyPolicy for Delay {
    fn latency(&self, _: Operation, _: Duration, random: Random) -> Duration {
        duration(self.0.draw(random))
    }
}

impl Distribution {
    /// Draws a delay in milliseconds, from 0 to infinity.
    fn draw(&self, mut random: Random) -> f64 {
        match self {
            Self::Fixed(Fixed { ms }) => ms.get(),
            Self::Uniform(Uniform { min_ms, max_ms }) => {
                min_ms.get() + (max_ms.get() - min_ms.get()) * random.unit()
            }
            // Truncated at 0 by drawing again, not by clamping. The mean is not negative, so that
            // at least every second draw is accepted.
            Self::Normal(Normal {
                mean_ms,
                std_dev_ms,
            }) => loop {
                let draw =
                    mean_ms.get() + std_dev_ms.get() * random.sample::<f64, _>(StandardNormal);
                if draw >= 0.0 {
                    break draw;
                }
            },
            Self::LogNormal(LogNormal { median_ms, sigma }) => {
                median_ms.get() * (sigma.get() * random.sample::<f64, _>(StandardNormal)).exp()
            }
            Self::Exponential(Exponential { mean_ms }) => {
                mean_ms.get() * random.sample::<f64, _>(Exp1)
            }
            Self::Pareto(Pareto { scale_ms, shape }) => {
                scale_ms.get() * (1.0 - random.unit()).powf(-shape.get().recip())
            }
            Self::Replay(Replay { ms }) => {
                let length = ms.len() as u64;
                random
                    .number()
                    .checked_rem(length)
                    .map_or(0.0, |at| ms[at as usize].get())
            }
        }
    }
}

fn duration(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1_000.0).map_or(MAX_DELAY, |delay| MAX_DELAY.min(delay))
}
