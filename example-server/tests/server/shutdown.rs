//! Graceful shutdown.

use std::collections::HashSet;
use std::process::Stdio;

use futures_util::future::join_all;
use serde_json::json;
use ticket_core::{Options, Tickets};

use crate::process::{Server, order, program, sqlite, text, until, value};

#[tokio::test]
async fn requests_in_progress_at_sigterm_are_completed_and_durable() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite(folder.path());
    let mut server = Server::on(&url, &[]);
    let concert = server.concert(1_000).await;
    server
        .put_faults(
            &json!({ "faults": [{ "operation": "payment", "delay": { "fixed": { "ms": 3_000 } } }] }),
        )
        .await;
    let path = format!("/concerts/{concert}/purchases");
    let buying = async {
        let body = order("Ada", 2);
        join_all((0..20).map(|_| server.post(&path, &body))).await
    };
    let stopping = async {
        until("all purchases are in flight", async || {
            server.in_flight().await == 20.0
        })
        .await;
        server.signal("TERM");
    };
    let (responses, ()) = tokio::join!(buying, stopping);
    let purchases: HashSet<_> = responses
        .iter()
        .map(|response| {
            assert_eq!(response.status, 201);
            text(&value(response)["id"])
        })
        .collect();
    assert_eq!(purchases.len(), 20);
    assert!(server.ended().await.success());

    let tickets = Tickets::open(&url, Options::default()).await.unwrap();
    let totals = tickets.totals().await.unwrap();
    assert!(totals.balance());
    assert_eq!(
        (totals.concerts[0].purchases, totals.concerts[0].stock.sold),
        (20, 40)
    );
    tickets.close().await;
}

#[tokio::test]
async fn requests_that_wait_to_be_admitted_at_sigterm_get_a_response() {
    let limits = ["--max-concurrency=1", "--queue-timeout=60s"];
    let mut server = Server::start(&[&limits[..], &["--request-timeout=4s"]].concat());
    let concert = server.concert(1_000).await;
    server
        .put_faults(&json!({
            "faults": [{ "operation": "payment", "delay": { "fixed": { "ms": 2_000 } } }]
        }))
        .await;
    let path = format!("/concerts/{concert}/purchases");
    let buying = async {
        let body = order("Ada", 1);
        join_all((0..6).map(|_| server.post(&path, &body))).await
    };
    let stopping = async {
        until("all purchases are in flight", async || {
            server.in_flight().await == 6.0
        })
        .await;
        server.signal("TERM");
    };
    let (responses, ()) = tokio::join!(buying, stopping);
    for response in responses {
        // 504 on a machine that is busy.
        assert!([201, 504].contains(&response.status.as_u16()));
    }
    assert!(server.ended().await.success());
}

#[tokio::test]
async fn readiness_fails_while_a_draining_server_still_serves() {
    let mut server = Server::start(&["--drain", "60s"]);
    assert_eq!(server.ops.get("/readyz").await.unwrap().status, 200);
    server.signal("TERM");
    until("readiness fails", async || {
        server.ops.get("/readyz").await.unwrap().status == 503
    })
    .await;
    assert_eq!(server.ops.get("/livez").await.unwrap().status, 200);
    assert_eq!(server.api.get("/concerts").await.unwrap().status, 200);
    // SIGHUP comes along with SIGTERM; another SIGINT or SIGTERM ends the drain period.
    server.signal("HUP");
    server.signal("INT");
    let interrupted = server.logs("drain period interrupted");
    assert_eq!(interrupted["fields"]["signal"], "SIGINT");
    assert!(server.ended().await.success());
}

#[tokio::test]
async fn a_signal_during_startup_stops_the_program() {
    // Accepts the connection of the server and never answers, so that startup does not end.
    let database = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://ann@{}/tickets", database.local_addr().unwrap());
    for command in ["serve", "demo"] {
        let server = program()
            .args([command, "--database-url", &url])
            .args(["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _connection = database.accept().await.unwrap();
        let pid = server.id().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-TERM", &pid])
            .status();
        assert!(sent.unwrap().success());
        let output = server.wait_with_output().unwrap();
        // Process 1 of a container would ignore a signal without a handler.
        assert_eq!(output.status.code(), Some(1), "{:?}", output.status);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("stopped by SIGTERM"), "{error}");
    }
}
