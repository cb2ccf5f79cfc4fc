use std::borrow::Cow;

use sqlx::{
    SqlSafeStr,
    migrate::{Migration, MigrationType, Migrator},
};

/// The migrations of SQLite, in the binary.
pub(super) fn sqlite() -> Migrator {
    migrator(&[(
        1,
        "concerts and purchases",
        include_str!("../../migrations/sqlite/0001_concerts_and_purchases.sql"),
    )])
}

/// The migrations of PostgreSQL, in the binary.
pub(super) fn postgres() -> Migrator {
    migrator(&[(
        1,
        "concerts and purchases",
        include_str!("../../migrations/postgres/0001_concerts_and_purchases.sql"),
    )])
}

fn migrator(steps: &'static [(i64, &'static str, &'static str)]) -> Migrator {
    let steps = steps.iter().map(|&(version, description, sql)| {
        Migration::new(
            version,
            Cow::Borrowed(description),
            MigrationType::Simple,
            sql.into_sql_str(),
            false,
        )
    });
    let mut migrator = Migrator::with_migrations(steps.collect());
    // A server of the last release may start after one of the next has migrated.
    migrator.set_ignore_missing(true);
    migrator
}
