//! Kolmogorov–Smirnov tests of the delays on seeded samples.

use std::time::Duration;

use super::faults;
use crate::policy::{MAX_DELAY, Operation};

const DRAWS: usize = 20_000;

/// Samples delays of a fault with `delay`, in milliseconds.
fn draws(delay: &str) -> Vec<f64> {
    draws_when(delay, r#"{"probability": 1}"#)
}

fn draws_when(delay: &str, when: &str) -> Vec<f64> {
    let fault = format!(r#"{{"operation": "payment", "delay": {delay}, "when": {when}}}"#);
    let faults = faults(&format!(r#"{{"seed": 7, "faults": [{fault}]}}"#));
    let mut draws: Vec<_> = (0..DRAWS)
        .map(|_| faults.decide(Operation::Payment).delay.as_secs_f64() * 1_000.0)
        .collect();
    draws.sort_by(f64::total_cmp);
    draws
}

/// Returns the Kolmogorov–Smirnov statistic in units of 1/sqrt(n). One sample in a thousand exceeds
/// 1.95; the seeds are fixed, so that these do not by chance.
fn distance(sorted: &[f64], cdf: impl Fn(f64) -> f64) -> f64 {
    let n = sorted.len() as f64;
    let largest = sorted
        .iter()
        .zip(0_u32..)
        .map(|(&x, i)| {
            let (below, upto) = (f64::from(i) / n, f64::from(i + 1) / n);
            (cdf(x) - below).abs().max((upto - cdf(x)).abs())
        })
        .fold(0.0, f64::max);
    largest * n.sqrt()
}

#[track_caller]
fn assert_follows(sorted: &[f64], cdf: impl Fn(f64) -> f64) {
    let distance = distance(sorted, cdf);
    assert!(distance < 1.95, "Kolmogorov-Smirnov distance {distance}");
}

#[track_caller]
fn assert_near(found: f64, expected: f64, share: f64) {
    assert!(
        (found - expected).abs() <= expected.abs() * share,
        "{found} is not {expected}"
    );
}

fn mean(draws: &[f64]) -> f64 {
    draws.iter().sum::<f64>() / draws.len() as f64
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted[(sorted.len() as f64 * share) as usize]
}

/// Standard normal distribution function, by formula 7.1.26 of Abramowitz and Stegun, with an error
/// below 1.5e-7.
fn phi(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let terms = [
        0.254_829_592,
        -0.284_496_736,
        1.421_413_741,
        -1.453_152_027,
        1.061_405_429,
    ];
    let series = terms.iter().rev().fold(0.0, |sum, term| (sum + term) * t);
    let erf = 1.0 - series * (-x * x).exp();
    if z < 0.0 {
        (1.0 - erf) / 2.0
    } else {
        (1.0 + erf) / 2.0
    }
}

#[test]
fn the_test_distinguishes_distributions() {
    let exponential = draws(r#"{"exponential": {"mean_ms": 40}}"#);
    assert!(distance(&exponential, |x| 1.0 - (-x / 41.5).exp()) > 1.95);
    assert!(distance(&exponential, |x| (x / 80.0).min(1.0)) > 10.0);
}

#[test]
fn a_fixed_delay_is_constant() {
    let draws = draws(r#"{"fixed": {"ms": 12.5}}"#);
    assert!(draws.iter().all(|&draw| draw == 12.5));
}

#[test]
fn a_uniform_delay_matches_its_distribution() {
    let draws = draws(r#"{"uniform": {"min_ms": 20, "max_ms": 60}}"#);
    assert_follows(&draws, |x| (x - 20.0) / 40.0);
    assert_near(mean(&draws), 40.0, 0.01);
    assert!(draws[0] >= 20.0 && draws[DRAWS - 1] < 60.0);
}

#[test]
fn a_normal_delay_far_from_zero_matches_its_distribution() {
    let draws = draws(r#"{"normal": {"mean_ms": 100, "std_dev_ms": 10}}"#);
    assert_follows(&draws, |x| phi((x - 100.0) / 10.0));
    let variance = draws.iter().map(|x| (x - 100.0).powi(2)).sum::<f64>() / DRAWS as f64;
    assert_near(variance.sqrt(), 10.0, 0.02);
}

#[test]
fn a_normal_delay_is_truncated_at_zero_and_not_clamped() {
    let draws = draws(r#"{"normal": {"mean_ms": 20, "std_dev_ms": 30}}"#);
    let below = phi(-20.0 / 30.0);
    assert_follows(&draws, |x| (phi((x - 20.0) / 30.0) - below) / (1.0 - below));
    assert!(draws[0] >= 0.0);
}

#[test]
fn a_normal_delay_around_zero_is_half_normal() {
    let draws = draws(r#"{"normal": {"mean_ms": 0, "std_dev_ms": 30}}"#);
    assert_follows(&draws, |x| 2.0 * phi(x / 30.0) - 1.0);
}

#[test]
fn a_log_normal_delay_matches_its_distribution() {
    let draws = draws(r#"{"log_normal": {"median_ms": 40, "sigma": 0.6}}"#);
    assert_follows(&draws, |x| phi((x / 40.0).ln() / 0.6));
    assert_near(quantile(&draws, 0.5), 40.0, 0.02);
    assert_near(
        quantile(&draws, 0.99),
        40.0 * (0.6_f64 * 2.326_35).exp(),
        0.05,
    );
    assert_near(mean(&draws), 40.0 * (0.18_f64).exp(), 0.02);
}

#[test]
fn an_exponential_delay_matches_its_distribution() {
    let draws = draws(r#"{"exponential": {"mean_ms": 40}}"#);
    assert_follows(&draws, |x| 1.0 - (-x / 40.0).exp());
    assert_near(mean(&draws), 40.0, 0.02);
}

#[test]
fn a_pareto_delay_matches_its_distribution() {
    let draws = draws(r#"{"pareto": {"scale_ms": 5, "shape": 2.5}}"#);
    assert_follows(&draws, |x| 1.0 - (5.0 / x).powf(2.5));
    assert!(draws[0] >= 5.0 - 1e-6);
    assert_near(mean(&draws), 5.0 * 2.5 / 1.5, 0.03);
}

#[test]
fn a_replay_cycles_through_its_list() {
    let faults =
        faults(r#"{"faults": [{"operation": "*", "delay": {"replay": {"ms": [3, 1, 4]}}}]}"#);
    let played = |operation| {
        let delays = (0..7).map(|_| faults.decide(operation).delay.as_millis());
        delays.collect::<Vec<_>>()
    };
    assert_eq!(played(Operation::Payment), [3, 1, 4, 3, 1, 4, 3]);
    assert_eq!(
        played(Operation::Refund),
        [3, 1, 4, 3, 1, 4, 3],
        "each operation from the start"
    );
}

#[test]
fn draws_and_their_sum_are_clamped_to_a_minute() {
    let endless = draws(r#"{"pareto": {"scale_ms": 60000, "shape": 0.001}}"#);
    assert!(
        endless
            .iter()
            .all(|&draw| draw == MAX_DELAY.as_secs_f64() * 1_000.0)
    );

    let faults = faults(
        r#"{"faults": [{"operation": "*", "delay": {"fixed": {"ms": 40000}}},
                       {"operation": "*", "delay": {"fixed": {"ms": 40000}}}]}"#,
    );
    assert_eq!(faults.decide(Operation::Payment).delay, MAX_DELAY);
}

#[test]
fn a_probability_is_independent_of_the_delay() {
    let delay = r#"{"exponential": {"mean_ms": 40}}"#;
    let draws = draws_when(delay, r#"{"probability": 0.3}"#);
    let delayed: Vec<_> = draws.into_iter().filter(|&draw| draw > 0.0).collect();
    // Four standard deviations of the binomial distribution.
    let expected = DRAWS as f64 * 0.3;
    assert!((delayed.len() as f64 - expected).abs() < 4.0 * (expected * 0.7).sqrt());
    assert_follows(&delayed, |x| 1.0 - (-x / 40.0).exp());
}

#[test]
fn adjacent_decisions_and_adjacent_faults_are_independent() {
    let half =
        r#"{"operation": "payment", "delay": {"fixed": {"ms": 1}}, "when": {"probability": 0.5}}"#;
    let other = half.replace(r#""ms": 1"#, r#""ms": 2"#);
    let faults = faults(&format!(r#"{{"seed": 7, "faults": [{half}, {other}]}}"#));
    let delays: Vec<_> = (0..DRAWS)
        .map(|_| faults.decide(Operation::Payment).delay.as_millis())
        .collect();
    let share = |count: usize| count as f64 / DRAWS as f64;

    for sum in 0..4 {
        let found = share(delays.iter().filter(|&&delay| delay == sum).count());
        assert!((found - 0.25).abs() < 0.0125, "{sum} ms: {found}");
    }
    let pairs = delays
        .windows(2)
        .filter(|pair| pair[0] % 2 == pair[1] % 2)
        .count();
    assert!((share(pairs) - 0.5).abs() < 0.0145, "{pairs}");
}

#[test]
fn delays_have_nanosecond_precision() {
    let faults =
        faults(r#"{"faults": [{"operation": "*", "delay": {"fixed": {"ms": 0.000001}}}]}"#);
    assert_eq!(
        faults.decide(Operation::Database).delay,
        Duration::from_nanos(1)
    );
}
