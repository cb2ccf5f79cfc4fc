use std::time::Duration;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};

use super::number::{Expiry, Seed};
use super::preset::{self, PRESETS};
use super::read::{self, Checked, Object, refused};
use super::{Fail, FailurePolicy, Fault, Invalid, LatencyPolicy, Operation, Random};

/// A whole set of faults, as it is written in JSON or TOML.
///
/// One that breaks a rule cannot be built: parsing is the only way in.
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

fn faults<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Fault>>, D::Error> {
    let faults: Vec<Checked<Fault>> = read::list(from, 0..=100, "a list of at most 100 faults")?;
    Ok(Some(
        faults.into_iter().map(|Checked(fault)| fault).collect(),
    ))
}

impl Object<'_> for Fields {
    const WHAT: &'static str = "an object with faults or preset";

    fn check<E: de::Error>(&self) -> Result<(), E> {
        match (&self.preset, &self.faults) {
            (Some(_), Some(_)) => Err(E::custom("has both preset and faults; one of them")),
            (None, None) => Err(E::custom("has neither faults nor preset; one of them")),
            _ => Ok(()),
        }
    }
}

struct Preset(Document);

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
    /// The names of the presets, each with a sentence on what it plays.
    pub const PRESETS: &[(&str, &str)] = PRESETS;

    /// No faults.
    pub fn calm() -> Self {
        Self::default()
    }

    /// The preset of this name; `None` where there is none.
    pub fn preset(name: &str) -> Option<Self> {
        preset::documents()
            .find(|(it, _)| *it == name)
            .map(|(_, document)| document.clone())
    }

    /// Reads JSON.
    ///
    /// # Errors
    ///
    /// The text is not JSON, or the document breaks a rule: [`Invalid`] says where and what is
    /// allowed.
    pub fn from_json(text: &str) -> Result<Self, Invalid> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let document =
            serde_path_to_error::deserialize(&mut deserializer).map_err(Invalid::json)?;
        deserializer
            .end()
            .map_err(|error| Invalid::json_syntax(&error))?;
        Ok(document)
    }

    /// Reads TOML.
    ///
    /// # Errors
    ///
    /// The text is not TOML, or the document breaks a rule: [`Invalid`] says where and what is
    /// allowed.
    pub fn from_toml(text: &str) -> Result<Self, Invalid> {
        let deserializer =
            toml::Deserializer::parse(text).map_err(|error| Invalid::toml_syntax(&error))?;
        serde_path_to_error::deserialize(deserializer).map_err(Invalid::toml)
    }

    /// As JSON, indented. [`from_json`](Self::from_json) reads it back to the same document.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers are finite and keys are strings")
    }

    /// As TOML. [`from_toml`](Self::from_toml) reads it back to the same document.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("whole numbers fit in an i64 and no option is written as null")
    }

    /// The name of the preset that has these very faults, whatever the seed and the expiry.
    pub fn name(&self) -> Option<&'static str> {
        preset::documents()
            .find(|(_, document)| document.faults == self.faults)
            .map(|(name, _)| name)
    }

    /// What the random sources start from; `None`: from chance.
    pub fn seed(&self) -> Option<u64> {
        self.seed.map(Seed::get)
    }

    /// How long it stays in force; `None`: until it is replaced.
    pub fn expires_after(&self) -> Option<Duration> {
        self.expires_after_s
            .map(|seconds| Duration::from_secs(seconds.get()))
    }

    /// Its faults, in the order in which they are asked.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Whether there is no fault in it.
    pub fn is_calm(&self) -> bool {
        self.faults.is_empty()
    }
}

/// The first of its faults that fails wins.
impl FailurePolicy for Document {
    fn failure(&self, operation: Operation, at: Duration, random: Random) -> Option<Fail> {
        self.faults.failure(operation, at, random)
    }
}

/// The delays of its faults add.
impl LatencyPolicy for Document {
    fn latency(&self, operation: Operation, at: Duration, random: Random) -> Duration {
        self.faults.latency(operation, at, random)
    }
}
