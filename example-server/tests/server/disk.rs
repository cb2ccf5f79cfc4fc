//! Durability, and disks that are full or damaged.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use sqlx::{Connection, SqliteConnection};

use crate::process::{Server, order, sqlite, until, value};

const PURCHASES: usize = 5;

/// Relevant system call of a traced process.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    /// A purchase request was received.
    Received,
    /// The write-ahead log was written.
    Written,
    /// The write-ahead log was synced.
    Synced,
    /// Sending a 201 response began.
    Responded,
}

#[tokio::test]
async fn a_purchase_is_on_disk_before_its_response_is_sent() {
    // Containers may forbid ptrace.
    let traces = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .status();
    if !traces.is_ok_and(|status| status.success()) {
        assert!(env::var_os("CI").is_none(), "strace cannot trace processes");
        eprintln!("SKIPPED: strace cannot trace processes");
        return;
    }
    for commit in ["each", "group"] {
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("trace");
        let mut server = Server::traced(&trace, &sqlite(folder.path()), &["--commit", commit]);
        let concert = server.concert(100).await;
        let path = format!("/concerts/{concert}/purchases");
        for _ in 0..PURCHASES {
            let response = server.post(&path, &order("Ada", 1)).await;
            assert_eq!(response.status, 201);
        }
        server.kill();
        let mut traced = String::new();
        until("the trace is complete", async || {
            traced = fs::read_to_string(&trace).unwrap();
            traced.ends_with("+++ killed by SIGKILL +++\n")
        })
        .await;

        let events = events(&traced);
        let received: Vec<_> = (0..events.len())
            .filter(|at| events[*at] == Event::Received)
            .collect();
        assert_eq!(received.len(), PURCHASES, "{commit}: {events:?}");
        for at in received {
            let events = &events[at..];
            let responded = events.iter().position(|event| *event == Event::Responded);
            let events = &events[..responded.unwrap()];
            let written = events.iter().rposition(|event| *event == Event::Written);
            let synced = events.iter().rposition(|event| *event == Event::Synced);
            assert!(
                written.is_some() && synced > written,
                "{commit}: written, synced, and then responded: {events:?}"
            );
        }
    }
}

/// Fills a file until the disk is full, except for `left` bytes.
fn fill(path: &Path, left: u64) {
    let mut file = fs::File::create(path).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    let size = file.metadata().unwrap().len();
    file.set_len(size - left).unwrap();
}

#[tokio::test]
async fn a_server_on_a_full_disk_is_not_ready_until_a_purchase_fits_again() {
    // Containers may forbid mounts.
    let mounts = Command::new("unshare")
        .args(["--map-root-user", "--mount", "mount", "-t", "tmpfs"])
        .args(["tmpfs", "/mnt"])
        .status();
    if !mounts.is_ok_and(|status| status.success()) {
        assert!(env::var_os("CI").is_none(), "unshare cannot mount tmpfs");
        eprintln!("SKIPPED: unshare cannot mount tmpfs");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Server::on_a_small_disk(folder.path(), "2m", &[]);
    let concert = server.concert(100_000).await;
    let path = format!("/concerts/{concert}/purchases");
    let filler = server.path(&folder.path().join("filler"));
    // A page fits, and a purchase does not.
    fill(&filler, 8192);
    let mut sold = 0;
    let failed = loop {
        let response = server.post(&path, &order(&"Ada".repeat(60), 1)).await;
        if response.status != 201 {
            break response;
        }
        sold += 1;
    };
    assert_eq!(failed.status, 503);
    assert_eq!(failed.headers["retry-after"], "1");
    let logged = server.logs("database operation failed");
    assert_eq!(logged["level"], "ERROR");
    assert!(logged.to_string().contains("full"), "{logged}");
    let pings = async || {
        let name = "db_client_operation_duration_seconds_count";
        server.metric(name, &["\"ping\""]).await
    };
    let before = pings().await;
    until("writes have been tested twice", async || {
        let ready = server.ops.get("/readyz").await.unwrap();
        assert_eq!(ready.status, 503);
        let ready = value(&ready).to_string();
        assert!(ready.contains("full"), "{ready}");
        pings().await >= before + 2.0
    })
    .await;
    assert_eq!(server.ops.get("/livez").await.unwrap().status, 200);

    fs::remove_file(filler).unwrap();
    until("the server is ready", async || {
        server.ops.get("/readyz").await.unwrap().status == 200
    })
    .await;
    assert_eq!(server.post(&path, &order("Ada", 1)).await.status, 201);
    let concert = server.api.get(&format!("/concerts/{concert}")).await;
    assert_eq!(value(&concert.unwrap())["sold"], sold + 1);
}

#[tokio::test]
async fn a_server_on_a_damaged_database_is_not_ready_and_sells_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let database = sqlite(folder.path());
    let mut server = Server::on(&database, &[]);
    let concert = server.concert(100).await;
    server.signal("TERM");
    assert!(server.ended().await.success());
    let page: u32 =
        sqlx::query_scalar("SELECT rootpage FROM sqlite_schema WHERE name = 'purchases'")
            .fetch_one(&mut SqliteConnection::connect(&database).await.unwrap())
            .await
            .unwrap();
    let file = folder.path().join("tickets.db");
    let mut bytes = fs::read(&file).unwrap();
    bytes[(page as usize - 1) * 4096..][..4096].fill(0xff);
    fs::write(&file, bytes).unwrap();

    let server = Server::on(&database, &[]);
    let path = format!("/concerts/{concert}/purchases");
    let failed = server.post(&path, &order("Ada", 1)).await;
    assert_eq!(failed.status, 503);
    assert_eq!(failed.headers["retry-after"], "1");
    let ready = server.ops.get("/readyz").await.unwrap();
    assert_eq!(ready.status, 503);
    let ready = value(&ready).to_string();
    assert!(
        ready.contains("tickets.db is damaged") && ready.contains("restore"),
        "{ready}"
    );
    let logged = server
        .logs("the database file is damaged: restore it from a backup and restart the server");
    assert_eq!(logged["level"], "ERROR");
}

/// Parses the output of `strace -f -y`, which has two lines for a call that another thread
/// interrupted.
fn events(trace: &str) -> Vec<Event> {
    let mut begun = HashMap::new();
    let mut events = Vec::new();
    for line in trace.lines() {
        let (thread, call) = line.split_once(' ').unwrap();
        let call = call.trim_start();
        let resumed = call.starts_with("<... ");
        let of = match (resumed, call.ends_with("<unfinished ...>")) {
            (true, _) => begun.remove(thread).unwrap_or(call),
            (false, unfinished) => {
                if unfinished {
                    begun.insert(thread, call);
                }
                call
            }
        };
        let ends = !call.ends_with("<unfinished ...>");
        let name = of.split('(').next().unwrap();
        let log = of.contains("tickets.db-wal>");
        events.extend(match name {
            "recvfrom" if ends && call.contains("/purchases HTTP/1.1") => Some(Event::Received),
            "pwrite64" if ends && log => Some(Event::Written),
            // Counts once the call has returned.
            "fdatasync" | "fsync" if ends && log && call.ends_with("= 0") => Some(Event::Synced),
            // Counts once the call begins.
            "writev" | "sendto" if !resumed && call.contains("HTTP/1.1 201") => {
                Some(Event::Responded)
            }
            _ => None,
        });
    }
    events
}
