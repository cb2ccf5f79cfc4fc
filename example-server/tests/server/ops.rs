use std::fs;

use http::Method;
use serde_json::json;

use crate::process::{Server, new_concert, order, send, text, until, value};

#[tokio::test]
async fn the_metrics_match_the_requests_that_were_sent() {
    let server = Server::start(&[]);
    let concert = server.concert(5).await;
    let path = format!("/concerts/{concert}/purchases");
    for _ in 0..3 {
        server.api.get("/concerts").await.unwrap();
        server.api.get("/nothing").await.unwrap();
    }
    let bought = value(&server.post(&path, &order("Ada", 2)).await);
    server
        .post_with(&path, &[("idempotency-key", "k")], &order("Bo", 2))
        .await;
    server
        .post_with(&path, &[("idempotency-key", "k")], &order("Bo", 2))
        .await;
    server.post(&path, &order("Cy", 2)).await;
    server.post(&path, &order("Cy", 0)).await;
    let purchase = format!("/purchases/{}", text(&bought["id"]));
    send(&server.api, Method::DELETE, &purchase, &[], None).await;

    until("nothing is in flight", async || {
        server.in_flight().await == 0.0
    })
    .await;
    for (route, status, count) in [
        ("/concerts", 201, 1.0),
        ("/concerts", 200, 3.0),
        ("", 404, 3.0),
        ("/concerts/{concert_id}/purchases", 201, 3.0),
        ("/concerts/{concert_id}/purchases", 409, 1.0),
        ("/concerts/{concert_id}/purchases", 422, 1.0),
        ("/purchases/{purchase_id}", 200, 1.0),
    ] {
        let pairs = [
            format!("http_route=\"{route}\""),
            format!("code=\"{status}\""),
        ];
        assert_eq!(
            server.requests(&[&pairs[0], &pairs[1]]).await,
            count,
            "{route} {status}"
        );
    }
    assert_eq!(server.requests(&[]).await, 13.0);
    for (outcome, count) in [
        ("sold", 2.0),
        ("replayed", 1.0),
        ("sold_out", 1.0),
        ("refunded", 1.0),
        ("declined", 0.0),
    ] {
        let pair = format!("outcome=\"{outcome}\"");
        assert_eq!(
            server.metric("ticket_purchases_total", &[&pair]).await,
            count,
            "{outcome}"
        );
    }
    let slug = "concert=\"nina-simone\"";
    assert_eq!(server.metric("tickets_sold_total", &[slug]).await, 4.0);
    assert_eq!(server.metric("tickets_refunded_total", &[slug]).await, 2.0);
    assert_eq!(
        server
            .metric("ticket_sales_amount_total", &[slug, "\"EUR\""])
            .await,
        260.0
    );
    until("the stock has been updated", async || {
        server.metric("tickets_available", &[slug]).await == 3.0
    })
    .await;
    assert_eq!(
        server.metric("example_server_build_info", &["0.1.0"]).await,
        1.0
    );
    for runtime in ["api", "ops"] {
        let runtime = format!("runtime=\"{runtime}\"");
        assert!(server.metric("tokio_workers", &[&runtime]).await >= 1.0);
        until("the scheduling delay has been measured", async || {
            let delays = "tokio_scheduling_delay_seconds_count";
            server.metric(delays, &[&runtime]).await > 0.0
        })
        .await;
    }
    assert!(server.metric("db_client_connection_max", &[]).await >= 1.0);
    assert!(
        server
            .metric("db_client_operation_duration_seconds_count", &["sqlite"])
            .await
            > 0.0
    );
    #[cfg(target_os = "linux")]
    {
        assert!(server.metric("process_resident_memory_bytes", &[]).await > 0.0);
        // The CPU time has a fractional part.
        until("the CPU time has a fractional part", async || {
            server
                .metric("process_cpu_seconds_total", &[])
                .await
                .fract()
                != 0.0
        })
        .await;
    }
}

#[tokio::test]
async fn faults_are_replaced_over_http_and_expire() {
    let server = Server::start(&[]);
    let calm = server.ops.get("/faults").await.unwrap();
    assert_eq!(calm.headers["faults-name"], "calm");
    server
        .put_faults(&json!({ "preset": "payment-outage", "expires_after_s": 1 }))
        .await;
    assert_eq!(
        server.logs("faults changed")["fields"]["faults"],
        "payment-outage"
    );
    let expired = server.logs("faults changed");
    assert_eq!(
        (&expired["fields"]["faults"], &expired["fields"]["source"]),
        (&json!("calm"), &json!("expiry"))
    );
    until("the changes are counted", async || {
        server.metric("ticket_faults_changes_total", &[]).await == 2.0
    })
    .await;
    assert_eq!(
        server.metric("ticket_faults_preset", &["\"calm\""]).await,
        1.0
    );

    let refused = send(&server.ops, Method::PUT, "/faults", &[], Some(&json!({
        "faults": [{ "operation": "payment", "delay": { "fixed": { "ms": 1 } }, "when": { "probability": 1.5 } }]
    })))
    .await;
    assert_eq!(refused.status, 422);
    assert_eq!(
        value(&refused)["errors"][0]["field"],
        "faults[0].when.probability"
    );
    assert_eq!(
        server.ops.get("/faults").await.unwrap().headers["faults-name"],
        "calm"
    );
}

#[tokio::test]
async fn a_faults_document_that_is_nested_too_deeply_is_malformed() {
    let server = Server::start(&[]);
    let nested = (0..100).fold(
        json!({ "probability": 0.5 }),
        |when, _| json!({ "all": [when] }),
    );
    let document = json!({
        "faults": [{ "operation": "payment", "fail": { "as": "declined" }, "when": nested }]
    });
    let refused = send(&server.ops, Method::PUT, "/faults", &[], Some(&document)).await;
    let problem = value(&refused);
    assert_eq!(refused.status, 400, "{problem}");
    assert_eq!(problem["type"], "/docs#malformed", "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("the body is nested too deeply"),
        "{detail}"
    );
}

#[tokio::test]
async fn the_longest_faults_document_is_accepted_and_a_larger_body_is_413() {
    let server = Server::start(&[]);
    let delays = vec![0.001_25; 10_000];
    server
        .put_faults(&json!({ "faults": [
            { "operation": "refund", "delay": { "replay": { "ms": delays } } },
        ] }))
        .await;
    let too_long = json!({ "preset": "x".repeat(1024 * 1024) });
    let response = send(&server.ops, Method::PUT, "/faults", &[], Some(&too_long)).await;
    assert_eq!(response.status, 413);
    let detail = text(&value(&response)["detail"]);
    assert!(detail.contains("1048576 bytes"), "{detail}");
}

#[tokio::test]
async fn the_faults_file_is_reloaded_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("faults.toml");
    fs::write(&file, "preset = \"everyday\"\n").unwrap();
    let server = Server::start(&["--faults", file.to_str().unwrap()]);
    let active = async || {
        let response = server.ops.get("/faults").await.unwrap();
        response.headers["faults-name"].to_str().unwrap().to_owned()
    };
    assert_eq!(active().await, "everyday");
    fs::write(&file, "preset = \"everyday\"\nfaults = 7\n").unwrap();
    server.logs("faults file is invalid, faults are unchanged");
    assert_eq!(active().await, "everyday");
    fs::write(&file, "preset = \"slow-database\"\n").unwrap();
    server.logs("faults changed");
    assert_eq!(active().await, "slow-database");
    server
        .put_faults(&json!({ "preset": "brown-out", "expires_after_s": 3_600 }))
        .await;
    fs::write(&file, "preset = \"calm\"\n").unwrap();
    server.logs("faults file changed; it becomes active when the document set over HTTP expires or the scenario ends");
    assert_eq!(active().await, "brown-out");
}

#[tokio::test]
async fn the_commit_mode_can_be_changed_at_run_time() {
    let server = Server::start(&[]);
    let concert = server.concert(10).await;
    for (commit, status) in [("each", 200), ("group", 200), ("some", 422)] {
        let body = json!({ "commit": commit });
        let response = send(&server.ops, Method::PUT, "/commit", &[], Some(&body)).await;
        assert_eq!(response.status, status, "{commit}");
        if status == 200 {
            assert_eq!(value(&server.ops.get("/commit").await.unwrap()), body);
            let mode = format!("mode=\"{commit}\"");
            assert_eq!(server.metric("ticket_commit_mode", &[&mode]).await, 1.0);
            let path = format!("/concerts/{concert}/purchases");
            assert_eq!(server.post(&path, &order("Ada", 1)).await.status, 201);
        }
    }
    assert_eq!(server.metric("ticket_commit_mode", &[]).await, 1.0);
    for body in [
        json!(["each"]),
        json!("each"),
        json!({ "commit": "each", "x": 1 }),
    ] {
        let response = send(&server.ops, Method::PUT, "/commit", &[], Some(&body)).await;
        assert_eq!(response.status, 422, "{body}");
        assert_eq!(
            value(&server.ops.get("/commit").await.unwrap())["commit"],
            "group"
        );
    }
}

#[tokio::test]
async fn a_token_is_required_for_changes_only() {
    let server = Server::start(&["--admin-token", "s3cret"]);
    let calm = json!({ "preset": "calm" });
    let each = json!({ "commit": "each" });
    for (sent, status) in [
        (None, 401),
        (Some("Bearer wrong"), 401),
        (Some("Bearer s3cret"), 200),
    ] {
        let headers: Vec<_> = sent
            .map(|value| ("authorization", value))
            .into_iter()
            .collect();
        let faults = send(&server.ops, Method::PUT, "/faults", &headers, Some(&calm)).await;
        let commit = send(&server.ops, Method::PUT, "/commit", &headers, Some(&each)).await;
        let concert = server
            .post_with("/concerts", &headers, &new_concert(1))
            .await;
        assert_eq!(
            (faults.status.as_u16(), commit.status.as_u16()),
            (status, status)
        );
        assert_eq!(concert.status, if status == 200 { 201 } else { 401 });
        if status == 401 {
            assert_eq!(faults.headers["www-authenticate"], "Bearer");
        }
    }
    for path in [
        "/metrics",
        "/livez",
        "/readyz",
        "/faults",
        "/commit",
        "/faults/presets",
    ] {
        assert_eq!(server.ops.get(path).await.unwrap().status, 200, "{path}");
    }
    assert_eq!(server.api.get("/concerts").await.unwrap().status, 200);
}

#[tokio::test]
async fn without_a_token_an_ops_port_beyond_loopback_rejects_changes() {
    let server = Server::start(&["--ops-listen", "0.0.0.0:0"]);
    let calm = json!({ "preset": "calm" });
    let refused = send(&server.ops, Method::PUT, "/faults", &[], Some(&calm)).await;
    assert_eq!(refused.status, 403);
    assert_eq!(server.post("/concerts", &new_concert(1)).await.status, 403);
    for path in ["/metrics", "/livez", "/readyz", "/faults"] {
        assert_eq!(server.ops.get(path).await.unwrap().status, 200, "{path}");
    }
}

#[tokio::test]
async fn the_type_of_a_problem_on_the_ops_port_links_to_its_description_there() {
    let server = Server::start(&["--admin-token", "s3cret"]);
    let (faults, form) = (json!({ "preset": "calm" }), json!("calm"));
    for (method, path, token, body, problem) in [
        (Method::GET, "/nothing", "s3cret", None, "not-found"),
        (
            Method::POST,
            "/faults",
            "s3cret",
            None,
            "method-not-allowed",
        ),
        (
            Method::PUT,
            "/faults",
            "guess",
            Some(&faults),
            "unauthorized",
        ),
        (Method::PUT, "/commit", "s3cret", Some(&form), "invalid"),
    ] {
        let token = format!("Bearer {token}");
        let headers = [("authorization", token.as_str())];
        let response = send(&server.ops, method, path, &headers, body).await;
        let value = value(&response);
        let link = text(&value["type"]);
        let (page, fragment) = link.split_once('#').unwrap();
        assert_eq!(fragment, problem, "{path}");
        let page = server.ops.get(page).await.unwrap();
        assert_eq!(page.status, 200);
        let html = str::from_utf8(&page.body).unwrap();
        assert!(html.contains(&format!("<tr id=\"{fragment}\">")), "{link}");
    }
}

#[tokio::test]
async fn without_a_token_an_api_beyond_loopback_rejects_new_concerts() {
    let server = Server::start(&["--listen", "0.0.0.0:0"]);
    let refused = server.post("/concerts", &new_concert(1)).await;
    assert_eq!(refused.status, 403);
    assert_eq!(value(&refused)["type"], "/docs#changes-disabled");
    assert_eq!(server.api.get("/concerts").await.unwrap().status, 200);
}

#[tokio::test]
async fn without_a_token_a_request_to_another_host_name_changes_nothing() {
    let server = Server::start(&[]);
    let (calm, each) = (json!({ "preset": "calm" }), json!({ "commit": "each" }));
    let pressed = json!({ "value": "each" });
    for (host, allowed) in [("evil.example", false), ("localhost", true)] {
        let headers = [("host", host)];
        let changes = [
            (&server.ops, Method::PUT, "/faults", &calm, 200),
            (&server.ops, Method::PUT, "/commit", &each, 200),
            (
                &server.ops,
                Method::PUT,
                "/api/controls/commit",
                &pressed,
                200,
            ),
            (&server.api, Method::POST, "/concerts", &new_concert(1), 201),
        ];
        for (client, method, path, body, status) in changes {
            let response = send(client, method, path, &headers, Some(body)).await;
            let expected = if allowed { status } else { 403 };
            assert_eq!(response.status, expected, "{host} {path}");
            if !allowed {
                assert_eq!(value(&response)["type"], "/docs#host-not-allowed", "{path}");
            }
        }
        let read = send(&server.api, Method::GET, "/concerts", &headers, None).await;
        assert_eq!(read.status, 200, "{host}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_faults_file_that_becomes_a_fifo_or_too_large_is_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("faults.toml");
    fs::write(&file, "preset = \"everyday\"\n").unwrap();
    let server = Server::start(&["--faults", file.to_str().unwrap()]);
    let refused = async |reason: &str, active: &str| {
        let line = server.logs("cannot read the faults file, faults are unchanged");
        let error = text(&line["fields"]["error"]);
        assert!(error.contains(reason), "{error}");
        let faults = server.ops.get("/faults").await.unwrap();
        assert_eq!(faults.headers["faults-name"], active);
    };
    // Renamed into place, because a missing file would be reported as well.
    let next = folder.path().join("next");
    let made = std::process::Command::new("mkfifo").arg(&next).status();
    assert!(made.unwrap().success());
    fs::rename(&next, &file).unwrap();
    refused("not a regular file", "everyday").await;
    fs::write(&next, "preset = \"calm\"\n").unwrap();
    fs::rename(&next, &file).unwrap();
    server.logs("faults changed");
    let huge = fs::File::create(&next).unwrap();
    huge.set_len(300 * 1024 * 1024).unwrap();
    fs::rename(&next, &file).unwrap();
    refused("314572800 bytes, the limit is 1048576", "calm").await;
}

#[tokio::test]
async fn injected_faults_do_not_affect_readiness() {
    let server = Server::start(&[]);
    let down = json!({ "faults": [{ "operation": "*", "fail": { "as": "unavailable" } }] });
    server.put_faults(&down).await;
    assert_eq!(server.api.get("/concerts").await.unwrap().status, 503);
    assert_eq!(server.ops.get("/readyz").await.unwrap().status, 200);
}

#[tokio::test]
async fn every_error_of_the_ops_port_is_a_problem() {
    let server = Server::start(&[]);
    for (method, path, status) in [
        (Method::DELETE, "/", 405),
        (Method::DELETE, "/metrics", 405),
        (Method::POST, "/livez", 405),
        (Method::GET, "/nothing", 404),
    ] {
        let response = send(&server.ops, method, path, &[], None).await;
        assert_eq!(response.status, status, "{path}");
        let kind = &response.headers["content-type"];
        assert_eq!(kind, "application/problem+json", "{path}");
        assert_eq!(value(&response)["status"], status);
        assert_eq!(response.headers.contains_key("allow"), status == 405);
    }
}
