//! Instructions by function and source file, from the profile that callgrind writes.

use std::collections::HashMap;

/// Instructions of each function, by the file of the inlined source line.
#[derive(Debug, Default)]
pub(crate) struct Profile(pub(crate) HashMap<Site, f64>);

/// Function, and the file of the instruction, which differs if the source line was
/// inlined.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Site {
    pub(crate) function: String,
    pub(crate) file: String,
}

impl Profile {
    /// Parses callgrind's format, without the costs of callees.
    pub(crate) fn parse(text: &str) -> Self {
        let mut profile = Self::default();
        let (mut files, mut functions) = (Names::default(), Names::default());
        let mut site = Site {
            function: String::new(),
            file: String::new(),
        };
        let mut is_callee = false;
        for line in text.lines() {
            if let Some((key, value)) = line.split_once('=') {
                match key {
                    "fl" | "fi" | "fe" => site.file = files.resolve(value),
                    "fn" => site.function = functions.resolve(value),
                    // They define names that later lines refer to.
                    "cfi" | "cfl" => _ = files.resolve(value),
                    "cfn" => _ = functions.resolve(value),
                    // The next line has the cost of the callee.
                    "calls" => is_callee = true,
                    _ => {}
                }
            } else if let Some(cost) = cost(line)
                && !std::mem::take(&mut is_callee)
            {
                *profile.0.entry(site.clone()).or_default() += cost;
            }
        }
        profile
    }

    /// Subtracts another profile, and divides by the number of requests.
    pub(crate) fn per_request(mut self, other: &Self, requests: u64) -> Self {
        self.subtract(other);
        self.0
            .values_mut()
            .for_each(|cost| *cost /= requests as f64);
        self
    }

    /// Subtracts the instructions that another profile has as well.
    pub(crate) fn subtract(&mut self, other: &Self) {
        for (site, cost) in &other.0 {
            *self.0.entry(site.clone()).or_default() -= cost;
        }
    }

    pub(crate) fn total(&self) -> f64 {
        self.0.values().sum()
    }
}

/// Returns the cost on a line such as `+3 17`.
fn cost(line: &str) -> Option<f64> {
    let (position, cost) = line.split_once(' ')?;
    let is_position = position.starts_with(['+', '-', '*']) || position.parse::<u64>().is_ok();
    is_position.then(|| cost.parse().ok()).flatten()
}

/// Names that are written as `(ID) NAME` first, and as `(ID)` afterwards.
#[derive(Default)]
struct Names(HashMap<String, String>);

impl Names {
    fn resolve(&mut self, value: &str) -> String {
        let Some((id, name)) = value.split_once(')') else {
            return value.to_owned();
        };
        let name = name.trim();
        if name.is_empty() {
            return self.0.get(id).cloned().unwrap_or_default();
        }
        self.0.insert(id.to_owned(), name.to_owned());
        name.to_owned()
    }
}
