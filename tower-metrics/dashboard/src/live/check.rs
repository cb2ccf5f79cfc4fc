//! Consistency checks.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde::Serialize;

use super::hook;
use super::number::{self, Number};
use super::slug::slug;

type Outcome = Pin<Box<dyn Future<Output = Result<Vec<Equation>, String>> + Send>>;

/// Consistency check that the page shows as a badge: values from several sources
/// that must be equal.
///
/// The badge is green if they are, red with the difference if they are not, and
/// yellow if they are unknown.
///
/// ```
/// use tower_metrics_dashboard::live::{Check, Equation, Side};
///
/// let check = Check::new("Tickets sold", "The counter matches the database.", || async {
///     let (sold, rows) = (3, 3);
///     Ok(vec![Equation::new("tickets sold")
///         .side(Side::exact("counter", sold as f64))
///         .side(Side::exact("database", rows as f64))])
/// });
/// ```
pub struct Check {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) interval: Duration,
    run: Box<dyn Fn() -> Outcome + Send + Sync>,
}

/// Values that must be equal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Equation {
    title: String,
    sides: Vec<Side>,
}

/// One of the values of an [`Equation`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Side {
    label: String,
    #[serde(serialize_with = "number::serialize")]
    low: f64,
    #[serde(serialize_with = "number::serialize")]
    high: f64,
}

/// Latest result of a check.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct CheckStatus {
    pub(super) id: String,
    state: State,
    difference: Number,
    equations: Vec<Equation>,
    error: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Passed,
    /// The values differ, one is `NaN`, or the check panicked.
    Failed,
    /// The check has not run yet, returned an error, or timed out.
    Unknown,
}

impl Check {
    /// Creates a check that runs every 2 seconds and times out after 2 seconds.
    ///
    /// `run` returns the equations, or an error that says why they are unknown.
    /// If it panics, the check fails until it succeeds again.
    pub fn new<F>(
        title: impl Into<String>,
        description: impl Into<String>,
        run: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Vec<Equation>, String>> + Send + 'static,
    {
        let title = title.into();
        Self {
            id: slug(&title),
            title,
            description: description.into(),
            interval: Duration::from_secs(2),
            run: Box::new(move || Box::pin(run())),
        }
    }

    /// Sets the interval between runs, which is also the timeout. At least 1
    /// second. Defaults to 2 seconds.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Duration::from_secs(1));
        self
    }

    pub(super) async fn run(&self) -> CheckStatus {
        // The hook includes the timeout: dropping the user's future may panic, too.
        let run = || {
            let run = (self.run)();
            async { tokio::time::timeout(self.interval, run).await }
        };
        match hook::call_async(run).await {
            Ok(Ok(Ok(equations))) => self.compared(equations),
            Ok(Ok(Err(error))) => self.unknown(error),
            Ok(Err(_)) => {
                self.unknown(format!("timed out after {} s", self.interval.as_secs_f64()))
            }
            Err(panic) => self.without_equations(State::Failed, panic),
        }
    }

    fn compared(&self, equations: Vec<Equation>) -> CheckStatus {
        if equations.is_empty() {
            return self.unknown("the check returned no equations");
        }
        let differences = equations.iter().map(Equation::difference);
        let difference = differences.fold(0.0, |greatest: f64, one| {
            // `max` ignores `NaN`, which is not known to be equal to anything.
            if one.is_nan() { one } else { greatest.max(one) }
        });
        CheckStatus {
            id: self.id.clone(),
            state: if difference == 0.0 {
                State::Passed
            } else {
                State::Failed
            },
            difference: Number(difference),
            equations,
            error: None,
        }
    }

    /// Returns the status of a check whose result is unknown.
    pub(super) fn unknown(&self, error: impl Into<String>) -> CheckStatus {
        self.without_equations(State::Unknown, error.into())
    }

    fn without_equations(&self, state: State, error: String) -> CheckStatus {
        CheckStatus {
            id: self.id.clone(),
            state,
            difference: Number(f64::NAN),
            equations: Vec::new(),
            error: Some(error),
        }
    }
}

impl Equation {
    /// Creates an equation without sides.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            sides: Vec::new(),
        }
    }

    /// Adds a side.
    #[must_use]
    pub fn side(mut self, side: Side) -> Self {
        self.sides.push(side);
        self
    }

    /// Returns the distance between the sides, 0 if their ranges overlap, or `NaN`
    /// if a side is `NaN`.
    #[must_use]
    pub fn difference(&self) -> f64 {
        let mut values = self.sides.iter().flat_map(|side| [side.low, side.high]);
        if values.any(f64::is_nan) {
            return f64::NAN;
        }
        let lowest_high = self
            .sides
            .iter()
            .map(|side| side.high)
            .fold(f64::INFINITY, f64::min);
        let highest_low = self
            .sides
            .iter()
            .map(|side| side.low)
            .fold(f64::NEG_INFINITY, f64::max);
        (highest_low - lowest_high).max(0.0)
    }
}

impl Side {
    /// Creates a side with an exact value.
    pub fn exact(label: impl Into<String>, value: f64) -> Self {
        Self::between(label, value, value)
    }

    /// Creates a side whose value changed while the other sides were read, from
    /// `low` to `high`.
    pub fn between(label: impl Into<String>, low: f64, high: f64) -> Self {
        Self {
            label: label.into(),
            low,
            high,
        }
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_agree_if_their_ranges_overlap() {
        let moved = Equation::new("sold")
            .side(Side::between("counter", 10.0, 14.0))
            .side(Side::exact("database", 12.0));
        assert_eq!(moved.difference(), 0.0);
        let off = moved.side(Side::exact("rows", 17.0));
        assert_eq!(off.difference(), 5.0);
    }
}
