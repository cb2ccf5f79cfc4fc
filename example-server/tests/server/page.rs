use http::Method;
use serde_json::json;

use crate::process::{Server, send, text, until, value};

#[tokio::test]
async fn the_page_shows_what_the_metrics_say_and_asks_no_other_host() {
    let server = Server::start(&[]);
    let page = server.ops.get("/").await.unwrap();
    assert_eq!(page.status, 200);
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(html.contains("<title>"), "{html}");
    assert!(
        !html.contains("http://") && !html.contains("https://"),
        "{html}"
    );

    for _ in 0..7 {
        server.api.get("/concerts").await.unwrap();
    }
    until("the route is in the page's table", async || {
        let now = value(&server.ops.get("/api/now").await.unwrap());
        now.to_string().contains("/concerts")
    })
    .await;
}

#[tokio::test]
async fn a_switch_of_the_page_swaps_the_faults() {
    let server = Server::start(&[]);
    let pressed = json!({"value": "payment-outage"});
    let answer = send(
        &server.ops,
        Method::PUT,
        "/api/controls/faults",
        &[],
        Some(&pressed),
    )
    .await;
    assert_eq!(answer.status, 200);
    let faults = value(&server.ops.get("/faults").await.unwrap());
    assert_eq!(
        text(&faults["faults"][0]["operation"]),
        "payment",
        "{faults}"
    );
}

#[tokio::test]
async fn a_switch_of_the_page_needs_the_token_where_one_is_set() {
    let server = Server::start(&["--admin-token", "s3cret"]);
    let pressed = json!({"value": "each"});
    let put = async |headers: &[(&'static str, &str)]| {
        send(
            &server.ops,
            Method::PUT,
            "/api/controls/commit",
            headers,
            Some(&pressed),
        )
        .await
        .status
    };
    assert_eq!(put(&[]).await, 401);
    assert_eq!(put(&[("authorization", "Bearer s3cret")]).await, 200);
    assert_eq!(server.ops.get("/").await.unwrap().status, 200);
}
