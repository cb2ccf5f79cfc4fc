//! SQLite files that are deleted, replaced, damaged or on a full disk, and the size of the log.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::future::join_all;
use ticket_core::{Commit, Error, Options, Tickets};

use crate::{buy, new_concert};

/// Asserts that the database is unavailable, and returns why.
fn unavailable<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(error.retry_after().is_some());
    error.report()
}

async fn open(path: &Path, commit: Commit) -> Tickets {
    let options = Options {
        commit,
        ..Options::default()
    };
    let url = format!("sqlite://{}", path.display());
    Tickets::open(&url, options).await.unwrap()
}

#[tokio::test]
async fn a_file_that_is_opened_exclusively_is_locked_until_it_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, link) = (folder.path().join("a.db"), folder.path().join("b.db"));
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let exclusive = |path: &Path| {
        let url = format!("sqlite://{}", path.display());
        let options = Options {
            exclusive: true,
            ..Options::default()
        };
        async move { Tickets::open(&url, options).await }
    };
    for opened in [&link, &path] {
        let tickets = exclusive(opened).await.unwrap();
        assert_eq!(tickets.servers().await.unwrap(), Some(1));
        for path in [&path, &link] {
            let error = exclusive(path).await.unwrap_err();
            assert!(matches!(&error, Error::InUse { path: named } if named == path));
            assert!(error.report().contains("used by another server"));
        }
        // Tools may still open it.
        open(&path, Commit::Each).await.close().await;
        exclusive(&path).await.unwrap_err();
        tickets.ping().await.unwrap();
        tickets.close().await;
    }
}

/// Deletes or replaces a file. Returns the path that the error must name.
type Damage = fn(&Path) -> PathBuf;

#[tokio::test]
async fn purchases_fail_on_a_deleted_or_replaced_file_which_is_not_recreated() {
    let delete: Damage = |path| {
        fs::remove_file(path).unwrap();
        path.to_owned()
    };
    let delete_log: Damage = |path| {
        let log = path.with_extension("db-wal");
        fs::remove_file(&log).unwrap();
        log
    };
    let replace: Damage = |path| {
        let copy = path.with_extension("copy");
        fs::copy(path, &copy).unwrap();
        fs::rename(&copy, path).unwrap();
        path.to_owned()
    };
    let delete_folder: Damage = |path| {
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        path.to_owned()
    };
    for (name, damage) in [
        ("delete", delete),
        ("delete the log", delete_log),
        ("replace", replace),
        ("delete the folder", delete_folder),
    ] {
        for commit in [Commit::Each, Commit::Group] {
            let folder = tempfile::tempdir().unwrap();
            let folder = folder.path().join("data");
            fs::create_dir(&folder).unwrap();
            let path = folder.join("tickets.db");
            let tickets = open(&path, commit).await;
            let concert = tickets.create_concert(new_concert(10)).await.unwrap().id;
            let bought = buy(&tickets, concert, "ann", 1, None).await.unwrap();
            let damaged = damage(&path);
            let existed = path.exists();
            let payments = tickets.payments();

            let problem = unavailable(buy(&tickets, concert, "ann", 1, None).await);
            assert!(
                problem.contains(&damaged.display().to_string()) && problem.contains("restart"),
                "{name}: {problem}"
            );
            unavailable(tickets.refund(bought.purchase.id).await);
            unavailable(tickets.restock(concert, 1).await);
            unavailable(tickets.create_concert(new_concert(1)).await);
            unavailable(tickets.concert(concert).await);
            unavailable(tickets.ping().await);
            assert_eq!(path.exists(), existed, "{name}: an empty file was created");
            let after = tickets.payments();
            assert_eq!(after.captured, payments.captured, "{name}");
            assert_eq!(after.authorized, after.captured + after.voided, "{name}");
            tickets.close().await;
        }
    }
}

#[tokio::test]
async fn a_file_that_is_moved_back_is_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tickets.db");
    let moved = folder.path().join("moved.db");
    let tickets = open(&path, Commit::Group).await;
    let concert = tickets.create_concert(new_concert(10)).await.unwrap().id;
    fs::rename(&path, &moved).unwrap();
    unavailable(buy(&tickets, concert, "ann", 1, None).await);
    unavailable(tickets.ping().await);
    fs::rename(&moved, &path).unwrap();
    buy(&tickets, concert, "ann", 1, None).await.unwrap();
    tickets.ping().await.unwrap();
    assert!(tickets.totals().await.unwrap().balance());
}

#[tokio::test]
async fn a_damaged_file_is_not_written_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tickets.db");
    let tickets = open(&path, Commit::Group).await;
    let concert = tickets.create_concert(new_concert(10)).await.unwrap().id;
    let bought = buy(&tickets, concert, "ann", 1, None).await.unwrap();
    tickets.close().await;
    let page: u32 =
        sqlx::query_scalar("SELECT rootpage FROM sqlite_schema WHERE name = 'concerts'")
            .fetch_one(&mut connect(&format!("sqlite://{}", path.display())).await)
            .await
            .unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[(page as usize - 1) * 4096..][..4096].fill(0xff);
    fs::write(&path, &bytes).unwrap();

    let tickets = open(&path, Commit::Group).await;
    let problem = unavailable(tickets.create_concert(new_concert(1)).await);
    assert!(problem.contains("malformed (SQLite code 11)"), "{problem}");
    for problem in [
        unavailable(tickets.create_concert(new_concert(1)).await),
        unavailable(buy(&tickets, concert, "ann", 1, None).await),
        unavailable(tickets.refund(bought.purchase.id).await),
        unavailable(tickets.concert(concert).await),
        unavailable(tickets.ping().await),
    ] {
        assert!(
            problem.contains("tickets.db is damaged") && problem.contains("restore it"),
            "{problem}"
        );
    }
    tickets.close().await;
    assert!(fs::read(&path).unwrap() == bytes, "the file was written");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_rejected_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tickets.db");
    fs::write(&path, "not a database".repeat(1_000)).unwrap();
    let url = format!("sqlite://{}", path.display());
    let error = Tickets::open(&url, Options::default()).await.unwrap_err();
    assert!(matches!(error, Error::Setup { .. }), "{error:?}");
    let problem = error.to_string();
    assert!(
        problem.contains("tickets.db cannot be opened") && problem.contains("not a database"),
        "{problem}"
    );
}

/// Size from which a write truncates the log, and what may be written during one read.
const MAX_LOG: u64 = 16 * 1024 * 1024 + 4 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_bounded_while_some_read_is_always_in_progress() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tickets.db");
    let tickets = open(&path, Commit::Group).await;
    let log = path.with_extension("db-wal");
    let size = || fs::metadata(&log).unwrap().len();
    let url = format!("sqlite://{}", path.display());
    let done = Arc::new(AtomicBool::new(false));
    let readers = tokio::spawn({
        let done = done.clone();
        async move {
            let mut readers = [connect(&url).await, connect(&url).await];
            // Each read begins before the other one ends.
            sqlx::query("BEGIN").execute(&mut readers[0]).await.unwrap();
            while !done.load(Relaxed) {
                readers.swap(0, 1);
                let [next, last] = &mut readers;
                sqlx::query("BEGIN").execute(&mut *next).await.unwrap();
                let read = sqlx::query("SELECT count(*) FROM concerts");
                read.fetch_one(next).await.unwrap();
                sqlx::query("ROLLBACK").execute(last).await.unwrap();
            }
        }
    });
    let (mut written, mut largest, mut before) = (0, 0, 0);
    let concert = tickets.create_concert(new_concert(1_000_000)).await;
    let concert = concert.unwrap().id;
    while written < 2 * MAX_LOG {
        join_all((0..64).map(|buyer| {
            let buyer = format!("{buyer}{}", "ann".repeat(60));
            let tickets = &tickets;
            async move { buy(tickets, concert, &buyer, 1, None).await.unwrap() }
        }))
        .await;
        let now = size();
        written += now.saturating_sub(before);
        before = now;
        largest = largest.max(now);
    }
    done.store(true, Relaxed);
    readers.await.unwrap();
    assert!(largest <= MAX_LOG, "{largest} bytes");
    assert!(tickets.totals().await.unwrap().balance());
    tickets.close().await;
}

async fn connect(url: &str) -> sqlx::SqliteConnection {
    <sqlx::SqliteConnection as sqlx::Connection>::connect(url)
        .await
        .unwrap()
}

/// The path of the database of the process below.
const FULL_DISK: &str = "TICKETS_FULL_DISK";

/// Buys until the disk is full.
#[tokio::test]
#[ignore = "is run by the test below, in a process whose files have a size limit"]
async fn buys_on_a_full_disk() {
    let path = PathBuf::from(env::var(FULL_DISK).unwrap());
    for commit in [Commit::Each, Commit::Group] {
        let options = Options {
            commit,
            retry_timeout: Duration::from_millis(50),
            ..Options::default()
        };
        let url = format!(
            "sqlite://{}",
            path.with_extension(commit.as_str()).display()
        );
        let tickets = Tickets::open(&url, options).await.unwrap();
        let concert = tickets
            .create_concert(new_concert(100_000))
            .await
            .unwrap()
            .id;
        // A write that is smaller than the last one may still fit.
        let (mut bought, mut failed) = (0, 0);
        while failed < 10 {
            match buy(&tickets, concert, &"ann".repeat(60), 1, None).await {
                Ok(_) => (bought, failed) = (bought + 1, 0),
                Err(error) => {
                    assert!(
                        matches!(
                            error,
                            Error::Unavailable { .. } | Error::OutcomeUnknown { .. }
                        ),
                        "{error:?}"
                    );
                    assert!(error.report().contains("SQLite code"), "{}", error.report());
                    failed += 1;
                }
            }
        }
        let error = tickets.ping().await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        // Reads are served, and nothing that was acknowledged is lost.
        let totals = tickets.totals().await.unwrap();
        assert!(totals.balance());
        assert_eq!(totals.concerts[0].purchases, bought);
        tickets.close().await;
    }
}

#[test]
fn a_full_disk_is_an_outage_that_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // A file that exceeds its limit fails like a write to a full disk.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 250; exec \"$@\"", "sh"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "files::buys_on_a_full_disk", "--ignored"])
        .env(FULL_DISK, folder.path().join("tickets.db"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
}
