//! The live page's routes, as its viewers meet them.
#![cfg(feature = "live")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use prometheus::{IntCounterVec, Opts, Registry};
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_metrics_dashboard::live::{self, Control, LoggedRequest, RecentRequests};
use tower_metrics_dashboard::{Dashboard, Row, Selector, TimeSeries, Unit};

fn page() -> live::Page {
    let registry = Registry::new();
    let hits = IntCounterVec::new(Opts::new("hits_total", "Hits."), &["route"]).unwrap();
    hits.with_label_values(&["/a"]).inc_by(41);
    hits.with_label_values(&["/b"]).inc();
    registry.register(Box::new(hits)).unwrap();
    let hits = Selector::new("hits_total").value();
    let panel = TimeSeries::new("Hits", Unit::Count).description("Hits so far.");
    let panel = panel.series("{route}", hits.sum_by(["route"]));
    let dashboard = Dashboard::new("shop", "A <shop>", "Hits.");
    live::page(dashboard.row(Row::new("Traffic").panel(panel)), registry)
}

async fn answer(router: &Router, request: Request<Body>) -> (StatusCode, String) {
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn get(router: &Router, path: &str) -> (StatusCode, String) {
    answer(router, Request::get(path).body(Body::empty()).unwrap()).await
}

async fn get_json(router: &Router, path: &str) -> Value {
    let (status, body) = get(router, path).await;
    assert_eq!(status, StatusCode::OK, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn the_api_has_the_figures_of_the_registry() {
    let router = page().into_router().unwrap();
    let now = get_json(&router, "/api/now").await;
    assert_eq!(now["panels"]["hits"]["series"], json!({"/a": 41, "/b": 1}));
    let history = get_json(&router, "/api/panels/hits").await;
    assert_eq!(history["panels"]["hits"]["series"]["/a"][0], json!(41));
    let dashboard = get_json(&router, "/api/dashboard").await;
    assert_eq!(dashboard["rows"][0]["panels"][0]["id"], json!("hits"));
    assert_eq!(
        get(&router, "/api/panels/none").await.0,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn the_stream_begins_with_the_history_and_ends_when_told() {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let page = page().until(async { drop(stopped.await) });
    let router = page.into_router().unwrap();
    let request = Request::get("/api/stream").body(Body::empty()).unwrap();
    let mut stream = router.clone().oneshot(request).await.unwrap().into_body();
    let first = stream.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.starts_with(b"event: history\ndata: {") && first.ends_with(b"}\n\n"));
    let next = stream.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(next.starts_with(b"event: update\ndata: {") && next.ends_with(b"}\n\n"));
    drop(stop);
    assert!(stream.frame().await.is_none());
}

#[tokio::test]
async fn a_page_holds_wherever_it_is_nested() {
    let router = Router::new().nest("/ops/live", page().into_router().unwrap());
    let (status, html) = get(&router, "/ops/live").await;
    assert_eq!(status, StatusCode::OK);
    assert!(html.contains(r#"<base href="./live/">"#) && html.contains("A &lt;shop>"));
    assert_eq!(
        get(&router, "/ops/live/assets/main.js").await.0,
        StatusCode::OK
    );
    let router = page().into_router().unwrap();
    assert!(get(&router, "/").await.1.contains(r#"<base href="./">"#));
}

#[tokio::test]
async fn a_control_takes_its_choices_and_nothing_else() {
    let value = Arc::new(Mutex::new("off".to_owned()));
    let (read, write) = (value.clone(), value.clone());
    let current = move || read.lock().unwrap().clone();
    let control = Control::new("Cache", current, move |value| {
        *write.lock().unwrap() = value.to_owned();
        Ok(())
    });
    let control = control.choice("on", "On.").choice("off", "Off.");
    let router = page().control(control).into_router().unwrap();
    let put = |path: &str, body: &'static str| Request::put(path).body(Body::from(body)).unwrap();
    let set = answer(&router, put("/api/controls/cache", r#"{"value": "on"}"#)).await;
    assert_eq!(set, (StatusCode::OK, r#"{"value":"on"}"#.to_owned()));
    for (path, body, refused) in [
        (
            "/api/controls/cache",
            r#"{"value": "maybe"}"#,
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        ("/api/controls/cache", "on", StatusCode::BAD_REQUEST),
        (
            "/api/controls/other",
            r#"{"value": "on"}"#,
            StatusCode::NOT_FOUND,
        ),
    ] {
        let (status, problem) = answer(&router, put(path, body)).await;
        assert_eq!(status, refused, "{problem}");
    }
    assert_eq!(*value.lock().unwrap(), "on");
}

#[tokio::test]
async fn a_method_that_a_path_does_not_know_is_refused_as_a_problem() {
    let router = page().into_router().unwrap();
    for path in ["/", "/api/now", "/assets/main.js"] {
        let request = Request::delete(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let headers = response.headers();
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!(headers["allow"], "GET,HEAD");
        assert!(headers.contains_key("content-security-policy"));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let problem: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["status"], 405);
        assert!(problem["detail"].as_str().unwrap().starts_with("DELETE"));
    }
}

#[tokio::test]
async fn a_query_finds_the_requests_of_a_cell() {
    let log = Arc::new(RecentRequests::new());
    for (millis, route) in [(4, "/a"), (40, "/a"), (45, "/b")] {
        let mut request = LoggedRequest::new(SystemTime::now(), Duration::from_millis(millis));
        request.id = millis.to_string();
        request.method = "GET".into();
        request.route = route.into();
        request.status = Some(200);
        request.line = format!("took {millis} ms");
        log.record(request);
    }
    let router = page().requests(log, "took_seconds").into_router().unwrap();
    let found = get_json(
        &router,
        "/api/requests?at_least=0.025&at_most=0.05&route=/a",
    )
    .await;
    assert_eq!(found["requests"][0]["line"], json!("took 40 ms"));
    assert_eq!(found["requests"].as_array().map(Vec::len), Some(1));
    for wrong in ["from=soon", "limit=0", "colour=red", "at_most=-1"] {
        let (status, problem) = get(&router, &format!("/api/requests?{wrong}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong}: {problem}");
    }
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_with_its_value() {
    let long = page().window(Duration::from_secs(61)).into_router();
    assert!(long.unwrap_err().to_string().contains("61 s"));
    let twin = || Control::new("Cache", || "on".into(), |_| Ok(()));
    let twice = page().control(twin()).control(twin()).into_router();
    assert!(twice.unwrap_err().to_string().contains("Cache"));
    let astray = page().control(twin().beside("Nothing")).into_router();
    assert!(astray.unwrap_err().to_string().contains("Nothing"));
}

#[test]
fn without_a_runtime_there_is_an_error_and_no_panic() {
    assert!(matches!(page().into_router(), Err(live::Error::NoRuntime)));
}
