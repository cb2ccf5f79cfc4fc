//! No panel is empty: the real server under traffic and faults, the real Prometheus scraping it,
//! and every query of every dashboard and every rule evaluated, once for each format.

#[path = "../../src/traffic/client.rs"]
#[allow(dead_code, unreachable_pub)]
mod client;
mod expected;
mod grafana;
mod load;
#[path = "../server/process.rs"]
#[allow(dead_code)]
mod process;
mod prometheus;
mod proof;
mod proxy;

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};

use crate::load::Load;
use crate::process::{Server, program, send, until};
use crate::prometheus::Prometheus;
use crate::proof::Proof;
use crate::proxy::Proxy;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_panel_is_empty_and_every_figure_is_the_loads_own() {
    let written = tempfile::tempdir().unwrap();
    let out = written.path().to_str().unwrap();
    let wrote = program().args(["dashboards", "--out", out]).output();
    assert!(wrote.unwrap().status.success());
    let rules = fs::read_to_string(written.path().join("prometheus/rules.yaml")).unwrap();
    let rules = rules.replace("interval: 30s", "interval: 1s");
    let rules = rules.replace("interval: 5m", "interval: 1s");

    let server = Server::start(&["--max-concurrency", "16", "--request-timeout", "3s"]);
    let proxy = Proxy::start(&server.ops).await;
    // Each in both formats.
    let mut all = Vec::new();
    for program in prometheus::installed() {
        for path in ["/text", "/asked"] {
            let started = Prometheus::start(&program, &proxy.address, path, &rules).await;
            started.scraped(0.0, 1).await;
            all.push((program.clone(), path, started));
        }
    }
    if all.is_empty() {
        return;
    }
    let begun = now();
    let load = traffic(&server, async |scrapes| {
        let now = now();
        for (_, _, prometheus) in &all {
            prometheus.scraped(now, scrapes).await;
        }
    })
    .await;
    let ended = now();

    for (program, path, prometheus) in &all {
        let (format, seen) = match *path {
            "/text" => ("text/plain", proxy.text()),
            _ => ("application/openmetrics-text", proxy.asked()),
        };
        println!("\n{}, {format}", program.display());
        assert!(seen.iter().all(|one| one.starts_with(format)), "{seen:?}");
        let last = prometheus.scraped(ended, 1).await;
        let proof = Proof::new(prometheus, (begun, last), load.tally());
        proof.dashboards(written.path()).await;
        proof.rules().await;
        proof.exemplars(format.contains("openmetrics")).await;
    }
}

/// Every kind of request, answer, fault and hang-up. `scraped(n)` waits for so many scrapes.
async fn traffic(server: &Server, scraped: impl AsyncFn(usize)) -> Load {
    let load = Load::start(server).await;
    let gone = AtomicBool::new(false);
    let visitors = join_all((0..5).map(|visitor| load.visit(visitor, &gone)));
    let play = async {
        server.put_faults(&rough()).await;
        commit(server, "each").await;
        // Twice, as no rate sees the first of a series.
        for _ in 0..2 {
            load.hang_up(server, 3).await;
            tokio::join!(load.wait_in_vain(), async {
                load.rush(50).await;
                load.rush(50).await;
                scraped(1).await;
            });
        }
        commit(server, "group").await;
        server.put_faults(&json!({ "preset": "everyday" })).await;
        scraped(5).await;
        gone.store(true, Relaxed);
    };
    tokio::join!(visitors, play);
    until("nothing is in flight", async || {
        server.in_flight().await == 0.0
    })
    .await;
    load
}

/// Slow reads and payments, payments that fail in both ways, a slow database, reads that fail.
fn rough() -> Value {
    let chance = |probability: f64| json!({ "probability": probability });
    json!({ "seed": 1, "faults": [
        { "operation": "payment", "fail": { "as": "unavailable" }, "when": chance(0.8) },
        { "operation": "payment", "fail": { "as": "declined" }, "when": chance(0.5) },
        { "operation": "payment", "delay": { "fixed": { "ms": 350 } } },
        { "operation": "database", "delay": { "fixed": { "ms": 200 } } },
        { "operation": "read_purchase", "fail": { "as": "unavailable" }, "when": chance(0.3) },
        { "operation": "list_concerts", "delay": { "fixed": { "ms": 400 } } },
        { "operation": "read_concert", "delay": { "fixed": { "ms": 400 } } },
        { "operation": "create_concert", "delay": { "fixed": { "ms": 60_000 } } },
    ]})
}

async fn commit(server: &Server, mode: &str) {
    let body = json!({ "commit": mode });
    let answer = send(&server.ops, Method::PUT, "/commit", &[], Some(&body)).await;
    assert_eq!(answer.status, 200);
}

/// In seconds, as Prometheus counts.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs_f64()
}
