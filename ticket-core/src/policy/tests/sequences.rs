//! Sequences of decisions with and without a seed.

use std::thread;
use std::time::Duration;

use super::{document, faults};
use crate::policy::{Decision, Fail, FailurePolicy, Faults, LatencyPolicy, Operation, Random};

const SEEDED: &str = r#"{"seed": 7, "faults": [
    {"operation": "payment", "fail": {"as": "declined"}, "when": {"probability": 0.3}},
    {"operation": "*", "delay": {"log_normal": {"median_ms": 40, "sigma": 0.6}}}]}"#;

fn sequence(faults: &Faults, operation: Operation, length: usize) -> Vec<Decision> {
    (0..length).map(|_| faults.decide(operation)).collect()
}

fn sorted(mut decisions: Vec<Decision>) -> Vec<(Duration, Option<&'static str>)> {
    decisions.sort_by_key(|decision| decision.delay);
    let pair = |decision: Decision| (decision.delay, decision.fail.map(Fail::as_str));
    decisions.into_iter().map(pair).collect()
}

#[test]
fn the_same_seed_gives_the_same_sequence() {
    let once = sequence(&faults(SEEDED), Operation::Payment, 1_000);
    assert_eq!(once, sequence(&faults(SEEDED), Operation::Payment, 1_000));
    let other = faults(&SEEDED.replace(r#""seed": 7"#, r#""seed": 8"#));
    assert_ne!(once, sequence(&other, Operation::Payment, 1_000));
}

#[test]
fn eight_threads_draw_the_same_values_as_one() {
    const EACH: usize = 2_000;
    let sequential = sequence(&faults(SEEDED), Operation::Payment, 8 * EACH);
    let shared = faults(SEEDED);
    let together = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| sequence(&shared, Operation::Payment, EACH)))
            .collect();
        let drawn = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap());
        drawn.collect::<Vec<_>>()
    });
    assert_eq!(sorted(together), sorted(sequential));
}

#[test]
fn other_operations_do_not_affect_a_sequence() {
    let quiet = sequence(&faults(SEEDED), Operation::Payment, 100);
    let busy = faults(SEEDED);
    let between = (0..100).map(|_| {
        busy.decide(Operation::Purchase);
        busy.decide(Operation::Payment)
    });
    assert_eq!(between.collect::<Vec<_>>(), quiet);
    let purchases = sequence(&faults(SEEDED), Operation::Purchase, 100);
    assert_ne!(
        purchases[0].delay, quiet[0].delay,
        "each operation has its own"
    );
}

#[test]
fn appending_a_fault_does_not_affect_earlier_faults() {
    let added = SEEDED.replace(
        "}}}]}",
        r#"}}}, {"operation": "payment", "fail": {"as": "unavailable"}, "when": {"probability": 0.5}}]}"#,
    );
    let (before, after) = (faults(SEEDED), faults(&added));
    for _ in 0..200 {
        let (before, after) = (
            before.decide(Operation::Payment),
            after.decide(Operation::Payment),
        );
        assert_eq!(after.delay, before.delay);
        assert!(before.fail.is_none() || after.fail == before.fail);
    }
}

#[test]
fn setting_a_document_again_restarts_its_sequence() {
    let faults = faults(SEEDED);
    let first = sequence(&faults, Operation::Payment, 50);
    assert_ne!(first, sequence(&faults, Operation::Payment, 50));
    faults.replace(document(SEEDED));
    assert_eq!(first, sequence(&faults, Operation::Payment, 50));
}

#[test]
fn runs_without_a_seed_differ() {
    let chance = SEEDED.replace(r#""seed": 7, "#, "");
    let (one, other) = (faults(&chance), faults(&chance));
    assert_ne!(
        sequence(&one, Operation::Payment, 20),
        sequence(&other, Operation::Payment, 20)
    );
    assert_eq!(one.document().seed(), None);
}

/// Seeds must stay reproducible across versions and machines.
#[test]
fn the_sequence_of_a_seed_is_stable() {
    let mut random = Random::new(7, Operation::Payment, 0);
    let units = [random.unit(), random.unit(), random.fork(1).unit()];
    assert_eq!(
        units,
        [0.03189016335438466, 0.7552696565549478, 0.22974383908175666]
    );
    let payments = sequence(&faults(SEEDED), Operation::Payment, 4)
        .into_iter()
        .map(|decision| (decision.delay.as_micros(), decision.fail));
    let declined = Some(Fail::Declined);
    assert_eq!(
        payments.collect::<Vec<_>>(),
        [
            (21_640, declined),
            (22_910, None),
            (41_757, declined),
            (49_855, None)
        ]
    );
}

#[test]
fn delays_are_added_and_the_first_failure_applies() {
    let faults = faults(
        r#"{"faults": [
            {"operation": "payment", "delay": {"fixed": {"ms": 30}}},
            {"operation": "payment", "fail": {"as": "unavailable"}},
            {"operation": "*", "fail": {"as": "declined"}, "delay": {"fixed": {"ms": 12}}},
            {"operation": "refund", "delay": {"fixed": {"ms": 500}}}]}"#,
    );
    let decided = |operation| {
        let Decision { delay, fail, .. } = faults.decide(operation);
        (delay.as_millis(), fail)
    };
    assert_eq!(decided(Operation::Payment), (42, Some(Fail::Unavailable)));
    assert_eq!(decided(Operation::Refund), (512, Some(Fail::Declined)));
    assert_eq!(decided(Operation::Database), (12, Some(Fail::Declined)));
}

#[test]
fn a_fault_with_a_delay_and_a_failure_applies_both_or_neither() {
    let faults = faults(
        r#"{"seed": 7, "faults": [{"operation": "payment", "delay": {"fixed": {"ms": 9}},
            "fail": {"as": "unavailable"}, "when": {"probability": 0.5}}]}"#,
    );
    let decisions = sequence(&faults, Operation::Payment, 1_000);
    let both = decisions.iter().filter(|it| it.fail.is_some()).count();
    assert!((400..600).contains(&both), "{both}");
    assert!(
        decisions
            .iter()
            .all(|it| it.fail.is_some() == (it.delay.as_millis() == 9))
    );
}

#[test]
fn policies_are_pure_and_compose_in_slices() {
    let random = Random::new(1, Operation::Purchase, 5);
    let at = Duration::ZERO;
    let delays = [Duration::from_millis(2), Duration::from_millis(3)];
    let sum = delays[..].latency(Operation::Purchase, at, random);
    assert_eq!(sum, Duration::from_millis(5));
    let fails = [Fail::Declined, Fail::Unavailable];
    assert_eq!(
        fails[..].failure(Operation::Purchase, at, random),
        Some(Fail::Declined)
    );

    let document = document(SEEDED);
    let draw = |operation| document.latency(operation, at, random);
    assert_eq!(draw(Operation::Purchase), draw(Operation::Purchase));
}

#[test]
fn a_document_without_faults_injects_nothing() {
    for faults in [
        Faults::calm(),
        Faults::default(),
        faults(r#"{"preset": "calm"}"#),
    ] {
        for operation in Operation::ALL {
            assert_eq!(faults.decide(operation), Decision::NONE);
        }
    }
}
