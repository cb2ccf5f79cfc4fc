//! Badges that say whether figures agree.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde::Serialize;

use super::wire::Figure;

type Answer = Pin<Box<dyn Future<Output = Result<Vec<Equation>, String>> + Send>>;

/// A badge on the page: figures from several places that must be equal. Green where they are, with
/// the difference where they are not.
///
/// ```
/// use tower_metrics_dashboard::live::{Check, Equation, Side};
///
/// let check = Check::new("The books balance", "Sold is what the database has.", || async {
///     let (sold, rows) = (3, 3);
///     Ok(vec![Equation::new("tickets sold")
///         .side(Side::exact("counter", sold as f64))
///         .side(Side::exact("database", rows as f64))])
/// });
/// ```
pub struct Check {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) help: String,
    pub(super) every: Duration,
    run: Box<dyn Fn() -> Answer + Send + Sync>,
}

/// Figures that must be equal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Equation {
    title: String,
    sides: Vec<Side>,
}

/// One of the figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Side {
    label: String,
    #[serde(serialize_with = "figure")]
    low: f64,
    #[serde(serialize_with = "figure")]
    high: f64,
}

fn figure<S: serde::Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
    Figure(*value).serialize(to)
}

impl Check {
    /// A badge. `run` is asked every 2 seconds, and has 2 seconds to answer.
    pub fn new<F>(
        title: impl Into<String>,
        help: impl Into<String>,
        run: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Vec<Equation>, String>> + Send + 'static,
    {
        let title = title.into();
        Self {
            id: super::page::slug(&title),
            title,
            help: help.into(),
            every: Duration::from_secs(2),
            run: Box::new(move || Box::pin(run())),
        }
    }

    /// How often it is asked; also how long it has to answer. At least a second.
    #[must_use]
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every.max(Duration::from_secs(1));
        self
    }

    pub(super) async fn run(&self) -> Result<Vec<Equation>, String> {
        match tokio::time::timeout(self.every, (self.run)()).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} s", self.every.as_secs())),
        }
    }
}

impl Equation {
    /// An equation without sides.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            sides: Vec::new(),
        }
    }

    /// With a figure more.
    #[must_use]
    pub fn side(mut self, side: Side) -> Self {
        self.sides.push(side);
        self
    }

    /// How far apart the sides are: 0 where one value lies within all of them.
    #[must_use]
    pub fn difference(&self) -> f64 {
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
    /// A figure that is known exactly.
    pub fn exact(label: impl Into<String>, value: f64) -> Self {
        Self::between(label, value, value)
    }

    /// A figure that moved while the others were read: it was `low` before and `high` after.
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
    fn sides_agree_where_one_value_lies_within_all() {
        let moved = Equation::new("sold")
            .side(Side::between("counter", 10.0, 14.0))
            .side(Side::exact("database", 12.0));
        assert_eq!(moved.difference(), 0.0);
        let off = moved.side(Side::exact("rows", 17.0));
        assert_eq!(off.difference(), 5.0);
    }
}
