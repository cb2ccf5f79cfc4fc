//! Outages of the database.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use ticket_core::{Commit, Currency, Error, Options, PurchaseId, Tickets};

use crate::{
    Platform, buy,
    cluster::Cluster,
    database, new_concert,
    proxy::{Cut, Proxy},
};

/// Waits for a condition, up to two minutes.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "timed out: {what}"
        );
        tokio::task::yield_now().await;
    }
}

/// Opens a platform behind a proxy, or returns `None` if PostgreSQL is not installed.
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
async fn a_commit_whose_response_is_lost_is_looked_up_and_not_repeated() {
    for commit in [Commit::Each, Commit::Group] {
        let retry_timeout = Duration::from_secs(10);
        let Some((proxy, platform)) = behind_proxy(commit, retry_timeout).await else {
            return;
        };
        for cut in [Cut::AfterCommit, Cut::BeforeCommit] {
            // The lookup finds the purchase with its key and sold out, which must not count as a
            // replay or as sold out.
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
        // The lookup recognizes the refund of this call.
        let purchase = platform.buy(&concert, 1).await.unwrap().purchase;
        proxy.cut(Cut::AfterCommit, false);
        platform.tickets.refund(purchase.id).await.unwrap();
        platform.check_books().await;
    }
}

#[tokio::test]
async fn an_outcome_that_cannot_be_looked_up_in_time_is_unknown_and_resolved_later() {
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
async fn a_refund_with_an_unknown_outcome_is_completed_and_paid_back_once() {
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
        assert_ne!(
            platform.tickets.payments().amount(Currency::EUR),
            0,
            "not settled yet"
        );
        proxy.open();
        let paid_back = || platform.tickets.payments().amount(Currency::EUR) == 0;
        until("it is paid back", paid_back).await;
        platform.tickets.refund(bought.id).await.unwrap();
        let line = &platform.check_books().await.concerts[0];
        assert_eq!((line.refunds, line.tickets), (1, 0), "{cut:?}");
    }
}

#[tokio::test]
async fn a_server_that_stops_responding_is_abandoned_and_its_successor_is_used() {
    for commit in [Commit::Each, Commit::Group] {
        let options = Options {
            commit,
            connection_timeout: Duration::from_secs(1),
            statement_timeout: Duration::from_secs(1),
            ..Options::default()
        };
        let Some((proxy, platform)) = behind_proxy_with(options).await else {
            return;
        };
        let tickets = &platform.tickets;
        let concert = platform.concert(1000).await.id;
        // Retries until the outcome is known, as a client with a key should.
        let buy_with_retries = async |buyer: usize| loop {
            let key = format!("{buyer}");
            match buy(tickets, concert, "ann", 1, Some(&key)).await {
                Ok(bought) => return bought.purchase.id,
                Err(error) => assert!(error.retry_after().is_some(), "{error:?}"),
            }
        };
        let read_with_retries = async || loop {
            match tickets.concert(concert).await {
                Ok(_) => return,
                Err(error) => assert!(error.retry_after().is_some(), "{error:?}"),
            }
        };
        // Opens the maximum number of connections.
        join_all((0..50).map(buy_with_retries)).await;
        proxy.silence();
        // Some callers are cancelled before a response.
        let leaving = join_all((0..50).map(|_| read_with_retries()));
        let left = tokio::time::timeout(Duration::from_millis(50), leaving).await;
        assert!(left.is_err(), "{commit}: it is not silent");
        let all = async {
            let ids = join_all((50..100).map(buy_with_retries));
            let (ids, _) = tokio::join!(ids, join_all((0..50).map(|_| read_with_retries())));
            ids
        };
        let ids = tokio::time::timeout(Duration::from_secs(120), all).await;
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
async fn a_restart_under_load_loses_no_acknowledged_purchase() {
    let Some(mut cluster) = Cluster::start("") else {
        return;
    };
    for commit in [Commit::Each, Commit::Group] {
        let url = cluster.create_database(&format!("outage_{commit}"));
        let options = Options {
            commit,
            retry_timeout: Duration::from_millis(300),
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
                        // Retries until the outcome is known, as a client with a key should.
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
        // A shutdown and two crashes.
        for signal in ["INT", "QUIT", "QUIT"] {
            let before = count();
            until("purchases are made", || count() >= before + 30).await;
            let failures = failed.load(SeqCst);
            cluster.down(signal);
            until("failures are returned", || failed.load(SeqCst) > failures).await;
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
        assert_eq!(
            tickets.payments().amount(Currency::EUR),
            totals.concerts[0].amount.amount
        );
        eprintln!(
            "commit = {commit}: 3 outages, {} purchases acknowledged and found, {} tries failed",
            acknowledged.len(),
            failed.load(SeqCst)
        );
    }
}
