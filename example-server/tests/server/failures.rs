use futures_util::future::join_all;
use serde_json::json;

use crate::process::{Server, order, send, until, value};

#[tokio::test]
async fn a_declined_payment_is_402_and_its_key_can_be_used_again() {
    let server = Server::start(&[]);
    let concert = server.concert(10).await;
    let path = format!("/concerts/{concert}/purchases");
    let key = [("idempotency-key", "once")];
    server
        .put_faults(
            &json!({ "faults": [{ "operation": "payment", "fail": { "as": "declined" } }] }),
        )
        .await;
    let declined = server.post_with(&path, &key, &order("Ada", 1)).await;
    assert_eq!(declined.status, 402);
    assert_eq!(value(&declined)["type"], "/docs#payment-declined");
    server.put_faults(&json!({ "preset": "calm" })).await;
    assert_eq!(
        server.post_with(&path, &key, &order("Ada", 1)).await.status,
        201
    );
    assert_eq!(
        server.metric("ticket_purchases_total", &["declined"]).await,
        1.0
    );
    let injected = ["operation=\"payment\"", "kind=\"declined\""];
    assert_eq!(
        server
            .metric("ticket_faults_injected_total", &injected)
            .await,
        1.0
    );
}

#[tokio::test]
async fn an_injected_failure_is_503_with_its_own_error_type() {
    let server = Server::start(&[]);
    server
        .put_faults(&json!({ "faults": [{ "operation": "list_concerts", "fail": { "as": "unavailable" } }] }))
        .await;
    let response = server.api.get("/concerts").await.unwrap();
    assert_eq!(response.status, 503);
    assert_eq!(response.headers["retry-after"], "1");
    assert_eq!(
        server
            .requests(&["/concerts\"", "\"503\"", "error_type=\"injected\""])
            .await,
        1.0
    );
}

#[tokio::test]
async fn a_request_that_times_out_is_504() {
    let server = Server::start(&["--request-timeout", "50ms"]);
    server
        .put_faults(&json!({ "faults": [{ "operation": "list_concerts", "delay": { "fixed": { "ms": 30_000 } } }] }))
        .await;
    let response = server.api.get("/concerts").await.unwrap();
    assert_eq!(response.status, 504);
    assert_eq!(value(&response)["type"], "/docs#timeout");
    assert_eq!(
        server
            .requests(&["\"504\"", "error_type=\"timeout\""])
            .await,
        1.0
    );
    assert_eq!(server.in_flight().await, 0.0);
}

#[tokio::test]
async fn requests_beyond_the_concurrency_limit_are_shed() {
    let server = Server::start(&["--max-concurrency", "2", "--queue-timeout", "0"]);
    server
        .put_faults(&json!({ "faults": [{ "operation": "list_concerts", "delay": { "fixed": { "ms": 60_000 } } }] }))
        .await;
    let concert = "/concerts/0192a7c4-5d1e-7b36-9a55-0c1f3a7be901";
    let beyond = async {
        until("the first requests have been admitted", async || {
            let name = "http_server_admission_wait_seconds_count";
            server.metric(name, &["outcome=\"admitted\""]).await == 2.0
        })
        .await;
        join_all((0..8).map(|_| server.api.get(concert))).await
    };
    let responses = tokio::select! {
        _ = join_all((0..2).map(|_| server.api.get("/concerts"))) => panic!("a response within 60 s"),
        responses = beyond => responses,
    };
    for shed in responses {
        let shed = shed.unwrap();
        assert_eq!(shed.status, 503);
        assert_eq!(value(&shed)["type"], "/docs#overloaded");
        assert_eq!(shed.headers["retry-after"], "1");
    }
    assert_eq!(
        server.requests(&["\"503\"", "error_type=\"shed\""]).await,
        8.0
    );
    until("the permits have been released", async || {
        server.api.get(concert).await.unwrap().status == 404
    })
    .await;
}

#[tokio::test]
async fn a_client_disconnect_is_recorded_as_cancelled() {
    let server = Server::start(&[]);
    server
        .put_faults(&json!({ "faults": [{ "operation": "list_concerts", "delay": { "fixed": { "ms": 30_000 } } }] }))
        .await;
    let request = send(&server.api, http::Method::GET, "/concerts", &[], None);
    tokio::select! {
        _ = request => panic!("a response within 30 s"),
        () = until("the request is in flight", async || server.in_flight().await == 1.0) => {}
    }
    until("the request has ended", async || {
        server.in_flight().await == 0.0
    })
    .await;
    let cancelled = ["http_response_status_code=\"\"", "error_type=\"cancelled\""];
    assert_eq!(server.requests(&cancelled).await, 1.0);
}
