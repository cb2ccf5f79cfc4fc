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
fn enum_labels_initialize_at_most_the_allowed_number_of_series() {
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
    // Two values or none for each label: 81 with a response, 27 without.
    assert_eq!(
        builder.build().unwrap_err().to_string(),
        "145827 initial series: at most 100000 are allowed"
    );
}

fn header(name: &'static str, max: u16) -> Label {
    Label::from_request(name, max, move |head| {
        let value = head.headers.get(name)?.to_str().ok()?;
        Some(Cow::Borrowed(value))
    })
}

#[tokio::test]
async fn enum_labels_come_from_the_request_or_the_response() {
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

    let samples = Samples::of(&prometheus);
    assert_eq!(
        samples.requests(&[("plan", "paid"), ("served", "paid")]),
        1.0
    );
    assert_eq!(samples.requests(&[("plan", ""), ("served", "free")]), 1.0);
}

/// Requests change counts but add no series, regardless of their plan.
#[tokio::test]
async fn enum_labels_initialize_a_series_for_each_value() {
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
            [
                InitialSeries::from(StatusCode::OK),
                ErrorType::CANCELLED.into(),
            ],
        )
        .build()
        .unwrap();
    let before = Samples::of(&prometheus);
    // Three by three with a response, and three without.
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
    let after = Samples::of(&prometheus);
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
async fn response_labels_are_empty_without_a_response() {
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
    let samples = Samples::of(&prometheus);
    assert_eq!(
        samples.requests(&[("plan", ""), ("error_type", "service_error")]),
        1.0
    );
}

#[tokio::test]
async fn values_beyond_the_limit_are_other_and_counted() {
    let prometheus = Prometheus::new();
    let layer = MetricsLayer::builder(prometheus).label(header("tenant", 2));
    let layer = layer.build().unwrap();
    // Exposed before the first overflow, as `increase()` requires.
    let before = Samples::of(&prometheus);
    assert_eq!(before.series("tower_metrics_overflow_total"), 2);
    assert_eq!(before.sum("tower_metrics_overflow_total", &[]), 0.0);
    for tenant in ["a", "b", "c", "d", "a", "c"] {
        let mut request = request("GET", "/");
        request
            .headers_mut()
            .insert("tenant", tenant.parse().unwrap());
        send(&layer, request, response(200)).await;
    }
    let samples = Samples::of(&prometheus);
    for (tenant, requests) in [("a", 2.0), ("b", 1.0), ("_OTHER", 3.0)] {
        assert_eq!(
            samples.requests(&[("tenant", tenant)]),
            requests,
            "{tenant}"
        );
    }
    assert_eq!(
        samples.sum("tower_metrics_overflow_total", &[("limit", "tenant")]),
        3.0
    );
    assert_eq!(
        samples.sum("tower_metrics_overflow_total", &[("limit", "routes")]),
        0.0
    );
}

#[tokio::test]
async fn label_values_are_escaped() {
    let prometheus = Prometheus::new();
    let value = "a\\b\"c\nd{e=\"f\"} é";
    let label = Label::from_request("odd", 5, move |_| Some(value.into()));
    let layer = MetricsLayer::builder(prometheus)
        .label(label)
        .build()
        .unwrap();
    send(&layer, request("GET", "/"), response(200)).await;
    assert_eq!(Samples::of(&prometheus).requests(&[("odd", value)]), 1.0);
}

#[tokio::test]
async fn layers_with_one_recorder_have_separate_labels() {
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
    let samples = Samples::of(&prometheus);
    assert_eq!(samples.requests(&[("a", "1"), ("b", "")]), 1.0);
    assert_eq!(samples.requests(&[("a", ""), ("b", "1")]), 1.0);
    assert_eq!(samples.requests(&[("a", ""), ("b", "")]), 1.0);
}

/// To Prometheus an empty label is an absent one, and the order of labels is
/// irrelevant. Parsing the exposition fails if a sample is duplicated.
#[tokio::test]
async fn empty_labels_and_the_order_of_labels_create_no_series() {
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
    let samples = Samples::of(&prometheus);
    let series = "http_server_request_duration_seconds_count";
    assert_eq!(samples.series(series), 3);
    assert_eq!(samples.sum("tower_metrics_series", &[]), 3.0);
    assert_eq!(samples.requests(&[("a", ""), ("b", "")]), 6.0);
    assert_eq!(samples.requests(&[("a", "1"), ("b", "")]), 4.0);
    assert_eq!(samples.requests(&[("a", "1"), ("b", "2")]), 2.0);
    let registered = prometheus.registry().gather();
    let duration = registered
        .iter()
        .find(|f| f.name().ends_with("duration_seconds"));
    assert_eq!(duration.unwrap().get_metric().len(), 3);
}
