//! What metrics and labels are called, what settings are refused, and what
//! keeps the number of series bounded.

mod figures;
mod script;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use prometheus::{Counter, Registry};
use tower::{Layer, ServiceExt, service_fn};
use tower_metrics::prometheus::Builder;
use tower_metrics::{
    BuildError, Ending, ErrorType, GrpcStatus, Label, LabelValue, MetricsLayer, Names, Prometheus,
    Recorder, Route,
};

use self::figures::Figures;
use self::script::{Script, Step, data, trailers};

/// Sends a request and reads its answer whole.
async fn send<R: Recorder>(
    layer: &MetricsLayer<R>,
    request: Request<Script>,
    response: Response<Script>,
) where
    R::Series: Unpin,
    R::InFlight: Unpin,
{
    let response = std::cell::RefCell::new(Some(response));
    let service = service_fn(|_: Request<Script>| {
        let response = response.take().unwrap();
        async move { Ok::<_, io::Error>(response) }
    });
    let response = layer.layer(service).oneshot(request).await.unwrap();
    std::pin::pin!(response.into_body())
        .collect()
        .await
        .unwrap();
}

fn request(method: &str, path: &str) -> Request<Script> {
    let request = Request::builder().method(method).uri(path);
    request.body(Script::default().sized()).unwrap()
}

fn response(status: u16) -> Response<Script> {
    let response = Response::builder().status(status);
    response.body(Script::new([data("hello")])).unwrap()
}

/// The names of the samples there are, with their labels' names (`le` aside).
fn shape(figures: &Figures) -> BTreeMap<String, BTreeSet<String>> {
    let mut shape = BTreeMap::<_, BTreeSet<_>>::new();
    for (name, labels) in figures.0.keys() {
        if !name.starts_with("tower_metrics_") {
            let labels = labels.keys().filter(|name| *name != "le").cloned();
            shape.entry(name.clone()).or_default().extend(labels);
        }
    }
    shape
}

/// A histogram's samples with their labels.
fn histogram(name: &str, labels: &[&str]) -> Vec<(String, BTreeSet<String>)> {
    let suffixes = ["_bucket", "_count", "_sum"];
    suffixes
        .iter()
        .flat_map(|suffix| one(&format!("{name}{suffix}"), labels))
        .collect()
}

fn one(name: &str, labels: &[&str]) -> Vec<(String, BTreeSet<String>)> {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    vec![(name.to_owned(), labels)]
}

/// The figures of a request that succeeds and of one that fails, both with a
/// route.
async fn figures_of(prometheus: Prometheus) -> Figures {
    let layer = MetricsLayer::builder(prometheus).route(Route::fixed("/users/{id}"));
    let layer = layer.build().unwrap();
    send(&layer, request("GET", "/users/1"), response(200)).await;
    send(&layer, request("GET", "/users/1"), response(500)).await;
    Figures::of(&prometheus)
}

mod a_preset {
    use super::*;

    #[tokio::test]
    async fn of_open_telemetry_follows_the_convention() {
        let figures = figures_of(Prometheus::new()).await;
        let labels = [
            "http_request_method",
            "http_route",
            "http_response_status_code",
            "error_type",
            "url_scheme",
        ];
        let expected = [
            histogram("http_server_request_duration_seconds", &labels),
            histogram("http_server_request_body_size_bytes", &labels),
            histogram("http_server_response_body_size_bytes", &labels),
            one(
                "http_server_active_requests",
                &["http_request_method", "http_route", "url_scheme"],
            ),
        ];
        assert_eq!(shape(&figures), expected.into_iter().flatten().collect());
        let labels = [
            ("http_request_method", "GET"),
            ("http_route", "/users/{id}"),
            ("http_response_status_code", "500"),
            ("error_type", "500"),
            ("url_scheme", "http"),
        ];
        assert_eq!(figures.requests(&labels), 1.0);
    }

    #[tokio::test]
    async fn of_open_telemetry_for_clients_has_no_scheme() {
        let names = Names::open_telemetry_client();
        let figures = figures_of(Prometheus::builder().names(names).build().unwrap()).await;
        let labels = [
            "http_request_method",
            "url_template",
            "http_response_status_code",
            "error_type",
        ];
        let expected = [
            histogram("http_client_request_duration_seconds", &labels),
            histogram("http_client_request_body_size_bytes", &labels),
            histogram("http_client_response_body_size_bytes", &labels),
            one(
                "http_client_active_requests",
                &["http_request_method", "url_template"],
            ),
        ];
        assert_eq!(shape(&figures), expected.into_iter().flatten().collect());
    }

    #[tokio::test]
    async fn that_is_classic_is_what_promhttp_has() {
        let figures = figures_of(
            Prometheus::builder()
                .names(Names::classic())
                .build()
                .unwrap(),
        )
        .await;
        let labels = ["method", "route", "code", "error"];
        let expected = [
            one("http_requests_total", &labels),
            histogram("http_request_duration_seconds", &labels),
            histogram("http_request_size_bytes", &labels),
            histogram("http_response_size_bytes", &labels),
            one("http_requests_in_flight", &["method", "route"]),
        ];
        assert_eq!(shape(&figures), expected.into_iter().flatten().collect());
        assert_eq!(
            figures.sum("http_requests_total", &[("code", "200"), ("error", "")]),
            1.0
        );
    }

    /// Names and labels out of that crate's README.
    #[tokio::test]
    async fn of_axum_prometheus_answers_that_crates_queries() {
        let names = Names::axum_prometheus();
        let figures = figures_of(Prometheus::builder().names(names).build().unwrap()).await;
        let labels = ["method", "endpoint", "status"];
        let expected = [
            one("axum_http_requests_total", &labels),
            histogram("axum_http_requests_duration_seconds", &labels),
            histogram("axum_http_response_body_size", &labels),
            one("axum_http_requests_pending", &["method", "endpoint"]),
        ];
        assert_eq!(shape(&figures), expected.into_iter().flatten().collect());
        let labels = [
            ("method", "GET"),
            ("endpoint", "/users/{id}"),
            ("status", "200"),
        ];
        assert_eq!(figures.sum("axum_http_requests_total", &labels), 1.0);
        assert_eq!(
            figures.sum("axum_http_requests_duration_seconds_count", &labels),
            1.0
        );
    }

    #[tokio::test]
    async fn of_axum_prometheus_may_tell_errors_apart() {
        let mut names = Names::axum_prometheus();
        names.error_type = Some("error_type".into());
        let figures = figures_of(Prometheus::builder().names(names).build().unwrap()).await;
        let labels = [("status", "500"), ("error_type", "500")];
        assert_eq!(figures.sum("axum_http_requests_total", &labels), 1.0);
    }

    /// Without a label for it, a request that was cancelled and one that
    /// panicked are the same series: it must stand there once.
    #[tokio::test]
    async fn without_error_types_puts_failures_into_one_series() {
        let names = Names::axum_prometheus();
        let prometheus = Prometheus::builder().names(names).build().unwrap();
        let layer = MetricsLayer::new(prometheus);
        let failing = layer.layer(service_fn(|_: Request<Script>| async {
            Err::<Response<Script>, _>(script::failure())
        }));
        failing.oneshot(request("GET", "/")).await.unwrap_err();
        let never = layer.layer(service_fn(|_: Request<Script>| {
            std::future::pending::<io::Result<Response<Script>>>()
        }));
        drop(tower::Service::call(
            &mut never.clone(),
            request("GET", "/"),
        ));
        // Reading it would refuse a sample that stands there twice.
        let figures = Figures::of(&prometheus);
        assert_eq!(
            figures.sum("axum_http_requests_total", &[("status", "")]),
            2.0
        );
        assert_eq!(figures.series("axum_http_requests_total"), 1);
    }
}

mod a_setting {
    use super::*;

    #[tokio::test]
    async fn of_a_prefix_and_constant_labels_is_on_everything() {
        let prometheus = Prometheus::builder()
            .prefix("shop")
            .scheme("https")
            .constant_label("zone", "eu \"1\"")
            .time_to_head(true)
            .build()
            .unwrap();
        let figures = figures_of(prometheus).await;
        for (name, labels) in figures
            .0
            .keys()
            .filter(|(name, _)| !name.starts_with("tower_"))
        {
            assert!(name.starts_with("shop_http_server_"), "{name}");
            assert_eq!(labels["zone"], "eu \"1\"", "{name}");
            assert_eq!(labels["url_scheme"], "https", "{name}");
        }
        assert_eq!(
            prometheus.names().duration,
            "shop_http_server_request_duration_seconds"
        );
    }

    #[test]
    fn of_an_empty_prefix_is_none() {
        let prometheus = Prometheus::builder().prefix("").build().unwrap();
        assert_eq!(*prometheus.names(), Names::open_telemetry());
    }

    #[tokio::test]
    async fn of_own_names_is_followed() {
        let mut names = Names::open_telemetry();
        names.duration = "latency_seconds".into();
        names.requests = Some("answers_total".into());
        names.in_flight = "open".into();
        names.request_size = None;
        names.response_size = Some("sent_bytes".into());
        names.method = "verb".into();
        names.route = "template".into();
        names.status = "answer".into();
        names.error_type = Some("why".into());
        names.scheme = None;
        let figures = figures_of(Prometheus::builder().names(names).build().unwrap()).await;
        let labels = ["verb", "template", "answer", "why"];
        let expected = [
            one("answers_total", &labels),
            histogram("latency_seconds", &labels),
            histogram("sent_bytes", &labels),
            one("open", &["verb", "template"]),
        ];
        assert_eq!(shape(&figures), expected.into_iter().flatten().collect());
    }

    fn bounds(figures: &Figures, name: &str, route: &str) -> Vec<f64> {
        let of_route = |(found, labels): &&figures::Key| {
            *found == format!("{name}_bucket")
                && labels.get("http_route").is_some_and(|r| r == route)
        };
        let mut bounds: Vec<f64> = figures
            .0
            .keys()
            .filter(of_route)
            .map(|(_, labels)| labels["le"].parse().unwrap())
            .collect();
        bounds.sort_by(f64::total_cmp);
        bounds.dedup();
        bounds
    }

    #[tokio::test]
    async fn of_bounds_is_for_all_routes_or_for_one_and_has_the_objective() {
        let prometheus = Prometheus::builder()
            .duration_bounds([0.1, 1.0])
            .route_duration_bounds("/slow", [5.0, 20.0])
            .route_duration_bounds("/slow", [10.0])
            .objective(Duration::from_millis(250))
            .objective(Duration::from_secs(1))
            .response_size_bounds([0, 1024])
            .build()
            .unwrap();
        for route in ["/slow", "/fast"] {
            let layer = MetricsLayer::builder(prometheus).route(Route::fixed(route));
            send(&layer.build().unwrap(), request("GET", "/"), response(200)).await;
        }
        let figures = Figures::of(&prometheus);
        let duration = "http_server_request_duration_seconds";
        assert_eq!(
            bounds(&figures, duration, "/fast"),
            [0.1, 0.25, 1.0, f64::INFINITY]
        );
        assert_eq!(
            bounds(&figures, duration, "/slow"),
            [0.25, 1.0, 10.0, f64::INFINITY]
        );
        let size = "http_server_response_body_size_bytes";
        assert_eq!(
            bounds(&figures, size, "/fast"),
            [0.0, 1024.0, f64::INFINITY]
        );
        let size = "http_server_request_body_size_bytes";
        assert_eq!(bounds(&figures, size, "/fast"), [f64::INFINITY]);
    }

    #[tokio::test]
    async fn of_no_bounds_leaves_a_count_and_a_sum() {
        let prometheus = Prometheus::builder().duration_bounds([]).build().unwrap();
        let figures = figures_of(prometheus).await;
        assert_eq!(
            figures.sum("http_server_request_duration_seconds_bucket", &[]),
            2.0
        );
    }

    #[test]
    fn of_the_default_bounds_is_the_conventions_advice() {
        let prometheus = Prometheus::new();
        let layer = MetricsLayer::builder(prometheus);
        layer
            .initialize(Method::GET, "/a", [StatusCode::OK])
            .build()
            .unwrap();
        let advice = [
            0.005,
            0.01,
            0.025,
            0.05,
            0.075,
            0.1,
            0.25,
            0.5,
            0.75,
            1.0,
            2.5,
            5.0,
            7.5,
            10.0,
            f64::INFINITY,
        ];
        let figures = Figures::of(&prometheus);
        assert_eq!(
            bounds(&figures, "http_server_request_duration_seconds", "/a"),
            advice
        );
    }

    #[test]
    fn of_initial_series_shows_them_at_zero() {
        let prometheus = Prometheus::new();
        let endings: [Ending; 4] = [
            StatusCode::OK.into(),
            StatusCode::INTERNAL_SERVER_ERROR.into(),
            (StatusCode::SERVICE_UNAVAILABLE, ErrorType::SHED).into(),
            ErrorType::CANCELLED.into(),
        ];
        MetricsLayer::builder(prometheus)
            .initialize(Method::GET, "/a", endings)
            .build()
            .unwrap();
        let figures = Figures::of(&prometheus);
        assert_eq!(
            figures.series("http_server_request_duration_seconds_count"),
            4
        );
        assert_eq!(figures.series("http_server_active_requests"), 1);
        for (status, error_type) in [
            ("200", ""),
            ("500", "500"),
            ("503", "shed"),
            ("", "cancelled"),
        ] {
            let series = (
                "http_server_request_duration_seconds_count".to_owned(),
                BTreeMap::from_iter(
                    [
                        ("http_request_method", "GET"),
                        ("http_route", "/a"),
                        ("http_response_status_code", status),
                        ("error_type", error_type),
                        ("url_scheme", "http"),
                    ]
                    .into_iter()
                    .filter(|(_, value)| !value.is_empty())
                    .map(|(name, value)| (name.to_owned(), value.to_owned())),
                ),
            );
            assert_eq!(figures.0[&series], 0.0);
        }
        assert_eq!(figures.sum("tower_metrics_series", &[]), 4.0);
    }
}

mod a_recorder {
    use super::*;

    fn in_registry(registry: &Registry) -> Builder {
        Prometheus::builder().registry(registry.clone())
    }

    #[tokio::test]
    async fn may_stand_beside_others_in_one_registry() {
        let registry = Registry::new();
        let first = in_registry(&registry).build().unwrap();
        let second = in_registry(&registry).prefix("admin").build().unwrap();
        let third = in_registry(&registry)
            .names(Names::classic())
            .build()
            .unwrap();
        for prometheus in [first, second, third] {
            figures_of(prometheus).await;
        }
        for prometheus in [first, second, third] {
            let figures = Figures::of(&prometheus);
            for name in [
                "http_server_request_duration_seconds_count",
                "admin_http_server_request_duration_seconds_count",
                "http_request_duration_seconds_count",
            ] {
                assert_eq!(figures.sum(name, &[]), 2.0);
            }
        }
    }

    #[test]
    fn that_is_registered_twice_is_an_error_that_leaves_nothing_behind() {
        let registry = Registry::new();
        let first = in_registry(&registry).build().unwrap();
        figures_and_layer(first);
        let before = registry.gather().len();
        for builder in [
            in_registry(&registry),
            in_registry(&registry).constant_label("zone", "eu"),
            in_registry(&registry).scheme("https"),
        ] {
            let error = builder.build().unwrap_err();
            assert!(
                matches!(&error, BuildError::Registration { name, .. }
                if name == "http_server_request_duration_seconds"),
                "{error}"
            );
        }
        assert_eq!(registry.gather().len(), before);
    }

    #[test]
    fn that_a_foreign_metric_is_in_the_way_of_leaves_nothing_behind() {
        let registry = Registry::new();
        let foreign = Counter::new("http_server_active_requests", "Somebody else's.").unwrap();
        registry.register(Box::new(foreign)).unwrap();
        in_registry(&registry).build().unwrap_err();
        assert_eq!(registry.gather().len(), 1);
        // And it may be made after all, under another name.
        in_registry(&registry).prefix("shop").build().unwrap();
    }

    fn figures_and_layer(prometheus: Prometheus) {
        let layer = MetricsLayer::builder(prometheus);
        layer
            .initialize(Method::GET, "/", [StatusCode::OK])
            .build()
            .unwrap();
    }

    #[tokio::test]
    async fn may_be_shared_by_several_layers() {
        let prometheus = Prometheus::new();
        for _ in 0..2 {
            let layer = MetricsLayer::builder(prometheus).route(Route::fixed("/a"));
            send(&layer.build().unwrap(), request("GET", "/"), response(200)).await;
        }
        let figures = Figures::of(&prometheus);
        assert_eq!(figures.requests(&[("http_route", "/a")]), 2.0);
        assert_eq!(
            figures.series("http_server_request_duration_seconds_count"),
            1
        );
    }

    #[tokio::test]
    async fn may_be_a_pair_of_recorders() {
        let (first, second) = (Prometheus::new(), Prometheus::builder());
        let second = second.names(Names::classic()).build().unwrap();
        let layer = MetricsLayer::new((first, second));
        send(&layer, request("GET", "/"), response(200)).await;
        assert_eq!(Figures::of(&first).requests(&[]), 1.0);
        assert_eq!(Figures::of(&second).sum("http_requests_total", &[]), 1.0);
    }
}

mod a_setting_is_refused {
    use super::*;

    fn metric(change: impl FnOnce(&mut Names)) -> Builder {
        let mut names = Names::open_telemetry();
        change(&mut names);
        Prometheus::builder().names(names)
    }

    fn recorder(builder: Builder) -> String {
        builder.build().unwrap_err().to_string()
    }

    #[test]
    fn of_a_recorder_with_a_message_that_names_it() {
        let refused = [
            (
                metric(|names| names.duration = String::new()),
                r#"metric name "": must match [a-zA-Z_:][a-zA-Z0-9_:]*"#,
            ),
            (
                metric(|names| names.in_flight = "in-flight".into()),
                r#"metric name "in-flight": must match [a-zA-Z_:][a-zA-Z0-9_:]*"#,
            ),
            (
                Prometheus::builder().prefix("9"),
                r#"metric name "9_http_server_request_duration_seconds": must match [a-zA-Z_:][a-zA-Z0-9_:]*"#,
            ),
            (
                metric(|names| names.in_flight = names.duration.clone()),
                r#"metric name "http_server_request_duration_seconds" is used twice"#,
            ),
            (
                metric(|names| {
                    names.in_flight = "http_server_request_duration_seconds_count".into()
                }),
                r#"metric name "http_server_request_duration_seconds_count" is used twice"#,
            ),
            (
                metric(|names| names.method = "http-method".into()),
                r#"label "http-method": must match [a-zA-Z_][a-zA-Z0-9_]*"#,
            ),
            (
                metric(|names| names.status = String::new()),
                r#"label "": must match [a-zA-Z_][a-zA-Z0-9_]*"#,
            ),
            (
                metric(|names| names.route = "le".into()),
                r#"label "le": it belongs to histograms and summaries"#,
            ),
            (
                metric(|names| names.route = "__route".into()),
                r#"label "__route": names that start with two underscores belong to Prometheus"#,
            ),
            (
                metric(|names| names.route = "error_type".into()),
                r#"label "error_type": it is used twice"#,
            ),
            (
                Prometheus::builder().constant_label("url_scheme", "ftp"),
                r#"label "url_scheme": it is used twice"#,
            ),
            (
                Prometheus::builder().duration_bounds([0.1, f64::NAN]),
                "bound NaN of http_server_request_duration_seconds: must be a finite number, 0.000000001 to 1000000000 s",
            ),
            (
                Prometheus::builder().duration_bounds([0.1, f64::INFINITY]),
                "bound inf of http_server_request_duration_seconds: must be a finite number, 0.000000001 to 1000000000 s",
            ),
            (
                Prometheus::builder().duration_bounds([0.0, 1.0]),
                "bound 0 of http_server_request_duration_seconds: must be a finite number, 0.000000001 to 1000000000 s",
            ),
            (
                Prometheus::builder().duration_bounds([-1.0]),
                "bound -1 of http_server_request_duration_seconds: must be a finite number, 0.000000001 to 1000000000 s",
            ),
            (
                Prometheus::builder().route_duration_bounds("/a", [1.0, 0.5]),
                "bounds of http_server_request_duration_seconds must rise: 0.5 follows 1",
            ),
            (
                Prometheus::builder().duration_bounds([1.0, 1.0]),
                "bounds of http_server_request_duration_seconds must rise: 1 follows 1",
            ),
            (
                Prometheus::builder().objective(Duration::ZERO),
                "bound 0 of http_server_request_duration_seconds: must be a finite number, 0.000000001 to 1000000000 s",
            ),
            (
                Prometheus::builder().response_size_bounds([u64::MAX]),
                "bound 18446744073709552000 of http_server_response_body_size_bytes: must be a finite number, 0 to 9007199254740992 bytes",
            ),
            (
                Prometheus::builder().request_size_bounds([1024, 10]),
                "bounds of http_server_request_body_size_bytes must rise: 10 follows 1024",
            ),
        ];
        for (builder, message) in refused {
            assert_eq!(recorder(builder), message);
        }
    }

    #[test]
    fn of_a_registration_with_what_to_do() {
        let registry = Registry::new();
        let builder = || Prometheus::builder().registry(registry.clone());
        builder().build().unwrap();
        assert_eq!(
            recorder(builder()),
            "cannot register \"http_server_request_duration_seconds\": Duplicate metrics collector \
             registration attempted; use one recorder for all layers, or a prefix, or another registry"
        );
    }

    fn label(name: &'static str) -> Label {
        Label::from_request(name, 10, |_| None)
    }

    #[test]
    fn of_a_layer_with_a_message_that_names_it() {
        let builder = || MetricsLayer::builder(Prometheus::new());
        let classic = || {
            let prometheus = Prometheus::builder().names(Names::classic()).build();
            MetricsLayer::builder(prometheus.unwrap())
        };
        let refused = [
            (
                ["a", "b", "c", "d", "e"]
                    .map(label)
                    .into_iter()
                    .fold(builder(), |b, l| b.label(l)),
                "5 custom labels: at most 4 are allowed",
            ),
            (builder().methods([]), "0 methods: 1 to 200 are allowed"),
            (
                builder().methods(
                    (0..201).map(|i| Method::from_bytes(format!("M{i}").as_bytes()).unwrap()),
                ),
                "201 methods: 1 to 200 are allowed",
            ),
            (
                builder().max_routes(usize::MAX),
                "max_routes 18446744073709551615: must be from 0, the routes named in advance, to 1000000",
            ),
            (
                ["/a", "/b", "", "/a"]
                    .into_iter()
                    .fold(builder().max_routes(1), |b, route| {
                        b.initialize(Method::GET, route, [StatusCode::OK])
                    }),
                "max_routes 1: must be from 2, the routes named in advance, to 1000000",
            ),
            (
                builder().label(label("a-b")),
                r#"label "a-b": must match [a-zA-Z_][a-zA-Z0-9_]*"#,
            ),
            (
                builder().label(label("http_route")),
                r#"label "http_route": the metrics have a label of this name already"#,
            ),
            (
                builder().label(label("a")).label(label("a")),
                r#"label "a": the metrics have a label of this name already"#,
            ),
            (
                builder().label(label("url_scheme")),
                r#"label "url_scheme": the metrics have a label of this name already"#,
            ),
            (
                builder()
                    .grpc(true)
                    .label(label("rpc_response_status_code")),
                r#"label "rpc_response_status_code": the metrics have a label of this name already"#,
            ),
            (
                classic().grpc(true).label(label("grpc_code")),
                r#"label "grpc_code": the metrics have a label of this name already"#,
            ),
        ];
        for (builder, message) in refused {
            assert_eq!(builder.build().unwrap_err().to_string(), message);
        }
    }
}

mod a_custom_label {
    use super::*;

    #[derive(Clone, Copy)]
    enum Plan {
        Free,
        Paid,
    }

    impl LabelValue for Plan {
        const ALL: &'static [Self] = &[Self::Free, Self::Paid];
        fn as_str(self) -> &'static str {
            match self {
                Self::Free => "free",
                Self::Paid => "paid",
            }
        }
    }

    #[test]
    fn of_enums_makes_no_more_series_at_zero_than_are_allowed() {
        let plan = |name| Label::enum_from_request(name, |_| None::<Plan>);
        let builder = ["a", "b", "c"].map(plan).into_iter().fold(
            MetricsLayer::builder(Prometheus::new()),
            |builder, label| builder.label(label),
        );
        let answer = Label::enum_from_response("answer", |_| None::<Plan>);
        let answers = (100..1000).map(|code| StatusCode::from_u16(code).unwrap());
        let builder = builder
            .label(answer)
            .initialize(Method::GET, "/a", answers.clone())
            .initialize(Method::PUT, "/a", answers)
            .initialize(Method::PUT, "/a", [ErrorType::CANCELLED]);
        // Two values each or none: 81 of an answer, 27 without one.
        assert_eq!(
            builder.build().unwrap_err().to_string(),
            "145827 series at zero: at most 100000 are allowed; initialize fewer endings"
        );
    }

    fn header(name: &'static str, max: u16) -> Label {
        Label::from_request(name, max, move |head| {
            let value = head.headers.get(name)?.to_str().ok()?;
            Some(Cow::Borrowed(value))
        })
    }

    #[tokio::test]
    async fn may_be_an_enum_of_the_request_or_of_the_response() {
        let prometheus = Prometheus::new();
        let layer = MetricsLayer::builder(prometheus)
            .label(Label::enum_from_request("plan", |head| {
                head.extensions.get::<Plan>().copied()
            }))
            .label(Label::enum_from_response("served", |head| {
                Some(if head.status == 200 {
                    Plan::Free
                } else {
                    Plan::Paid
                })
            }))
            .build()
            .unwrap();
        let mut paid = request("GET", "/");
        paid.extensions_mut().insert(Plan::Paid);
        send(&layer, paid, response(402)).await;
        send(&layer, request("GET", "/"), response(200)).await;

        let figures = Figures::of(&prometheus);
        assert_eq!(
            figures.requests(&[("plan", "paid"), ("served", "paid")]),
            1.0
        );
        assert_eq!(figures.requests(&[("plan", ""), ("served", "free")]), 1.0);
    }

    /// Nothing but its count is new of any request, whatever its plan.
    #[tokio::test]
    async fn that_is_an_enum_stands_at_zero_with_each_value() {
        let prometheus = Prometheus::new();
        let plan = |head: &http::Extensions| head.get::<Plan>().copied();
        let layer = MetricsLayer::builder(prometheus)
            .label(header("tenant", 5))
            .label(Label::enum_from_request("plan", move |head| {
                plan(head.extensions)
            }))
            .label(Label::enum_from_response("served", move |head| {
                plan(head.extensions)
            }))
            .initialize(
                Method::GET,
                "",
                [Ending::from(StatusCode::OK), ErrorType::CANCELLED.into()],
            )
            .build()
            .unwrap();
        let before = Figures::of(&prometheus);
        // Three by three with an answer, and three without.
        assert_eq!(before.sum("tower_metrics_series", &[]), 12.0);
        let plans = [None, Some(Plan::Free), Some(Plan::Paid)];
        for plan in plans {
            for served in plans {
                let (mut request, mut response) = (request("GET", "/"), response(200));
                request.extensions_mut().extend(plan_of(plan));
                response.extensions_mut().extend(plan_of(served));
                send(&layer, request, response).await;
            }
            let mut request = request("GET", "/");
            request.extensions_mut().extend(plan_of(plan));
            let mut never = layer.layer(service_fn(|_: Request<Script>| {
                std::future::pending::<io::Result<Response<Script>>>()
            }));
            drop(tower::Service::call(&mut never, request));
        }
        let after = Figures::of(&prometheus);
        assert!(before.0.keys().eq(after.0.keys()), "{after:#?}");
        let count = "http_server_request_duration_seconds_count";
        for (key, requests) in after.0.iter().filter(|((name, _), _)| name == count) {
            assert_eq!((before.0[key], *requests), (0.0, 1.0), "{key:?}");
        }
    }

    fn plan_of(plan: Option<Plan>) -> http::Extensions {
        let mut extensions = http::Extensions::new();
        if let Some(plan) = plan {
            extensions.insert(plan);
        }
        extensions
    }

    #[tokio::test]
    async fn of_the_response_is_empty_where_there_was_none() {
        let prometheus = Prometheus::new();
        let label = Label::from_response("plan", 5, |_| Some("free".into()));
        let layer = MetricsLayer::builder(prometheus)
            .label(label)
            .build()
            .unwrap();
        let service = layer.layer(service_fn(|_: Request<Script>| async {
            Err::<Response<Script>, _>(script::failure())
        }));
        service.oneshot(request("GET", "/")).await.unwrap_err();
        let figures = Figures::of(&prometheus);
        assert_eq!(
            figures.requests(&[("plan", ""), ("error_type", "service_error")]),
            1.0
        );
    }

    #[tokio::test]
    async fn beyond_its_cap_is_other_and_counted() {
        let prometheus = Prometheus::new();
        let layer = MetricsLayer::builder(prometheus).label(header("tenant", 2));
        let layer = layer.build().unwrap();
        // There before it moves, as `increase()` needs it.
        let before = Figures::of(&prometheus);
        assert_eq!(before.series("tower_metrics_overflow_total"), 2);
        assert_eq!(before.sum("tower_metrics_overflow_total", &[]), 0.0);
        for tenant in ["a", "b", "c", "d", "a", "c"] {
            let mut request = request("GET", "/");
            request
                .headers_mut()
                .insert("tenant", tenant.parse().unwrap());
            send(&layer, request, response(200)).await;
        }
        let figures = Figures::of(&prometheus);
        for (tenant, requests) in [("a", 2.0), ("b", 1.0), ("_OTHER", 3.0)] {
            assert_eq!(
                figures.requests(&[("tenant", tenant)]),
                requests,
                "{tenant}"
            );
        }
        assert_eq!(
            figures.sum("tower_metrics_overflow_total", &[("limit", "tenant")]),
            3.0
        );
        assert_eq!(
            figures.sum("tower_metrics_overflow_total", &[("limit", "routes")]),
            0.0
        );
    }

    #[tokio::test]
    async fn is_escaped() {
        let prometheus = Prometheus::new();
        let value = "a\\b\"c\nd{e=\"f\"} é";
        let label = Label::from_request("odd", 5, move |_| Some(value.into()));
        let layer = MetricsLayer::builder(prometheus)
            .label(label)
            .build()
            .unwrap();
        send(&layer, request("GET", "/"), response(200)).await;
        assert_eq!(Figures::of(&prometheus).requests(&[("odd", value)]), 1.0);
    }

    #[tokio::test]
    async fn of_two_layers_is_each_ones_own() {
        let prometheus = Prometheus::new();
        let builders = [
            MetricsLayer::builder(prometheus).label(header("a", 5)),
            MetricsLayer::builder(prometheus).label(header("b", 5)),
            MetricsLayer::builder(prometheus),
        ];
        for builder in builders {
            let mut request = request("GET", "/");
            request.headers_mut().insert("a", "1".parse().unwrap());
            request.headers_mut().insert("b", "1".parse().unwrap());
            send(&builder.build().unwrap(), request, response(200)).await;
        }
        let figures = Figures::of(&prometheus);
        assert_eq!(figures.requests(&[("a", "1"), ("b", "")]), 1.0);
        assert_eq!(figures.requests(&[("a", ""), ("b", "1")]), 1.0);
        assert_eq!(figures.requests(&[("a", ""), ("b", "")]), 1.0);
    }

    /// To Prometheus an empty label is an absent one, and the order of labels
    /// is nothing: what differs in these alone is one series, and reading it
    /// would refuse a sample that stands there twice.
    #[tokio::test]
    async fn that_is_empty_or_elsewhere_in_the_order_makes_no_series_of_its_own() {
        let prometheus = Prometheus::new();
        let layers = [
            MetricsLayer::builder(prometheus)
                .label(header("a", 5))
                .label(header("b", 5))
                .initialize(Method::GET, "", [StatusCode::OK]),
            MetricsLayer::builder(prometheus)
                .label(header("b", 5))
                .label(header("a", 5)),
            MetricsLayer::builder(prometheus).label(header("a", 5)),
            MetricsLayer::builder(prometheus),
        ];
        for builder in layers {
            let layer = builder.build().unwrap();
            for (a, b) in [(None, None), (Some("1"), Some("2")), (Some("1"), None)] {
                let mut request = request("GET", "/");
                for (name, value) in [("a", a), ("b", b)] {
                    if let Some(value) = value {
                        request.headers_mut().insert(name, value.parse().unwrap());
                    }
                }
                send(&layer, request, response(200)).await;
            }
        }
        let figures = Figures::of(&prometheus);
        let series = "http_server_request_duration_seconds_count";
        assert_eq!(figures.series(series), 3);
        assert_eq!(figures.sum("tower_metrics_series", &[]), 3.0);
        assert_eq!(figures.requests(&[("a", ""), ("b", "")]), 6.0);
        assert_eq!(figures.requests(&[("a", "1"), ("b", "")]), 4.0);
        assert_eq!(figures.requests(&[("a", "1"), ("b", "2")]), 2.0);
        let registered = prometheus.registry().gather();
        let duration = registered.iter().find(|f| f.name().ends_with("seconds"));
        assert_eq!(duration.unwrap().get_metric().len(), 3);
    }
}

mod grpc {
    use super::*;

    const METHOD: &str = "/shop.Concerts/Buy";

    fn call() -> Request<Script> {
        let mut request = request("POST", METHOD);
        let grpc = "application/grpc+proto".parse().unwrap();
        request.headers_mut().insert("content-type", grpc);
        request
    }

    fn layer(prometheus: Prometheus) -> MetricsLayer<Prometheus> {
        MetricsLayer::builder(prometheus)
            .grpc(true)
            .build()
            .unwrap()
    }

    /// A unary answer, whose size its frame tells.
    fn in_trailers(code: &'static str) -> Response<Script> {
        let steps = [data("reply"), trailers("grpc-status", code)];
        let response = Response::builder().header("content-type", "application/grpc");
        response.body(Script::new(steps).sized()).unwrap()
    }

    fn in_head(code: &str) -> Response<Script> {
        let response = Response::builder().header("grpc-status", code);
        response
            .body(Script::default().sized().telling_its_end())
            .unwrap()
    }

    #[tokio::test]
    async fn a_status_is_read_from_trailers_and_from_the_head() {
        let cases = [
            ("0", "OK", ""),
            ("1", "CANCELLED", ""),
            ("5", "NOT_FOUND", ""),
            ("13", "INTERNAL", "INTERNAL"),
            ("14", "UNAVAILABLE", "UNAVAILABLE"),
            ("99", "UNKNOWN", "UNKNOWN"),
            ("nonsense", "UNKNOWN", "UNKNOWN"),
        ];
        for (code, name, error_type) in cases {
            for answer in [in_trailers(code), in_head(code)] {
                let prometheus = Prometheus::new();
                send(&layer(prometheus), call(), answer).await;
                let figures = Figures::of(&prometheus);
                let labels = [
                    ("http_route", METHOD),
                    ("http_response_status_code", "200"),
                    ("rpc_response_status_code", name),
                    ("error_type", error_type),
                ];
                assert_eq!(figures.requests(&labels), 1.0, "{code}: {figures:#?}");
                assert_eq!(figures.requests(&[]), 1.0);
                assert_eq!(figures.in_flight(), 0.0);
            }
        }
    }

    #[tokio::test]
    async fn the_error_types_are_the_conventions() {
        let errors = ["2", "4", "12", "13", "14", "15"];
        for code in (0..17).map(|code: u8| code.to_string()) {
            let prometheus = Prometheus::new();
            // In trailers: the method exists, whatever it answers.
            let code: &'static str = code.leak();
            send(&layer(prometheus), call(), in_trailers(code)).await;
            let failed = Figures::of(&prometheus).requests(&[("error_type", "")]) == 0.0;
            assert_eq!(failed, errors.contains(&code), "{code}");
        }
    }

    #[tokio::test]
    async fn a_client_that_leaves_before_the_trailers_is_no_error() {
        let prometheus = Prometheus::new();
        let service = layer(prometheus).layer(service_fn(|_: Request<Script>| async {
            Ok::<_, io::Error>(Response::new(Script::new([data("one"), Step::Stuck])))
        }));
        let mut body = Box::pin(service.oneshot(call()).await.unwrap().into_body());
        body.frame().await.unwrap().unwrap();
        drop(body);
        let figures = Figures::of(&prometheus);
        assert_eq!(figures.requests(&[("error_type", "body_cancelled")]), 1.0);
    }

    #[tokio::test]
    async fn other_requests_are_as_without_it() {
        let prometheus = Prometheus::new();
        send(
            &layer(prometheus),
            request("POST", METHOD),
            in_trailers("13"),
        )
        .await;
        let figures = Figures::of(&prometheus);
        let labels = [
            ("http_route", ""),
            ("rpc_response_status_code", ""),
            ("error_type", ""),
        ];
        assert_eq!(figures.requests(&labels), 1.0);
    }

    #[tokio::test]
    async fn methods_that_do_not_exist_take_no_place() {
        let prometheus = Prometheus::new();
        let builder = MetricsLayer::builder(prometheus).grpc(true).max_routes(1);
        let layer = builder.build().unwrap();
        for i in 0..10 {
            let mut scan = call();
            *scan.uri_mut() = format!("/scan.Service/{i}").parse().unwrap();
            send(&layer, scan, in_head("12")).await;
        }
        send(&layer, call(), in_trailers("0")).await;
        let figures = Figures::of(&prometheus);
        assert_eq!(figures.requests(&[("http_route", "")]), 10.0);
        assert_eq!(figures.requests(&[("http_route", METHOD)]), 1.0);
        assert_eq!(figures.sum("tower_metrics_overflow_total", &[]), 0.0);
    }

    /// A page that is shown for whatever is asked, and who refuses at the door,
    /// say nothing about a method.
    #[tokio::test]
    async fn an_answer_that_is_not_grpc_shows_no_method() {
        for status in [200, 401, 503] {
            for method in ["POST", "HEAD", "CONNECT"] {
                let prometheus = Prometheus::new();
                let layer = layer(prometheus);
                let mut scan = call();
                *scan.method_mut() = method.parse().unwrap();
                send(&layer, scan, response(status)).await;
                let figures = Figures::of(&prometheus);
                let labels = [("http_route", ""), ("http_request_method", method)];
                assert_eq!(figures.requests(&labels), 1.0, "{figures:#?}");
                // A method that has its place is the route of such answers too.
                send(&layer, call(), in_trailers("0")).await;
                send(&layer, call(), response(status)).await;
                let figures = Figures::of(&prometheus);
                assert_eq!(figures.requests(&[("http_route", METHOD)]), 2.0);
                assert_eq!(figures.in_flight(), 0.0);
            }
        }
    }

    #[tokio::test]
    async fn a_method_may_be_left_out() {
        let prometheus = Prometheus::new();
        let builder = MetricsLayer::builder(prometheus).grpc(true).skip([METHOD]);
        send(&builder.build().unwrap(), call(), in_trailers("0")).await;
        assert_eq!(Figures::of(&prometheus).requests(&[]), 0.0);
    }

    /// Nothing but the first call may be new: `increase()` is to see it.
    #[tokio::test]
    async fn a_methods_answers_may_stand_at_zero_from_the_start() {
        let prometheus = Prometheus::new();
        let layer = MetricsLayer::builder(prometheus)
            .grpc(true)
            .initialize(
                Method::POST,
                METHOD,
                [GrpcStatus::OK, GrpcStatus::NOT_FOUND, GrpcStatus::INTERNAL],
            )
            .build()
            .unwrap();
        let before = Figures::of(&prometheus);
        let codes = [
            ("0", "OK", ""),
            ("5", "NOT_FOUND", ""),
            ("13", "INTERNAL", "INTERNAL"),
        ];
        for (code, ..) in codes {
            send(&layer, call(), in_trailers(code)).await;
        }
        let after = Figures::of(&prometheus);
        assert!(before.0.keys().eq(after.0.keys()), "{before:#?} {after:#?}");
        for (_, name, error_type) in codes {
            let labels = [
                ("rpc_response_status_code", name),
                ("error_type", error_type),
            ];
            assert_eq!(before.requests(&labels), 0.0);
            assert_eq!(after.requests(&labels), 1.0);
        }
    }

    #[tokio::test]
    async fn the_classic_names_have_their_own_label() {
        let prometheus = Prometheus::builder()
            .names(Names::classic())
            .build()
            .unwrap();
        send(&layer(prometheus), call(), in_trailers("5")).await;
        let figures = Figures::of(&prometheus);
        assert_eq!(
            figures.sum("http_requests_total", &[("grpc_code", "NOT_FOUND")]),
            1.0
        );
    }
}

mod what_a_client_thinks_of {
    use super::*;

    /// A million where the code is compiled to be fast.
    const MANY: u32 = if cfg!(debug_assertions) {
        20_000
    } else {
        1_000_000
    };

    async fn probe(layer: &MetricsLayer<Prometheus>, status: u16) {
        let service = layer.layer(service_fn(|_: Request<Script>| async {
            let response = Response::builder().status(status);
            Ok::<_, io::Error>(response.body(Script::default().sized()).unwrap())
        }));
        for i in 0..MANY {
            let mut request = request("GET", &format!("/{i}"));
            *request.method_mut() = Method::from_bytes(format!("M{i}").as_bytes()).unwrap();
            request.headers_mut().insert("tenant", i.into());
            let grpc = "application/grpc".parse().unwrap();
            request.headers_mut().insert("content-type", grpc);
            service.clone().oneshot(request).await.unwrap();
        }
    }

    fn layer(prometheus: Prometheus, grpc: bool) -> MetricsLayer<Prometheus> {
        MetricsLayer::builder(prometheus)
            .route(Route::path())
            .grpc(grpc)
            .max_routes(10)
            .label(Label::from_request("tenant", 3, |head| {
                Some(head.headers["tenant"].to_str().ok()?.into())
            }))
            .build()
            .unwrap()
    }

    #[tokio::test]
    async fn and_does_not_exist_makes_no_series() {
        for grpc in [false, true] {
            let prometheus = Prometheus::new();
            probe(&layer(prometheus, grpc), 404).await;
            let figures = Figures::of(&prometheus);
            // Three tenants and the others, of no route.
            assert_eq!(figures.sum("tower_metrics_series", &[]), 4.0);
            assert_eq!(figures.requests(&[("http_route", "")]), f64::from(MANY));
            let labels = [("tenant", "_OTHER"), ("http_request_method", "_OTHER")];
            assert_eq!(figures.requests(&labels), f64::from(MANY - 3));
            let overflow = "tower_metrics_overflow_total";
            assert_eq!(figures.sum(overflow, &[("limit", "routes")]), 0.0);
            assert_eq!(
                figures.sum(overflow, &[("limit", "tenant")]),
                f64::from(MANY - 3)
            );
        }
    }

    #[tokio::test]
    async fn and_has_no_place_is_counted_whatever_is_left_out() {
        let prometheus = Prometheus::new();
        let builder = MetricsLayer::builder(prometheus).route(Route::path());
        let layer = builder.max_routes(1).skip(["_OTHER"]).build().unwrap();
        for path in ["/first", "/second"] {
            send(&layer, request("GET", path), response(200)).await;
        }
        let figures = Figures::of(&prometheus);
        assert_eq!(figures.requests(&[("http_route", "_OTHER")]), 1.0);
    }

    #[tokio::test]
    async fn and_does_exist_is_bounded_and_still_counted() {
        let prometheus = Prometheus::new();
        probe(&layer(prometheus, false), 200).await;
        let figures = Figures::of(&prometheus);
        let series = "http_server_request_duration_seconds_count";
        // The first ten paths, three of them with a tenant, and the others.
        assert_eq!(figures.series(series), 11);
        assert_eq!(figures.requests(&[]), f64::from(MANY));
        assert_eq!(
            figures.requests(&[("http_route", "_OTHER")]),
            f64::from(MANY - 10)
        );
        let overflow = "tower_metrics_overflow_total";
        assert_eq!(
            figures.sum(overflow, &[("limit", "routes")]),
            f64::from(MANY - 10)
        );
        assert_eq!(figures.in_flight(), 0.0);
    }
}
