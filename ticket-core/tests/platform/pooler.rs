//! PostgreSQL behind PgBouncer, with transaction pooling.

use std::{
    env,
    path::Path,
    process::{Child, ChildStdin, Stdio},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use sqlx::Connection;
use ticket_core::{Commit, Error, Options, Tickets};

use crate::{SHARED, buy, cluster::Cluster, new_concert};

/// A PgBouncer that shares three server sessions.
struct Pooler {
    folder: tempfile::TempDir,
    process: Child,
    /// Ends the pooler when it is closed.
    pipe: Option<ChildStdin>,
}

impl Pooler {
    /// Starts a pooler in front of the cluster, or returns `None` if PgBouncer is not installed.
    async fn start(cluster: &Cluster, settings: &str) -> Option<Self> {
        let installed = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"]
            .iter()
            .find(|path| Path::new(path).exists());
        let Some(program) = installed else {
            assert!(env::var_os("CI").is_none(), "PgBouncer is not installed");
            eprintln!("SKIPPED: PgBouncer is not installed");
            return None;
        };
        let folder = tempfile::Builder::new()
            .prefix("tickets-pgbouncer-")
            .tempdir()
            .unwrap();
        let path = folder.path().display();
        let configuration = format!(
            "[databases]\n* = host={} port=5432\n[pgbouncer]\nlisten_addr =\nlisten_port = 6432\n\
             unix_socket_dir = {path}\nauth_type = trust\nauth_file = {path}/users\n\
             pool_mode = transaction\ndefault_pool_size = 3\nmax_client_conn = 200\n\
             logfile = {path}/log\n{settings}\n",
            cluster.folder().display()
        );
        std::fs::write(folder.path().join("users"), "\"postgres\" \"\"\n").unwrap();
        std::fs::write(folder.path().join("pgbouncer.ini"), configuration).unwrap();
        let opened = std::process::Command::new("chmod")
            .args(["-R", "a+rwX"])
            .arg(folder.path())
            .status();
        assert!(opened.unwrap().success());
        let script = format!(
            "'{program}' -q '{path}/pgbouncer.ini' 2>>'{path}/log' & pooler=$!
             read end; kill -TERM $pooler; wait $pooler"
        );
        let mut process = cluster
            .as_postgres(&script)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let pipe = process.stdin.take();
        let pooler = Self {
            folder,
            process,
            pipe,
        };
        let begun = Instant::now();
        while sqlx::PgConnection::connect(&format!(
            "{}&statement-cache-capacity=0",
            pooler.url("postgres")
        ))
        .await
        .is_err_and(|error| !error.to_string().contains("startup parameter"))
        {
            let log = std::fs::read_to_string(pooler.folder.path().join("log"));
            assert!(begun.elapsed() < Duration::from_secs(120), "{log:?}");
        }
        Some(pooler)
    }

    fn url(&self, database: &str) -> String {
        let folder = self.folder.path().display();
        format!("postgres://postgres@localhost:6432/{database}?host={folder}")
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn purchases_are_made_through_a_transaction_pooler() {
    let Some(cluster) = SHARED.as_ref() else {
        return;
    };
    for (number, settings) in [
        "",
        "ignore_startup_parameters = options, extra_float_digits",
        "server_reset_query_always = 1",
    ]
    .into_iter()
    .enumerate()
    {
        let Some(pooler) = Pooler::start(cluster, settings).await else {
            return;
        };
        let name = format!("pooled_{number}");
        let direct = cluster.create_database(&name);
        // Several servers start and migrate concurrently.
        let opening = (0..4).map(|_| async {
            Tickets::open(&pooler.url(&name), crate::options())
                .await
                .unwrap_or_else(|error| panic!("{settings}: {}", error.report()))
        });
        let servers = join_all(opening).await;
        let concert = new_concert(120).max_per_buyer(50).unwrap();
        let concert = servers[0].create_concert(concert).await.unwrap().id;
        servers[2].set_commit(Commit::Each);
        servers[3].set_commit(Commit::Each);
        let bought = join_all((0..160).map(|n| {
            let (server, buyer) = (&servers[n % 4], format!("buyer {}", n % 5));
            let key = (n % 3 == 0).then(|| format!("key {n}"));
            async move { buy(server, concert, &buyer, 1, key.as_deref()).await }
        }))
        .await;
        let sold = bought.iter().filter(|result| result.is_ok()).count();
        assert_eq!(sold, 120, "{settings}");
        for error in bought.iter().filter_map(|result| result.as_ref().err()) {
            assert!(matches!(error, Error::SoldOut { .. }), "{error:?}");
        }
        let first = bought[0].as_ref().unwrap();
        let again = buy(&servers[1], concert, "buyer 0", 1, Some("key 0")).await;
        assert!(again.unwrap().replayed);
        servers[1].refund(first.purchase.id).await.unwrap();
        servers[2].restock(concert, 5).await.unwrap();
        let totals = servers[3].totals().await.unwrap();
        assert!(totals.balance());
        assert_eq!(totals.concerts[0].tickets, 119);
        for server in &servers {
            server.ping().await.unwrap();
            assert_eq!(server.servers().await.unwrap(), None);
        }
        let mut direct = sqlx::PgConnection::connect(&direct).await.unwrap();
        let locks: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
             WHERE locktype = 'advisory' AND datname = current_database()",
        )
        .fetch_one(&mut direct)
        .await
        .unwrap();
        assert_eq!(locks, 0, "an advisory lock is left");
        for server in servers {
            server.close().await;
        }
    }
}

#[tokio::test]
async fn timeouts_apply_behind_a_transaction_pooler_and_do_not_leak_into_its_sessions() {
    let Some(cluster) = SHARED.as_ref() else {
        return;
    };
    let Some(pooler) = Pooler::start(cluster, "").await else {
        return;
    };
    let direct = cluster.create_database("pooled_timeouts");
    let options = Options {
        lock_timeout: Duration::from_millis(200),
        ..Options::default()
    };
    let tickets = Tickets::open(&pooler.url("pooled_timeouts"), options)
        .await
        .unwrap();
    let concert = tickets.create_concert(new_concert(10)).await.unwrap().id;
    let mut other = sqlx::PgConnection::connect(&direct).await.unwrap();
    let mut lock = other.begin().await.unwrap();
    sqlx::query("SELECT FROM concerts WHERE id = $1 FOR UPDATE")
        .bind(concert.as_uuid())
        .execute(&mut *lock)
        .await
        .unwrap();
    let error = buy(&tickets, concert, "ann", 1, None).await.unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error:?}");
    lock.rollback().await.unwrap();
    buy(&tickets, concert, "ann", 1, None).await.unwrap();

    let url = format!(
        "{}&statement-cache-capacity=0",
        pooler.url("pooled_timeouts")
    );
    let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
    let options = options.extra_float_digits(None);
    let mut client = sqlx::PgConnection::connect_with(&options).await.unwrap();
    let row = sqlx::Executor::fetch_one(&mut client, "SHOW lock_timeout")
        .await
        .unwrap();
    let timeout: String = sqlx::Row::try_get(&row, 0).unwrap();
    assert_eq!(timeout, "0");
}
