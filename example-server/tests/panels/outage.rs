//! A database outage violates the availability objective, as Prometheus evaluates it.

use futures_util::future::join_all;

use crate::cluster::Cluster;
use crate::process::{Server, order, until};
use crate::prometheus::{Prometheus, installed};
use crate::proxy::Proxy;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_database_fires_the_availability_alert() {
    let Some(cluster) = Cluster::start("-c fsync=off") else {
        return;
    };
    let url = cluster.create_database("tickets");
    let server = Server::on(&url, &["--request-timeout", "5s"]);
    let path = format!("/concerts/{}/purchases", server.concert(100_000).await);
    let body = order("Ada", 1);
    let purchases = async || join_all((0..20).map(|_| server.post(&path, &body))).await;

    let proxy = Proxy::start(&server.ops).await;
    let written = tempfile::tempdir().unwrap();
    let rules = crate::write(written.path(), &[]);
    for program in installed() {
        let prometheus = Prometheus::start(&program, &proxy.address, "/asked", "", &rules).await;
        let now = async |query: &str| prometheus.query(query, crate::now()).await.unwrap();
        until("successful purchases are recorded", async || {
            let responses = purchases().await;
            assert!(responses.iter().all(|response| response.status == 201));
            let rate = now("job_slo:requests:rate5m{slo=\"availability\"}").await;
            rate.iter().any(|series| series.last() > 0.0)
        })
        .await;
        let alert = "ALERTS{alertname=\"TicketsAvailabilityBurnFast\",alertstate=\"firing\"}";
        assert!(now(alert).await.is_empty());

        let frozen = cluster.freeze();
        until("the alert fires", async || {
            for response in purchases().await {
                assert!(response.status.is_server_error(), "{response:?}");
            }
            !now(alert).await.is_empty()
        })
        .await;
        drop(frozen);
        until("purchases succeed again", async || {
            let responses = purchases().await;
            responses.iter().all(|response| response.status == 201)
        })
        .await;
    }
}
