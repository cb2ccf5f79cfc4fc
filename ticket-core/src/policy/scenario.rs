//! Scenarios: timelines of faults documents.

use std::{fmt, sync::LazyLock, time::Duration};

use serde::{
    Deserialize,
    de::{self, Deserializer, Visitor},
};

use super::{
    Document, Fault, Invalid,
    document::{Preset, faults},
    number::{Factor, Seed},
    read::{self, Checked, Object, refused},
};

/// The latest start of a step, and the longest period of a repetition.
const MAX_TIME: Duration = Duration::from_secs(24 * 3_600);
/// The shortest period of a repetition: every step is logged.
const MIN_PERIOD: Duration = Duration::from_secs(1);
const TIME: &str = "a time of at most a day, such as \"90s\" or \"2m 30s\"; a number is in seconds";

/// A timeline of faults documents, written in TOML.
///
/// ```
/// use ticket_core::policy::Scenario;
///
/// let scenario = Scenario::from_toml(
///     "provider-trouble",
///     r#"
///     note = "The payment provider fails for a minute."
///     seed = 7
///
///     [[steps]]
///     at = "0s"
///     preset = "everyday"
///     note = "Everyday"
///
///     [[steps]]
///     at = "2m"
///     preset = "payment-outage"
///     traffic = 1.5
///     note = "Payments fail, buyers retry"
///
///     [[steps]]
///     at = "3m"
///     preset = "everyday"
///     note = "The provider recovers"
///     "#,
/// )?;
/// assert_eq!(scenario.steps().len(), 3);
/// # Ok::<(), ticket_core::policy::Invalid>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    name: String,
    note: String,
    repeat_every: Option<Duration>,
    steps: Vec<Step>,
}

/// A step of a [`Scenario`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Step {
    /// Start, since the start of the scenario.
    pub at: Duration,
    /// Faults to inject during the step.
    pub document: Document,
    /// Factor of the rate of generated traffic.
    pub traffic: f64,
    /// Description for humans.
    pub note: String,
}

/// Name, description and text of the scenarios that this crate contains.
const SCENARIOS: &[(&str, &str)] = &[
    ("calm-day", include_str!("scenarios/calm-day.toml")),
    ("black-friday", include_str!("scenarios/black-friday.toml")),
    ("bad-deploy", include_str!("scenarios/bad-deploy.toml")),
];

static PARSED: LazyLock<Vec<Scenario>> = LazyLock::new(|| {
    let parse = |&(name, text): &(&str, &str)| {
        Scenario::from_toml(name, text).expect("scenarios are valid, as a test checks")
    };
    SCENARIOS.iter().map(parse).collect()
});

impl Scenario {
    /// Returns the scenarios that this crate contains: `calm-day`, `black-friday` and `bad-deploy`.
    pub fn all() -> &'static [Self] {
        &PARSED
    }

    /// Returns the scenario with this name, if this crate contains it.
    pub fn named(name: &str) -> Option<Self> {
        PARSED.iter().find(|it| it.name == name).cloned()
    }

    /// Returns the TOML text of a scenario that this crate contains.
    pub fn text(name: &str) -> Option<&'static str> {
        let mut scenarios = SCENARIOS.iter();
        scenarios.find(|(it, _)| *it == name).map(|(_, text)| *text)
    }

    /// Parses TOML.
    ///
    /// # Errors
    ///
    /// [`Invalid`] with the position and the path of the field if the text is not TOML or a value is
    /// not allowed.
    pub fn from_toml(name: &str, text: &str) -> Result<Self, Invalid> {
        let deserializer =
            toml::Deserializer::parse(text).map_err(|error| Invalid::toml_syntax(&error))?;
        let fields = serde_path_to_error::deserialize(deserializer)
            .map_err(Invalid::toml)
            .and_then(|Checked(fields)| Fields::check_times(fields))
            .map_err(|invalid| invalid.locate(text))?;
        Ok(Self::new(name, fields))
    }

    fn new(name: &str, fields: Fields) -> Self {
        let Fields {
            note,
            seed,
            repeat_every,
            steps,
        } = fields;
        let step = |(number, Checked(step)): (u64, Checked<StepFields>)| {
            let document = match (step.preset, step.faults) {
                (Some(Preset(document)), _) => document,
                (None, faults) => Document::new(faults.unwrap_or_default()),
            };
            Step {
                at: step.at.0,
                document: match seed {
                    Some(seed) => document.with_seed(seed.part(number)),
                    None => document,
                },
                traffic: step.traffic.get(),
                note: step.note.0,
            }
        };
        Self {
            name: name.to_owned(),
            note: note.0,
            repeat_every: repeat_every.map(|Time(every)| every),
            steps: (0..).zip(steps).map(step).collect(),
        }
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what happens, for humans.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// Returns the period after which the scenario starts over. Without one, its last step lasts.
    pub fn repeat_every(&self) -> Option<Duration> {
        self.repeat_every
    }

    /// Returns the steps in the order of their start. The first one starts at 0.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Returns the index of the step in force at `elapsed` since the start, and when the next one
    /// starts.
    pub(super) fn at(&self, elapsed: Duration) -> (usize, Option<Duration>) {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let round = match self.repeat_every {
            None => Duration::ZERO,
            Some(every) => {
                let (elapsed, every) = (nanos(elapsed), nanos(every));
                Duration::from_nanos(elapsed - elapsed % every)
            }
        };
        let at = elapsed.saturating_sub(round);
        let started = self.steps.partition_point(|step| step.at <= at);
        let next = match self.steps.get(started) {
            Some(step) => Some(step.at),
            None => self.repeat_every,
        };
        (started - 1, next.map(|next| round + next))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    note: Note,
    seed: Option<Seed>,
    repeat_every: Option<Time>,
    #[serde(deserialize_with = "steps")]
    steps: Vec<Checked<StepFields>>,
}

fn steps<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Checked<StepFields>>, D::Error> {
    read::list(from, 1..=100, "a list of 1 to 100 steps")
}

impl Object<'_> for Fields {
    const WHAT: &'static str = "a table with note and steps";
}

impl Fields {
    /// Checks that the times increase from 0.
    fn check_times(self) -> Result<Self, Invalid> {
        let invalid = |path: String, time: Duration, allowed: String| Invalid {
            path,
            problem: format!("{} is not allowed: expected {allowed}", shown(time)),
            malformed: false,
            position: None,
        };
        let mut previous = None;
        for (index, Checked(step)) in self.steps.iter().enumerate() {
            let (path, at) = (|| format!("steps[{index}].at"), step.at.0);
            match previous {
                None if !at.is_zero() => {
                    let allowed = "0, because the first step starts with the scenario";
                    return Err(invalid(path(), at, allowed.to_owned()));
                }
                Some(before) if at <= before => {
                    let before = shown(before);
                    let allowed =
                        format!("a time after the previous step, which starts at {before}");
                    return Err(invalid(path(), at, allowed));
                }
                _ => previous = Some(at),
            }
        }
        let last = previous.unwrap_or_default();
        match self.repeat_every {
            Some(Time(every)) if every <= last => {
                let last = shown(last);
                let allowed = format!("a time after the last step, which starts at {last}");
                Err(invalid("repeat_every".to_owned(), every, allowed))
            }
            Some(Time(every)) if every < MIN_PERIOD => {
                let allowed = format!("a time of at least {}", shown(MIN_PERIOD));
                Err(invalid("repeat_every".to_owned(), every, allowed))
            }
            _ => Ok(self),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepFields {
    at: Time,
    preset: Option<Preset>,
    #[serde(default, deserialize_with = "faults")]
    faults: Option<Vec<Fault>>,
    #[serde(default = "Factor::one")]
    traffic: Factor,
    note: Note,
}

impl Object<'_> for StepFields {
    const WHAT: &'static str = "a table with at, preset or faults, and note";

    fn check<E: de::Error>(&self) -> Result<(), E> {
        match (&self.preset, &self.faults) {
            (Some(_), Some(_)) => Err(E::custom(
                "has both preset and faults: expected one of them",
            )),
            (None, None) => Err(E::custom(
                "has neither faults nor preset: expected one of them",
            )),
            _ => Ok(()),
        }
    }
}

/// Formats a time of a scenario as scenarios write it, such as `2m 30s`.
fn shown(time: Duration) -> String {
    let time = jiff::SignedDuration::try_from(time).unwrap_or(jiff::SignedDuration::MAX);
    format!("{time:#}")
}

/// Text for humans, which labels a metric as well.
struct Note(String);

impl<'de> Deserialize<'de> for Note {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let length = text.chars().count();
        if (1..=100).contains(&length) && !text.contains(char::is_control) {
            Ok(Self(text))
        } else {
            Err(refused(
                format_args!("{text:?}"),
                "1 to 100 characters without line breaks",
            ))
        }
    }
}

/// Time since the start of the scenario.
struct Time(Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TimeVisitor;

        impl Visitor<'_> for TimeVisitor {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(TIME)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                let time: Option<jiff::SignedDuration> = text.parse().ok();
                let time = time.and_then(|time| Duration::try_from(time).ok());
                in_range(time).ok_or_else(|| refused(format_args!("{text:?}"), TIME))
            }

            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Time, E> {
                in_range(Duration::try_from_secs_f64(seconds).ok())
                    .ok_or_else(|| refused(seconds, TIME))
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Time, E> {
                self.visit_f64(seconds as f64)
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Time, E> {
                self.visit_f64(seconds as f64)
            }
        }

        fn in_range(time: Option<Duration>) -> Option<Time> {
            time.filter(|time| *time <= MAX_TIME).map(Time)
        }

        deserializer.deserialize_any(TimeVisitor)
    }
}
