//! Schedules, with tokio's time paused.

use std::time::Duration;

use tokio::time::advance;

use super::faults;
use crate::policy::{Faults, Operation, Random, When};

fn when(json: &str) -> When {
    serde_json::from_str(json).unwrap()
}

/// Returns the fraction of a thousand decisions for which the condition holds after `at_s` seconds.
fn share(when: &When, at_s: f64) -> f64 {
    let at = Duration::from_secs_f64(at_s);
    let active =
        (0..1_000).filter(|&number| when.is_active(at, Random::new(7, Operation::Payment, number)));
    active.count() as f64 / 1_000.0
}

fn is_active(faults: &Faults) -> bool {
    faults.decide(Operation::Payment).fail.is_some()
}

#[tokio::test(start_paused = true)]
async fn a_burst_covers_the_first_part_of_each_period_exactly() {
    let faults = faults(
        r#"{"faults": [{"operation": "payment", "fail": {"as": "unavailable"},
            "when": {"burst": {"every_s": 60, "for_s": 5}}}]}"#,
    );
    let nanosecond = Duration::from_nanos(1);
    for _ in 0..3 {
        assert!(is_active(&faults));
        advance(Duration::from_secs(5) - nanosecond).await;
        assert!(is_active(&faults));
        advance(nanosecond).await;
        assert!(!is_active(&faults));
        advance(Duration::from_secs(55) - nanosecond).await;
        assert!(!is_active(&faults));
        advance(nanosecond).await;
    }
}

#[test]
fn a_burst_with_a_fractional_period_does_not_drift() {
    let when = when(r#"{"burst": {"every_s": 0.1, "for_s": 0.05}}"#);
    let random = Random::new(7, Operation::Payment, 0);
    for period in [0, 1, 7, 864_000] {
        let begin = Duration::from_millis(100) * period;
        assert!(when.is_active(begin, random));
        assert!(when.is_active(begin + Duration::from_nanos(49_999_999), random));
        assert!(!when.is_active(begin + Duration::from_millis(50), random));
        assert!(!when.is_active(begin + Duration::from_nanos(99_999_999), random));
    }
}

#[test]
fn a_burst_as_long_as_its_period_never_ends() {
    let when = when(r#"{"burst": {"every_s": 3, "for_s": 3}}"#);
    for at_s in [0.0, 2.999_999_999, 3.0, 4.5] {
        assert_eq!(share(&when, at_s), 1.0);
    }
}

#[test]
fn a_ramp_rises_linearly_and_then_stays_constant() {
    let when = when(r#"{"ramp": {"over_s": 100, "from": 0.2, "to": 0.8}}"#);
    for (at_s, expected) in [
        (0.0, 0.2),
        (50.0, 0.5),
        (75.0, 0.65),
        (100.0, 0.8),
        (9_999.0, 0.8),
    ] {
        assert!((share(&when, at_s) - expected).abs() < 0.06, "{at_s} s");
    }
}

#[test]
fn a_ramp_defaults_to_never_and_always_and_may_fall() {
    let rising = when(r#"{"ramp": {"over_s": 10}}"#);
    assert_eq!([share(&rising, 0.0), share(&rising, 10.0)], [0.0, 1.0]);
    let falling = when(r#"{"ramp": {"over_s": 10, "from": 1, "to": 0}}"#);
    assert_eq!([share(&falling, 0.0), share(&falling, 10.0)], [1.0, 0.0]);
}

#[test]
fn a_sine_starts_each_period_at_from_and_reaches_to_in_the_middle() {
    let whole = when(r#"{"sine": {"every_s": 40}}"#);
    assert_eq!([share(&whole, 0.0), share(&whole, 20.0)], [0.0, 1.0]);
    assert_eq!([share(&whole, 40.0), share(&whole, 60.0)], [0.0, 1.0]);
    let part = when(r#"{"sine": {"every_s": 40, "from": 0.1, "to": 0.5}}"#);
    let quarter = 0.3;
    let eighth = 0.1 + 0.4 * (1.0 - std::f64::consts::FRAC_1_SQRT_2) / 2.0;
    for (at_s, expected) in [
        (0.0, 0.1),
        (5.0, eighth),
        (10.0, quarter),
        (20.0, 0.5),
        (30.0, quarter),
    ] {
        assert!((share(&part, at_s) - expected).abs() < 0.06, "{at_s} s");
    }
}

#[test]
fn all_holds_if_every_condition_holds_and_draws_are_independent() {
    let when = when(
        r#"{"all": [{"burst": {"every_s": 10, "for_s": 5}}, {"probability": 0.5},
            {"all": [{"probability": 0.5}]}]}"#,
    );
    assert!((share(&when, 1.0) - 0.25).abs() < 0.06);
    assert_eq!(share(&when, 7.0), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_schedule_starts_at_the_activation_of_the_document() {
    let text = r#"{"faults": [{"operation": "payment", "fail": {"as": "unavailable"},
        "when": {"burst": {"every_s": 60, "for_s": 5}}}]}"#;
    let faults = faults(text);
    advance(Duration::from_secs(30)).await;
    assert!(!is_active(&faults));
    faults.replace(super::document(text));
    assert!(is_active(&faults));
    advance(Duration::from_secs(5)).await;
    assert!(!is_active(&faults));
}
