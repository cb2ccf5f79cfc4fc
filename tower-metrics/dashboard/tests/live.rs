//! The routes of a live page.
#![cfg(feature = "live")]

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::routing::get as get_route;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use prometheus::core::{Collector, Desc};
use prometheus::{IntCounterVec, Opts, Registry};
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_metrics::{MetricsLayer, Prometheus};
use tower_metrics_dashboard::live::{
    Check, Control, Equation, Error, LivePage, LivePageBuilder, LoggedRequest, RecentRequests,
    RequestLog, RequestQuery, Side,
};
use tower_metrics_dashboard::{Dashboard, Row, Selector, TimeSeries, Unit};

fn page() -> LivePageBuilder {
    let registry = Registry::new();
    let hits = IntCounterVec::new(Opts::new("hits_total", "Hits."), &["route"]).unwrap();
    hits.with_label_values(&["/a"]).inc_by(41);
    hits.with_label_values(&["/b"]).inc();
    registry.register(Box::new(hits)).unwrap();
    let hits = Selector::new("hits_total").value();
    let panel = TimeSeries::new("Hits", Unit::Count).description("Number of hits.");
    let panel = panel.series("{route}", hits.sum_by(["route"]));
    let dashboard = Dashboard::new("shop", "A <shop>", "Hits.");
    LivePage::builder(dashboard.row(Row::new("Traffic").panel(panel)), registry)
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
async fn the_api_returns_the_values_of_the_registry() {
    let router = page().build().unwrap().into_router();
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
async fn the_stream_begins_with_the_history_and_ends_at_shutdown() {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let page = page().graceful_shutdown(async { drop(stopped.await) });
    let router = page.build().unwrap().into_router();
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
async fn a_nested_page_works_with_and_without_a_trailing_slash() {
    let nested = Router::new().nest_service("/ops/live", page().build().unwrap().into_router());
    let routes = Router::new().nest("/ops/live", page().build().unwrap().into_router());
    let root = page().build().unwrap().into_router();
    for (router, path) in [
        (&nested, "/ops/live"),
        (&nested, "/ops/live/"),
        // `nest` has no route for the path with a trailing slash.
        (&routes, "/ops/live"),
        (&root, "/"),
    ] {
        let (status, html) = get(router, path).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert!(html.contains("A &lt;shop>"), "{html}");
        // References by query alone resolve against any path.
        let references = html.split('"').filter(|text| text.contains("asset"));
        let references: Vec<_> = references.collect();
        assert!(references.len() >= 4, "{html}");
        for reference in references {
            assert!(reference.starts_with("?asset="), "{reference}");
            let (status, _) = get(router, &format!("{path}{reference}")).await;
            assert_eq!(status, StatusCode::OK, "{path}{reference}");
        }
        let base = path.trim_end_matches('/');
        let (status, _) = get(router, &format!("{base}/assets/main.js")).await;
        assert_eq!(status, StatusCode::OK);
    }
    let (status, _) = get(&root, "/?asset=../Cargo.toml").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_stream_disables_proxy_buffering() {
    let request = Request::get("/api/stream").body(Body::empty()).unwrap();
    let router = page().build().unwrap().into_router();
    let response = router.oneshot(request).await.unwrap();
    let headers = response.headers();
    assert_eq!(headers["content-type"], "text/event-stream");
    assert_eq!(headers["x-accel-buffering"], "no");
    assert_eq!(headers["cache-control"], "no-store, no-transform");
}

/// Waits for the next event of a stream.
async fn event(stream: &mut Body) -> (String, Value) {
    let frame = stream.frame().await.unwrap().unwrap();
    let text = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
    let (name, data) = text.split_once("\ndata: ").unwrap();
    let name = name.strip_prefix("event: ").unwrap().to_owned();
    (name, serde_json::from_str(data.trim_end()).unwrap())
}

async fn open_stream(router: &Router) -> Body {
    let request = Request::get("/api/stream").body(Body::empty()).unwrap();
    router.clone().oneshot(request).await.unwrap().into_body()
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_control_is_reported_and_the_stream_continues_until_shutdown() {
    let broken = Control::new(
        "Cache",
        || panic!("no cache"),
        |_| panic!("cannot be switched"),
    );
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let page = page()
        .control(broken.choice("on", "On."))
        .graceful_shutdown(async { drop(stopped.await) });
    let router = page.build().unwrap().into_router();
    let mut stream = open_stream(&router).await;
    assert_eq!(event(&mut stream).await.0, "history");
    for _ in 0..3 {
        let (name, update) = event(&mut stream).await;
        assert_eq!(name, "update");
        assert_eq!(update["controls"], json!({"cache": null}));
        let problem = json!({"source": "Cache", "detail": "panicked: no cache"});
        assert_eq!(update["problems"], json!([problem]));
        assert_eq!(
            update["panels"]["hits"]["series"],
            json!({"/a": 41, "/b": 1})
        );
    }
    let set = Request::put("/api/controls/cache").body(Body::from(r#"{"value": "on"}"#));
    let (status, problem) = answer(&router, set.unwrap()).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(problem.contains("cannot be switched"), "{problem}");
    drop(stop);
    while stream.frame().await.is_some() {}
}

#[tokio::test(start_paused = true)]
async fn streams_end_if_the_shutdown_signal_panics() {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let page = page().graceful_shutdown(async {
        drop(stopped.await);
        panic!("no signal");
    });
    let router = page.build().unwrap().into_router();
    let mut stream = open_stream(&router).await;
    assert_eq!(event(&mut stream).await.0, "history");
    drop(stop);
    while stream.frame().await.is_some() {}
}

#[tokio::test(start_paused = true)]
async fn a_check_that_panics_fails_instead_of_keeping_its_last_result() {
    let panics = Arc::new(AtomicBool::new(false));
    let panics_now = panics.clone();
    let check = Check::new("Sold", "Counter and database agree.", move || {
        let panics = panics_now.clone();
        async move {
            assert!(!panics.load(Relaxed), "no database");
            let equation = Equation::new("sold").side(Side::exact("counter", 1.0));
            Ok(vec![equation])
        }
    });
    let router = page().check(check).build().unwrap().into_router();
    let mut stream = open_stream(&router).await;
    let mut until = async |state: &str| loop {
        let (_, data) = event(&mut stream).await;
        let check = data.get("now").unwrap_or(&data)["checks"][0].clone();
        if check["state"] == state {
            return check;
        }
    };
    until("unknown").await;
    until("passed").await;
    panics.store(true, Relaxed);
    let check = until("failed").await;
    assert_eq!(check["error"], "panicked: no database");
    panics.store(false, Relaxed);
    until("passed").await;
}

struct PanickingLog;

impl RequestLog for PanickingLog {
    fn find(&self, _: &RequestQuery) -> Vec<LoggedRequest> {
        panic!("no log")
    }
}

#[tokio::test]
async fn a_panic_in_the_request_log_is_a_server_error() {
    let page = page().requests(Arc::new(PanickingLog), "took_seconds");
    let (status, problem) = get(&page.build().unwrap().into_router(), "/api/requests").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(
        problem.contains("the request log panicked: no log"),
        "{problem}"
    );
}

struct PanickingCollector(Desc);

impl Collector for PanickingCollector {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.0]
    }

    fn collect(&self) -> Vec<prometheus::proto::MetricFamily> {
        panic!("out of order")
    }
}

#[tokio::test(start_paused = true)]
async fn request_metrics_of_a_recorder_are_read_although_another_collector_panics() {
    let prometheus = Prometheus::new();
    let metrics = MetricsLayer::new(prometheus);
    let app = Router::new()
        .route("/", get_route(|| async { "hello" }))
        .layer(metrics);
    let desc = Desc::new("broken".into(), "Broken.".into(), vec![], [].into()).unwrap();
    let collector = PanickingCollector(desc);
    prometheus.registry().register(Box::new(collector)).unwrap();
    let count = Selector::new("http_server_request_duration_seconds").count();
    let panel = TimeSeries::new("Requests", Unit::RequestsPerSecond)
        .description("Requests per second.")
        .series("{http_route}", count.rate().sum_by(["http_route"]));
    let dashboard = Dashboard::new("shop", "Shop", "Requests.");
    let page = LivePage::builder(dashboard.row(Row::new("Traffic").panel(panel)), prometheus);
    let router = page.build().unwrap().into_router();
    let mut stream = open_stream(&router).await;
    assert_eq!(event(&mut stream).await.0, "history");
    assert_eq!(get(&app, "/").await.0, StatusCode::OK);
    let (_, update) = event(&mut stream).await;
    assert_eq!(
        update["problems"][0]["detail"],
        "a collector panicked: out of order"
    );
    let rate = &update["panels"]["requests"]["series"]["/"];
    assert!(rate.as_f64().unwrap() > 0.0, "{update}");
}

#[tokio::test]
async fn a_recorder_and_its_registry_show_the_same_values() {
    let common = [("zone".to_owned(), "b".to_owned())].into();
    let registry = Registry::new_custom(Some("shop".into()), Some(common)).unwrap();
    let prometheus = Prometheus::builder()
        .registry(registry.clone())
        .response_size_bounds([100, 10_000])
        .time_to_head(true)
        .build()
        .unwrap();
    let app = Router::new()
        .route("/a", get_route(|| async { "hello" }))
        .route("/b", get_route(|| async { StatusCode::BAD_GATEWAY }))
        .layer(MetricsLayer::new(prometheus));
    for path in ["/a", "/a", "/b", "/c"] {
        get(&app, path).await;
    }
    let dashboard = || {
        let names = prometheus.names();
        let family = |name: &str| Selector::new(name);
        let selectors = [
            ("requests", family(&names.duration).count()),
            ("seconds", family(&names.duration).sum()),
            ("fast", family(&names.duration).bucket(10.0)),
            ("head", family(&names.time_to_head).count()),
            ("in flight", family(&names.in_flight)),
            (
                "large",
                family(names.response_size.as_ref().unwrap()).bucket(100.0),
            ),
            ("bytes", family(names.response_size.as_ref().unwrap()).sum()),
        ];
        let by = ["http_route", "http_response_status_code", "zone"];
        let legend = "{http_route} {http_response_status_code} {zone}";
        let panels = selectors.map(|(title, selector)| {
            TimeSeries::new(title, Unit::Count)
                .description("Values.")
                .series(legend, selector.value().sum_by(by))
        });
        let row = panels.into_iter().fold(Row::new("Values"), Row::panel);
        Dashboard::new("values", "Values", "Values.").row(row)
    };
    let recorder = LivePage::builder(dashboard(), prometheus).build().unwrap();
    let gathered = LivePage::builder(dashboard(), registry).build().unwrap();
    let [recorder, gathered] = [recorder, gathered].map(LivePage::into_router);
    let recorder = get_json(&recorder, "/api/now").await["panels"].take();
    let gathered = get_json(&gathered, "/api/now").await["panels"].take();
    assert_eq!(recorder, gathered);
    let requests = json!({"/a 200 b": 2, "/b 502 b": 1, "no route 404 b": 1});
    assert_eq!(recorder["requests"]["series"], requests);
    assert_eq!(recorder["in-flight"]["series"]["/a none b"], json!(0));
}

#[tokio::test]
async fn a_control_accepts_only_its_choices() {
    let value = Arc::new(Mutex::new("off".to_owned()));
    let (read, write) = (value.clone(), value.clone());
    let current = move || read.lock().unwrap().clone();
    let control = Control::new("Cache", current, move |value| {
        *write.lock().unwrap() = value.to_owned();
        Ok(())
    });
    let control = control.choice("on", "On.").choice("off", "Off.");
    let router = page().control(control).build().unwrap().into_router();
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
async fn the_detail_of_a_control_accompanies_its_value() {
    let playing = Control::new("Scenario", || "sale".into(), |_| Ok(()))
        .choice("sale", "A sale.")
        .detail(|value| (value == "sale").then(|| "2/7: It opens".into()));
    let idle = Control::new("Cache", || "on".into(), |_| Ok(())).detail(|_| None);
    let page = page().control(playing).control(idle).build().unwrap();
    let router = page.into_router();
    let now = get_json(&router, "/api/now").await;
    assert_eq!(now["controls"], json!({"scenario": "sale", "cache": "on"}));
    let details = json!({"scenario": "2/7: It opens"});
    assert_eq!(now["control_details"], details);
    let controls = get_json(&router, "/api/controls").await;
    assert_eq!(controls[0]["detail"], "2/7: It opens");
    assert_eq!(controls[1].get("detail"), None);
    let set = Request::put("/api/controls/scenario").body(Body::from(r#"{"value": "sale"}"#));
    let (_, set) = answer(&router, set.unwrap()).await;
    assert_eq!(set, r#"{"detail":"2/7: It opens","value":"sale"}"#);
}

#[tokio::test]
async fn an_unsupported_method_is_rejected_with_a_problem_document() {
    let router = page().build().unwrap().into_router();
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
async fn requests_are_filtered_by_duration_and_route() {
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
    let router = page()
        .requests(log, "took_seconds")
        .build()
        .unwrap()
        .into_router();
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
async fn an_invalid_setting_is_an_error_with_its_value() {
    let error = |builder: LivePageBuilder| builder.build().unwrap_err().to_string();
    let window = page().window(Duration::from_secs(61));
    assert_eq!(
        error(window),
        "invalid window of 61 s: must be between 1 s and 60 s"
    );
    let control = || Control::new("Cache", || "on".into(), |_| Ok(()));
    let duplicate = page().control(control()).control(control());
    assert_eq!(
        error(duplicate),
        "duplicate control title \"Cache\": the letters and digits of titles must be unique"
    );
    let unknown = page().control(control().panel("Nothing"));
    assert_eq!(
        error(unknown),
        "unknown panel \"Nothing\" of control \"Cache\": must be the title of a panel"
    );
}

#[test]
fn building_a_page_outside_of_a_runtime_is_an_error() {
    assert!(matches!(page().build(), Err(Error::NoRuntime)));
}

#[tokio::test]
async fn every_rejection_is_a_problem_document() {
    let router = page().build().unwrap().into_router();
    for (method, path, bytes, status) in [
        ("GET", "/api/panels/%FF", 0, 400),
        ("GET", "/assets/%FF", 0, 400),
        ("PUT", "/api/controls/%FF", 0, 400),
        ("PUT", "/api/controls/x", 3_000_000, 413),
        ("GET", "/api/requests?from=NaN", 0, 404),
        ("OPTIONS", "/api/now", 0, 405),
    ] {
        let request = Request::builder().method(method).uri(path);
        let request = request.body(Body::from(vec![b'x'; bytes])).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        let kind = &response.headers()["content-type"];
        assert_eq!(kind, "application/problem+json", "{path}");
    }
}

#[tokio::test]
async fn a_check_without_a_known_value_does_not_pass() {
    let nan = Side::exact("counter", f64::NAN);
    let sides = Equation::new("sold")
        .side(nan)
        .side(Side::exact("rows", 3.0));
    assert!(sides.difference().is_nan());
    let nan = Check::new("Nan", "", move || {
        std::future::ready(Ok(vec![sides.clone()]))
    });
    let empty = Check::new("Empty", "", || std::future::ready(Ok(vec![])));
    let page = page().check(nan).check(empty).build().unwrap();
    let router = page.into_router();
    let mut stream = open_stream(&router).await;
    loop {
        let (_, now) = event(&mut stream).await;
        let checks = now.get("now").unwrap_or(&now)["checks"].clone();
        if checks[0]["error"].is_null() && checks[1]["error"] != json!("not run yet") {
            assert_eq!(checks[0]["state"], json!("failed"));
            assert_eq!(checks[0]["difference"], Value::Null);
            assert_eq!(checks[1]["state"], json!("unknown"));
            break;
        }
    }
}

/// Panics when it is dropped, unless it already unwinds.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "dropped");
    }
}

#[tokio::test]
async fn a_panic_whose_payload_panics_is_reported() {
    let control = Control::new("Bomb", || std::panic::panic_any(Bomb), |_| Ok(()));
    let router = page().control(control).build().unwrap().into_router();
    let now = get_json(&router, "/api/now").await;
    let detail = "panicked: with a payload that is not a string";
    assert_eq!(now["problems"][0]["detail"], json!(detail));
}

#[tokio::test]
async fn a_check_whose_future_panics_when_it_is_dropped_fails() {
    let check = Check::new("Bomb", "", || {
        let bomb = Bomb;
        async move {
            std::future::pending::<()>().await;
            drop(bomb);
            Ok(vec![])
        }
    });
    let check = check.interval(Duration::from_secs(1));
    let router = page().check(check).build().unwrap().into_router();
    let mut stream = open_stream(&router).await;
    loop {
        let (_, now) = event(&mut stream).await;
        let check = now.get("now").unwrap_or(&now)["checks"][0].clone();
        if check["error"] != json!("not run yet") {
            assert_eq!(check["error"], json!("panicked: dropped"));
            assert_eq!(check["state"], json!("failed"));
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_that_blocks_does_not_block_the_api() {
    let entered = Arc::new(AtomicBool::new(false));
    let hook_entered = entered.clone();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Mutex::new(released);
    let is_first = AtomicBool::new(true);
    let current = move || {
        // The first sample is taken when the page is built.
        if !is_first.swap(false, Relaxed) {
            hook_entered.store(true, Relaxed);
            // Returns when the sender is dropped.
            let _ = released.lock().unwrap().recv();
        }
        String::new()
    };
    let control = Control::new("Slow", current, |_| Ok(()));
    let router = page().control(control).build().unwrap().into_router();
    while !entered.load(Relaxed) {
        tokio::task::yield_now().await;
    }
    let now = tokio::task::spawn_blocking(move || {
        tokio::runtime::Handle::current().block_on(get_json(&router, "/api/now"))
    });
    let now = tokio::time::timeout(Duration::from_secs(30), now).await;
    drop(release);
    assert_eq!(
        now.unwrap().unwrap()["panels"]["hits"]["series"]["/b"],
        json!(1)
    );
}
