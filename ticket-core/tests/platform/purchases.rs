use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::join_all;
use ticket_core::{
    Error, Observer, Options, Outcome, PurchaseEvent, Status,
    policy::{Document, Faults},
};

use crate::{at, euros, new_concert, platforms, platforms_with};

#[tokio::test]
async fn a_purchase_can_be_read_and_refunded_repeatedly() {
    for platform in platforms().await {
        let concert = platform.concert(3).await;
        let bought = platform.buy(&concert, 2).await.unwrap();
        assert!(!bought.replayed);
        let purchase = bought.purchase;
        assert_eq!(
            (purchase.total, purchase.status),
            (euros(130), Status::Paid)
        );
        assert_eq!(
            platform.tickets.read_purchase(purchase.id).await.unwrap(),
            purchase
        );
        assert_eq!(platform.tickets.concert(concert.id).await.unwrap().sold, 2);

        let refunded = platform.tickets.refund(purchase.id).await.unwrap();
        assert_eq!(refunded.status, Status::Refunded);
        assert_eq!(
            platform.tickets.refund(purchase.id).await.unwrap(),
            refunded
        );
        assert_eq!(platform.tickets.concert(concert.id).await.unwrap(), concert);
        platform.buy(&concert, 3).await.unwrap();
        let line = &platform.check_books().await.concerts[0];
        assert_eq!((line.purchases, line.refunds, line.tickets), (1, 1, 3));
    }
}

#[tokio::test]
async fn unknown_ids_are_not_found() {
    for platform in platforms().await {
        let concert = platform.concert(1).await;
        let purchase = platform.buy(&concert, 1).await.unwrap().purchase;
        let nowhere = crate::platforms().await.remove(0);
        let errors = [
            nowhere.buy(&concert, 1).await.unwrap_err(),
            nowhere.tickets.concert(concert.id).await.unwrap_err(),
            nowhere.tickets.restock(concert.id, 1).await.unwrap_err(),
            nowhere
                .tickets
                .read_purchase(purchase.id)
                .await
                .unwrap_err(),
            nowhere.tickets.refund(purchase.id).await.unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
        }
    }
}

#[tokio::test]
async fn sold_out_reports_the_available_tickets_and_voids_the_payment() {
    for platform in platforms().await {
        let concert = platform.concert(3).await;
        platform.buy(&concert, 2).await.unwrap();
        let error = platform.buy(&concert, 2).await.unwrap_err();
        assert!(
            matches!(error, Error::SoldOut { available: 1 }),
            "{error:?}"
        );
        let payments = platform.tickets.payments();
        assert_eq!(
            (payments.authorized, payments.captured, payments.voided),
            (2, 1, 1)
        );
        platform.buy(&concert, 1).await.unwrap();
        platform.check_books().await;
    }
}

#[tokio::test]
async fn five_hundred_buyers_for_a_hundred_tickets_buy_exactly_a_hundred() {
    for platform in platforms().await {
        let concert = platform.concert(100).await;
        let results = join_all((0..500).map(|_| platform.buy(&concert, 1))).await;
        let sold = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(sold, 100, "{}", platform.name);
        for result in results {
            assert!(
                matches!(result, Ok(_) | Err(Error::SoldOut { available: 0 })),
                "{result:?}"
            );
        }
        let line = &platform.check_books().await.concerts[0];
        assert_eq!((line.purchases, line.stock.available()), (100, 0));
    }
}

#[tokio::test]
async fn concurrent_purchases_for_several_concerts_do_not_mix() {
    for platform in platforms().await {
        let concerts = join_all((0..20).map(|_| platform.concert(10))).await;
        let results =
            join_all((0..15).flat_map(|_| concerts.iter().map(|concert| platform.buy(concert, 1))))
                .await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 200);
        for line in platform.check_books().await.concerts {
            assert_eq!(
                (line.purchases, line.stock.available()),
                (10, 0),
                "{}",
                platform.name
            );
        }
    }
}

#[tokio::test]
async fn forty_concurrent_requests_with_one_key_buy_once_and_return_the_same_purchase() {
    for platform in platforms().await {
        let concert = platform.concert(100).await;
        let results =
            join_all((0..40).map(|_| platform.buy_as("ann", &concert, 2, Some("k")))).await;
        let results: Vec<_> = results.into_iter().map(|result| result.unwrap()).collect();
        assert_eq!(results.iter().filter(|bought| !bought.replayed).count(), 1);
        assert!(
            results
                .iter()
                .all(|bought| bought.purchase == results[0].purchase)
        );
        let line = &platform.check_books().await.concerts[0];
        assert_eq!((line.purchases, line.tickets), (1, 2), "{}", platform.name);
    }
}

#[tokio::test]
async fn a_key_is_scoped_to_a_concert_and_a_request() {
    for platform in platforms().await {
        let (first, second) = (platform.concert(100).await, platform.concert(100).await);
        let bought = platform.buy_as("ann", &first, 2, Some("k")).await.unwrap();
        for (buyer, quantity) in [("ann", 3), ("bob", 2)] {
            let error = platform
                .buy_as(buyer, &first, quantity, Some("k"))
                .await
                .unwrap_err();
            assert!(matches!(error, Error::KeyReused), "{error:?}");
        }
        assert!(
            !platform
                .buy_as("ann", &second, 2, Some("k"))
                .await
                .unwrap()
                .replayed
        );
        // The key is used even after a refund.
        let refunded = platform.tickets.refund(bought.purchase.id).await.unwrap();
        let again = platform.buy_as("ann", &first, 2, Some("k")).await.unwrap();
        assert_eq!((again.replayed, again.purchase), (true, refunded));
        platform.check_books().await;
    }
}

#[tokio::test]
async fn concurrent_requests_that_share_a_key_buy_for_one_of_them() {
    for platform in platforms().await {
        let concert = platform.concert(100).await;
        let results = join_all((0..20).map(|n| {
            let quantity = 1 + n % 2;
            let concert = &concert;
            let platform = &platform;
            async move { platform.buy_as("ann", concert, quantity, Some("k")).await }
        }))
        .await;
        let bought = results
            .iter()
            .filter(|r| matches!(r, Ok(p) if !p.replayed))
            .count();
        let replayed = results
            .iter()
            .filter(|r| matches!(r, Ok(p) if p.replayed))
            .count();
        let reused = results
            .iter()
            .filter(|r| matches!(r, Err(Error::KeyReused)))
            .count();
        assert_eq!((bought, replayed, reused), (1, 9, 10), "{}", platform.name);
        platform.check_books().await;
    }
}

#[tokio::test]
async fn an_attempt_without_a_purchase_does_not_use_up_its_key() {
    let declined = r#"{"faults": [{"operation": "payment", "fail": {"as": "declined"}}]}"#;
    let faults = Faults::new(Document::from_json(declined).unwrap());
    let options = Options {
        faults,
        ..crate::options()
    };
    for platform in platforms_with(options).await {
        platform
            .tickets
            .faults()
            .replace(Document::from_json(declined).unwrap());
        let concert = platform.concert(1).await;
        let error = platform
            .buy_as("ann", &concert, 1, Some("k"))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Declined), "{error:?}");
        platform.tickets.faults().replace(Document::calm());
        let error = platform
            .buy_as("ann", &concert, 2, Some("k"))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::SoldOut { .. }), "{error:?}");
        assert!(
            !platform
                .buy_as("ann", &concert, 1, Some("k"))
                .await
                .unwrap()
                .replayed
        );
        // A replay does not authorize a payment.
        platform
            .tickets
            .faults()
            .replace(Document::from_json(declined).unwrap());
        assert!(
            platform
                .buy_as("ann", &concert, 1, Some("k"))
                .await
                .unwrap()
                .replayed
        );
        platform.check_books().await;
    }
}

#[tokio::test]
async fn a_buyer_cannot_exceed_the_limit_per_buyer() {
    for platform in platforms().await {
        let new = new_concert(100).max_per_buyer(4).unwrap();
        let concert = platform.tickets.create_concert(new).await.unwrap();
        let results = join_all((0..10).map(|_| platform.buy(&concert, 1))).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 4);
        let error = platform.buy(&concert, 1).await.unwrap_err();
        assert!(
            matches!(error, Error::PerBuyerLimit { limit: 4, held: 4 }),
            "{error:?}"
        );
        platform.buy_as("bob", &concert, 4, None).await.unwrap();
        let one = results
            .into_iter()
            .find_map(Result::ok)
            .unwrap()
            .purchase
            .id;
        platform.tickets.refund(one).await.unwrap();
        platform.buy(&concert, 1).await.unwrap();
        platform.check_books().await;
    }
}

#[tokio::test]
async fn tickets_are_sold_only_during_the_sale() {
    for platform in platforms().await {
        for (from, until) in [
            (Some("2099-01-01T00:00:00Z"), None),
            (None, Some("2001-01-01T00:00:00Z")),
        ] {
            let new = new_concert(1).on_sale(from.map(at), until.map(at)).unwrap();
            let concert = platform.tickets.create_concert(new).await.unwrap();
            let error = platform.buy(&concert, 1).await.unwrap_err();
            assert!(matches!(error, Error::NotOnSale { .. }), "{error:?}");
        }
        assert_eq!(platform.tickets.payments().authorized, 0);
    }
}

/// Records events.
#[derive(Default)]
struct Events(
    Mutex<Vec<(Outcome, String, u32)>>,
    Mutex<Vec<usize>>,
    Mutex<Vec<(String, u32)>>,
);

impl Observer for Events {
    fn purchase(&self, event: &PurchaseEvent<'_>) {
        let event = (event.outcome, event.concert.to_owned(), event.quantity);
        self.0.lock().unwrap().push(event);
    }

    fn sales_reset(&self, concert: &str, tickets: u32) {
        self.2.lock().unwrap().push((concert.to_owned(), tickets));
    }

    fn batch(&self, size: usize) {
        self.1.lock().unwrap().push(size);
    }
}

#[tokio::test]
async fn the_observer_receives_each_outcome_once() {
    let observer = Arc::new(Events::default());
    let options = Options {
        observer: observer.clone(),
        ..crate::options()
    };
    for platform in platforms_with(options).await {
        let concert = platform.concert(3).await;
        let bought = platform
            .buy_as("ann", &concert, 2, Some("k"))
            .await
            .unwrap();
        platform
            .buy_as("ann", &concert, 2, Some("k"))
            .await
            .unwrap();
        platform
            .buy_as("ann", &concert, 1, Some("k"))
            .await
            .unwrap_err();
        platform.buy(&concert, 2).await.unwrap_err();
        platform.tickets.refund(bought.purchase.id).await.unwrap();
        platform.tickets.refund(bought.purchase.id).await.unwrap();
        let events = std::mem::take(&mut *observer.0.lock().unwrap());
        let of = |outcome, quantity| (outcome, "radiohead".to_owned(), quantity);
        assert_eq!(
            events,
            [
                of(Outcome::Sold, 2),
                of(Outcome::Replayed, 2),
                of(Outcome::Rejected, 1),
                of(Outcome::SoldOut, 2),
                of(Outcome::Refunded, 2),
            ],
            "{}",
            platform.name
        );
        platform.buy_as("eve", &concert, 3, None).await.unwrap();
        platform.tickets.reset_sales(concert.id).await.unwrap();
        let resets = std::mem::take(&mut *observer.2.lock().unwrap());
        assert_eq!(resets, [("radiohead".to_owned(), 3)]);
        observer.0.lock().unwrap().clear();
    }
}

/// Records the pools whose connections were taken.
#[derive(Default)]
struct Pools(Mutex<Vec<&'static str>>);

impl Observer for Pools {
    fn connection_wait(&self, pool: &'static str, _: Duration) {
        self.0.lock().unwrap().push(pool);
    }
}

#[tokio::test]
async fn reads_take_connections_of_a_pool_that_is_reported() {
    let pools = Arc::new(Pools::default());
    let options = Options {
        observer: pools.clone(),
        connections: 3,
        ..Options::default()
    };
    for platform in platforms_with(options).await {
        let concert = platform.concert(3).await;
        pools.0.lock().unwrap().clear();
        for _ in 0..5 {
            platform.tickets.concert(concert.id).await.unwrap();
        }
        let taken = std::mem::take(&mut *pools.0.lock().unwrap());
        assert_eq!(taken.len(), 5, "{}: {taken:?}", platform.name);
        let states = platform.tickets.pools();
        let state = states.iter().find(|state| state.name == taken[0]);
        let state = state.unwrap_or_else(|| panic!("{taken:?} is not in {states:?}"));
        // A connection returns to its pool in the background.
        assert!((1..=3).contains(&(state.used + state.idle)), "{state:?}");
        assert_eq!(state.max, 3, "{state:?}");
    }
}

/// Panics at every event.
struct Panics;

impl Observer for Panics {
    fn purchase(&self, _: &PurchaseEvent<'_>) {
        panic!("a purchase");
    }

    fn database_operation(&self, _: &'static str, _: &'static str, _: Duration, _: bool) {
        panic!("a database operation");
    }

    fn batch(&self, _: usize) {
        panic!("a batch");
    }
}

#[tokio::test]
async fn a_panicking_observer_does_not_affect_purchases() {
    let options = Options {
        observer: Arc::new(Panics),
        ..crate::options()
    };
    for platform in platforms_with(options).await {
        let concert = platform.concert(3).await;
        for _ in 0..3 {
            platform.buy(&concert, 1).await.unwrap();
        }
        let line = &platform.check_books().await.concerts[0];
        assert_eq!(line.purchases, 3, "{}", platform.name);
    }
}
