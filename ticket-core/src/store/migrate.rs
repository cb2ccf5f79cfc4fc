//! Schema migrations, embedded in the binary.

use std::borrow::Cow;

use sqlx::{
    SqlSafeStr,
    migrate::{Migration, MigrationType, Migrator},
};

/// Returns the migrations of SQLite.
pub(super) fn sqlite() -> Migrator {
    migrator(&[(
        1,
        "concerts and purchases",
        include_str!("../../migrations/sqlite/0001_concerts_and_purchases.sql"),
    )])
}

/// Returns the migrations of PostgreSQL.
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
    // During a rolling update, a server of the previous release may start after a newer one has
    // migrated.
    migrator.set_ignore_missing(true);
    migrator
}
