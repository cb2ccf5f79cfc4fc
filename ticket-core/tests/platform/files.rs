//! SQLite files that are deleted, replaced or on a full disk.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

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
