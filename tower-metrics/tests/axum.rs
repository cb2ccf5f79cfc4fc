//! Tests for axum: how routing, nesting, merging and the order of layers affect
//! the samples. `docs/axum.md` has the same cases as a table.

#![cfg(feature = "axum")]

mod scrape;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::task::{Context, Waker};

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Extension, Router, middleware};
use http_body_util::BodyExt;
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_http::cors::{Any, CorsLayer};
use tower_metrics::prometheus::Format;
use tower_metrics::{MetricsLayer, MetricsService, Prometheus, Route, Skip};

use self::scrape::Samples;

async fn ok() -> &'static str {
    "ok"
}

async fn not_here() -> StatusCode {
    StatusCode::NOT_FOUND
}

/// Sends a request and reads the response to its end.
async fn send<S>(service: S, request: Request)
where
    S: tower::Service<Request, Response: IntoResponse, Error = Infallible>,
{
    let response = service.oneshot(request).await.unwrap().into_response();
    response.into_body().collect().await.unwrap();
}

/// Sends requests and returns the counts by method, route and status.
async fn counted<S>(prometheus: Prometheus, service: S, requests: &[(&str, &str)]) -> Counted
where
    S: tower::Service<Request, Response: IntoResponse, Error = Infallible> + Clone,
{
    for (method, path) in requests {
        let request = axum::http::Request::builder()
            .method(*method)
            .uri(*path)
            .header("origin", "http://elsewhere")
            .header("access-control-request-method", "GET");
        let request = request.body(Body::empty()).unwrap();
        send(service.clone(), request).await;
    }
    let samples = Samples::of(&prometheus);
    assert_eq!(samples.in_flight(), 0.0);
    let mut counted = Counted::new();
    for ((name, labels), value) in samples.0 {
        if name == "http_server_request_duration_seconds_count" {
            let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
            assert_eq!(label("error_type"), "");
            let key = [
                label("http_request_method"),
                label("http_route"),
                label("http_response_status_code"),
            ];
            counted.insert(key.join(" "), value as u64);
        }
    }
    counted
}

type Counted = BTreeMap<String, u64>;

fn expected(all: &[&str]) -> Counted {
    let mut expected = Counted::new();
    for one in all {
        *expected.entry((*one).to_owned()).or_default() += 1;
    }
    expected
}

fn setup() -> (Prometheus, MetricsLayer<Prometheus>) {
    let prometheus = Prometheus::new();
    (prometheus, MetricsLayer::new(prometheus))
}

#[tokio::test]
async fn a_layer_on_the_router_sees_templates_and_none_where_nothing_matches() {
    let (prometheus, metrics) = setup();
    let app = Router::new().route("/users/{id}", get(ok)).layer(metrics);
    let counts = counted(
        prometheus,
        app,
        &[("GET", "/users/1"), ("GET", "/users/2"), ("GET", "/.env")],
    )
    .await;
    assert_eq!(
        counts,
        expected(&["GET /users/{id} 200", "GET /users/{id} 200", "GET  404"])
    );
}

#[tokio::test]
async fn routes_added_after_the_layer_are_not_counted() {
    let (prometheus, metrics) = setup();
    let app = Router::new()
        .route("/before", get(ok))
        .layer(metrics)
        .route("/after", get(ok));
    let counts = counted(prometheus, app, &[("GET", "/before"), ("GET", "/after")]).await;
    assert_eq!(counts, expected(&["GET /before 200"]));
}

#[tokio::test]
async fn a_route_layer_does_not_count_what_matches_nothing() {
    let (prometheus, metrics) = setup();
    let app = Router::new()
        .route("/users/{id}", get(ok))
        .route_layer(metrics);
    let counts = counted(
        prometheus,
        app,
        &[("GET", "/users/1"), ("GET", "/.env"), ("POST", "/users/1")],
    )
    .await;
    assert_eq!(
        counts,
        expected(&["GET /users/{id} 200", "POST /users/{id} 405"])
    );
}

#[tokio::test]
async fn a_method_that_a_route_does_not_allow_is_a_405_of_the_route() {
    let (prometheus, metrics) = setup();
    let app = Router::new().route("/users/{id}", get(ok)).layer(metrics);
    let counts = counted(
        prometheus,
        app,
        &[("POST", "/users/1"), ("BREW", "/users/1")],
    )
    .await;
    assert_eq!(
        counts,
        expected(&["POST /users/{id} 405", "_OTHER /users/{id} 405"])
    );
}

#[tokio::test]
async fn a_method_fallback_has_the_route() {
    let (prometheus, metrics) = setup();
    let app = Router::new()
        .route("/users/{id}", get(ok))
        .method_not_allowed_fallback(|| async { StatusCode::METHOD_NOT_ALLOWED })
        .layer(metrics);
    let counts = counted(prometheus, app, &[("POST", "/users/1")]).await;
    assert_eq!(counts, expected(&["POST /users/{id} 405"]));
}

#[tokio::test]
async fn head_is_answered_by_get_and_counted_as_head() {
    let (prometheus, metrics) = setup();
    let app = Router::new().route("/users/{id}", get(ok)).layer(metrics);
    let counts = counted(prometheus, app, &[("HEAD", "/users/1")]).await;
    assert_eq!(counts, expected(&["HEAD /users/{id} 200"]));
}

#[tokio::test]
async fn nested_routers_have_the_whole_template() {
    let users = || Router::new().route("/users/{id}", get(ok));
    let requests = [
        ("GET", "/api/users/1"),
        ("GET", "/api/nothing"),
        ("GET", "/nothing"),
    ];

    let (prometheus, metrics) = setup();
    let outside = Router::new().nest("/api", users()).layer(metrics);
    let counts = counted(prometheus, outside, &requests).await;
    assert_eq!(
        counts,
        expected(&["GET /api/users/{id} 200", "GET  404", "GET  404"])
    );

    // An inner layer sees only the routes of the inner router.
    let (prometheus, metrics) = setup();
    let inside = Router::new().nest("/api", users().layer(metrics));
    let counts = counted(prometheus, inside, &requests).await;
    assert_eq!(counts, expected(&["GET /api/users/{id} 200"]));
}

#[tokio::test]
async fn the_fallback_of_a_nested_router_has_no_template() {
    let (prometheus, metrics) = setup();
    let users = Router::new()
        .route("/users/{id}", get(ok))
        .fallback(not_here);
    let app = Router::new().nest("/api", users).layer(metrics);
    let counts = counted(
        prometheus,
        app,
        &[("GET", "/api/nothing"), ("GET", "/nothing")],
    )
    .await;
    assert_eq!(counts, expected(&["GET  404", "GET  404"]));
}

#[tokio::test]
async fn under_nest_service_only_a_layer_inside_sees_templates() {
    let users = || Router::new().route("/users/{id}", get(ok));
    let requests = [("GET", "/api/users/1"), ("GET", "/api/nothing")];

    let (prometheus, metrics) = setup();
    let outside = Router::new().nest_service("/api", users()).layer(metrics);
    let counts = counted(prometheus, outside, &requests).await;
    assert_eq!(counts, expected(&["GET  200", "GET  404"]));

    let (prometheus, metrics) = setup();
    let inside = Router::new().nest_service("/api", users().layer(metrics));
    let counts = counted(prometheus, inside, &requests).await;
    assert_eq!(counts, expected(&["GET /api/users/{id} 200", "GET  404"]));

    // A fixed route names it.
    let prometheus = Prometheus::new();
    let named = MetricsLayer::builder(prometheus)
        .route(Route::fixed("/api"))
        .build()
        .unwrap();
    let inside = Router::new().nest_service("/api", named.layer(users()));
    let counts = counted(prometheus, inside, &requests).await;
    assert_eq!(counts, expected(&["GET /api 200", "GET /api 404"]));
}

/// After the upgrade, no bytes pass through the layer.
#[tokio::test]
async fn a_web_socket_is_counted_when_it_opens() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (prometheus, metrics) = setup();
    let open = |upgrade: axum::extract::WebSocketUpgrade| async {
        upgrade.on_upgrade(|socket| async {
            let _open = socket;
            std::future::pending().await
        })
    };
    let app = Router::new().route("/rooms/{id}", any(open)).layer(metrics);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });

    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let opening = "GET /rooms/1 HTTP/1.1\r\nhost: here\r\nconnection: upgrade\r\n\
        upgrade: websocket\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(opening.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    while Samples::of(&prometheus).in_flight() > 0.0 {
        tokio::task::yield_now().await;
    }
    let samples = Samples::of(&prometheus);
    let labels = [("http_route", "/rooms/{id}"), ("error_type", "")];
    assert_eq!(samples.requests(&labels), 1.0);
    drop(socket);
}

#[tokio::test]
async fn a_route_service_has_its_template() {
    let (prometheus, metrics) = setup();
    let service =
        service_fn(|_: Request| async { Ok::<_, Infallible>(Response::new(Body::from("ok"))) });
    let app = Router::new()
        .route_service("/files/{*path}", service)
        .layer(metrics);
    let counts = counted(prometheus, app, &[("GET", "/files/a/b")]).await;
    assert_eq!(counts, expected(&["GET /files/{*path} 200"]));
}

#[tokio::test]
async fn merged_routers_keep_their_own_layers() {
    let (prometheus, metrics) = setup();
    let counted_one = Router::new().route("/counted", get(ok)).layer(metrics);
    let other = Router::new().route("/other", get(ok));
    let app = counted_one.clone().merge(other.clone());
    let requests = [("GET", "/counted"), ("GET", "/other")];
    let counts = counted(prometheus, app, &requests).await;
    assert_eq!(counts, expected(&["GET /counted 200"]));

    let (prometheus, metrics) = setup();
    let app = Router::new()
        .route("/counted", get(ok))
        .merge(other)
        .layer(metrics);
    let counts = counted(prometheus, app, &requests).await;
    assert_eq!(counts, expected(&["GET /counted 200", "GET /other 200"]));
}

#[tokio::test]
async fn two_layers_of_one_recorder_count_twice() {
    let (prometheus, metrics) = setup();
    let users = Router::new().route("/users/{id}", get(ok)).layer(metrics);
    let app = Router::new().nest("/api", users).layer(metrics);
    let counts = counted(prometheus, app, &[("GET", "/api/users/1")]).await;
    assert_eq!(
        counts,
        expected(&["GET /api/users/{id} 200", "GET /api/users/{id} 200"])
    );
}

#[tokio::test]
async fn a_fallback_has_no_template_regardless_of_its_response() {
    let (prometheus, metrics) = setup();
    let app = Router::new()
        .route("/", get(ok))
        .fallback(ok)
        .layer(metrics);
    let counts = counted(prometheus, app, &[("GET", "/page"), ("GET", "/")]).await;
    assert_eq!(counts, expected(&["GET  200", "GET / 200"]));

    // A fallback added after the layer is not counted.
    let (prometheus, metrics) = setup();
    let app = Router::new()
        .route("/", get(ok))
        .layer(metrics)
        .fallback(ok);
    let counts = counted(prometheus, app, &[("GET", "/page"), ("GET", "/")]).await;
    assert_eq!(counts, expected(&["GET / 200"]));
}

#[tokio::test]
async fn a_fallback_can_have_a_name() {
    let prometheus = Prometheus::new();
    let named = MetricsLayer::builder(prometheus)
        .route(Route::fixed("fallback"))
        .build()
        .unwrap();
    let fallback = named.layer(any(ok));
    let app = Router::new().route("/", get(ok)).fallback_service(fallback);
    let counts = counted(prometheus, app, &[("GET", "/page")]).await;
    assert_eq!(counts, expected(&["GET fallback 200"]));
}

#[tokio::test]
async fn the_outermost_layer_counts_everything_once() {
    let (prometheus, metrics) = setup();
    let app = Router::new().route("/", get(ok)).fallback(not_here);
    let app: MetricsService<Router, Prometheus> = metrics.layer(app);
    let counts = counted(prometheus, app, &[("GET", "/"), ("GET", "/nothing")]).await;
    // Around the router, no route is matched yet.
    assert_eq!(counts, expected(&["GET  200", "GET  404"]));
}

#[tokio::test]
async fn cors_inside_answers_preflights_under_the_route() {
    let (prometheus, metrics) = setup();
    let cors = CorsLayer::new().allow_origin(Any);
    let app = Router::new()
        .route("/users/{id}", post(ok))
        .layer(cors)
        .layer(metrics);
    let counts = counted(
        prometheus,
        app,
        &[
            ("OPTIONS", "/users/1"),
            ("POST", "/users/1"),
            ("OPTIONS", "/.env"),
        ],
    )
    .await;
    let all = [
        "OPTIONS /users/{id} 200",
        "POST /users/{id} 200",
        "OPTIONS  200",
    ];
    assert_eq!(counts, expected(&all));
}

#[tokio::test]
async fn preflights_that_an_outer_cors_layer_answers_are_not_counted() {
    let (prometheus, metrics) = setup();
    let cors = CorsLayer::new().allow_origin(Any);
    let app = Router::new()
        .route("/users/{id}", post(ok))
        .layer(metrics)
        .layer(cors);
    let counts = counted(
        prometheus,
        app,
        &[("OPTIONS", "/users/1"), ("POST", "/users/1")],
    )
    .await;
    assert_eq!(counts, expected(&["POST /users/{id} 200"]));
}

#[tokio::test]
async fn a_response_of_an_inner_layer_is_counted_under_the_route() {
    let (prometheus, metrics) = setup();
    let refuse =
        middleware::from_fn(|_: Request, _: middleware::Next| async { StatusCode::UNAUTHORIZED });
    let app = Router::new()
        .route("/users/{id}", get(ok))
        .layer(refuse.clone())
        .layer(metrics);
    let counts = counted(prometheus, app, &[("GET", "/users/1")]).await;
    assert_eq!(counts, expected(&["GET /users/{id} 401"]));

    let (prometheus, metrics) = setup();
    let app = Router::new()
        .route("/users/{id}", get(ok))
        .layer(metrics)
        .layer(refuse);
    let counts = counted(prometheus, app, &[("GET", "/users/1")]).await;
    assert_eq!(counts, expected(&[]));
}

#[tokio::test]
async fn an_outer_layer_that_changes_the_response_does_not_change_the_metrics() {
    let (prometheus, metrics) = setup();
    let replace = middleware::map_response(|response: Response| async {
        (StatusCode::BAD_GATEWAY, response.into_body()).into_response()
    });
    let app = Router::new()
        .route("/", get(ok))
        .layer(metrics)
        .layer(replace);
    let counts = counted(prometheus, app, &[("GET", "/")]).await;
    assert_eq!(counts, expected(&["GET / 200"]));
}

#[tokio::test]
async fn a_body_that_an_outer_layer_discards_is_cancelled() {
    let (prometheus, metrics) = setup();
    let replace = middleware::map_response(|_: Response| async { "another" });
    let app = Router::new()
        .route("/", get(ok))
        .layer(metrics)
        .layer(replace);
    send(app, Request::new(Body::empty())).await;
    let samples = Samples::of(&prometheus);
    assert_eq!(samples.requests(&[("error_type", "body_cancelled")]), 1.0);
}

#[tokio::test]
async fn a_route_excludes_itself_by_an_extension() {
    let (prometheus, metrics) = setup();
    let app = Router::new()
        .route("/healthz", get(|| async { (Extension(Skip), "ok") }))
        .route("/", get(ok))
        .layer(metrics);
    let counts = counted(prometheus, app, &[("GET", "/healthz"), ("GET", "/")]).await;
    assert_eq!(counts, expected(&["GET / 200"]));
}

#[tokio::test]
async fn the_exposition_is_a_service_of_the_router() {
    let (prometheus, metrics) = setup();
    let app = Router::new()
        .route("/", get(ok))
        .layer(metrics)
        .route_service("/metrics", prometheus.exposition());
    let request = || {
        Request::builder()
            .uri("/metrics")
            .body(Body::empty())
            .unwrap()
    };
    let scrape = || async {
        let response = app.clone().oneshot(request()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.into_body().collect().await.unwrap().to_bytes()
    };
    scrape().await;
    let text = scrape().await;
    assert!(
        std::str::from_utf8(&text)
            .unwrap()
            .contains("tower_metrics_series")
    );
    let counts = counted(
        prometheus,
        app.clone(),
        &[("GET", "/metrics"), ("GET", "/")],
    )
    .await;
    assert_eq!(counts, expected(&["GET / 200"]));
    let refused = Request::builder().method(Method::POST).uri("/metrics");
    let refused = app
        .oneshot(refused.body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn the_exposition_is_a_handler_in_a_router_of_any_state() {
    #[derive(Clone)]
    struct State;
    let (prometheus, metrics) = setup();
    let app = Router::new()
        .route("/", get(ok))
        .layer(metrics)
        .route("/metrics", get(prometheus.exposition()))
        .with_state(State);
    let ask = async |method: &str, accept: &str| {
        let request = Request::builder().method(method).uri("/metrics");
        let request = request.header("accept", accept).body(Body::empty());
        let response = app.clone().oneshot(request.unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        (head, body.collect().await.unwrap().to_bytes())
    };
    for (accept, format) in [
        ("*/*", Format::Text),
        ("application/openmetrics-text", Format::OpenMetrics),
    ] {
        let (head, body) = ask("GET", accept).await;
        assert_eq!(head.headers["content-type"], format.content_type());
        assert_eq!(body, prometheus.exposition().render(format).as_bytes());
        let (head, none) = ask("HEAD", accept).await;
        assert_eq!(head.headers["content-length"], body.len().to_string());
        assert!(none.is_empty());
    }
    let (head, _) = ask("POST", "*/*").await;
    assert_eq!(head.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(head.headers["allow"], "GET,HEAD");
}

#[tokio::test]
async fn a_layer_on_a_method_router_sees_its_405s_and_a_route_layer_does_not() {
    let requests = [("GET", "/users/1"), ("POST", "/users/1"), ("GET", "/.env")];

    let (prometheus, metrics) = setup();
    let app = Router::new().route("/users/{id}", get(ok).layer(metrics));
    let counts = counted(prometheus, app, &requests).await;
    assert_eq!(
        counts,
        expected(&["GET /users/{id} 200", "POST /users/{id} 405"])
    );

    let (prometheus, metrics) = setup();
    let app = Router::new().route("/users/{id}", get(ok).route_layer(metrics));
    let counts = counted(prometheus, app, &requests).await;
    assert_eq!(counts, expected(&["GET /users/{id} 200"]));
}

#[tokio::test]
async fn a_layer_on_a_nested_router_counts_its_fallback() {
    let (prometheus, metrics) = setup();
    let users = Router::new()
        .route("/users/{id}", get(ok))
        .fallback(not_here)
        .layer(metrics);
    let app = Router::new().nest("/api", users);
    let counts = counted(
        prometheus,
        app,
        &[("GET", "/api/nothing"), ("GET", "/nothing")],
    )
    .await;
    assert_eq!(counts, expected(&["GET  404"]));
}

#[tokio::test]
async fn requests_that_no_merged_router_matches_are_counted_by_the_layer_of_the_fallback() {
    let request = [("GET", "/nothing")];
    let other = || Router::new().route("/other", get(ok));

    let (prometheus, metrics) = setup();
    let with_fallback = Router::new().fallback(not_here).layer(metrics);
    let app = with_fallback.merge(other());
    let counts = counted(prometheus, app, &request).await;
    assert_eq!(counts, expected(&["GET  404"]));

    // Otherwise the last router's default fallback applies.
    let (prometheus, metrics) = setup();
    let layered = Router::new().route("/", get(ok)).layer(metrics);
    let app = layered.clone().merge(other());
    assert_eq!(counted(prometheus, app, &request).await, expected(&[]));
    let app = other().merge(layered);
    let counts = counted(prometheus, app, &request).await;
    assert_eq!(counts, expected(&["GET  404"]));

    let (prometheus, metrics) = setup();
    let app = Router::new().route("/", get(ok));
    let app = app.merge(other()).layer(metrics);
    let counts = counted(prometheus, app, &request).await;
    assert_eq!(counts, expected(&["GET  404"]));
}

#[tokio::test]
async fn the_first_layer_of_a_service_builder_is_outermost() {
    let (prometheus, metrics) = setup();
    let refuse =
        middleware::from_fn(|_: Request, _: middleware::Next| async { StatusCode::UNAUTHORIZED });
    let layers = ServiceBuilder::new().layer(metrics).layer(refuse);
    let app = Router::new().route("/users/{id}", get(ok)).layer(layers);
    let counts = counted(prometheus, app, &[("GET", "/users/1")]).await;
    assert_eq!(counts, expected(&["GET /users/{id} 401"]));
}

#[tokio::test]
async fn bytes_are_counted_as_they_pass_the_layer() {
    // Halves the body, like a compression layer.
    let shorten = middleware::map_response(|response: Response| async {
        response.map(|body| Body::new(body.map_frame(|frame| frame.map_data(|_| "z".into()))))
    });
    let two_bytes = || async { Body::from_stream(tokio_stream::iter([Ok::<_, Infallible>("ok")])) };
    let app = || Router::new().route("/", get(two_bytes));

    let (prometheus, metrics) = setup();
    let inside = app().layer(shorten.clone()).layer(metrics);
    counted(prometheus, inside, &[("GET", "/")]).await;
    assert_eq!(Samples::of(&prometheus).response_bytes(), 1.0);

    let (prometheus, metrics) = setup();
    let outside = app().layer(metrics).layer(shorten);
    counted(prometheus, outside, &[("GET", "/")]).await;
    assert_eq!(Samples::of(&prometheus).response_bytes(), 2.0);
}

#[tokio::test]
async fn request_bytes_are_those_that_the_handler_reads() {
    let two_chunks =
        || Body::from_stream(tokio_stream::iter(["hello", "!"].map(Ok::<_, Infallible>)));
    let app = || {
        Router::new()
            .route("/read", post(|_: Bytes| ok()))
            .route(
                "/limited",
                post(|_: Bytes| ok()).layer(DefaultBodyLimit::max(5)),
            )
            .route("/unread", post(ok))
    };
    let counting = |prometheus| {
        MetricsLayer::builder(prometheus)
            .count_request_bytes(true)
            .build()
    };
    let upload = async |app: Router, path: &str| {
        send(app, Request::post(path).body(two_chunks()).unwrap()).await;
    };
    for (path, status, bytes) in [
        ("/read", "200", 6.0),
        ("/limited", "413", 6.0),
        ("/unread", "200", 0.0),
    ] {
        let prometheus = Prometheus::new();
        upload(app().layer(counting(prometheus).unwrap()), path).await;
        let samples = Samples::of(&prometheus);
        let labels = [("http_route", path), ("http_response_status_code", status)];
        assert_eq!(samples.requests(&labels), 1.0, "{path}");
        assert_eq!(samples.request_bytes(), bytes, "{path}");
    }

    // Once per way of adding layers, which differ in their order.
    let (outer, inner) = (Prometheus::new(), Prometheus::new());
    let stack = ServiceBuilder::new()
        .layer(counting(outer).unwrap())
        .layer(counting(inner).unwrap());
    upload(app().layer(stack), "/read").await;
    for prometheus in [outer, inner] {
        assert_eq!(Samples::of(&prometheus).request_bytes(), 6.0);
    }
}

/// A concurrency limit that is a layer of the router waits in the call; one in the same stack waits
/// in `poll_ready`, before the call.
#[tokio::test]
async fn the_wait_for_a_limit_is_part_of_the_duration_if_the_limit_waits_in_call() {
    let app = || Router::new().route("/", get(std::future::pending::<()>));
    let in_flight_of_two = async |prometheus, app: Router| {
        // As `axum::serve` does. Otherwise each request gets new layers with a
        // new limit.
        let app: Router = app.with_state(());
        let mut calls = Vec::new();
        for _ in 0..2 {
            let mut call = Box::pin(app.clone().oneshot(Request::new(Body::empty())));
            let mut context = Context::from_waker(Waker::noop());
            assert!(call.as_mut().poll(&mut context).is_pending());
            calls.push(call);
        }
        Samples::of(&prometheus).in_flight()
    };

    let (prometheus, metrics) = setup();
    let limited = app().layer(ConcurrencyLimitLayer::new(1)).layer(metrics);
    assert_eq!(in_flight_of_two(prometheus, limited).await, 2.0);

    // In one stack with the layer, the limit delays the second request before
    // the call.
    let (prometheus, metrics) = setup();
    let stack = ServiceBuilder::new().layer(metrics).concurrency_limit(1);
    assert_eq!(in_flight_of_two(prometheus, app().layer(stack)).await, 1.0);
}
