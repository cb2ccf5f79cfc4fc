use super::*;

fn metric(change: impl FnOnce(&mut Names)) -> PrometheusBuilder {
    let mut names = Names::open_telemetry();
    change(&mut names);
    Prometheus::builder().names(names)
}

fn recorder(builder: PrometheusBuilder) -> String {
    builder.build().unwrap_err().to_string()
}

#[test]
fn invalid_recorder_settings_are_named_in_the_error() {
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
            metric(|names| names.in_flight = "http_server_request_duration_seconds_count".into()),
            r#"metric name "http_server_request_duration_seconds_count" is used twice"#,
        ),
        (
            metric(|names| names.method = Some("http-method".into())),
            r#"label "http-method": must match [a-zA-Z_][a-zA-Z0-9_]*"#,
        ),
        (
            metric(|names| names.status = Some(String::new())),
            r#"label "": must match [a-zA-Z_][a-zA-Z0-9_]*"#,
        ),
        (
            metric(|names| names.route = "le".into()),
            r#"label "le": reserved for histograms and summaries"#,
        ),
        (
            metric(|names| names.route = "__route".into()),
            r#"label "__route": names that start with two underscores are reserved by Prometheus"#,
        ),
        (
            metric(|names| names.route = "error_type".into()),
            r#"label "error_type": used twice"#,
        ),
        (
            Prometheus::builder().constant_label("url_scheme", "ftp"),
            r#"label "url_scheme": used twice"#,
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
            "bounds of http_server_request_duration_seconds must be in increasing order: 0.5 follows 1",
        ),
        (
            Prometheus::builder().duration_bounds([1.0, 1.0]),
            "bounds of http_server_request_duration_seconds must be in increasing order: 1 follows 1",
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
            "bounds of http_server_request_body_size_bytes must be in increasing order: 10 follows 1024",
        ),
    ];
    for (builder, message) in refused {
        assert_eq!(recorder(builder), message);
    }
}

#[test]
fn a_duplicate_registration_error_suggests_a_remedy() {
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
fn invalid_layer_settings_are_named_in_the_error() {
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
            builder()
                .methods((0..201).map(|i| Method::from_bytes(format!("M{i}").as_bytes()).unwrap())),
            "201 methods: 1 to 200 are allowed",
        ),
        (
            builder().max_routes(usize::MAX),
            "max_routes 18446744073709551615: must be between 0, the number of initialized routes, and 1000000",
        ),
        (
            ["/a", "/b", "", "/a"]
                .into_iter()
                .fold(builder().max_routes(1), |b, route| {
                    b.initialize(Method::GET, route, [StatusCode::OK])
                }),
            "max_routes 1: must be between 2, the number of initialized routes, and 1000000",
        ),
        (
            builder().label(label("a-b")),
            r#"label "a-b": must match [a-zA-Z_][a-zA-Z0-9_]*"#,
        ),
        (
            builder().label(label("http_route")),
            r#"label "http_route": the metrics already have a label of this name"#,
        ),
        (
            builder().label(label("a")).label(label("a")),
            r#"label "a": the metrics already have a label of this name"#,
        ),
        (
            builder().label(label("url_scheme")),
            r#"label "url_scheme": the metrics already have a label of this name"#,
        ),
        (
            builder().grpc(true).label(label("rpc_status_code")),
            r#"label "rpc_status_code": the metrics already have a label of this name"#,
        ),
        (
            classic().grpc(true).label(label("grpc_code")),
            r#"label "grpc_code": the metrics already have a label of this name"#,
        ),
        (
            builder()
                .skip(["/healthz"])
                .initialize(Method::GET, "/healthz", [StatusCode::OK]),
            r#"initialize: route "/healthz": `skip` excludes it"#,
        ),
        (
            builder()
                .route_duration_to("/healthz", DurationTo::Head)
                .skip(["/healthz"]),
            r#"route_duration_to: route "/healthz": `skip` excludes it"#,
        ),
    ];
    for (builder, message) in refused {
        assert_eq!(builder.build().unwrap_err().to_string(), message);
    }
}

#[test]
fn an_enum_value_that_is_too_long_is_named_in_the_error() {
    const LONGEST: &str = concat!(
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    );
    const TOO_LONG: &str = concat!(
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef!",
    );

    #[derive(Clone, Copy)]
    struct Plan(&'static str);

    impl LabelValue for Plan {
        const ALL: &'static [Self] = &[Self("free"), Self(LONGEST)];

        fn as_str(self) -> &'static str {
            self.0
        }
    }

    #[derive(Clone, Copy)]
    struct LongPlan(&'static str);

    impl LabelValue for LongPlan {
        const ALL: &'static [Self] = &[Self("free"), Self(TOO_LONG)];

        fn as_str(self) -> &'static str {
            self.0
        }
    }

    let build = |label| {
        MetricsLayer::builder(Prometheus::new())
            .label(label)
            .build()
    };
    build(Label::enum_from_request("plan", |_| Some(Plan("free")))).unwrap();
    let error = build(Label::enum_from_request("plan", |_| Some(LongPlan("free")))).unwrap_err();
    let message = format!(r#"label "plan": value "{TOO_LONG}": at most 128 bytes are allowed"#);
    assert_eq!(error.to_string(), message);
}
