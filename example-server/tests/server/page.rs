use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, SqliteConnection};

use crate::process::{Server, order, send, sqlite, text, until, value};

/// Returns the status of the consistency check.
async fn consistency(server: &Server) -> Value {
    let now = value(&server.ops.get("/api/now").await.unwrap());
    now["checks"][0].clone()
}

#[tokio::test]
async fn the_page_shows_the_metrics_and_refers_to_no_other_host() {
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
async fn a_control_of_the_page_replaces_the_faults() {
    let server = Server::start(&[]);
    let body = json!({"value": "payment-outage"});
    let answer = send(
        &server.ops,
        Method::PUT,
        "/api/controls/faults",
        &[],
        Some(&body),
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
async fn a_control_of_the_page_requires_the_admin_token_if_one_is_set() {
    let server = Server::start(&["--admin-token", "s3cret"]);
    let body = json!({"value": "each"});
    let put = async |headers: &[(&'static str, &str)]| {
        send(
            &server.ops,
            Method::PUT,
            "/api/controls/commit",
            headers,
            Some(&body),
        )
        .await
        .status
    };
    assert_eq!(put(&[]).await, 401);
    assert_eq!(put(&[("authorization", "Bearer s3cret")]).await, 200);
    assert_eq!(server.ops.get("/").await.unwrap().status, 200);
}

#[tokio::test]
async fn the_consistency_check_passes_until_a_row_is_changed_in_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let database = sqlite(folder.path());
    let server = Server::on(&database, &[]);
    let concert = server.concert(1_000).await;
    let path = format!("/concerts/{concert}/purchases");
    let tries = join_all((0..50).map(|_| async {
        let bought = server.post(&path, &order("Ada", 2)).await;
        assert_eq!(bought.status, 201);
        text(&value(&bought)["id"])
    }));
    for purchase in tries.await.iter().take(10) {
        let path = format!("/purchases/{purchase}");
        send(&server.api, Method::DELETE, &path, &[], None).await;
    }
    let mut last = Value::Null;
    until("all sources have 80 tickets", async || {
        last = consistency(&server).await;
        let sides = |at: usize| last["equations"][at]["sides"].clone();
        let is = |side: &Value, value: u64| side["low"] == value && side["high"] == value;
        let all = |at: usize| (0..2).all(|side| is(&sides(at)[side], 80));
        last["equations"][0]["sides"][0]["low"] == 61 && all(1) && all(2)
    })
    .await;
    assert_eq!(last["state"], "passed", "{last}");
    assert_eq!(last["equations"][0]["title"], "requests", "{last}");
    assert_eq!(last["equations"][0]["sides"][1]["low"], 61, "{last}");

    let url = format!("{database}?mode=rw");
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let update = "UPDATE concerts SET sold = sold + 3";
    connection.execute(update).await.unwrap();
    until("the check fails", async || {
        last = consistency(&server).await;
        last["state"] == "failed"
    })
    .await;
    assert_eq!(last["difference"], 3, "{last}");
    assert_eq!(last["error"], Value::Null, "{last}");
}

#[tokio::test]
async fn requests_of_a_heatmap_cell_are_listed_with_their_log_lines() {
    let server = Server::start(&[]);
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let traced = [
        ("x-request-id", "ada-1"),
        ("traceparent", &format!("00-{trace}-b7ad6b7169203331-01")),
    ];
    let path = "/concerts/0192a7c4-5d1e-7b36-9a55-0c1f3a7be901";
    let answer = send(&server.api, Method::GET, path, &traced, None).await;
    assert_eq!(answer.status, 404);
    let outage = json!({"faults": [{"operation": "list_concerts", "fail": {"as": "unavailable"}}]});
    server.put_faults(&outage).await;
    assert_eq!(server.api.get("/concerts").await.unwrap().status, 503);

    let definition = value(&server.ops.get("/api/dashboard").await.unwrap());
    let opens = r#""kind":"heatmap","opens":true"#;
    assert!(definition.to_string().contains(opens), "{definition}");
    let asked = "/api/requests?route=/concerts/{concert_id}&method=GET&at_most=60";
    let found = value(&server.ops.get(asked).await.unwrap());
    let request = &found["requests"][0];
    assert_eq!(
        (&request["id"], &request["status"]),
        (&json!("ada-1"), &json!(404))
    );
    let line = text(&request["line"]);
    for part in [
        "ada-1",
        trace,
        "GET",
        path,
        "request completed status=404 ms=",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let (_, ms) = line.split_once("ms=").unwrap();
    let fraction = ms.split([' ', '\n']).next().unwrap().split_once('.');
    assert!(
        fraction.is_none_or(|(_, digits)| digits.len() <= 3),
        "{line}"
    );
    let found = value(
        &server
            .ops
            .get("/api/requests?route=/concerts")
            .await
            .unwrap(),
    );
    let request = &found["requests"][0];
    assert_eq!(request["failed"], true, "{found}");
    assert_eq!(request["error_type"], "injected", "{found}");
    assert!(
        text(&request["line"]).contains("request failed status=503"),
        "{found}"
    );
}

#[tokio::test]
async fn a_consistency_check_that_cannot_read_the_database_is_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("faults.toml");
    let outage = "[[faults]]\noperation = \"database\"\nfail.as = \"unavailable\"\n";
    std::fs::write(&file, outage).unwrap();
    let server = Server::start(&["--faults", file.to_str().unwrap()]);
    until("the check reports the error", async || {
        let check = consistency(&server).await;
        assert_eq!(check["state"], "unknown", "{check}");
        check["error"]
            .to_string()
            .contains("cannot read the database")
    })
    .await;
    server.put_faults(&json!({"preset": "calm"})).await;
    until("the counters are compared", async || {
        let check = consistency(&server).await;
        check["state"] == "passed" && check.to_string().contains("initial + counted")
    })
    .await;
}
