//! The faults document.

use std::time::Duration;

use serde::{
    Deserialize, Serialize,
    de::{self, Deserializer},
};

use super::{
    Fail, FailurePolicy, Fault, Invalid, LatencyPolicy, MAX_DELAY, Operation, Random,
    number::{Expiry, Seed},
    preset::{self, PRESETS},
    read::{self, Checked, Object, refused},
};

/// A set of faults, written in JSON or TOML.
///
/// Documents are validated when they are parsed, so that every value of this type is valid.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Document {
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<Seed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_after_s: Option<Expiry>,
    faults: Vec<Fault>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    preset: Option<Preset>,
    seed: Option<Seed>,
    expires_after_s: Option<Expiry>,
    #[serde(default, deserialize_with = "faults")]
    faults: Option<Vec<Fault>>,
}

pub(super) fn faults<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Fault>>, D::Error> {
    let faults: Vec<Checked<Fault>> = read::list(from, 0..=100, "a list of at most 100 faults")?;
    Ok(Some(
        faults.into_iter().map(|Checked(fault)| fault).collect(),
    ))
}

impl Object<'_> for Fields {
    const WHAT: &'static str = "an object with faults or preset";

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

/// The document of a preset, deserialized from its name.
pub(super) struct Preset(pub(super) Document);

impl<'de> Deserialize<'de> for Preset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Document::preset(&name).map(Self).ok_or_else(|| {
            let names: Vec<_> = PRESETS.iter().map(|(name, _)| *name).collect();
            refused(
                format_args!("{name:?}"),
                format_args!("one of {}", names.join(", ")),
            )
        })
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Fields {
            preset,
            seed,
            expires_after_s,
            faults,
        } = read::object(deserializer)?;
        let faults = faults
            .or(preset.map(|Preset(document)| document.faults))
            .unwrap_or_default();
        Ok(Self {
            seed,
            expires_after_s,
            faults,
        })
    }
}

impl Document {
    /// Names and descriptions of the presets.
    pub const PRESETS: &[(&str, &str)] = PRESETS;

    /// Returns a document without faults.
    pub fn calm() -> Self {
        Self::default()
    }

    pub(super) fn new(faults: Vec<Fault>) -> Self {
        Self {
            faults,
            ..Self::default()
        }
    }

    pub(super) fn with_seed(self, seed: Seed) -> Self {
        Self {
            seed: Some(seed),
            ..self
        }
    }

    /// Returns the preset with this name.
    pub fn preset(name: &str) -> Option<Self> {
        preset::documents()
            .find(|(it, _)| *it == name)
            .map(|(_, document)| document.clone())
    }

    /// Parses JSON.
    ///
    /// # Errors
    ///
    /// [`Invalid`] with the path of the field if the text is not JSON or a value is not allowed.
    pub fn from_json(text: &str) -> Result<Self, Invalid> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let document =
            serde_path_to_error::deserialize(&mut deserializer).map_err(Invalid::json)?;
        deserializer
            .end()
            .map_err(|error| Invalid::json_syntax(&error))?;
        Ok(document)
    }

    /// Parses TOML.
    ///
    /// # Errors
    ///
    /// [`Invalid`] with the path of the field if the text is not TOML or a value is not allowed.
    pub fn from_toml(text: &str) -> Result<Self, Invalid> {
        let deserializer =
            toml::Deserializer::parse(text).map_err(|error| Invalid::toml_syntax(&error))?;
        serde_path_to_error::deserialize(deserializer).map_err(Invalid::toml)
    }

    /// Formats the document as indented JSON. [`from_json`](Self::from_json) parses it to an equal
    /// document.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers are finite and keys are strings")
    }

    /// Formats the document as TOML. [`from_toml`](Self::from_toml) parses it to an equal document.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("integers fit into an i64 and `None` is skipped")
    }

    /// Returns the name of the preset with the same faults. Seed and expiration are ignored.
    pub fn name(&self) -> Option<&'static str> {
        preset::documents()
            .find(|(_, document)| document.faults == self.faults)
            .map(|(name, _)| name)
    }

    /// Returns the seed of the random sources, if it is fixed.
    pub fn seed(&self) -> Option<u64> {
        self.seed.map(Seed::get)
    }

    /// Returns how long the document stays active, if it expires.
    pub fn expires_after(&self) -> Option<Duration> {
        self.expires_after_s
            .map(|seconds| Duration::from_secs(seconds.get()))
    }

    /// Returns the faults, in the order in which they are evaluated.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Returns whether the document has no faults.
    pub fn is_calm(&self) -> bool {
        self.faults.is_empty()
    }
}

impl Document {
    /// Returns how long `operation` blocks its thread at the time `at`: the sum of the delays of the
    /// faults that [block](Fault::blocks), at most [`MAX_DELAY`].
    pub fn block(&self, operation: Operation, at: Duration, random: Random) -> Duration {
        self.sum(true, operation, at, random)
    }

    fn sum(&self, blocks: bool, operation: Operation, at: Duration, random: Random) -> Duration {
        self.faults
            .iter()
            .zip(0..)
            .filter(|(fault, _)| fault.blocks() == blocks)
            .map(|(fault, index)| fault.latency(operation, at, random.fork(index)))
            .fold(Duration::ZERO, |sum, delay| {
                MAX_DELAY.min(sum.saturating_add(delay))
            })
    }
}

/// The first fault that fails the operation applies.
impl FailurePolicy for Document {
    fn failure(&self, operation: Operation, at: Duration, random: Random) -> Option<Fail> {
        self.faults.failure(operation, at, random)
    }
}

/// The delays of the faults are added, except those that [block](Document::block).
impl LatencyPolicy for Document {
    fn latency(&self, operation: Operation, at: Duration, random: Random) -> Duration {
        self.sum(false, operation, at, random)
    }
}
