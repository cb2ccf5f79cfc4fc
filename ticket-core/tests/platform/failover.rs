//! PostgreSQL servers that freeze, reject connections or do not accept writes.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::future::join_all;
use sqlx::Connection;
use ticket_core::{Commit, Error, Observer, Options, Tickets};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::{SHARED, buy, cluster::Cluster, new_concert, options};

/// Options under which an outage is noticed in a few seconds, and a busy server is no outage.
fn impatient(commit: Commit) -> Options {
    Options {
        commit,
        connections: 4,
        connection_timeout: Duration::from_secs(1),
        lock_timeout: Duration::from_secs(1),
        statement_timeout: Duration::from_secs(1),
        retry_timeout: Duration::from_millis(300),
        ..Options::default()
    }
}

/// Collects the messages and fields of errors in the log.
#[derive(Clone, Default)]
struct Errors(Arc<Mutex<Vec<String>>>);

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR && metadata.target().starts_with("ticket_core")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        struct Text(String);

        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0.push_str(&format!("{field}={value:?} "));
            }
        }

        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Asserts that an error is the server's state: it can be retried later.
fn assert_transient(error: &Error) {
    assert!(
        matches!(
            error,
            Error::Busy { .. } | Error::Unavailable { .. } | Error::OutcomeUnknown { .. }
        ),
        "{error:?}"
    );
    assert!(error.retry_after().is_some());
}

#[tokio::test]
async fn a_frozen_server_makes_the_platform_unready_until_it_continues() {
    let Some(cluster) = Cluster::start("-c fsync=off") else {
        return;
    };
    for commit in [Commit::Each, Commit::Group] {
        let url = cluster.create_database(&format!("frozen_{commit}"));
        let tickets = Tickets::open(&url, impatient(commit)).await.unwrap();
        let concert = tickets.create_concert(new_concert(1000)).await.unwrap().id;
        let log = Errors::default();
        let guard = tracing::subscriber::set_default(log.clone());
        {
            let _frozen = cluster.freeze();
            let buying = join_all((0..24).map(|_| buy(&tickets, concert, "ann", 1, None)));
            for result in buying.await {
                assert_transient(&result.unwrap_err());
            }
            assert_transient(&tickets.concert(concert).await.unwrap_err());
            assert_transient(&tickets.ping().await.unwrap_err());
        }
        drop(guard);
        let log = std::mem::take(&mut *log.0.lock().unwrap());
        assert!(!log.is_empty());
        assert!(log.len() <= 4, "one line per class of failures: {log:#?}");
        while tickets.ping().await.is_err() {}
        buy(&tickets, concert, "ann", 1, None).await.unwrap();
        tickets.close().await;
    }
}

#[tokio::test]
async fn the_connection_limit_of_a_role_is_the_servers_state_and_its_cause_is_logged() {
    let Some(cluster) = SHARED.as_ref() else {
        return;
    };
    let url = cluster.create_database("role_limit");
    cluster.sql(
        "role_limit",
        "CREATE ROLE limited LOGIN CONNECTION LIMIT 1; GRANT ALL ON SCHEMA public TO limited",
    );
    let url = url.replace("postgres@", "limited@");
    let log = Errors::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let tickets = Tickets::open(&url, impatient(Commit::Each)).await.unwrap();
    let concert = tickets.create_concert(new_concert(1000)).await.unwrap().id;
    let mut lock = sqlx::PgConnection::connect(&url.replace("limited@", "postgres@"))
        .await
        .unwrap();
    let mut lock = lock.begin().await.unwrap();
    sqlx::query("LOCK TABLE concerts")
        .execute(&mut *lock)
        .await
        .unwrap();
    for result in join_all((0..8).map(|_| buy(&tickets, concert, "ann", 1, None))).await {
        assert_transient(&result.unwrap_err());
    }
    lock.rollback().await.unwrap();
    let logged = || {
        let log = log.0.lock().unwrap();
        log.iter()
            .any(|line| line.contains("too many connections for role"))
    };
    while !logged() {
        tokio::task::yield_now().await;
    }
    while buy(&tickets, concert, "ann", 1, None).await.is_err() {}
}

#[tokio::test]
async fn read_only_sessions_are_closed_and_the_platform_is_unready_while_writes_fail() {
    let Some(cluster) = SHARED.as_ref() else {
        return;
    };
    for commit in [Commit::Each, Commit::Group] {
        let name = format!("read_only_{commit}");
        let url = cluster.create_database(&name);
        // Every purchase opens a connection, because the one before was closed.
        let patient = Options {
            connection_timeout: options().connection_timeout,
            ..impatient(commit)
        };
        let tickets = Tickets::open(&url, patient).await.unwrap();
        let concert = tickets.create_concert(new_concert(1000)).await.unwrap().id;
        let bought = buy(&tickets, concert, "ann", 1, None).await.unwrap();
        // As on the former primary after a failover, existing sessions included.
        cluster.sql(
            &name,
            &format!(
                "ALTER DATABASE {name} SET default_transaction_read_only = on; \
                 SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE datname = '{name}' AND pid <> pg_backend_pid()"
            ),
        );
        for _ in 0..8 {
            let error = buy(&tickets, concert, "ann", 1, None).await.unwrap_err();
            assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
            assert!(error.report().contains("25006"), "{}", error.report());
        }
        let error = tickets.refund(bought.purchase.id).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        let error = tickets.restock(concert, 1).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        assert_transient(&tickets.ping().await.unwrap_err());
        // Reads are served.
        tickets.concert(concert).await.unwrap();
        assert_transient(&tickets.ping().await.unwrap_err());

        cluster.sql(
            &name,
            &format!(
                "SET default_transaction_read_only = off; \
                 ALTER DATABASE {name} RESET default_transaction_read_only"
            ),
        );
        // No session has to be closed manually.
        for _ in 0..20 {
            buy(&tickets, concert, "ann", 1, None).await.unwrap();
        }
        tickets.ping().await.unwrap();
    }
}

#[tokio::test]
async fn a_platform_that_starts_on_a_read_only_database_does_not_become_ready() {
    let Some(cluster) = SHARED.as_ref() else {
        return;
    };
    let url = cluster.create_database("standby");
    Tickets::open(&url, options()).await.unwrap().close().await;
    cluster.sql(
        "standby",
        "ALTER DATABASE standby SET default_transaction_read_only = on",
    );
    match Tickets::open(&url, options()).await {
        Err(error) => assert_transient(&error),
        Ok(tickets) => assert_transient(&tickets.ping().await.unwrap_err()),
    }
}

/// Counts the pings that have tested the database.
#[derive(Default)]
struct Pings(AtomicU32);

impl Observer for Pings {
    fn database_operation(&self, _: &'static str, operation: &'static str, _: Duration, _: bool) {
        if operation == "ping" {
            self.0.fetch_add(1, Relaxed);
        }
    }
}

#[tokio::test]
async fn a_database_whose_disk_has_no_room_for_purchases_is_not_ready() {
    let Some(cluster) = SHARED.as_ref() else {
        return;
    };
    let name = "full";
    let url = cluster.create_database(name);
    let pings = Arc::new(Pings::default());
    let options = Options {
        observer: pings.clone(),
        ..impatient(Commit::Group)
    };
    let tickets = Tickets::open(&url, options).await.unwrap();
    let concert = tickets.create_concert(new_concert(1000)).await.unwrap().id;
    // A concert's row can still be written, in the free space of its page.
    cluster.sql(
        name,
        "CREATE FUNCTION extend() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN RAISE ''could not extend file'' USING ERRCODE = ''disk_full''; END'; \
         CREATE TRIGGER extend BEFORE INSERT ON purchases FOR EACH ROW EXECUTE FUNCTION extend()",
    );
    let error = buy(&tickets, concert, "ann", 1, None).await.unwrap_err();
    assert!(error.report().contains("53100"), "{}", error.report());
    while pings.0.load(Relaxed) < 2 {
        let error = tickets.ping().await.unwrap_err();
        assert!(error.report().contains("53100"), "{}", error.report());
    }
    cluster.sql(name, "DROP TRIGGER extend ON purchases");
    while tickets.ping().await.is_err() {}
    buy(&tickets, concert, "ann", 1, None).await.unwrap();
    let totals = tickets.totals().await.unwrap();
    assert_eq!(totals.concerts[0].purchases, 1, "a test left purchases");
    assert!(totals.balance(), "{totals:?}");
}

#[tokio::test]
async fn a_password_that_was_changed_is_an_outage() {
    let Some(cluster) = SHARED.as_ref() else {
        return;
    };
    let name = "rotated";
    let url = cluster.create_database(name);
    cluster.sql(
        name,
        "CREATE ROLE rotated LOGIN; GRANT ALL ON SCHEMA public TO rotated",
    );
    let url = url.replace("postgres@", "rotated@");
    let tickets = Tickets::open(&url, impatient(Commit::Each)).await.unwrap();
    let concert = tickets.create_concert(new_concert(1000)).await.unwrap().id;
    cluster.sql(
        name,
        "ALTER ROLE rotated NOLOGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE usename = 'rotated'",
    );
    while tickets.ping().await.is_ok() {}
    let error = buy(&tickets, concert, "ann", 1, None).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    cluster.sql(name, "ALTER ROLE rotated LOGIN");
    buy(&tickets, concert, "ann", 1, None).await.unwrap();
    tickets.ping().await.unwrap();
}

#[tokio::test]
async fn a_migration_by_another_server_does_not_fail_requests_on_open_sessions() {
    let Some(cluster) = SHARED.as_ref() else {
        return;
    };
    let url = cluster.create_database("migrated");
    let tickets = Tickets::open(&url, options()).await.unwrap();
    let concert = tickets.create_concert(new_concert(100)).await.unwrap();
    // Prepares the statements on several sessions.
    join_all((0..8).map(|_| tickets.concert(concert.id))).await;
    let bought = buy(&tickets, concert.id, "ann", 1, None).await.unwrap();
    cluster.sql(
        "migrated",
        "ALTER TABLE concerts ALTER COLUMN title TYPE varchar(300); \
         ALTER TABLE purchases ALTER COLUMN buyer TYPE varchar(300)",
    );
    for result in join_all((0..8).map(|_| tickets.concert(concert.id))).await {
        assert_eq!(result.unwrap().title, concert.title);
    }
    tickets.refund(bought.purchase.id).await.unwrap();
    buy(&tickets, concert.id, "ann", 1, None).await.unwrap();
}
