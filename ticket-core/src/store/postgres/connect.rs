//! Opening a PostgreSQL database: detection of poolers, migrations, required settings.

use std::net::IpAddr;

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, PgPool, Row,
    postgres::{PgConnectOptions, PgPoolOptions, PgSslMode},
};
use uuid::Uuid;

use super::session::{SessionMode, settings};
use crate::{
    Error,
    database_url::{PostgresUrl, TLS, WITHOUT_TLS},
    error::describe,
    store::{Failure, Probe, Timeouts, failure::migration_failed, migrate},
};

/// Key of the advisory lock that serializes migrations; "tickets" in ASCII.
const MIGRATION_LOCK: i64 = 0x0074_6963_6b65_7473;

/// Opens the pool, after the schema was migrated and the settings were checked.
pub(super) async fn open(
    url: &PostgresUrl,
    connections: u32,
    timeouts: Timeouts,
    probe: &Probe,
) -> Result<(PgPool, SessionMode), Error> {
    // Each process has its own name, so that servers can be counted.
    let random = Uuid::now_v7().simple().to_string();
    let options = url
        .options()?
        .application_name(&format!("tickets-{}", &random[20..]))
        // Poolers reject this parameter, and no column has a floating-point type.
        .extra_float_digits(None)
        .disable_statement_logging();
    if !TLS && matches!(options.get_ssl_mode(), PgSslMode::Prefer) && !is_local(&options) {
        tracing::warn!("the connection to PostgreSQL is not encrypted: {WITHOUT_TLS}");
    }
    let (options, mut connection, mode) = detect_pooler(options, timeouts, probe).await?;
    if mode.is_shared() {
        tracing::info!(
            "the database is behind a transaction pooler: statements are not cached, and every \
             read is a transaction"
        );
    }
    migrate(&mut connection, &mode).await?;
    check_settings(&mut connection, &mode).await?;
    connection.close().await.map_err(refused)?;
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(timeouts.connection)
        .test_before_acquire(false)
        .before_acquire({
            let health = probe.health.clone();
            move |_, idle| {
                // A test query would wait for its timeout if the host is unreachable.
                let suspect = health.is_suspect(idle.idle_for);
                Box::pin(async move { Ok(!suspect) })
            }
        })
        .connect_with(options)
        .await
        .map_err(cannot_connect)?;
    Ok((pool, mode))
}

fn is_local(options: &PgConnectOptions) -> bool {
    // IPv6 addresses in URLs have brackets.
    let host = options.get_host().trim_matches(['[', ']']);
    let is_loopback = |address: IpAddr| address.is_loopback();
    options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || host.parse().is_ok_and(is_loopback)
}

/// Connects, and finds out whether the session keeps its settings.
///
/// The timeouts are sent as startup parameters. PgBouncer rejects them, or ignores them if it is
/// configured to; a server applies them.
async fn detect_pooler(
    options: PgConnectOptions,
    timeouts: Timeouts,
    probe: &Probe,
) -> Result<(PgConnectOptions, PgConnection, SessionMode), Error> {
    let with_settings = options.clone().options(settings(timeouts));
    match probe.with_timeout(with_settings.connect()).await {
        Ok(mut connection) => {
            // `Executor` with a plain string uses the simple protocol, without a prepared statement.
            let setting = connection
                .fetch_one("SELECT setting FROM pg_settings WHERE name = 'statement_timeout'");
            let row = probe.with_timeout(setting).await.map_err(refused)?;
            let applied: String = row.try_get(0).map_err(refused)?;
            if applied == timeouts.statement.as_millis().to_string() {
                return Ok((with_settings, connection, SessionMode::Dedicated));
            }
            connection.close().await.map_err(refused)?;
        }
        Err(error) if refuses_startup_parameters(&error) => {}
        Err(error) => return Err(cannot_connect(error)),
    }
    let connecting = probe.with_timeout(options.connect());
    let connection = connecting.await.map_err(cannot_connect)?;
    Ok((options, connection, SessionMode::shared(timeouts)))
}

fn refuses_startup_parameters(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.message().contains("startup parameter"))
}

/// Migrates the schema in one transaction. If several processes start concurrently, one of them
/// migrates and the others wait for its lock.
async fn migrate(connection: &mut PgConnection, mode: &SessionMode) -> Result<(), Error> {
    // The lock ends with the transaction: a lock of the session would leak behind a pooler. With a
    // stricter isolation level, a process that waited for the lock would not see the migrations.
    let begin = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; \
         SET LOCAL idle_in_transaction_session_timeout = 0; \
         SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"
    );
    let mut transaction = connection
        .begin_with(AssertSqlSafe(begin))
        .await
        .map_err(refused)?;
    // The migrator names its prepared statements, which must not stay in a shared session.
    if mode.is_shared() {
        transaction
            .execute("DEALLOCATE ALL")
            .await
            .map_err(refused)?;
    }
    migrate::postgres()
        .run_direct(None, &mut *transaction, false)
        .await
        .map_err(migration_failed)?;
    if mode.is_shared() {
        transaction
            .execute("DEALLOCATE ALL")
            .await
            .map_err(refused)?;
    }
    transaction.commit().await.map_err(refused)
}

/// Checks the settings that durability depends on.
async fn check_settings(connection: &mut PgConnection, mode: &SessionMode) -> Result<(), Error> {
    let mut transaction = mode.begin(connection).await.map_err(refused)?;
    let row = transaction
        .fetch_one("SELECT current_setting('synchronous_commit'), current_setting('fsync')")
        .await
        .map_err(refused)?;
    let setting = |column: usize| -> Result<String, Error> { row.try_get(column).map_err(refused) };
    if setting(0)? == "off" {
        return Err(setup(
            "synchronous_commit is off, so that purchases would be acknowledged before they are \
             on disk; set it to on"
                .to_owned(),
        ));
    }
    if setting(1)? == "off" {
        tracing::warn!("fsync is off: a crash of the database host can lose purchases");
    }
    transaction.commit().await.map_err(refused)
}

/// Describes why no connection can be opened. What only an operator can change is
/// [`Error::Setup`].
fn cannot_connect(error: sqlx::Error) -> Error {
    match &error {
        sqlx::Error::Database(refusal) => match refusal.code().as_deref() {
            // The server demands TLS.
            Some(code)
                if code.starts_with("28") && !TLS && describe(&error).contains("no encryption") =>
            {
                setup(format!("{}; {WITHOUT_TLS}", describe(&error)))
            }
            Some(code) if code.starts_with("28") => setup(format!(
                "PostgreSQL rejected the user or the password: {}",
                describe(&error)
            )),
            Some("3D000") => setup(describe(&error)),
            _ => refused(error),
        },
        sqlx::Error::Tls(_) => setup(format!("TLS failed: {}", describe(&error))),
        // rustls reports a failed handshake as invalid data.
        sqlx::Error::Io(io) if io.kind() == std::io::ErrorKind::InvalidData => {
            setup(format!("TLS failed: {io}"))
        }
        sqlx::Error::Configuration(problem) => setup(problem.to_string()),
        _ => refused(error),
    }
}

fn setup(problem: String) -> Error {
    Error::Setup { problem }
}

fn refused(error: sqlx::Error) -> Error {
    Failure::from(error).into_error()
}
