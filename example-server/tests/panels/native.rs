//! Compares queries of native histograms with those of classic ones.

use std::path::Path;

use crate::grafana::{self, Bindings, over_lifetime};
use crate::prometheus::Series;
use crate::verify::Verifier;

const DURATION: &str = "http_server_request_duration_seconds";
/// Ratio of the bounds of a bucket of schema 3: the eighth root of 2.
const GROWTH: f64 = 1.090_507_732_665_257_7;
/// Threshold of the latency objective, and the bounds of the bucket of schema 3 that contains it.
const THRESHOLD: f64 = 0.3;
/// Less than the share of one observation, so that a shifted quantile has the same neighbors.
const TIE: f64 = 1e-6;
const AROUND: [f64; 2] = [0.297_301_778_750_680_3, 0.324_209_888_662_752_4];

impl Verifier<'_> {
    /// Verifies that every query of the dashboards has the same values in both forms: counts and sums
    /// are equal, quantiles are in the same classic bucket, give or take a native one, and the
    /// observations up to the threshold differ by those in the native bucket that contains it.
    pub(crate) async fn same_values(&self, classic: &Path, native: &Path) {
        let classic = grafana::dashboards(&classic.join("grafana/dashboards"));
        let native = grafana::dashboards(&native.join("grafana/dashboards"));
        let bounds = self.bounds().await;
        let near = self.share_of_observations_near_the_threshold().await;
        let mut compared = [0; 4];
        for (classic, native) in classic.iter().zip(&native) {
            let all = Bindings::over(60.0, 60.0).all(&classic.variables);
            let queries = classic.panels.iter().zip(&native.panels);
            for (classic, native) in queries.filter(|(classic, native)| classic.text != native.text)
            {
                assert_eq!(
                    (&classic.title, &classic.letter),
                    (&native.title, &native.letter)
                );
                let [old, new] = [classic, native].map(|one| over_lifetime(&all.fill(&one.text)));
                let is_quantile = new.contains("histogram_quantile(");
                let is_fraction = new.contains("histogram_fraction(");
                let is_heatmap = old.starts_with("sum by (le)");
                let (old_values, new_values) = (self.now(&old).await, self.now(&new).await);
                // Where a quantile lies between two observations, every value between them is one:
                // the classic form returns the lower one, the native form the upper one.
                let [below, above] = [-TIE, TIE].map(|by| shifted(&old, by));
                let (below, above) = (self.now(&below).await, self.now(&above).await);
                let kind = if is_heatmap {
                    let total = old_values.iter().find(|one| one.label("le") == "+Inf");
                    assert_eq!(total.unwrap().last(), new_values[0].last(), "{new}");
                    0
                } else {
                    assert_eq!(old_values.len(), new_values.len(), "{old}\n{new}");
                    for series in &old_values {
                        let other = new_values.iter().find(|one| one.labels == series.labels);
                        let pair = (series.last(), other.map_or(f64::NAN, Series::last));
                        let holds = if is_quantile {
                            let [low, high] = [&below, &above].map(|shifted| {
                                let same = shifted.iter().find(|one| one.labels == series.labels);
                                bucket(same.map_or(f64::NAN, Series::last), &bounds)
                            });
                            (low[0] / GROWTH..=high[1] * GROWTH).contains(&pair.1)
                        } else if is_fraction {
                            // The burn rate is the ratio over an error budget of 1%.
                            let scale = if classic.title == "Burn rate" {
                                100.0
                            } else {
                                1.0
                            };
                            (pair.0 - pair.1).abs() <= near * scale + 1e-9
                        } else {
                            (pair.0 - pair.1).abs() <= pair.0.abs() * 1e-9
                        };
                        assert!(holds, "{pair:?} in {series:?} of {old}\n{new}");
                    }
                    if is_quantile {
                        1
                    } else if is_fraction {
                        2
                    } else {
                        3
                    }
                };
                compared[kind] += 1;
            }
        }
        println!("heatmaps, quantiles, fractions and counts: {compared:?}");
        assert!(compared.iter().all(|count| *count > 1), "{compared:?}");
    }

    /// The bounds of the classic histogram, in ascending order.
    async fn bounds(&self) -> Vec<f64> {
        let buckets = self.now(&format!("sum by (le) ({DURATION}_bucket)")).await;
        let bounds = buckets.iter().map(|one| one.label("le").parse::<f64>());
        let mut bounds: Vec<f64> = bounds.map(Result::unwrap).collect();
        bounds.sort_by(f64::total_cmp);
        assert!(
            bounds.len() > 10 && bounds.contains(&THRESHOLD),
            "{bounds:?}"
        );
        bounds
    }

    /// The share of successful requests in the native bucket that contains the threshold.
    async fn share_of_observations_near_the_threshold(&self) -> f64 {
        let [low, high] = AROUND;
        assert!(low < THRESHOLD && THRESHOLD < high && (high / low - GROWTH).abs() < 1e-9);
        let successes = format!("sum({DURATION}{{error_type=\"\"}})");
        let share = self
            .now(&format!("histogram_fraction({low}, {high}, {successes})"))
            .await;
        share[0].last()
    }
}

/// Returns the bounds of the classic bucket that contains a quantile.
fn bucket(quantile: f64, bounds: &[f64]) -> [f64; 2] {
    let at = bounds.partition_point(|bound| *bound < quantile);
    let low = at.checked_sub(1).map_or(0.0, |below| bounds[below]);
    // A quantile in the last bucket is its lower bound.
    let high = match bounds[at..] {
        [_, f64::INFINITY] => f64::INFINITY,
        [high, ..] => high,
        [] => f64::NAN,
    };
    [low, high]
}

/// Adds `by` to the quantiles in a query.
fn shifted(query: &str, by: f64) -> String {
    let mut parts = query.split("histogram_quantile(");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |shifted, part| {
        let (quantile, rest) = part.split_once(',').unwrap();
        let quantile = quantile.parse::<f64>().unwrap() + by;
        format!("{shifted}histogram_quantile({quantile},{rest}")
    })
}
