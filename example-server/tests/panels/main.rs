//! Evaluates every query of every dashboard and every rule with Prometheus, which scrapes a server
//! under traffic and faults: no panel is empty, and values equal what the load generator counted.

#[path = "../../src/traffic/client.rs"]
#[allow(dead_code, unreachable_pub)]
mod client;
#[path = "../../../ticket-core/tests/platform/cluster.rs"]
mod cluster;
mod expected;
mod grafana;
mod load;
mod native;
mod outage;
#[path = "../server/process.rs"]
#[allow(dead_code)]
mod process;
mod prometheus;
mod proxy;
mod verify;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};

use crate::load::Load;
use crate::process::{Server, program, send, until};
use crate::prometheus::{Prometheus, SCRAPE_INTERVAL};
use crate::proxy::Proxy;
use crate::verify::Verifier;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_panel_is_empty_and_every_value_matches_the_load() {
    let (written, native) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let rules = write(written.path(), &[]);
    let native_rules = write(native.path(), &["--native-histograms"]);
    let server = Server::start(&[
        "--max-concurrency",
        "16",
        "--request-timeout",
        "8s",
        "--queue-timeout",
        "1s",
    ]);
    let proxy = Proxy::start(&server.ops).await;
    // Every version scrapes both formats.
    let mut all = Vec::new();
    for program in prometheus::installed() {
        for path in ["/text", "/asked"] {
            let started = Prometheus::start(&program, &proxy.address, path, "", &rules).await;
            all.push((program.clone(), path, started));
        }
    }
    if all.is_empty() {
        return;
    }
    // One without the classic series of native histograms, and one with both.
    let mut natives = Vec::new();
    for settings in [NATIVE.to_owned(), format!("{NATIVE}{BOTH}")] {
        let Some(program) = prometheus::version_3() else {
            continue;
        };
        let address = &proxy.address;
        let started = Prometheus::start(&program, address, "/native", &settings, &native_rules);
        natives.push(started.await);
    }
    let scraped = async || {
        let now = now();
        for prometheus in all.iter().map(|(.., started)| started).chain(&natives) {
            prometheus.scraped(now).await;
        }
    };
    scraped().await;
    let begun = now();
    let load = traffic(&server, scraped).await;
    let ended = now();

    // Before the rates of the last minutes return to zero.
    let mut verifiers = Vec::new();
    for prometheus in all.iter().map(|(.., started)| started).chain(&natives) {
        let verifier = Verifier::new(prometheus, (begun, ended), load.counts()).await;
        verifier.alerts().await;
        verifiers.push(verifier);
    }
    let (verifiers, native_verifiers) = verifiers.split_at(all.len());
    for ((program, path, _), verifier) in all.iter().zip(verifiers) {
        let format = match *path {
            "/text" => "text/plain",
            _ => "application/openmetrics-text",
        };
        let seen = proxy.seen(path);
        println!("\n{}, {format}", program.display());
        assert!(seen.iter().all(|one| one.starts_with(format)), "{seen:?}");
        verifier.recordings().await;
        verifier.dashboards(written.path()).await;
        verifier.exemplars(format.contains("openmetrics")).await;
    }
    for (verifier, classic) in native_verifiers.iter().zip([false, true]) {
        println!("\nnative histograms, with classic ones: {classic}");
        let seen = proxy.seen("/native");
        let protobuf = "application/vnd.google.protobuf";
        assert!(seen.iter().all(|one| one.starts_with(protobuf)), "{seen:?}");
        if classic {
            verifier.same_values(written.path(), native.path()).await;
        } else {
            verifier.recordings().await;
            verifier.dashboards(native.path()).await;
        }
    }
}

/// Settings of a scrape job that reads native histograms, and classic ones as well.
const NATIVE: &str = "    scrape_native_histograms: true\n";
const BOTH: &str = "    always_scrape_classic_histograms: true\n";

/// Writes dashboards and rules to a folder. Returns the rules, evaluated as often as the server is
/// scraped.
fn write(folder: &Path, arguments: &[&str]) -> String {
    let out = folder.to_str().unwrap();
    let mut command = program();
    let wrote = command.args(["dashboards", "--out", out]).args(arguments);
    assert!(wrote.output().unwrap().status.success());
    let rules = fs::read_to_string(folder.join("prometheus/rules.yaml")).unwrap();
    let interval = format!("interval: {SCRAPE_INTERVAL}s");
    let rules = rules.replace("interval: 30s", &interval);
    rules.replace("interval: 5m", &interval)
}

/// Sends every kind of request and causes every kind of fault and client disconnect. `scraped` waits
/// for a scrape.
async fn traffic(server: &Server, scraped: impl AsyncFn()) -> Load {
    let load = Load::start(server).await;
    server.put_faults(&json!({ "preset": "everyday" })).await;
    scraped().await;
    let stop = AtomicBool::new(false);
    let visitors = join_all((0..5).map(|visitor| load.visit(visitor, &stop)));
    let scenario = async {
        server.put_faults(&slow()).await;
        commit(server, "each").await;
        // Everything twice, because a rate does not include the first sample of a series.
        for _ in 0..2 {
            load.disconnect(server, 3).await;
            tokio::join!(load.time_out(), load.overload(50), load.failed_payments());
            scraped().await;
        }
        commit(server, "group").await;
        server.put_faults(&failing()).await;
        for _ in 0..2 {
            load.every_outcome().await;
            scraped().await;
        }
        stop.store(true, Relaxed);
    };
    tokio::join!(visitors, scenario);
    until("nothing is in flight", async || {
        server.in_flight().await == 0.0
    })
    .await;
    load
}

/// Faults: slow reads and payments, both kinds of payment failures, a slow database.
fn slow() -> Value {
    json!({ "seed": 1, "faults": [
        failure("payment", "unavailable", 0.8),
        failure("payment", "declined", 0.5),
        delay("payment", 350),
        delay("database", 200),
        delay("list_concerts", 400),
        delay("read_concert", 400),
        delay("create_concert", 60_000),
    ]})
}

/// Faults: both kinds of payment failures, failing and slow reads. They violate both objectives, for
/// whatever time they are active.
fn failing() -> Value {
    json!({ "seed": 1, "faults": [
        failure("payment", "unavailable", 0.3),
        failure("payment", "declined", 0.2),
        failure("read_purchase", "unavailable", 0.3),
        delay("list_concerts", 400),
    ]})
}

fn failure(operation: &str, error: &str, probability: f64) -> Value {
    let when = json!({ "probability": probability });
    json!({ "operation": operation, "fail": { "as": error }, "when": when })
}

fn delay(operation: &str, milliseconds: u64) -> Value {
    json!({ "operation": operation, "delay": { "fixed": { "ms": milliseconds } } })
}

async fn commit(server: &Server, mode: &str) {
    let body = json!({ "commit": mode });
    let answer = send(&server.ops, Method::PUT, "/commit", &[], Some(&body)).await;
    assert_eq!(answer.status, 200);
}

/// Unix time in seconds.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs_f64()
}
