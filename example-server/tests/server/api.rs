use std::collections::HashSet;

use http::Method;
use serde_json::{Value, json};

use crate::process::{Server, new_concert, order, send, text, value};

#[tokio::test]
async fn a_concert_is_created_read_and_listed() {
    let server = Server::start(&[]);
    let created = server.post("/concerts", &new_concert(20_000)).await;
    assert_eq!(created.status, 201);
    let concert = value(&created);
    let id = text(&concert["id"]);
    assert_eq!(created.headers["location"], format!("/concerts/{id}"));
    assert_eq!(
        concert,
        json!({
            "id": id, "slug": "nina-simone", "title": "Nina Simone", "venue": "Tempodrom",
            "starts_at": "2199-01-01T20:00:00Z", "capacity": 20_000,
            "price": { "amount": 6_500, "currency": "EUR" }, "max_per_buyer": null,
            "sold": 0, "available": 20_000,
        })
    );
    let read = server.api.get(&format!("/concerts/{id}")).await.unwrap();
    assert_eq!((read.status.as_u16(), value(&read)), (200, concert.clone()));
    let list = value(&server.api.get("/concerts").await.unwrap());
    assert_eq!(list, json!({ "items": [concert], "next_cursor": null }));
    let again = value(&server.post("/concerts", &new_concert(1)).await);
    assert_eq!(again["slug"], "nina-simone-2");
}

#[tokio::test]
async fn pages_contain_every_concert_once_and_in_order() {
    let server = Server::start(&[]);
    let mut created = Vec::new();
    for _ in 0..7 {
        created.push(server.concert(1).await);
    }
    let (mut found, mut path) = (Vec::new(), "/concerts?limit=3".to_owned());
    loop {
        let page = value(&server.api.get(&path).await.unwrap());
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 3);
        found.extend(items.iter().map(|concert| text(&concert["id"])));
        match &page["next_cursor"] {
            Value::Null => break,
            cursor => path = format!("/concerts?limit=3&cursor={}", text(cursor)),
        }
    }
    assert_eq!(found, created);
}

#[tokio::test]
async fn a_repeated_purchase_with_the_same_key_returns_the_first_one() {
    let server = Server::start(&[]);
    let concert = server.concert(100).await;
    let path = format!("/concerts/{concert}/purchases");
    let key = [("idempotency-key", "order 66")];
    let first = server.post_with(&path, &key, &order("Ada", 2)).await;
    assert_eq!(first.status, 201);
    assert!(!first.headers.contains_key("idempotency-replayed"));
    let purchase = value(&first);
    let id = text(&purchase["id"]);
    assert_eq!(first.headers["location"], format!("/purchases/{id}"));
    assert_eq!(
        purchase,
        json!({
            "id": id, "concert_id": concert, "buyer": "Ada", "quantity": 2,
            "total": { "amount": 13_000, "currency": "EUR" }, "status": "paid",
            "created_at": purchase["created_at"],
        })
    );
    let replay = server.post_with(&path, &key, &order("Ada", 2)).await;
    assert_eq!(replay.status, 201);
    assert_eq!(replay.headers["idempotency-replayed"], "true");
    assert_eq!(value(&replay), purchase);
    let other = server.post_with(&path, &key, &order("Ada", 3)).await;
    assert_eq!(other.status, 422);
    assert_eq!(value(&other)["type"], "/docs#key-reused");
    let read = server.api.get(&format!("/purchases/{id}")).await.unwrap();
    assert_eq!(value(&read), purchase);
    let concert = value(
        &server
            .api
            .get(&format!("/concerts/{concert}"))
            .await
            .unwrap(),
    );
    assert_eq!(
        (&concert["sold"], &concert["available"]),
        (&json!(2), &json!(98))
    );
}

#[tokio::test]
async fn a_refund_makes_the_tickets_available_again_and_is_idempotent() {
    let server = Server::start(&[]);
    let concert = server.concert(2).await;
    let path = format!("/concerts/{concert}/purchases");
    let bought = value(&server.post(&path, &order("Ada", 2)).await);
    assert_eq!(server.post(&path, &order("Bo", 1)).await.status, 409);
    let purchase = format!("/purchases/{}", text(&bought["id"]));
    for _ in 0..2 {
        let refund = send(&server.api, Method::DELETE, &purchase, &[], None).await;
        assert_eq!(refund.status, 200);
        assert_eq!(value(&refund)["status"], "refunded");
    }
    assert_eq!(server.post(&path, &order("Bo", 2)).await.status, 201);
    assert_eq!(
        server
            .metric("tickets_refunded_total", &["nina-simone"])
            .await,
        2.0
    );
    assert_eq!(
        server
            .metric("ticket_refunds_amount_total", &["nina-simone"])
            .await,
        130.0
    );
}

/// Method, path and body of a request, and the status, the type and the field of the problem.
type Case<'a> = (Method, &'a str, &'a str, u16, &'a str, Option<&'a str>);

#[tokio::test]
async fn every_bad_request_gets_a_problem_that_names_the_field() {
    let server = Server::start(&[]);
    let concert = server.concert(3).await;
    let purchases = format!("/concerts/{concert}/purchases");
    let nobody = "0192a7c4-5d1e-7b36-9a55-0c1f3a7be901";
    let unknown = format!("/concerts/{nobody}");
    let unknown_purchases = format!("/concerts/{nobody}/purchases");
    let unknown_purchase = format!("/purchases/{nobody}");
    let good = r#"{"buyer":"Ada","quantity":4}"#;
    let new = |field: &str, value: Value| {
        let mut concert = new_concert(1);
        concert[field] = value;
        concert.to_string()
    };
    let long = new("title", json!("x".repeat(70_000)));
    let (no_capacity, price, title) = (
        new("capacity", json!(0)),
        new("price", json!({ "amount": "6500", "currency": "EUR" })),
        new("title", json!("")),
    );
    let strange = new("colour", json!("red"));
    let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
    let cases: Vec<Case<'_>> = vec![
        (get.clone(), "/nothing", "", 404, "not-found", None),
        (get.clone(), &unknown, "", 404, "not-found", None),
        (get.clone(), &unknown_purchase, "", 404, "not-found", None),
        (
            delete.clone(),
            &unknown_purchase,
            "",
            404,
            "not-found",
            None,
        ),
        (
            post.clone(),
            &unknown_purchases,
            good,
            404,
            "not-found",
            None,
        ),
        (put, "/concerts", "", 405, "method-not-allowed", None),
        (delete, "/concerts", "", 405, "method-not-allowed", None),
        (get.clone(), &purchases, "", 405, "method-not-allowed", None),
        (
            get.clone(),
            "/concerts/7",
            "",
            400,
            "malformed",
            Some("concert_id"),
        ),
        (
            get.clone(),
            "/purchases/%FF",
            "",
            400,
            "malformed",
            Some("purchase_id"),
        ),
        (
            get.clone(),
            "/concerts?limit=1&limit=2",
            "",
            400,
            "malformed",
            Some("limit"),
        ),
        (
            get.clone(),
            "/concerts?limit=ten",
            "",
            400,
            "malformed",
            Some("limit"),
        ),
        (
            get.clone(),
            "/concerts?limit=0",
            "",
            422,
            "invalid",
            Some("limit"),
        ),
        (
            get.clone(),
            "/concerts?limit=101",
            "",
            422,
            "invalid",
            Some("limit"),
        ),
        (
            get.clone(),
            "/concerts?limit=-1",
            "",
            422,
            "invalid",
            Some("limit"),
        ),
        (
            get.clone(),
            "/concerts?limit=99999999999999999999",
            "",
            422,
            "invalid",
            Some("limit"),
        ),
        (
            get,
            "/concerts?cursor=here",
            "",
            400,
            "malformed",
            Some("cursor"),
        ),
        (post.clone(), "/concerts", "{", 400, "malformed", None),
        (post.clone(), "/concerts", "", 400, "malformed", None),
        (post.clone(), "/concerts", &long, 413, "too-large", None),
        (
            post.clone(),
            "/concerts",
            &no_capacity,
            422,
            "invalid",
            Some("capacity"),
        ),
        (
            post.clone(),
            "/concerts",
            &price,
            422,
            "invalid",
            Some("price.amount"),
        ),
        (
            post.clone(),
            "/concerts",
            &title,
            422,
            "invalid",
            Some("title"),
        ),
        (
            post.clone(),
            "/concerts",
            &strange,
            422,
            "invalid",
            Some("colour"),
        ),
        (
            post.clone(),
            &purchases,
            r#"{"buyer":"Ada","quantity":11}"#,
            422,
            "invalid",
            Some("quantity"),
        ),
        (
            post.clone(),
            &purchases,
            r#"{"buyer":"","quantity":1}"#,
            422,
            "invalid",
            Some("buyer"),
        ),
        (post, &purchases, good, 409, "sold-out", None),
    ];
    let document: Value = value(&server.api.get("/openapi.json").await.unwrap());
    let described = problem_types(&document);
    for (method, path, body, status, kind, field) in cases {
        let body = body.as_bytes().to_vec();
        let response = server
            .api
            .send(method.clone(), path, &[], Some(body))
            .await
            .unwrap();
        let problem = value(&response);
        let what = format!("{method} {path}: {problem}");
        assert_eq!(response.status, status, "{what}");
        assert_eq!(
            response.headers["content-type"], "application/problem+json",
            "{what}"
        );
        assert!(response.headers.contains_key("x-request-id"), "{what}");
        assert_eq!(problem["type"], format!("/docs#{kind}"), "{what}");
        assert_eq!(problem["status"], status, "{what}");
        assert!(
            described.contains(kind),
            "{kind} is not in the OpenAPI document"
        );
        assert_eq!(problem["errors"][0]["field"].as_str(), field, "{what}");
        if status == 405 {
            assert!(response.headers.contains_key("allow"), "{what}");
        }
    }
    let response = server
        .api
        .send(
            Method::POST,
            "/concerts",
            &[(
                "content-type".parse().unwrap(),
                "text/plain".parse().unwrap(),
            )],
            None,
        )
        .await
        .unwrap();
    assert_eq!(response.status, 415);
    assert_eq!(value(&response)["type"], "/docs#unsupported-media-type");
    assert!(!response.headers.contains_key("accept-encoding"));
    let sold_out = server.post(&purchases, &order("Ada", 4)).await;
    assert_eq!(value(&sold_out)["available"], 3);
}

#[tokio::test]
async fn a_body_with_a_content_coding_is_rejected_with_the_accepted_one() {
    let server = Server::start(&[]);
    let concert = new_concert(1);
    for coding in ["gzip", "identity, br", "GZIP"] {
        let headers = [("content-encoding", coding)];
        let response = server.post_with("/concerts", &headers, &concert).await;
        assert_eq!(response.status, 415, "{coding}");
        assert_eq!(response.headers["accept-encoding"], "identity");
        let problem = value(&response);
        assert_eq!(problem["type"], "/docs#unsupported-encoding", "{problem}");
    }
    for coding in ["identity", "Identity", ""] {
        let headers = [("content-encoding", coding)];
        let response = server.post_with("/concerts", &headers, &concert).await;
        assert_eq!(response.status, 201, "{coding}");
    }
}

/// Returns the types of problems that the document describes.
fn problem_types(document: &Value) -> HashSet<String> {
    let responses = document["components"]["responses"].as_object().unwrap();
    let lists = responses
        .values()
        .map(|response| &response["x-problem-types"]);
    lists
        .chain([&document["x-problem-types"]])
        .filter_map(Value::as_object)
        .flat_map(|kinds| kinds.keys().cloned())
        .collect()
}

#[tokio::test]
async fn a_purchase_that_a_concert_does_not_allow_gets_a_problem_with_the_reason() {
    let server = Server::start(&[]);
    let mut limited = new_concert(10);
    limited["max_per_buyer"] = json!(2);
    let mut later = new_concert(10);
    later["on_sale_from"] = json!("2198-01-01T00:00:00Z");
    for (concert, kind) in [(limited, "buyer-limit"), (later, "not-on-sale")] {
        let id = text(&value(&server.post("/concerts", &concert).await)["id"]);
        let response = server
            .post(&format!("/concerts/{id}/purchases"), &order("Ada", 3))
            .await;
        assert_eq!(response.status, 409);
        assert_eq!(value(&response)["type"], format!("/docs#{kind}"));
    }
}

#[tokio::test]
async fn the_request_id_of_the_client_is_returned() {
    let server = Server::start(&[]);
    let headers = [("x-request-id", "mine-1")];
    let response = send(&server.api, Method::GET, "/nothing", &headers, None).await;
    assert_eq!(response.headers["x-request-id"], "mine-1");
}

#[tokio::test]
async fn a_time_out_of_range_is_rejected_with_the_path_of_its_field() {
    let server = Server::start(&[]);
    for field in ["starts_at", "on_sale_from", "on_sale_until"] {
        for time in [
            "9999-12-30T22:00:00.999999Z",
            "9999-12-31T23:59:59Z",
            "-009999-01-02T01:59:59Z",
            "1999-12-31T23:59:59Z",
            "2030-02-30T20:00:00Z",
            "tomorrow",
            "",
        ] {
            let mut concert = new_concert(10);
            concert[field] = json!(time);
            let response = server.post("/concerts", &concert).await;
            let problem = value(&response);
            assert_eq!(response.status, 422, "{field} {time:?}: {problem}");
            assert_eq!(problem["errors"][0]["field"], field, "{problem}");
            let detail = text(&problem["detail"]);
            assert!(
                !detail.contains("jiff") && !detail.contains("failed to parse"),
                "{detail}"
            );
        }
    }
    let mut concert = new_concert(10);
    concert["starts_at"] = json!("9998-12-31T23:59:59.999999Z");
    let created = server.post("/concerts", &concert).await;
    assert_eq!(created.status, 201);
    let path = format!("/concerts/{}", text(&value(&created)["id"]));
    let read = value(&server.api.get(&path).await.unwrap());
    assert_eq!(read["starts_at"], "9998-12-31T23:59:59.999999Z");
}
