//! Slow statements and locks of other sessions.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};
use ticket_core::{Error, Options, Tickets};

use crate::{Platform, platforms, platforms_with};

/// Makes purchases of the buyer `slow` take more than a minute.
async fn slow(platform: &Platform) {
    if platform.url.starts_with("sqlite") {
        let mut connection = SqliteConnection::connect(&platform.url).await.unwrap();
        let trigger = "CREATE TRIGGER slow BEFORE INSERT ON purchases WHEN new.buyer = 'slow' BEGIN \
             UPDATE concerts SET title = (WITH RECURSIVE n (n) AS ( \
                 SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 10000000000) \
             SELECT COUNT(*) FROM n); END";
        connection.execute(trigger).await.unwrap();
        connection.close().await.unwrap();
    } else {
        let mut connection = PgConnection::connect(&platform.url).await.unwrap();
        for statement in [
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$",
            "CREATE TRIGGER slow BEFORE INSERT ON purchases FOR EACH ROW \
             WHEN (new.buyer = 'slow') EXECUTE FUNCTION slow()",
        ] {
            connection.execute(statement).await.unwrap();
        }
        connection.close().await.unwrap();
    }
}

#[tokio::test]
async fn opening_a_database_that_never_responds_times_out() {
    // The kernel accepts the connections, as for a server whose process is frozen.
    let frozen = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://ann@{}/tickets", frozen.local_addr().unwrap());
    let options = Options {
        connection_timeout: Duration::from_millis(100),
        statement_timeout: Duration::from_millis(100),
        ..Options::default()
    };
    let error = Tickets::open(&url, options).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_statement_that_exceeds_its_timeout_changes_nothing() {
    let options = Options {
        statement_timeout: Duration::from_secs(1),
        ..Options::default()
    };
    for platform in platforms_with(options).await {
        slow(&platform).await;
        let concert = platform.concert(10).await;
        let begun = Instant::now();
        let error = platform
            .buy_as("slow", &concert, 1, None)
            .await
            .unwrap_err();
        assert!(
            matches!(error, Error::Busy { .. }),
            "{}: {error:?}",
            platform.name
        );
        assert!(error.retry_after().is_some());
        assert!(begun.elapsed() < Duration::from_secs(60));
        platform.buy(&concert, 1).await.unwrap();
        let line = &platform.check_books().await.concerts[0];
        assert_eq!(
            (line.purchases, line.stock.sold),
            (1, 1),
            "{}",
            platform.name
        );
    }
}

#[tokio::test]
async fn a_held_row_lock_times_out_and_does_not_block_other_concerts() {
    let options = Options {
        lock_timeout: Duration::from_millis(200),
        ..Options::default()
    };
    for platform in platforms_with(options).await {
        let concerts = join_all((0..8).map(|_| platform.concert(10))).await;
        for concert in &concerts {
            platform.buy(concert, 1).await.unwrap();
        }
        let all = || join_all(concerts.iter().map(|concert| platform.buy(concert, 1)));
        let held = concerts[0].id.as_uuid();
        let results = if platform.url.starts_with("sqlite") {
            let mut other = SqliteConnection::connect(&platform.url).await.unwrap();
            let lock = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
            let results = all().await;
            lock.rollback().await.unwrap();
            other.close().await.unwrap();
            results
        } else {
            let mut other = PgConnection::connect(&platform.url).await.unwrap();
            let mut lock = other.begin().await.unwrap();
            sqlx::query("SELECT FROM concerts WHERE id = $1 FOR UPDATE")
                .bind(held)
                .execute(&mut *lock)
                .await
                .unwrap();
            let results = all().await;
            lock.rollback().await.unwrap();
            other.close().await.unwrap();
            results
        };
        for (concert, result) in concerts.iter().zip(results) {
            // SQLite has one lock for the whole database.
            if concert.id.as_uuid() == held || platform.url.starts_with("sqlite") {
                let error = result.unwrap_err();
                let overloaded = matches!(error, Error::Busy { .. });
                assert!(overloaded, "{}: {error:?}", platform.name);
            } else {
                result.unwrap_or_else(|error| panic!("{}: {error:?}", platform.name));
            }
        }
        all()
            .await
            .into_iter()
            .for_each(|result| drop(result.unwrap()));
        platform.check_books().await;
    }
}

#[tokio::test]
async fn a_deadlocked_transaction_is_retried_even_if_it_is_not_idempotent() {
    let Some(platform) = platforms().await.into_iter().nth(1) else {
        return;
    };
    let concert = platform.concert(10).await;
    let bought = platform.buy(&concert, 1).await.unwrap().purchase;
    let mut other = PgConnection::connect(&platform.url).await.unwrap();
    let mut lock = other.begin().await.unwrap();
    sqlx::query("SELECT FROM purchases WHERE id = $1 FOR UPDATE")
        .bind(bought.id.as_uuid())
        .execute(&mut *lock)
        .await
        .unwrap();
    let (night, ()) = tokio::join!(platform.tickets.reset_sales(concert.id), async {
        let waits = "SELECT count(*) FROM pg_locks \
             WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))";
        let mut waiting: i64 = 0;
        while waiting == 0 {
            waiting = sqlx::query_scalar(waits)
                .fetch_one(&mut *lock)
                .await
                .unwrap();
            tokio::task::yield_now().await;
        }
        // Both sessions wait for each other. PostgreSQL aborts one of them after a second: if it is
        // this one, the other session does not need to retry.
        let _ = sqlx::query("UPDATE concerts SET sold = sold WHERE id = $1")
            .bind(concert.id.as_uuid())
            .execute(&mut *lock)
            .await;
        lock.rollback().await.unwrap();
    });
    assert_eq!(night.unwrap().sold, 0);
    assert_eq!(
        platform.tickets.totals().await.unwrap().concerts[0].purchases,
        0
    );
}
