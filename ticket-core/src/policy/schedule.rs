use std::f64::consts::TAU;
use std::time::Duration;

use serde::de::{self, Deserializer, MapAccess};
use serde::{Deserialize, Serialize};

use super::Random;
use super::number::{Probability, Seconds};
use super::read::{self, Checked, Object, OneOf, refused};

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

impl OneOf for Kind {
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
    /// Whether the fault strikes `at` this long after its document came in force.
    ///
    /// A pure function: the same time and [`Random`] give the same answer.
    pub fn strikes(&self, at: Duration, mut random: Random) -> bool {
        match &self.0 {
            Kind::All(Conditions(all)) => all
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
