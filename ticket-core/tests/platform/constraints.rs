//! Constraints of the schema, which hold even if the code is wrong.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::future::join_all;
use sqlx::{AssertSqlSafe, Executor};

use ticket_core::{Error, Observer, Options};

use crate::{Platform, options, platforms, platforms_with};

#[tokio::test]
async fn the_database_rejects_inconsistent_rows() {
    for platform in platforms().await {
        let concert = platform.concert(3).await;
        platform
            .buy_as("ann", &concert, 2, Some("k"))
            .await
            .unwrap();
        let sqlite = platform.url.starts_with("sqlite");
        let other = if sqlite {
            "randomblob(16)"
        } else {
            "gen_random_uuid()"
        };
        let copy = |id: &str, key: &str| {
            format!(
                "INSERT INTO purchases SELECT {id}, concert_id, buyer, quantity, total, currency, \
                 status, created_at, refunded_at, {key}, request_digest FROM purchases"
            )
        };
        for (what, statement, why) in [
            (
                "oversold",
                "UPDATE concerts SET sold = capacity + 1".to_owned(),
                "check",
            ),
            (
                "sold less than nothing",
                "UPDATE concerts SET sold = -1".to_owned(),
                "check",
            ),
            (
                "fewer tickets than sold",
                "UPDATE concerts SET capacity = 1".to_owned(),
                "check",
            ),
            (
                "too many of one",
                "UPDATE purchases SET quantity = 11".to_owned(),
                "check",
            ),
            (
                "an unknown status",
                "UPDATE purchases SET status = 'lost'".to_owned(),
                "check",
            ),
            (
                "refunded at no time",
                "UPDATE purchases SET status = 'refunded'".to_owned(),
                "check",
            ),
            ("a key twice", copy(other, "idempotency_key"), "unique"),
            ("a purchase twice", copy("id", "'other'"), "unique"),
            ("a digest without a key", copy(other, "NULL"), "check"),
            (
                "a purchase for no concert",
                format!("UPDATE purchases SET concert_id = {other}"),
                "foreign key",
            ),
        ] {
            let error = if sqlite {
                // SQLite checks foreign keys only on connections that enable it, as sqlx does by
                // default.
                let pool = sqlx::SqlitePool::connect(&platform.url).await.unwrap();
                pool.execute(AssertSqlSafe(statement)).await.unwrap_err()
            } else {
                let pool = sqlx::PgPool::connect(&platform.url).await.unwrap();
                pool.execute(AssertSqlSafe(statement)).await.unwrap_err()
            };
            let error = error.to_string().to_lowercase();
            assert!(error.contains(why), "{}: {what}: {error}", platform.name);
        }
        platform.check_books().await;
    }
}

/// Installs a trigger that silently drops purchases.
const SWALLOWED: [&str; 2] = [
    "CREATE TRIGGER swallow BEFORE INSERT ON purchases WHEN NEW.buyer = 'bob' \
     BEGIN SELECT RAISE(IGNORE); END",
    "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF NEW.buyer = 'bob' THEN RETURN NULL; ELSE RETURN NEW; END IF; END $$; \
     CREATE TRIGGER swallow BEFORE INSERT ON purchases FOR EACH ROW EXECUTE FUNCTION swallow()",
];

#[tokio::test]
async fn a_row_that_is_not_written_is_not_sold() {
    for platform in platforms().await {
        let concert = platform.concert(10).await;
        if platform.url.starts_with("sqlite") {
            let pool = sqlx::SqlitePool::connect(&platform.url).await.unwrap();
            pool.execute(SWALLOWED[0]).await.unwrap();
            pool.close().await;
        } else {
            let pool = sqlx::PgPool::connect(&platform.url).await.unwrap();
            pool.execute(SWALLOWED[1]).await.unwrap();
            pool.close().await;
        }
        let buy = |buyer| platform.buy_as(buyer, &concert, 2, None);
        let (ann, bob, eve) = tokio::join!(buy("ann"), buy("bob"), buy("eve"));
        ann.unwrap();
        eve.unwrap();
        let error = bob.unwrap_err();
        assert!(matches!(error, Error::Setup { .. }), "{error:?}");
        let line = &platform.check_books().await.concerts[0];
        assert_eq!(
            (line.purchases, line.stock.sold),
            (2, 4),
            "{}",
            platform.name
        );
    }
}

#[tokio::test]
async fn an_audit_reads_every_concert_and_names_those_that_differ() {
    for platform in platforms().await {
        // More than one statement reads.
        let concerts = join_all((0..201).map(|_| platform.concert(9))).await;
        for concert in &concerts[..3] {
            platform.buy(concert, 2).await.unwrap();
        }
        let audit = platform.tickets.audit(10).await.unwrap();
        assert_eq!((audit.sold, audit.paid), (6, 6), "{}", platform.name);
        assert_eq!(audit.differing, []);

        let statement = "UPDATE concerts SET sold = sold + 1 WHERE id IN \
                         (SELECT id FROM concerts ORDER BY id DESC LIMIT 3)";
        execute(&platform, statement).await;
        let last = concerts.iter().map(|concert| concert.id).max().unwrap();
        for limit in [10, 2] {
            let audit = platform.tickets.audit(limit).await.unwrap();
            assert_eq!((audit.sold, audit.paid), (9, 6), "{}", platform.name);
            let named = audit.differing.iter().map(|line| line.stock.concert_id);
            let named: Vec<_> = named.collect();
            assert_eq!(named.len(), 3.min(limit as usize));
            assert!(named.is_sorted());
            assert_eq!(named.contains(&last), limit == 10);
        }
    }
}

/// Counts the statements of audits.
#[derive(Default)]
struct Statements(AtomicU32);

impl Observer for Statements {
    fn database_operation(&self, _: &'static str, operation: &'static str, _: Duration, _: bool) {
        if operation == "read_totals" {
            self.0.fetch_add(1, Relaxed);
        }
    }
}

#[tokio::test]
async fn an_audit_ends_with_the_first_batch_that_is_not_full() {
    let statements = Arc::new(Statements::default());
    let options = Options {
        observer: statements.clone(),
        ..options()
    };
    for platform in platforms_with(options).await {
        let mut concerts = 0;
        // The third statement follows a full batch and finds nothing.
        for (count, expected) in [(0, 1), (99, 1), (101, 2), (200, 3)] {
            join_all((concerts..count).map(|_| platform.concert(9))).await;
            concerts = count;
            statements.0.store(0, Relaxed);
            platform.tickets.audit(1).await.unwrap();
            let name = &platform.name;
            assert_eq!(statements.0.load(Relaxed), expected, "{name}, {count}");
        }
    }
}

async fn execute(platform: &Platform, statement: &'static str) {
    if platform.url.starts_with("sqlite") {
        let pool = sqlx::SqlitePool::connect(&platform.url).await.unwrap();
        pool.execute(statement).await.unwrap();
    } else {
        let pool = sqlx::PgPool::connect(&platform.url).await.unwrap();
        pool.execute(statement).await.unwrap();
    }
}
