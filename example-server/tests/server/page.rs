use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, SqliteConnection};

use crate::process::{Server, order, send, sqlite, text, until, value};

/// The first check of the page.
async fn books(server: &Server) -> Value {
    let now = value(&server.ops.get("/api/now").await.unwrap());
    now["checks"][0].clone()
}

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

#[tokio::test]
async fn the_books_balance_until_a_row_is_changed_behind_the_servers_back() {
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
    until("80 tickets are on the books, everywhere", async || {
        last = books(&server).await;
        let sides = |at: usize| last["equations"][at]["sides"].clone();
        let is = |side: &Value, figure: u64| side["low"] == figure && side["high"] == figure;
        let all = |at: usize| (0..2).all(|side| is(&sides(at)[side], 80));
        last["equations"][0]["sides"][0]["low"] == 61 && all(1) && all(2)
    })
    .await;
    assert_eq!(last["state"], "passed", "{last}");
    assert_eq!(last["equations"][0]["title"], "requests", "{last}");
    assert_eq!(last["equations"][0]["sides"][1]["low"], 61, "{last}");

    let url = format!("{database}?mode=rw");
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let steal = "UPDATE concerts SET sold = sold + 3";
    connection.execute(steal).await.unwrap();
    until("the badge is red", async || {
        last = books(&server).await;
        last["state"] == "failed"
    })
    .await;
    assert_eq!(last["difference"], 3, "{last}");
    assert_eq!(last["error"], Value::Null, "{last}");
}

#[tokio::test]
async fn a_cell_of_the_heatmap_opens_the_log_lines_of_its_requests() {
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
    for part in ["ada-1", trace, "GET", path, "answered status=404 ms="] {
        assert!(line.contains(part), "{part}: {line}");
    }
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
        text(&request["line"]).contains("failed status=503"),
        "{found}"
    );
}

#[tokio::test]
async fn books_that_cannot_be_read_are_neither_right_nor_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("faults.toml");
    let outage = "[[faults]]\noperation = \"database\"\nfail.as = \"unavailable\"\n";
    std::fs::write(&file, outage).unwrap();
    let server = Server::start(&["--faults", file.to_str().unwrap()]);
    until("the badge says why", async || {
        let books = books(&server).await;
        assert_eq!(books["state"], "unknown", "{books}");
        books["error"].to_string().contains("cannot be read")
    })
    .await;
    server.put_faults(&json!({"preset": "calm"})).await;
    until("the counters are compared again", async || {
        let books = books(&server).await;
        books["state"] == "passed" && books.to_string().contains("at the start + counted")
    })
    .await;
}
