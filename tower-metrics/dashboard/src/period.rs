//! Rolling windows of objectives.

use std::fmt;
use std::time::Duration;

/// Rolling window over which an objective must be met.
///
/// ```
/// use tower_metrics_dashboard::Period;
///
/// assert_eq!(Period::default(), Period::Days30);
/// assert_eq!(Period::Days7.to_string(), "7 days");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Period {
    /// A week. Suits services that change often; a short outage is forgotten soon.
    Days7,
    /// Four weeks. Every window has the same number of weekends.
    Days28,
    /// 30 days.
    #[default]
    Days30,
    /// 90 days, about a quarter.
    Days90,
}

impl Period {
    /// Every period, shortest first.
    pub const ALL: [Self; 4] = [Self::Days7, Self::Days28, Self::Days30, Self::Days90];

    /// Returns the number of days.
    #[must_use]
    pub const fn days(self) -> u32 {
        match self {
            Self::Days7 => 7,
            Self::Days28 => 28,
            Self::Days30 => 30,
            Self::Days90 => 90,
        }
    }

    /// Returns the length.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.days() as u64 * 24 * 3600)
    }
}

/// Formats the period as `30 days`.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} days", self.days())
    }
}
