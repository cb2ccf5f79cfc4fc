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
        .put_faults(&json!({ "faults": [{ "operation": "list_concerts", "delay": { "fixed": { "ms": 500 } } }] }))
        .await;
    let responses = join_all((0..10).map(|_| server.api.get("/concerts"))).await;
    let count = |status: u16| {
        responses
            .iter()
            .filter(|response| response.as_ref().unwrap().status == status)
            .count()
    };
    assert!(count(200) >= 2);
    assert_eq!(count(200) + count(503), 10);
    let shed = responses
        .iter()
        .flatten()
        .find(|response| response.status == 503)
        .unwrap();
    assert_eq!(value(shed)["type"], "/docs#overloaded");
    assert_eq!(shed.headers["retry-after"], "1");
    assert_eq!(
        server.requests(&["\"503\"", "error_type=\"shed\""]).await,
        count(503) as f64
    );
    let routes = [
        "/concerts",
        "/concerts/0192a7c4-5d1e-7b36-9a55-0c1f3a7be901",
    ];
    assert_eq!(
        server.api.get(routes[1]).await.unwrap().status,
        404,
        "the permit has been released"
    );
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
