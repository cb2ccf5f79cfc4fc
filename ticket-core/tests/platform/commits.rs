//! Commit modes.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Waker},
};

use futures_util::future::join_all;
use sqlx::{AssertSqlSafe, Executor};
use ticket_core::{
    Commit, Error, Observer, Options, Tickets,
    policy::{Document, Faults, Operation},
};

use crate::{Platform, buy, database, new_concert, platforms, platforms_with};

/// Records the sizes of the batches.
#[derive(Default)]
struct Batches(Mutex<Vec<usize>>);

impl Observer for Batches {
    fn batch(&self, size: usize) {
        self.0.lock().unwrap().push(size);
    }
}

/// Makes the database reject purchases of the buyer `poison`.
async fn poison(platform: &Platform) {
    if platform.url.starts_with("sqlite") {
        let pool = sqlx::SqlitePool::connect(&platform.url).await.unwrap();
        let trigger = "CREATE TRIGGER poison BEFORE INSERT ON purchases WHEN new.buyer = 'poison' \
                       BEGIN SELECT RAISE(ABORT, 'poisoned'); END";
        pool.execute(trigger).await.unwrap();
    } else {
        let pool = sqlx::PgPool::connect(&platform.url).await.unwrap();
        for statement in [
            "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE 'poisoned'; END $$",
            "CREATE TRIGGER poison BEFORE INSERT ON purchases FOR EACH ROW \
             WHEN (new.buyer = 'poison') EXECUTE FUNCTION poison()",
        ] {
            pool.execute(statement).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_purchase_that_fails_its_batch_is_the_only_one_to_fail() {
    let batches = Arc::new(Batches::default());
    let options = Options {
        observer: batches.clone(),
        ..crate::options()
    };
    for platform in platforms_with(options).await {
        poison(&platform).await;
        let concert = platform.concert(100).await;
        let results = join_all((0..20).map(|n| {
            let buyer = if n == 7 { "poison" } else { "ann" };
            platform.buy_as(buyer, &concert, 1, None)
        }))
        .await;
        for (n, result) in results.iter().enumerate() {
            match result {
                Ok(_) => assert_ne!(n, 7),
                Err(error) => {
                    assert_eq!(n, 7, "{}: {error:?}", platform.name);
                    assert!(matches!(error, Error::Database(_)), "{error:?}");
                }
            }
        }
        assert_eq!(platform.check_books().await.concerts[0].purchases, 19);
        let sizes = std::mem::take(&mut *batches.0.lock().unwrap());
        let together = sizes.iter().any(|size| *size > 1);
        let grouped = platform.tickets.commit() == Commit::Group;
        assert_eq!(together, grouped, "{}: {sizes:?}", platform.name);
    }
}

#[tokio::test]
async fn a_purchase_completes_after_its_caller_is_cancelled_and_its_key_is_replayed() {
    for platform in platforms().await {
        let concert = platform.concert(100).await;
        {
            let mut buying = pin!(platform.buy_as("ann", &concert, 2, Some("k")));
            while platform.tickets.payments().authorized == 0 {
                let waker = Waker::noop();
                let polled = buying.as_mut().poll(&mut Context::from_waker(waker));
                assert!(polled.is_pending(), "{}: bought too soon", platform.name);
                tokio::task::yield_now().await;
            }
        }
        while platform.tickets.payments().captured == 0 {
            tokio::task::yield_now().await;
        }
        let again = platform
            .buy_as("ann", &concert, 2, Some("k"))
            .await
            .unwrap();
        assert!(again.replayed, "{}", platform.name);
        platform.check_books().await;
    }
}

#[tokio::test]
async fn closing_completes_pending_purchases_and_rejects_new_ones() {
    for platform in platforms().await {
        let concert = platform.concert(1000).await;
        let buying: Vec<_> = (0..60)
            .map(|_| {
                let tickets = platform.tickets.clone();
                tokio::spawn(async move { buy(&tickets, concert.id, "ann", 1, None).await })
            })
            .collect();
        while platform.tickets.payments().authorized < 60 {
            tokio::task::yield_now().await;
        }
        let (late, ()) = tokio::join!(
            async {
                tokio::task::yield_now().await;
                platform.buy(&concert, 1).await
            },
            platform.tickets.close()
        );
        let error = late.unwrap_err();
        assert!(
            matches!(error, Error::Closed),
            "{}: {error:?}",
            platform.name
        );
        for result in join_all(buying).await {
            result.unwrap().unwrap();
        }
        let error = platform.buy(&concert, 1).await.unwrap_err();
        assert!(matches!(error, Error::Closed), "{error:?}");
        let error = platform.tickets.ping().await.unwrap_err();
        assert!(matches!(error, Error::Closed), "{error:?}");
        let reopened = Tickets::open(&platform.url, Options::default())
            .await
            .unwrap();
        let line = &reopened.totals().await.unwrap().concerts[0];
        assert_eq!(
            (line.purchases, line.stock.sold),
            (60, 60),
            "{}",
            platform.name
        );
    }
}

#[tokio::test]
async fn purchases_beyond_the_queue_limit_are_rejected_and_change_nothing() {
    let options = Options {
        queue: 10,
        ..crate::options()
    };
    for platform in platforms_with(options).await {
        let concert = platform.concert(1000).await;
        let results = join_all((0..50).map(|_| platform.buy(&concert, 1))).await;
        let bought = results.iter().filter(|result| result.is_ok()).count();
        for error in results.into_iter().filter_map(Result::err) {
            assert!(matches!(error, Error::Overloaded { .. }), "{error:?}");
            assert!(error.retry_after().is_some());
        }
        assert!((10..50).contains(&bought), "{}: {bought}", platform.name);
        let line = &platform.check_books().await.concerts[0];
        assert_eq!(line.purchases as usize, bought);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commit_mode_can_be_changed_under_load() {
    for platform in platforms().await {
        let concert = platform.concert(10_000).await;
        let buying = join_all((0..16).map(|_| {
            let tickets = platform.tickets.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    buy(&tickets, concert.id, "ann", 1, None).await.unwrap();
                }
            })
        }));
        let mut buying = pin!(buying);
        let mut switched = 0;
        loop {
            tokio::select! {
                finished = &mut buying => {
                    finished.into_iter().for_each(|result| result.unwrap());
                    break;
                }
                () = tokio::task::yield_now() => {
                    platform.tickets.set_commit([Commit::Each, Commit::Group][switched % 2]);
                    switched += 1;
                    platform.tickets.ping().await.unwrap();
                }
            }
        }
        assert!(switched > 2, "{switched}");
        assert_eq!(platform.check_books().await.concerts[0].purchases, 320);
    }
}

#[tokio::test]
async fn an_injected_delay_does_not_block_other_purchases() {
    let slow = r#"{"faults": [
        {"operation": "purchase", "delay": {"fixed": {"ms": 60000}}},
        {"operation": "payment", "delay": {"fixed": {"ms": 60000}}}]}"#;
    for platform in platforms().await {
        let concert = platform.concert(10).await;
        let document = Document::from_json(slow).unwrap();
        platform.tickets.faults().replace(document);
        tokio::select! {
            biased;
            result = platform.buy(&concert, 1) => panic!("not delayed: {result:?}"),
            // Uses the only connection of SQLite that writes.
            _ = platform.concert(1) => {}
        }
        platform.tickets.faults().replace(Document::calm());
        platform.buy(&concert, 1).await.unwrap();
        platform.check_books().await;
    }
}

#[tokio::test]
async fn faults_on_the_database_fail_the_declared_fraction_of_purchases() {
    let flaky = r#"{"seed": 7, "faults": [
        {"operation": "database", "fail": {"as": "unavailable"}, "when": {"probability": 0.3}}]}"#;
    for platform in platforms().await {
        let concert = platform.concert(10_000).await;
        platform.buy(&concert, 1).await.unwrap();
        let document = Document::from_json(flaky).unwrap();
        platform.tickets.faults().replace(document);
        let mut bought = 0;
        for _ in 0..100 {
            for result in join_all((0..10).map(|_| platform.buy(&concert, 1))).await {
                match result {
                    Ok(_) => bought += 1,
                    Err(Error::Injected { operation }) => {
                        assert_eq!(operation, Operation::Database);
                    }
                    Err(error) => panic!("{}: {error:?}", platform.name),
                }
            }
        }
        platform.tickets.faults().replace(Document::calm());
        // 70%, regardless of the batch size.
        assert!((550..=850).contains(&bought), "{}: {bought}", platform.name);
        let line = &platform.check_books().await.concerts[0];
        assert_eq!(line.purchases, bought + 1);
    }
}

#[tokio::test]
async fn every_operation_has_its_own_faults() {
    for platform in platforms_with(Options {
        faults: Faults::calm(),
        ..crate::options()
    })
    .await
    {
        let concert = platform.concert(10).await;
        let purchase = platform.buy(&concert, 1).await.unwrap().purchase;
        let tickets = &platform.tickets;
        for operation in Operation::ALL {
            if operation == Operation::Database {
                continue;
            }
            let document = format!(
                r#"{{"faults": [{{"operation": "{}", "fail": {{"as": "unavailable"}}}}]}}"#,
                operation.as_str()
            );
            tickets
                .faults()
                .replace(Document::from_json(&document).unwrap());
            let failed = [
                (
                    Operation::ListConcerts,
                    tickets.list_concerts(1, None).await.err(),
                ),
                (
                    Operation::CreateConcert,
                    tickets.create_concert(new_concert(1)).await.err(),
                ),
                (
                    Operation::ReadConcert,
                    tickets.concert(concert.id).await.err(),
                ),
                (
                    Operation::ReadPurchase,
                    tickets.read_purchase(purchase.id).await.err(),
                ),
                (Operation::Refund, tickets.refund(purchase.id).await.err()),
            ]
            .into_iter()
            .filter_map(|(operation, error)| Some((operation, error?)))
            .collect::<Vec<_>>();
            let bought = platform.buy(&concert, 1).await;
            match operation {
                Operation::Purchase | Operation::Payment => {
                    assert!(failed.is_empty());
                    assert!(
                        matches!(bought, Err(Error::Injected { operation: of }) if of == operation)
                    );
                }
                _ => {
                    assert!(bought.is_ok(), "{operation:?}: {bought:?}");
                    let [(of, error)] = &failed[..] else {
                        panic!("{operation:?}: {failed:?}");
                    };
                    assert_eq!(*of, operation);
                    assert!(matches!(error, Error::Injected { .. }), "{error:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn several_servers_start_concurrently_on_an_empty_database() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite://{}/tickets.db", folder.path().display());
    for url in [Some(sqlite), database()].into_iter().flatten() {
        if url.starts_with("postgres") {
            // The strictest isolation level that a database may default to.
            let pool = sqlx::PgPool::connect(&url).await.unwrap();
            let name: String = sqlx::query_scalar("SELECT current_database()")
                .fetch_one(&pool)
                .await
                .unwrap();
            let strict =
                format!("ALTER DATABASE {name} SET default_transaction_isolation = serializable");
            pool.execute(AssertSqlSafe(strict)).await.unwrap();
        }
        let opened = join_all((0..8).map(|_| Tickets::open(&url, Options::default()))).await;
        let opened: Vec<_> = opened.into_iter().map(Result::unwrap).collect();
        let concert = opened[0].create_concert(new_concert(50)).await.unwrap();
        // Eight servers sell each ticket once.
        let results = join_all((0..80).map(|n| buy(&opened[n % 8], concert.id, "ann", 1, None)));
        let bought = results.await.into_iter().filter(Result::is_ok).count();
        assert_eq!(bought, 50, "{url}");
        assert!(opened[7].totals().await.unwrap().balance());
    }
}

#[tokio::test]
async fn a_database_without_durable_commits_is_rejected() {
    for url in ["sqlite::memory:", "sqlite://x.db?mode=memory"] {
        let error = Tickets::open(url, Options::default()).await.unwrap_err();
        assert!(error.to_string().contains("on disk"), "{error}");
    }
    for url in ["mysql://localhost/x", "tickets.db"] {
        let error = Tickets::open(url, Options::default()).await.unwrap_err();
        assert!(matches!(error, Error::Setup { .. }), "{error:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite://{}/tickets.db", folder.path().display());
    let tickets = Tickets::open(&file, Options::default()).await.unwrap();
    tickets.close().await;
    // SQLite opens a file without write permission like this.
    let read_only = format!("{file}?mode=ro");
    let error = Tickets::open(&read_only, Options::default()).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("cannot be written"), "{error}");
    if let Some(url) = database() {
        let pool = sqlx::PgPool::connect(&url).await.unwrap();
        let name: String = sqlx::query_scalar("SELECT current_database()")
            .fetch_one(&pool)
            .await
            .unwrap();
        let lax = format!("ALTER DATABASE {name} SET synchronous_commit = off");
        pool.execute(AssertSqlSafe(lax)).await.unwrap();
        let error = Tickets::open(&url, Options::default()).await.unwrap_err();
        assert!(
            error.to_string().contains("synchronous_commit is off"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn faults_on_the_database_do_not_apply_to_ping() {
    let down = r#"{"faults": [{"operation": "*", "fail": {"as": "unavailable"}}]}"#;
    for platform in platforms().await {
        let concert = platform.concert(10).await;
        let document = Document::from_json(down).unwrap();
        platform.tickets.faults().replace(document);
        platform.buy(&concert, 1).await.unwrap_err();
        platform.tickets.ping().await.unwrap();
    }
}
