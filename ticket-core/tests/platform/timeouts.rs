//! What holds when the database takes long, or others hold what is needed.

use std::time::{Duration, Instant};

use sqlx::{Connection, Executor, PgConnection, SqliteConnection};
use ticket_core::{Error, Options};

use crate::{Platform, platforms_with};

/// Makes whatever `slow` buys take a minute and more.
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
async fn a_statement_that_takes_too_long_is_broken_off_and_changes_nothing() {
    let options = Options {
        statement_timeout: Duration::from_millis(200),
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
            matches!(error, Error::Overloaded { .. }),
            "{}: {error:?}",
            platform.name
        );
        assert!(error.retry_after().is_some());
        assert!(begun.elapsed() < Duration::from_secs(30));
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
