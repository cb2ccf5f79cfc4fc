//! What holds when the database goes away.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use ticket_core::{Commit, Error, Options, PurchaseId, Tickets};

use crate::{
    Platform, buy,
    cluster::Cluster,
    database, new_concert,
    proxy::{Cut, Proxy},
};

/// Waits for a condition, and gives up when it can no longer be hoped for.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(30), "in vain: {what}");
        tokio::task::yield_now().await;
    }
}

/// A platform behind a proxy; none where there is no PostgreSQL.
async fn behind_proxy(commit: Commit, retry_timeout: Duration) -> Option<(Proxy, Platform)> {
    behind_proxy_with(Options {
        commit,
        retry_timeout,
        ..Options::default()
    })
    .await
}

async fn behind_proxy_with(options: Options) -> Option<(Proxy, Platform)> {
    let (proxy, url) = Proxy::start(&database()?);
    let platform = Platform {
        name: format!("{}", options.commit),
        tickets: Tickets::open(&url, options).await.unwrap(),
        url,
        _folder: Arc::new(tempfile::tempdir().unwrap()),
    };
    Some((proxy, platform))
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_looked_up_and_not_made_twice() {
    for commit in [Commit::Each, Commit::Group] {
        let retry_timeout = Duration::from_secs(10);
        let Some((proxy, platform)) = behind_proxy(commit, retry_timeout).await else {
            return;
        };
        for cut in [Cut::AfterCommit, Cut::BeforeCommit] {
            // Found under its own key and with nothing left, it is still the one that bought.
            let concert = platform.concert(2).await;
            proxy.cut(cut, false);
            let bought = platform
                .buy_as("ann", &concert, 2, Some("k"))
                .await
                .unwrap();
            assert!(!bought.replayed, "{commit}, {cut:?}");
            let read = platform
                .tickets
                .read_purchase(bought.purchase.id)
                .await
                .unwrap();
            assert_eq!(read, bought.purchase);
            for line in platform.check_books().await.concerts {
                assert_eq!(line.purchases, 1, "{commit}, {cut:?}");
            }
        }
        let concert = platform.concert(1).await;
        // A refund finds its own.
        let purchase = platform.buy(&concert, 1).await.unwrap().purchase;
        proxy.cut(Cut::AfterCommit, false);
        platform.tickets.refund(purchase.id).await.unwrap();
        platform.check_books().await;
    }
}

#[tokio::test]
async fn an_outcome_that_cannot_be_looked_up_in_time_is_unknown_and_settled_later() {
    for commit in [Commit::Each, Commit::Group] {
        for cut in [Cut::AfterCommit, Cut::BeforeCommit] {
            let retry_timeout = Duration::from_millis(50);
            let Some((proxy, platform)) = behind_proxy(commit, retry_timeout).await else {
                return;
            };
            let concert = platform.concert(3).await;
            proxy.cut(cut, true);
            let error = platform
                .buy_as("ann", &concert, 1, Some("k"))
                .await
                .unwrap_err();
            let Error::OutcomeUnknown { purchase, .. } = error else {
                panic!("{commit}, {cut:?}: {error:?}");
            };
            let payments = platform.tickets.payments();
            assert_eq!(
                (payments.captured, payments.voided),
                (0, 0),
                "not settled yet"
            );
            proxy.open();
            let settled = || {
                let payments = platform.tickets.payments();
                payments.captured + payments.voided == 1
            };
            until("the payment is settled", settled).await;
            let read = platform.tickets.read_purchase(purchase).await;
            assert_eq!(read.is_ok(), cut == Cut::AfterCommit, "{read:?}");
            let again = platform
                .buy_as("ann", &concert, 1, Some("k"))
                .await
                .unwrap();
            assert_eq!(again.replayed, cut == Cut::AfterCommit);
            let line = &platform.check_books().await.concerts[0];
            assert_eq!(line.purchases, 1, "{commit}, {cut:?}");
        }
    }
}

#[tokio::test]
async fn a_refund_whose_outcome_is_unknown_is_brought_to_its_end_and_paid_back_once() {
    for cut in [Cut::AfterCommit, Cut::BeforeCommit] {
        let retry_timeout = Duration::from_millis(50);
        let Some((proxy, platform)) = behind_proxy(Commit::Group, retry_timeout).await else {
            return;
        };
        let concert = platform.concert(3).await;
        let bought = platform.buy(&concert, 2).await.unwrap().purchase;
        proxy.cut(cut, true);
        let error = platform.tickets.refund(bought.id).await.unwrap_err();
        assert!(
            matches!(error, Error::OutcomeUnknown { purchase, .. } if purchase == bought.id),
            "{cut:?}: {error:?}"
        );
        assert_ne!(platform.tickets.payments().amount, 0, "not settled yet");
        proxy.open();
        let paid_back = || platform.tickets.payments().amount == 0;
        until("it is paid back", paid_back).await;
        platform.tickets.refund(bought.id).await.unwrap();
        let line = &platform.check_books().await.concerts[0];
        assert_eq!((line.refunds, line.tickets), (1, 0), "{cut:?}");
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_is_given_up_and_its_successor_serves() {
    for commit in [Commit::Each, Commit::Group] {
        let options = Options {
            commit,
            connection_timeout: Duration::from_millis(200),
            statement_timeout: Duration::from_millis(200),
            ..Options::default()
        };
        let Some((proxy, platform)) = behind_proxy_with(options).await else {
            return;
        };
        let tickets = &platform.tickets;
        let concert = platform.concert(1000).await.id;
        // Tries again until it knows, as a client with a key should.
        let knows = async |buyer: usize| loop {
            let key = format!("{buyer}");
            match buy(tickets, concert, "ann", 1, Some(&key)).await {
                Ok(bought) => return bought.purchase.id,
                Err(error) => assert!(error.retry_after().is_some(), "{error:?}"),
            }
        };
        let reads = async || loop {
            match tickets.concert(concert).await {
                Ok(_) => return,
                Err(error) => assert!(error.retry_after().is_some(), "{error:?}"),
            }
        };
        // As many connections are open as there can be.
        join_all((0..50).map(knows)).await;
        proxy.silence();
        // Some leave before they hear anything.
        let leaving = join_all((0..50).map(|_| reads()));
        let left = tokio::time::timeout(Duration::from_millis(50), leaving).await;
        assert!(left.is_err(), "{commit}: it is not silent");
        let all = async {
            let ids = join_all((50..100).map(knows));
            let (ids, _) = tokio::join!(ids, join_all((0..50).map(|_| reads())));
            ids
        };
        let ids = tokio::time::timeout(Duration::from_secs(30), all).await;
        for id in ids.unwrap_or_else(|_| panic!("{commit}: it does not recover")) {
            tickets.read_purchase(id).await.unwrap();
        }
        let settled = || {
            let payments = tickets.payments();
            payments.authorized == payments.captured + payments.voided
        };
        until("every payment is settled", settled).await;
        assert_eq!(platform.check_books().await.concerts[0].purchases, 100);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_and_starts_in_mid_load_loses_nothing_acknowledged() {
    let Some(mut cluster) = Cluster::start("") else {
        return;
    };
    for commit in [Commit::Each, Commit::Group] {
        let url = cluster.create_database(&format!("outage_{commit}"));
        let options = Options {
            commit,
            retry_timeout: Duration::from_millis(300),
            connection_timeout: Duration::from_millis(300),
            ..Options::default()
        };
        let tickets = Tickets::open(&url, options).await.unwrap();
        let concert = tickets
            .create_concert(new_concert(1_000_000))
            .await
            .unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let failed = Arc::new(AtomicUsize::new(0));
        let acknowledged = Arc::new(Mutex::new(Vec::<PurchaseId>::new()));
        let buyers: Vec<_> = (0..12)
            .map(|buyer| {
                let tickets = tickets.clone();
                let (stop, failed) = (stop.clone(), failed.clone());
                let acknowledged = acknowledged.clone();
                tokio::spawn(async move {
                    for number in 0.. {
                        let key = format!("{buyer}-{number}");
                        // Tries again until it knows, as a client with a key should.
                        let bought = loop {
                            match buy(&tickets, concert.id, "ann", 1, Some(&key)).await {
                                Ok(bought) => break bought,
                                Err(
                                    Error::Unavailable { .. }
                                    | Error::OutcomeUnknown { .. }
                                    | Error::Busy { .. },
                                ) => failed.fetch_add(1, SeqCst),
                                Err(error) => panic!("{error:?}"),
                            };
                        };
                        acknowledged.lock().unwrap().push(bought.purchase.id);
                        if stop.load(SeqCst) {
                            return;
                        }
                    }
                })
            })
            .collect();
        let count = || acknowledged.lock().unwrap().len();
        // Ended politely, and as by a crash.
        for signal in ["INT", "QUIT", "QUIT"] {
            let before = count();
            until("purchases are made", || count() >= before + 30).await;
            let failures = failed.load(SeqCst);
            cluster.down(signal);
            until("failures are told", || failed.load(SeqCst) > failures).await;
            cluster.up();
        }
        let before = count();
        until("it recovers by itself", || count() >= before + 30).await;
        stop.store(true, SeqCst);
        for buyer in buyers {
            buyer.await.unwrap();
        }
        let settled = || {
            let payments = tickets.payments();
            payments.authorized == payments.captured + payments.voided
        };
        until("every payment is settled", settled).await;

        let acknowledged = std::mem::take(&mut *acknowledged.lock().unwrap());
        for id in &acknowledged {
            tickets.read_purchase(*id).await.unwrap();
        }
        let totals = tickets.totals().await.unwrap();
        assert!(totals.balance(), "{totals:?}");
        assert_eq!(totals.concerts[0].purchases as usize, acknowledged.len());
        assert_eq!(tickets.payments().amount, totals.concerts[0].amount.amount);
        eprintln!(
            "commit = {commit}: 3 outages, {} purchases acknowledged and found, {} tries failed",
            acknowledged.len(),
            failed.load(SeqCst)
        );
    }
}
