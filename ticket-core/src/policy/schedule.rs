//! Conditions under which a fault is active.

use std::{f64::consts::TAU, time::Duration};

use serde::{
    Deserialize, Serialize,
    de::{self, Deserializer, MapAccess},
};

use super::{
    Random,
    number::{Probability, Seconds},
    read::{self, Checked, Object, OneOf, refused},
};

/// Condition under which a fault is active: a probability, a schedule, or both.
///
/// Schedules are relative to the activation of the document.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct When(Condition);

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Condition {
    Probability(Probability),
    Burst(Burst),
    Ramp(Ramp),
    Sine(Sine),
    All(Conditions),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Conditions(#[serde(deserialize_with = "conditions")] Vec<When>);

fn conditions<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<When>, D::Error> {
    read::list(from, 1..=16, "a list of 1 to 16 conditions")
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Burst {
    every_s: Seconds,
    for_s: Seconds,
}

impl Object<'_> for Burst {
    const WHAT: &'static str = "an object with every_s and for_s";

    fn check<E: de::Error>(&self) -> Result<(), E> {
        let (every, length) = (self.every_s.get(), self.for_s.get());
        if length <= every {
            Ok(())
        } else {
            Err(refused(
                format_args!("for_s {length}"),
                format_args!("at most every_s, {every}"),
            ))
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ramp {
    over_s: Seconds,
    #[serde(default = "Probability::never")]
    from: Probability,
    #[serde(default = "Probability::always")]
    to: Probability,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sine {
    every_s: Seconds,
    #[serde(default = "Probability::never")]
    from: Probability,
    #[serde(default = "Probability::always")]
    to: Probability,
}

impl Object<'_> for Ramp {
    const WHAT: &'static str = "an object with over_s, from and to";
}

impl Object<'_> for Sine {
    const WHAT: &'static str = "an object with every_s, from and to";
}

impl OneOf for Condition {
    const KEYS: &'static str = "probability, burst, ramp, sine, all";

    fn read<'de, A: MapAccess<'de>>(key: &str, map: &mut A) -> Result<Option<Self>, A::Error> {
        Ok(Some(match key {
            "probability" => Self::Probability(map.next_value()?),
            "burst" => Self::Burst(map.next_value::<Checked<_>>()?.0),
            "ramp" => Self::Ramp(map.next_value::<Checked<_>>()?.0),
            "sine" => Self::Sine(map.next_value::<Checked<_>>()?.0),
            "all" => Self::All(map.next_value()?),
            _ => return Ok(None),
        }))
    }
}

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read::one_of(deserializer).map(Self)
    }
}

impl When {
    /// Returns whether the condition holds at the time `at` since the activation of the document.
    ///
    /// A pure function of the time and the [`Random`].
    pub fn is_active(&self, at: Duration, mut random: Random) -> bool {
        match &self.0 {
            Condition::All(Conditions(all)) => all
                .iter()
                .zip(0..)
                .all(|(when, index)| when.is_active(at, random.fork(index))),
            Condition::Burst(burst) => burst.is_active(at),
            Condition::Probability(probability) => random.unit() < probability.get(),
            Condition::Ramp(ramp) => random.unit() < ramp.probability(at),
            Condition::Sine(sine) => random.unit() < sine.probability(at),
        }
    }
}

impl Burst {
    fn is_active(&self, at: Duration) -> bool {
        // In integer nanoseconds: the remainder of floats drifts at the boundaries. Lengths above 0
        // may be rounded to 0.
        let every = Duration::from_secs_f64(self.every_s.get())
            .as_nanos()
            .max(1);
        at.as_nanos() % every < Duration::from_secs_f64(self.for_s.get()).as_nanos().max(1)
    }
}

impl Ramp {
    fn probability(&self, at: Duration) -> f64 {
        let done = (at.as_secs_f64() / self.over_s.get()).min(1.0);
        interpolate(self.from, self.to, done)
    }
}

impl Sine {
    fn probability(&self, at: Duration) -> f64 {
        let turn = at.as_secs_f64() / self.every_s.get();
        interpolate(self.from, self.to, (1.0 - (turn * TAU).cos()) / 2.0)
    }
}

fn interpolate(from: Probability, to: Probability, fraction: f64) -> f64 {
    from.get() + (to.get() - from.get()) * fraction
}
