//! Replacement, reload and expiration of documents.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::runtime;
use tokio::time::{Instant, advance};

use super::{document, faults};
use crate::policy::{Change, Decision, Fail, Faults, Operation, Source};

/// Returns a document that the delay of a payment identifies.
fn waits(ms: u32, expires_after_s: Option<u32>) -> String {
    let expiry = expires_after_s.map_or(String::new(), |s| format!(r#""expires_after_s": {s}, "#));
    format!(
        r#"{{{expiry}"faults": [{{"operation": "payment", "delay": {{"fixed": {{"ms": {ms}}}}}}}]}}"#
    )
}

fn waited(faults: &Faults) -> u128 {
    faults.decide(Operation::Payment).delay.as_millis()
}

async fn seconds(seconds: u64) {
    advance(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn an_override_expires_on_time() {
    let faults = Faults::calm();
    faults.replace(document(&waits(9, Some(600))));
    advance(Duration::from_secs(600) - Duration::from_nanos(1)).await;
    assert_eq!(waited(&faults), 9);
    advance(Duration::from_nanos(1)).await;
    assert_eq!(waited(&faults), 0);
    assert!(faults.document().is_calm());
}

#[tokio::test(start_paused = true)]
async fn an_expiration_is_applied_by_the_first_use_and_by_operations_without_faults() {
    let faults = faults(r#"{"faults": [{"operation": "refund", "fail": {"as": "unavailable"}}]}"#);
    faults.replace(document(&waits(9, Some(10))));
    assert_eq!(faults.decide(Operation::Refund), Decision::NONE);
    seconds(10).await;
    assert_eq!(
        faults.decide(Operation::Refund).fail,
        Some(Fail::Unavailable)
    );
    assert_eq!(faults.current().source, Source::Expiry);
}

#[tokio::test(start_paused = true)]
async fn an_override_without_faults_expires_to_the_base() {
    let faults = faults(&waits(5, None));
    faults.replace(document(r#"{"preset": "calm", "expires_after_s": 10}"#));
    assert_eq!(waited(&faults), 0);
    seconds(10).await;
    assert_eq!(waited(&faults), 5);
}

#[tokio::test(start_paused = true)]
async fn the_base_expires_to_no_faults() {
    let faults = faults(&waits(5, Some(10)));
    assert_eq!(waited(&faults), 5);
    seconds(10).await;
    assert_eq!(waited(&faults), 0);
}

#[tokio::test(start_paused = true)]
async fn a_base_that_expired_below_an_override_does_not_return() {
    let faults = faults(&waits(5, Some(8)));
    let mut changes = faults.subscribe();
    faults.replace(document(&waits(9, Some(10))));
    assert_eq!(changes.next().await.source, Source::Http);
    seconds(10).await;
    assert_eq!(waited(&faults), 0);
    let change = changes.next().await;
    assert_eq!((change.number, change.source), (2, Source::Expiry));
    assert!(change.document.is_calm());
}

#[tokio::test(start_paused = true)]
async fn two_unobserved_expirations_are_reported_separately() {
    let faults = faults(&waits(5, Some(12)));
    faults.replace(document(&waits(9, Some(10))));
    let end = faults.current().expires_at;
    let mut changes = faults.subscribe();
    seconds(15).await;
    assert_eq!(waited(&faults), 0);
    let (to_ground, to_calm) = (changes.next().await, changes.next().await);
    assert_eq!(
        (to_ground.document.is_calm(), to_calm.document.is_calm()),
        (false, true)
    );
    assert_eq!(
        (Some(to_ground.at), Some(to_calm.at)),
        (end, to_ground.expires_at)
    );
}

#[tokio::test(start_paused = true)]
async fn the_clock_and_the_sequence_of_the_base_continue_below_an_override() {
    let faults = faults(
        r#"{"faults": [{"operation": "payment", "delay": {"replay": {"ms": [1, 2, 3, 4]}},
            "when": {"burst": {"every_s": 60, "for_s": 20}}}]}"#,
    );
    assert_eq!([waited(&faults), waited(&faults)], [1, 2]);
    faults.replace(document(&waits(9, Some(15))));
    assert_eq!(waited(&faults), 9);
    seconds(15).await;
    assert_eq!(waited(&faults), 3);
    seconds(5).await;
    assert_eq!(
        waited(&faults),
        0,
        "the burst is over, counted from the start"
    );
}

#[tokio::test(start_paused = true)]
async fn a_reload_waits_for_an_override_with_an_expiration() {
    let faults = faults(&waits(1, None));
    faults.replace(document(&waits(9, Some(10))));
    assert!(!faults.reload(document(&waits(2, None))));
    assert_eq!(waited(&faults), 9);
    seconds(10).await;
    assert_eq!(waited(&faults), 2);
    assert!(faults.reload(document(&waits(3, None))));
    assert_eq!(
        (waited(&faults), faults.current().source),
        (3, Source::File)
    );
}

#[tokio::test(start_paused = true)]
async fn a_reload_ends_an_override_without_expiration() {
    let faults = Faults::calm();
    faults.replace(document(&waits(9, None)));
    seconds(1_000_000).await;
    assert_eq!(waited(&faults), 9);
    assert!(faults.reload(document(&waits(2, Some(10)))));
    assert_eq!(waited(&faults), 2);
    seconds(10).await;
    assert_eq!(waited(&faults), 0);
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_receives_every_change_and_the_expiration_without_traffic() {
    let faults = faults(&waits(1, None));
    let first = faults.current();
    assert_eq!(
        (first.number, first.source, first.expires_at),
        (0, Source::Start, None)
    );

    let mut changes = faults.subscribe();
    faults.reload(document(&waits(2, None)));
    faults.replace(document(&waits(9, Some(30))));
    let start = Instant::now();
    let heard: [Change; 3] = [
        changes.next().await,
        changes.next().await,
        changes.next().await,
    ];
    assert_eq!(start.elapsed().as_secs(), 30);

    assert_eq!(heard.each_ref().map(|it| it.number), [1, 2, 3]);
    let sources = heard.each_ref().map(|it| it.source.as_str());
    assert_eq!(sources, ["file", "http", "expiry"]);
    assert_eq!(*heard[2].document, document(&waits(2, None)));
    assert_eq!(
        heard[1].expires_at,
        Some(heard[1].at + SignedDuration::from_secs(30))
    );
    assert_eq!(Some(heard[2].at), heard[1].expires_at);
    assert_eq!(faults.current().number, 3);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_subscriber_follows_a_changed_expiration() {
    let faults = Faults::calm();
    faults.replace(document(&waits(9, Some(10))));
    let mut changes = faults.subscribe();
    let start = Instant::now();
    let waiting = tokio::spawn(async move { [changes.next().await, changes.next().await] });
    tokio::task::yield_now().await;
    seconds(5).await;
    faults.replace(document(&waits(8, Some(100))));
    let [replaced, expired] = waiting.await.unwrap();
    assert_eq!(
        (replaced.source, expired.source),
        (Source::Http, Source::Expiry)
    );
    assert_eq!(start.elapsed().as_secs(), 105);
}

#[tokio::test(start_paused = true)]
async fn a_slow_subscriber_misses_the_oldest_changes_and_detects_the_gap() {
    let faults = Faults::calm();
    let mut changes = faults.subscribe();
    for _ in 0..100 {
        faults.replace(document(&waits(1, None)));
    }
    assert_eq!(changes.next().await.number, 37);
    assert_eq!(changes.next().await.number, 38);
}

#[test]
fn every_decision_during_replacements_uses_one_document() {
    let of = |ms, fail| {
        document(&format!(
            r#"{{"faults": [{{"operation": "*", "delay": {{"fixed": {{"ms": {ms}}}}}, "fail": {{"as": "{fail}"}}}}]}}"#
        ))
    };
    let documents = [of(1, "declined"), of(2, "unavailable")];
    let whole = [(1, Some(Fail::Declined)), (2, Some(Fail::Unavailable))];
    let faults = Faults::new(documents[0].clone());
    let mut changes = faults.subscribe();
    let runtime = runtime::Builder::new_current_thread().build().unwrap();

    let done = AtomicBool::new(false);
    let taken = [const { AtomicU64::new(0) }; 2];
    let torn = AtomicU64::new(0);
    let count = || {
        while !done.load(Relaxed) {
            let Decision { delay, fail, .. } = faults.decide(Operation::Payment);
            let which = whole.iter().position(|it| *it == (delay.as_millis(), fail));
            which
                .map_or(&torn, |which| &taken[which])
                .fetch_add(1, Relaxed);
        }
    };
    // Runs until both documents were seen often, regardless of scheduling.
    let enough = || torn.load(Relaxed) > 0 || taken.iter().all(|taken| taken.load(Relaxed) > 1_000);
    thread::scope(|scope| {
        (0..2).for_each(|_| drop(scope.spawn(count)));
        let mut swaps = 0;
        while swaps < 100 || !enough() {
            swaps += 1;
            faults.replace(documents[swaps % 2].clone());
            assert_eq!(runtime.block_on(changes.next()).number, swaps as u64);
            thread::yield_now();
        }
        done.store(true, Relaxed);
    });
    assert_eq!(torn.into_inner(), 0);
}
