use std::f64::consts::TAU;
use std::time::Duration;

use serde::de::{self, Deserializer, MapAccess};
use serde::{Deserialize, Serialize};

use super::Random;
use super::number::{Probability, Seconds, refused};
use super::one_of::{self, Check, Checked, OneOf};

/// When a fault strikes: by chance, by the clock, or both.
///
/// The clock starts when the document comes in force.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct When(Kind);

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Probability(Probability),
    Burst(Burst),
    Ramp(Ramp),
    Sine(Sine),
    All(Vec<When>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Burst {
    every_s: Seconds,
    for_s: Seconds,
}

impl Check for Burst {
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

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Key {
    Probability,
    Burst,
    Ramp,
    Sine,
    All,
}

impl OneOf for Kind {
    type Key = Key;

    const KEYS: &'static str = "`probability`, `burst`, `ramp`, `sine`, `all`";

    fn read<'de, A: MapAccess<'de>>(key: Key, map: &mut A) -> Result<Self, A::Error> {
        Ok(match key {
            Key::Probability => Self::Probability(map.next_value()?),
            Key::Burst => Self::Burst(map.next_value::<Checked<_>>()?.0),
            Key::Ramp => Self::Ramp(map.next_value()?),
            Key::Sine => Self::Sine(map.next_value()?),
            Key::All => Self::All(map.next_value::<Checked<_>>()?.0),
        })
    }
}

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        one_of::deserialize(deserializer).map(Self)
    }
}

impl Check for Vec<When> {
    fn check<E: de::Error>(&self) -> Result<(), E> {
        match self.len() {
            1..=16 => Ok(()),
            length => Err(refused(
                format_args!("a list of {length}"),
                "a list of 1 to 16 conditions",
            )),
        }
    }
}

impl When {
    /// Whether the fault strikes `at` this long after its document came in force.
    ///
    /// A pure function: the same time and [`Random`] give the same answer.
    pub fn strikes(&self, at: Duration, mut random: Random) -> bool {
        match &self.0 {
            Kind::All(all) => all
                .iter()
                .zip(0..)
                .all(|(when, index)| when.strikes(at, random.fork(index))),
            Kind::Burst(burst) => burst.on(at),
            Kind::Probability(probability) => random.unit() < probability.get(),
            Kind::Ramp(ramp) => random.unit() < ramp.probability(at),
            Kind::Sine(sine) => random.unit() < sine.probability(at),
        }
    }
}

impl Burst {
    fn on(&self, at: Duration) -> bool {
        // In whole nanoseconds, because a remainder of floats drifts off the edges. The lengths
        // are above 0, and yet may round to 0.
        let every = Duration::from_secs_f64(self.every_s.get())
            .as_nanos()
            .max(1);
        at.as_nanos() % every < Duration::from_secs_f64(self.for_s.get()).as_nanos().max(1)
    }
}

impl Ramp {
    fn probability(&self, at: Duration) -> f64 {
        let done = (at.as_secs_f64() / self.over_s.get()).min(1.0);
        between(self.from, self.to, done)
    }
}

impl Sine {
    fn probability(&self, at: Duration) -> f64 {
        let turn = at.as_secs_f64() / self.every_s.get();
        between(self.from, self.to, (1.0 - (turn * TAU).cos()) / 2.0)
    }
}

fn between(from: Probability, to: Probability, share: f64) -> f64 {
    from.get() + (to.get() - from.get()) * share
}
