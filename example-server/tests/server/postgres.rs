use futures_util::future::join_all;
use ticket_core::{Options, Tickets};

use crate::cluster::Cluster;
use crate::process::{Server, order, until, value};

const TICKETS: u32 = 100;
const BUYERS: usize = 500;

#[tokio::test]
async fn two_servers_with_one_postgresql_sell_each_ticket_once() {
    let Some(cluster) = Cluster::start("-c fsync=off") else {
        return;
    };
    let url = cluster.create_database("tickets");
    // Both run the migrations; one waits for the lock of the other.
    let starting = ["group", "each"].map(|commit| {
        let url = url.clone();
        tokio::task::spawn_blocking(move || Server::on(&url, &["--commit", commit]))
    });
    let mut servers = Vec::new();
    for server in starting {
        servers.push(server.await.unwrap());
    }
    let concert = servers[0].concert(TICKETS).await;
    let path = format!("/concerts/{concert}/purchases");
    let body = order("Ada", 1);
    let responses = join_all((0..BUYERS).map(|buyer| servers[buyer % 2].post(&path, &body))).await;
    let count = |status: u16| {
        responses
            .iter()
            .filter(|response| response.status == status)
            .count()
    };
    assert_eq!(
        (count(201), count(409)),
        (TICKETS as usize, BUYERS - TICKETS as usize)
    );
    let mut sold = 0.0;
    for server in &servers {
        sold += server.metric("tickets_sold_total", &["nina-simone"]).await;
    }
    assert_eq!(sold, f64::from(TICKETS));

    // Each server detects the other one and compares the database only with itself.
    for server in &servers {
        until("the check reports that it cannot compare", async || {
            let now = value(&server.ops.get("/api/now").await.unwrap());
            let check = &now["checks"][0];
            check["state"] == "passed" && check.to_string().contains("not compared")
        })
        .await;
    }

    let tickets = Tickets::open(&url, Options::default()).await.unwrap();
    let totals = tickets.totals().await.unwrap();
    assert!(totals.balance());
    assert_eq!(totals.concerts[0].stock.sold, TICKETS);
    tickets.close().await;
}
