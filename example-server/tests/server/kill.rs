//! Durability of acknowledged purchases when the server is killed.

use std::collections::HashMap;
use std::sync::Mutex;

use futures_util::future::join_all;
use ticket_core::{Options, Tickets};

use crate::process::{Server, order, sqlite, text, value};

const KILLS: usize = 20;
const BUYERS: usize = 8;
/// Minimum number of purchases acknowledged before each kill.
const PURCHASES_PER_KILL: usize = 15;

#[tokio::test]
async fn acknowledged_purchases_are_stored_exactly_once_after_twenty_kills() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite(folder.path());
    let mut server = Server::on(&url, &[]);
    let concert = server.concert(100_000).await;
    let path = format!("/concerts/{concert}/purchases");
    // Idempotency keys and acknowledged purchase IDs.
    let acknowledged = Mutex::new(HashMap::new());
    for kill in 0..KILLS {
        if kill > 0 {
            server = Server::on(&url, &["--commit", ["group", "each"][kill % 2]]);
        }
        let target = acknowledged.lock().unwrap().len() + PURCHASES_PER_KILL;
        {
            let buy = async |buyer: usize| {
                for number in 0.. {
                    let key = format!("{kill}-{buyer}-{number}");
                    let headers = [("idempotency-key".parse().unwrap(), key.parse().unwrap())];
                    let body = order("Ada", 2).to_string().into_bytes();
                    let response = server
                        .api
                        .send(http::Method::POST, &path, &headers, Some(body));
                    // The kill interrupts requests in progress.
                    let Ok(response) = response.await else { return };
                    assert_eq!(response.status, 201);
                    let id = text(&value(&response)["id"]);
                    let mut acknowledged = acknowledged.lock().unwrap();
                    assert!(acknowledged.insert(key, id).is_none());
                    if acknowledged.len() == target {
                        server.signal("KILL");
                    }
                }
            };
            join_all((0..BUYERS).map(buy)).await;
        }
        server.kill();
    }

    let tickets = Tickets::open(&url, Options::default()).await.unwrap();
    let before = tickets.totals().await.unwrap();
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.len() >= KILLS * PURCHASES_PER_KILL);
    assert!(before.balance());
    assert!(before.concerts[0].purchases as usize >= acknowledged.len());
    let concert = concert.parse().unwrap();
    for (key, id) in &acknowledged {
        let new = ticket_core::NewPurchase::new("Ada", 2).unwrap();
        let replay = tickets
            .purchase(concert, new, Some(key.parse().unwrap()))
            .await
            .unwrap();
        assert!(replay.replayed);
        assert_eq!(replay.purchase.id.to_string(), *id);
    }
    assert_eq!(tickets.totals().await.unwrap(), before);
    tickets.close().await;
    println!(
        "{KILLS} kills, {} acknowledged purchases, each stored once",
        acknowledged.len()
    );
}
