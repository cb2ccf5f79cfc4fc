//! Numbers of a faults document, with one type per range, so that values out of range cannot be
//! constructed.

use std::{
    fmt,
    ops::{Bound, RangeBounds},
};

use serde::{
    de::{self, Deserializer, Visitor},
    ser::Serializer,
};

use super::read::refused;

/// Declares a type for real numbers in a range. Integers are formatted without a fraction.
macro_rules! real {
    ($(#[$meta:meta])* $name:ident, $range:expr, $allowed:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub(super) struct $name(f64);

        impl $name {
            pub(super) const fn get(self) -> f64 {
                self.0
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_f64(Real { range: $range, allowed: $allowed }).map(Self)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                write_real(self.0, serializer)
            }
        }
    };
}

/// Declares a type for integers in a range.
macro_rules! whole {
    ($(#[$meta:meta])* $name:ident, $range:expr, $allowed:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
        #[serde(transparent)]
        pub(super) struct $name(u64);

        impl $name {
            pub(super) const fn get(self) -> u64 {
                self.0
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_u64(Whole { range: $range, allowed: $allowed }).map(Self)
            }
        }
    };
}

const ABOVE_ZERO: Bound<f64> = Bound::Excluded(0.0);

real!(Probability, 0.0..=1.0, "a number from 0 to 1");
real!(
    /// Milliseconds, at most [`MAX_DELAY`](super::MAX_DELAY).
    Millis,
    0.0..=60_000.0,
    "a number from 0 to 60000"
);
real!(
    /// [`Millis`] above 0.
    PositiveMillis,
    (ABOVE_ZERO, Bound::Included(60_000.0)),
    "a number above 0, at most 60000"
);
real!(
    /// Seconds, at most a day.
    Seconds,
    (ABOVE_ZERO, Bound::Included(86_400.0)),
    "a number above 0, at most 86400"
);
real!(
    /// Standard deviation of the logarithm. At 5, one draw in a thousand exceeds five million medians.
    Sigma,
    0.0..=5.0,
    "a number from 0 to 5"
);
real!(
    /// Exponent of a Pareto distribution.
    Shape,
    (ABOVE_ZERO, Bound::Included(100.0)),
    "a number above 0, at most 100"
);
real!(
    /// Factor of the rate of the generated traffic. The rate must not be 0.
    Factor,
    0.01..=100.0,
    "a number from 0.01 to 100"
);
whole!(
    /// Seed, in the range of integers that JSON, TOML and JavaScript represent exactly.
    Seed,
    0..=9_007_199_254_740_991,
    "a whole number from 0 to 9007199254740991"
);
whole!(
    /// Expiration of a document in seconds, at most a week.
    Expiry,
    1..=604_800,
    "a whole number from 1 to 604800"
);

impl Factor {
    pub(super) const fn one() -> Self {
        Self(1.0)
    }
}

impl Seed {
    /// Returns the seed of part `index` of what has this seed.
    pub(super) const fn part(self, index: u64) -> Self {
        Self((self.0 + index) % (Self::MAX + 1))
    }

    const MAX: u64 = 9_007_199_254_740_991;
}

impl Probability {
    pub(super) const fn never() -> Self {
        Self(0.0)
    }

    pub(super) const fn always() -> Self {
        Self(1.0)
    }
}

struct Real<R> {
    range: R,
    allowed: &'static str,
}

impl<R: RangeBounds<f64>> Visitor<'_> for Real<R> {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.allowed)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<f64, E> {
        if self.range.contains(&value) {
            // Turns -0.0 into 0.0.
            Ok(value + 0.0)
        } else {
            Err(refused(value, self.allowed))
        }
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<f64, E> {
        self.visit_f64(value as f64)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<f64, E> {
        self.visit_f64(value as f64)
    }
}

struct Whole<R> {
    range: R,
    allowed: &'static str,
}

impl<R: RangeBounds<u64>> Visitor<'_> for Whole<R> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.allowed)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<u64, E> {
        if self.range.contains(&value) {
            Ok(value)
        } else {
            Err(refused(value, self.allowed))
        }
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<u64, E> {
        match u64::try_from(value) {
            Ok(value) => self.visit_u64(value),
            Err(_) => Err(refused(value, self.allowed)),
        }
    }
}

fn write_real<S: Serializer>(value: f64, serializer: S) -> Result<S::Ok, S::Error> {
    // No range reaches 2^53, so that the conversion is exact.
    if value.fract() == 0.0 {
        serializer.serialize_i64(value as i64)
    } else {
        serializer.serialize_f64(value)
    }
}
