//! Every purchase attempt ends in exactly one outcome, however it ends.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Waker},
    time::{Duration, Instant},
};

use super::{Fate, Lossy, new_concert};
use crate::{
    Commit, ConcertId, Currency, IdempotencyKey, Money, NewConcert, NewPurchase, Observer, Options,
    Outcome, PurchaseEvent, Tickets, policy::Document, store::Failure,
};

/// Records the outcomes by the number of tickets, which identifies the attempt.
#[derive(Default)]
struct Outcomes(Mutex<HashMap<u32, Vec<Outcome>>>);

impl Observer for Outcomes {
    fn purchase(&self, event: &PurchaseEvent<'_>) {
        let mut outcomes = self.0.lock().unwrap();
        outcomes
            .entry(event.quantity)
            .or_default()
            .push(event.outcome);
    }
}

/// When the caller of an attempt is cancelled.
#[derive(Clone, Copy, Debug)]
enum Caller {
    Waits,
    /// Cancelled after a number of polls.
    LeavesAfter(usize),
    /// Cancelled as soon as the payment is authorized.
    LeavesAfterPayment,
}

struct Scene {
    store: Arc<Lossy>,
    outcomes: Arc<Outcomes>,
    tickets: Tickets,
    concert: ConcertId,
}

impl Scene {
    async fn new(commit: Commit) -> Self {
        let store = Lossy::open([]).await;
        let outcomes = Arc::new(Outcomes::default());
        let options = Options {
            commit,
            observer: outcomes.clone(),
            retry_timeout: Duration::from_millis(20),
            ..Options::default()
        };
        let tickets = Tickets::new(store.clone(), options);
        let concert = tickets.create_concert(new_concert()).await.unwrap().id;
        Self {
            store,
            outcomes,
            tickets,
            concert,
        }
    }

    /// Makes one attempt and returns its outcome.
    async fn attempt(
        &self,
        concert: ConcertId,
        quantity: u32,
        key: Option<&str>,
        caller: Caller,
    ) -> Outcome {
        self.outcomes.0.lock().unwrap().clear();
        let before = self.tickets.payments();
        {
            let new = NewPurchase::new("ann", quantity).unwrap();
            let key = key.map(|key| key.parse::<IdempotencyKey>().unwrap());
            let mut purchase = pin!(self.tickets.purchase(concert, new, key));
            match caller {
                Caller::Waits => drop(purchase.await),
                Caller::LeavesAfter(polls) => {
                    for _ in 0..polls {
                        if purchase
                            .as_mut()
                            .poll(&mut Context::from_waker(Waker::noop()))
                            .is_ready()
                        {
                            break;
                        }
                        tokio::task::yield_now().await;
                    }
                }
                Caller::LeavesAfterPayment => {
                    while self.tickets.payments().authorized == before.authorized
                        && purchase
                            .as_mut()
                            .poll(&mut Context::from_waker(Waker::noop()))
                            .is_pending()
                    {
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
        let begun = Instant::now();
        loop {
            let payments = self.tickets.payments();
            let settled = payments.authorized == payments.captured + payments.voided;
            let outcomes = self.outcomes.0.lock().unwrap().clone();
            if settled && let Some(outcomes) = outcomes.get(&quantity) {
                let [outcome] = outcomes[..] else {
                    panic!("{outcomes:?}");
                };
                let captured = payments.captured - before.captured;
                assert_eq!(captured, u64::from(outcome == Outcome::Sold), "{outcome:?}");
                return outcome;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "no outcome");
            tokio::task::yield_now().await;
        }
    }
}

fn callers() -> impl Iterator<Item = Caller> {
    let leaving = (1..8).map(Caller::LeavesAfter);
    [Caller::Waits, Caller::LeavesAfterPayment]
        .into_iter()
        .chain(leaving)
}

#[tokio::test]
async fn an_attempt_has_one_outcome_for_every_failure_and_cancellation() {
    let failed = |error: sqlx::Error| Fate::Failed(error.into());
    let busy = || failed(sqlx::Error::PoolTimedOut);
    let refused = || failed(sqlx::Error::RowNotFound);
    let lost = || failed(sqlx::Error::WorkerCrashed);
    let closed = || failed(sqlx::Error::PoolClosed);
    // Fates of the writes and of the lookups after them, and whether the tickets are sold.
    let scripts: Vec<(Vec<Fate>, Vec<Fate>, bool)> = vec![
        (vec![], vec![], true),
        (vec![Fate::Lost], vec![], true),
        (vec![lost()], vec![], true),
        (vec![busy()], vec![], false),
        (vec![refused()], vec![], false),
        (vec![closed()], vec![], false),
        (vec![Fate::Failed(Failure::Injected)], vec![], false),
        (vec![Fate::Failed(Failure::RowCountMismatch)], vec![], false),
        (
            vec![Fate::Failed(Failure::file_unusable("gone".into()))],
            vec![],
            false,
        ),
        (vec![Fate::Panics], vec![], false),
        (vec![Fate::PanicsLate], vec![], true),
        (vec![Fate::Lost, busy()], vec![], true),
        (vec![Fate::Lost, busy()], vec![busy()], true),
        (vec![Fate::Lost, refused()], vec![Fate::Panics], true),
        (vec![Fate::Panics], vec![lost()], false),
    ];
    for commit in [Commit::Each, Commit::Group] {
        let scene = Scene::new(commit).await;
        let mut sold = 0;
        for (writes, lookups, is_sold) in &scripts {
            for caller in callers() {
                *scene.store.writes.lock().unwrap() = writes.clone().into();
                *scene.store.lookups.lock().unwrap() = lookups.clone().into();
                let outcome = scene.attempt(scene.concert, 1, None, caller).await;
                let expected = match is_sold {
                    true => Outcome::Sold,
                    false => Outcome::Failed,
                };
                // A caller that leaves before the payment makes no purchase.
                let left_early =
                    matches!(caller, Caller::LeavesAfter(_)) && outcome == Outcome::Failed;
                assert!(
                    outcome == expected || left_early,
                    "{commit}, {writes:?}, {lookups:?}, {caller:?}: {outcome:?}"
                );
                sold += u32::from(outcome == Outcome::Sold);
                let stock = scene.tickets.stock().await.unwrap();
                assert_eq!(stock[0].sold, sold, "{commit}, {writes:?}, {caller:?}");
                // Fates of an attempt that ended early.
                scene.store.writes.lock().unwrap().clear();
                scene.tickets.restock(scene.concert, 1).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn an_attempt_whose_outcome_can_no_longer_be_looked_up_has_failed() {
    let scene = Scene::new(Commit::Group).await;
    let busy = || Fate::Failed(sqlx::Error::PoolTimedOut.into());
    let closed = || Fate::Failed(sqlx::Error::PoolClosed.into());
    scene
        .store
        .writes
        .lock()
        .unwrap()
        .extend([Fate::Lost, busy()]);
    scene.store.lookups.lock().unwrap().push_back(closed());
    let outcome = scene.attempt(scene.concert, 1, None, Caller::Waits).await;
    assert_eq!(outcome, Outcome::Failed);
}

#[tokio::test]
async fn rejected_attempts_have_one_outcome_for_every_cancellation() {
    let unknown = "0192a7c4-5d1e-7b36-9a55-0c1f3a7be901".parse().unwrap();
    let fault = |operation: &str, fail: &str| {
        let document = format!(
            r#"{{"faults": [{{"operation": "{operation}", "fail": {{"as": "{fail}"}}}}]}}"#
        );
        Document::from_json(&document).unwrap()
    };
    for commit in [Commit::Each, Commit::Group] {
        let scene = Scene::new(commit).await;
        let limited = new_concert().max_per_buyer(2).unwrap();
        let limited = scene.tickets.create_concert(limited).await.unwrap().id;
        let now = jiff::Timestamp::now();
        let hours = |hours: i64| now + jiff::SignedDuration::from_hours(hours);
        let later = new_concert().on_sale(Some(hours(1)), None).unwrap();
        let later = scene.tickets.create_concert(later).await.unwrap().id;
        let over = new_concert().on_sale(None, Some(hours(-1))).unwrap();
        let over = scene.tickets.create_concert(over).await.unwrap().id;
        let price = Money::new(6500, Currency::EUR);
        let small = NewConcert::new("Small", "Berlin", hours(48), 1, price).unwrap();
        let small = scene.tickets.create_concert(small).await.unwrap().id;
        scene
            .attempt(scene.concert, 1, Some("k"), Caller::Waits)
            .await;
        let mut cases = vec![
            (unknown, 1, None, Document::calm(), Outcome::Rejected),
            (small, 2, None, Document::calm(), Outcome::SoldOut),
            (limited, 3, None, Document::calm(), Outcome::Rejected),
            (later, 1, None, Document::calm(), Outcome::Rejected),
            (over, 1, None, Document::calm(), Outcome::Rejected),
            (
                scene.concert,
                2,
                Some("k"),
                Document::calm(),
                Outcome::Rejected,
            ),
            (
                scene.concert,
                1,
                Some("k"),
                Document::calm(),
                Outcome::Replayed,
            ),
        ];
        for (operation, fail, outcome) in [
            ("payment", "declined", Outcome::Declined),
            ("payment", "unavailable", Outcome::Failed),
            ("purchase", "unavailable", Outcome::Failed),
        ] {
            cases.push((scene.concert, 1, None, fault(operation, fail), outcome));
        }
        for (concert, quantity, key, document, expected) in cases {
            for caller in callers() {
                scene.tickets.faults().replace(document.clone());
                let outcome = scene.attempt(concert, quantity, key, caller).await;
                let left_early =
                    matches!(caller, Caller::LeavesAfter(_)) && outcome == Outcome::Failed;
                assert!(
                    outcome == expected || left_early,
                    "{commit}, {concert}, {quantity}, {caller:?}: {outcome:?}"
                );
                scene.tickets.faults().replace(Document::calm());
            }
        }
    }
}
