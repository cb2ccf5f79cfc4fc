//! A process that is killed under load. It runs this test binary again.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

use futures_util::future::join_all;
use ticket_core::{Commit, ConcertId, Options, PurchaseId, Tickets};

use crate::{buy, database, new_concert};

const KILLS: usize = 20;

/// The URL of the database, the commit mode and the concert, separated by spaces.
const ORDERS: &str = "TICKETS_TO_BUY";

/// Buys until it is killed, and prints every acknowledged purchase.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "is run, and killed, by the test below"]
async fn buys_until_killed() {
    let orders = env::var(ORDERS).unwrap();
    let [url, commit, concert] = orders.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{orders}");
    };
    let options = Options {
        commit: commit.parse().unwrap(),
        ..Options::default()
    };
    let tickets = Tickets::open(url, options).await.unwrap();
    let concert: ConcertId = concert.parse().unwrap();
    let buyers = (0..16).map(|_| {
        let tickets = tickets.clone();
        tokio::spawn(async move {
            loop {
                let bought = buy(&tickets, concert, "ann", 1, None).await.unwrap();
                let line = format!("\nbought {}.\n", bought.purchase.id);
                std::io::stdout().write_all(line.as_bytes()).unwrap();
            }
        })
    });
    join_all(buyers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn purchases_acknowledged_by_a_killed_process_exist_once() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite://{}/tickets.db", folder.path().display());
    for url in [Some(sqlite), database()].into_iter().flatten() {
        let tickets = Tickets::open(&url, Options::default()).await.unwrap();
        let concert = tickets
            .create_concert(new_concert(1_000_000))
            .await
            .unwrap()
            .id;
        tickets.close().await;
        let mut acknowledged = Vec::<PurchaseId>::new();
        for kill in 0..KILLS {
            let commit = [Commit::Each, Commit::Group][kill % 2];
            let mut process = Command::new(env::current_exe().unwrap())
                .args([
                    "--exact",
                    "kill::buys_until_killed",
                    "--ignored",
                    "--nocapture",
                ])
                .env(ORDERS, format!("{url} {commit} {concert}"))
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut wanted = 1 + kill * 37 % 120;
            for line in BufReader::new(process.stdout.take().unwrap()).lines() {
                // The last line may be incomplete.
                let line = line.unwrap();
                let Some(id) = line
                    .strip_prefix("bought ")
                    .and_then(|l| l.strip_suffix('.'))
                else {
                    continue;
                };
                acknowledged.push(id.parse().unwrap());
                wanted = wanted.saturating_sub(1);
                if wanted == 0 {
                    process.kill().unwrap();
                }
            }
            assert!(!process.wait().unwrap().success());
            assert_eq!(wanted, 0, "it ended before it was killed");
        }
        let tickets = Tickets::open(&url, Options::default()).await.unwrap();
        for id in &acknowledged {
            tickets.read_purchase(*id).await.unwrap();
        }
        let totals = tickets.totals().await.unwrap();
        assert!(totals.balance(), "{totals:?}");
        let line = &totals.concerts[0];
        assert!(line.purchases as usize >= acknowledged.len());
        eprintln!(
            "{}: {KILLS} kills, {} purchases acknowledged and found, {} there",
            url.split_once(':').unwrap().0,
            acknowledged.len(),
            line.purchases
        );
    }
}
