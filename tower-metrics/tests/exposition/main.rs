//! What a scraper is shown, and what others read in it.

mod clashes;
#[path = "../programs/mod.rs"]
mod programs;
#[path = "../scrape/mod.rs"]
mod scrape;
#[path = "../script/mod.rs"]
mod script;
#[path = "../server/mod.rs"]
mod server;

use std::collections::{BTreeSet, HashMap};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use prometheus::core::{Collector, Desc};
use prometheus::{
    Counter, Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts,
    Registry, TextEncoder, proto,
};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_metrics::prometheus::{Exposition, Format, format_bound};
use tower_metrics::{MetricsLayer, Names, Prometheus, Route, TraceId};

use self::scrape::Samples;
use self::script::{Script, Step, data, failure};
use self::server::{fetch, request, serve};

const FORMATS: [Format; 2] = [Format::Text, Format::OpenMetrics];
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A good request, a failed one, one without answer and an open stream, over
/// two routes, all of one trace.
async fn traffic(prometheus: Prometheus, exemplars: bool) {
    for route in ["/users/{id}", "/odd\\\"\n"] {
        let mut builder = MetricsLayer::builder(prometheus).route(Route::fixed(route));
        if exemplars {
            builder = builder.exemplars(|head| TraceId::from_traceparent(head.headers));
        }
        let service = builder
            .build()
            .unwrap()
            .layer(service_fn(|request: Request<Script>| {
                let answer = match request.uri().path() {
                    "/ok" => Ok(200),
                    "/failed" => Ok(500),
                    _ => Err(failure()),
                };
                async move {
                    let body = Script::new([data("hello"), Step::Pending]);
                    answer.map(|status| Response::builder().status(status).body(body).unwrap())
                }
            }));
        for path in ["/ok", "/failed", "/none"] {
            let request = Request::builder()
                .uri(path)
                .header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"));
            let request = request.body(Script::default().sized()).unwrap();
            if let Ok(response) = service.clone().oneshot(request).await {
                response.into_body().collect().await.unwrap();
            }
        }
    }
}

/// Metrics of the kinds that the crate prometheus has, with values and texts
/// that are hard to write.
fn register_others(registry: &Registry) {
    let counter = Counter::new("seconds_total", "With a unit.").unwrap();
    counter.inc_by(1.5);
    let unusual = Counter::new("unusual", "A counter that is not called _total.").unwrap();
    unusual.inc_by(1e18);
    let vec = IntCounterVec::new(
        Opts::new("odd_total", "With \"quotes\",\na line and a \\."),
        &["odd"],
    )
    .unwrap();
    vec.with_label_values(&["a\\b\"c\nd"]).inc();
    vec.with_label_values(&[""]).inc();
    let gauges = GaugeVec::new(Opts::new("extremes", "Values."), &["of"]).unwrap();
    for (of, value) in [
        ("nan", f64::NAN),
        ("inf", f64::INFINITY),
        ("-inf", f64::NEG_INFINITY),
        ("tiny", f64::MIN_POSITIVE),
        ("big", f64::MAX),
        ("-0.5", -0.5),
    ] {
        gauges.with_label_values(&[of]).set(value);
    }
    let gauge = Gauge::new("free_bytes", "Without labels.").unwrap();
    gauge.set(3.0);
    let opts = HistogramOpts::new("db_seconds", "A histogram.").buckets(vec![0.1, 1.0, 1e9]);
    let histogram = Histogram::with_opts(opts).unwrap();
    histogram.observe(0.5);
    let opts = HistogramOpts::new("rows", "With its own +Inf.").buckets(vec![1.0, f64::INFINITY]);
    let histograms = HistogramVec::new(opts, &["table"]).unwrap();
    histograms.with_label_values(&["users"]).observe(3.0);
    let empty = IntCounterVec::new(Opts::new("empty_total", "Nothing yet."), &["of"]).unwrap();

    let collectors: [Box<dyn Collector>; 8] = [
        Box::new(counter),
        Box::new(unusual),
        Box::new(vec),
        Box::new(gauges),
        Box::new(gauge),
        Box::new(histogram),
        Box::new(histograms),
        Box::new(empty),
    ];
    for collector in collectors {
        registry.register(collector).unwrap();
    }
}

/// Recorders of every kind, with traffic, and others' metrics beside them.
async fn recorders() -> Vec<Prometheus> {
    let custom = || {
        let labels = HashMap::from([("pod".to_owned(), "shop \"1\"".to_owned())]);
        Registry::new_custom(Some("shop".to_owned()), Some(labels)).unwrap()
    };
    let builders = [
        Prometheus::builder(),
        Prometheus::builder()
            .names(Names::classic())
            .constant_label("zone", "eu")
            .time_to_head(true)
            .response_size_bounds([0, 1024, 1_048_576]),
        Prometheus::builder()
            .names(Names::axum_prometheus())
            .prefix("my"),
        Prometheus::builder().registry(custom()),
    ];
    let mut recorders = Vec::new();
    for builder in builders {
        let prometheus = builder.build().unwrap();
        register_others(prometheus.registry());
        traffic(prometheus, false).await;
        recorders.push(prometheus);
    }
    recorders
}

fn gathered(registry: &Registry) -> String {
    let mut text = Vec::new();
    TextEncoder::new()
        .encode(&registry.gather(), &mut text)
        .unwrap();
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn gather_and_both_formats_show_the_same_figures() {
    for prometheus in recorders().await {
        let expected = Samples::parse(&gathered(prometheus.registry())).texts();
        assert!(expected.len() > 50);
        for format in FORMATS {
            let text = prometheus.exposition().render(format);
            assert_eq!(Samples::parse(&text).texts(), expected, "{format:?}");
        }
    }
}

/// Every family once: its head, then its samples in one piece.
#[tokio::test]
async fn families_stand_in_one_piece() {
    for prometheus in recorders().await {
        for format in FORMATS {
            let text = prometheus.exposition().render(format);
            let mut types = BTreeSet::new();
            for line in text.lines() {
                if let Some(name) = line.strip_prefix("# TYPE ") {
                    assert!(types.insert(name.to_owned()), "{line} stands twice");
                }
            }
            assert_eq!(text.ends_with("# EOF\n"), format == Format::OpenMetrics);
            assert_eq!(
                text.matches("# EOF").count(),
                usize::from(format == Format::OpenMetrics)
            );
        }
    }
}

#[tokio::test]
async fn promtool_finds_nothing_to_say() {
    if !programs::present("promtool", &["--version"]) {
        return;
    }
    for names in [
        Names::open_telemetry(),
        Names::open_telemetry_client(),
        Names::classic(),
    ] {
        let builder = Prometheus::builder().names(names).time_to_head(true);
        let prometheus = builder.build().unwrap();
        traffic(prometheus, false).await;
        for text in [
            prometheus.exposition().render(Format::Text),
            gathered(prometheus.registry()),
        ] {
            let said = programs::judge("promtool", &["check", "metrics"], &text);
            assert_eq!(said, (true, String::new()), "{text}");
        }
    }
}

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openmetrics.py");

#[tokio::test]
async fn the_strict_parser_reads_our_openmetrics() {
    let Some(python) = programs::python() else {
        return;
    };
    for prometheus in recorders().await {
        let text = prometheus.exposition().render(Format::OpenMetrics);
        let (content, said) = programs::judge(&python, &[SCRIPT], &text);
        assert!(content, "{said}\n{text}");
        assert_eq!(said, format!("samples {}\n", Samples::parse(&text).0.len()));
    }
}

#[tokio::test]
async fn the_strict_parser_reads_our_exemplars() {
    let Some(python) = programs::python() else {
        return;
    };
    let prometheus = Prometheus::builder().time_to_head(true).build().unwrap();
    traffic(prometheus, true).await;
    let text = prometheus.exposition().render(Format::OpenMetrics);
    let (content, said) = programs::judge(&python, &[SCRIPT], &text);
    assert!(content, "{said}\n{text}");
    let exemplars: Vec<_> = said
        .lines()
        .filter(|line| line.starts_with("exemplar"))
        .collect();
    // One for each way to end, on the duration alone.
    assert_eq!(exemplars.len(), 6, "{said}");
    let start = format!("exemplar http_server_request_duration_seconds_bucket {TRACE} ");
    assert!(
        exemplars.iter().all(|line| line.starts_with(&start)),
        "{said}"
    );
}

#[tokio::test]
async fn exemplars_are_all_that_they_change() {
    // With every other histogram that there may be: none of them has any.
    let recorder = || {
        let builder = Prometheus::builder().time_to_head(true);
        let builder = builder.request_size_bounds([0, 1]);
        builder.response_size_bounds([0, 1024]).build().unwrap()
    };
    let without = recorder();
    traffic(without, false).await;
    let with = recorder();
    traffic(with, true).await;
    let samples = |text: String| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(str::to_owned).collect()
    };
    for prometheus in [with, without] {
        let text = samples(prometheus.exposition().render(Format::Text));
        let open_metrics = samples(prometheus.exposition().render(Format::OpenMetrics));
        let stripped: Vec<_> = open_metrics
            .iter()
            .map(|line| line.split(" # ").next().unwrap())
            .collect();
        assert_eq!(stripped, text);
    }
    for format in FORMATS {
        assert!(!without.exposition().render(format).contains(TRACE));
        let shown = with.exposition().render(format).matches(TRACE).count();
        assert_eq!(shown, if format == Format::OpenMetrics { 6 } else { 0 });
    }
}

mod a_scrape {
    use super::*;

    async fn scrape(
        exposition: Exposition,
        method: &str,
        headers: &[(&str, &str)],
    ) -> (StatusCode, HeaderMap, Vec<u8>) {
        let mut request = Request::builder().method(method).uri("/metrics");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = exposition.oneshot(request.body(()).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status, head.headers, body.into())
    }

    const OPEN_METRICS: (&str, &str) = ("accept", "application/openmetrics-text; version=1.0.0");

    #[tokio::test]
    async fn gets_the_text_format_unless_it_asks() {
        let prometheus = Prometheus::new();
        traffic(prometheus, false).await;
        for headers in [&[][..], &[("accept", "*/*")]] {
            let (status, head, body) = scrape(prometheus.exposition(), "GET", headers).await;
            assert_eq!(status, 200);
            assert_eq!(
                head["content-type"],
                "text/plain; version=0.0.4; charset=utf-8"
            );
            assert_eq!(head["content-length"], body.len().to_string());
            assert!(!head.contains_key("content-encoding"));
            assert_eq!(
                body,
                prometheus.exposition().render(Format::Text).as_bytes()
            );
        }
    }

    #[tokio::test]
    async fn gets_openmetrics_where_it_asks() {
        let prometheus = Prometheus::new();
        traffic(prometheus, true).await;
        let (_, head, body) = scrape(prometheus.exposition(), "GET", &[OPEN_METRICS]).await;
        let expected = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert_eq!(head["content-type"], expected);
        assert_eq!(
            body,
            prometheus
                .exposition()
                .render(Format::OpenMetrics)
                .as_bytes()
        );
    }

    #[cfg(feature = "gzip")]
    #[tokio::test]
    async fn gets_gzip_where_it_asks() {
        let prometheus = Prometheus::new();
        traffic(prometheus, false).await;
        for accept in [OPEN_METRICS, ("accept", "*/*")] {
            let plain = scrape(prometheus.exposition(), "GET", &[accept]).await.2;
            let headers = [accept, ("accept-encoding", "gzip")];
            let (_, head, body) = scrape(prometheus.exposition(), "GET", &headers).await;
            assert_eq!(head["content-encoding"], "gzip");
            assert_eq!(head["vary"], "accept, accept-encoding");
            assert_eq!(head["content-length"], body.len().to_string());
            assert!(body.len() < plain.len() / 4);
            let mut unpacked = Vec::new();
            std::io::copy(&mut flate2::read::GzDecoder::new(&*body), &mut unpacked).unwrap();
            assert_eq!(unpacked, plain);
        }
    }

    #[tokio::test]
    async fn by_head_gets_the_head_alone() {
        let prometheus = Prometheus::new();
        let get = scrape(prometheus.exposition(), "GET", &[]).await;
        let head = scrape(prometheus.exposition(), "HEAD", &[]).await;
        assert_eq!((head.0, head.1), (get.0, get.1));
        assert!(head.2.is_empty());
    }

    #[tokio::test]
    async fn by_another_method_is_refused() {
        let (status, head, _) = scrape(Prometheus::new().exposition(), "POST", &[]).await;
        assert_eq!(status, 405);
        assert_eq!(head["allow"], "GET, HEAD");
    }

    #[tokio::test]
    async fn comes_over_a_real_connection() {
        let prometheus = Prometheus::new();
        traffic(prometheus, false).await;
        let address = serve(prometheus.exposition()).await;
        let (status, body) = fetch(address, request("GET", "/metrics")).await.unwrap();
        assert_eq!(status, 200);
        assert_eq!(body, prometheus.exposition().render(Format::Text));
        let (status, body) = fetch(address, request("HEAD", "/metrics")).await.unwrap();
        assert_eq!((status, body.len()), (StatusCode::OK, 0));
    }

    /// More than one frame, and the same from one scrape to the next.
    #[tokio::test]
    async fn may_be_large() {
        let prometheus = Prometheus::new();
        let layer = (0..1_500).fold(
            MetricsLayer::builder(prometheus).max_routes(2_000),
            |builder, i| {
                builder.initialize(http::Method::GET, format!("/route/{i}"), [StatusCode::OK])
            },
        );
        layer.build().unwrap();
        let first = scrape(prometheus.exposition(), "GET", &[]).await.2;
        assert!(first.len() > 2 << 20);
        let samples = Samples::parse(std::str::from_utf8(&first).unwrap());
        assert_eq!(
            samples.series("http_server_request_duration_seconds_count"),
            1_500
        );
        // One is still being read while the next is written.
        let held = prometheus
            .exposition()
            .oneshot(Request::new(()))
            .await
            .unwrap();
        for _ in 0..3 {
            assert!(scrape(prometheus.exposition(), "GET", &[]).await.2 == first);
        }
        assert!(*held.into_body().collect().await.unwrap().to_bytes() == *first);
    }
}

/// Blocks in its first collection until it is let go, and may panic in its
/// second.
struct Troubled {
    desc: Desc,
    panics: bool,
    collections: Arc<AtomicUsize>,
    entered: mpsc::Sender<()>,
    go: std::sync::Mutex<mpsc::Receiver<()>>,
}

impl Collector for Troubled {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        match self.collections.fetch_add(1, Ordering::Relaxed) {
            0 => {
                self.entered.send(()).unwrap();
                self.go.lock().unwrap().recv().unwrap();
            }
            1 if self.panics => panic!("a collector panics on purpose"),
            _ => {}
        }
        Vec::new()
    }
}

/// Scrapes while the first one is held up, lets it go, and says what each of
/// them got and how many renderings there were.
fn scrapes_beside_a_first(
    others: usize,
    panics: bool,
) -> (Vec<std::thread::Result<String>>, usize) {
    let (entered, has_entered) = mpsc::channel();
    let (let_go, go) = mpsc::channel();
    let prometheus = Prometheus::new();
    let desc = Desc::new("troubled".into(), "Trouble.".into(), vec![], HashMap::new());
    let collections = Arc::new(AtomicUsize::new(0));
    let troubled = Troubled {
        desc: desc.unwrap(),
        panics,
        collections: Arc::clone(&collections),
        entered,
        go: std::sync::Mutex::new(go),
    };
    prometheus.registry().register(Box::new(troubled)).unwrap();
    let render = move || prometheus.exposition().render(Format::Text);

    let first = std::thread::spawn(render);
    has_entered.recv().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let waiting: Vec<_> = (0..others)
        .map(|_| {
            let asked = Arc::clone(&asked);
            std::thread::spawn(move || {
                asked.fetch_add(1, Ordering::Relaxed);
                render()
            })
        })
        .collect();
    while asked.load(Ordering::Relaxed) < others {
        std::thread::yield_now();
    }
    // As good as certain to be waiting for the first one by now.
    for _ in 0..1000 {
        std::thread::yield_now();
    }
    let_go.send(()).unwrap();
    let texts = std::iter::once(first).chain(waiting);
    let texts = texts.map(|scrape| scrape.join()).collect();
    (texts, collections.load(Ordering::Relaxed))
}

#[test]
fn a_collector_that_panics_spoils_no_other_scrape() {
    let (texts, _) = scrapes_beside_a_first(3, true);
    assert_eq!(texts.iter().filter(|text| text.is_err()).count(), 1);
    for text in texts.into_iter().flatten() {
        assert!(text.contains("tower_metrics_series"), "{text:?}");
    }
}

#[test]
fn scrapes_that_wait_for_the_same_one_share_the_next() {
    let (texts, renderings) = scrapes_beside_a_first(20, false);
    for text in texts {
        assert!(text.unwrap().contains("tower_metrics_series"));
    }
    // The first one, and one for all: or a few, where a thread came late.
    assert!((2..10).contains(&renderings), "{renderings} renderings");
}

mod the_real_prometheus {
    use super::*;

    use std::io::{BufRead, BufReader};
    use std::net::SocketAddr;

    /// A Prometheus on a port and in a directory of its own.
    struct Server {
        child: std::process::Child,
        address: SocketAddr,
        _directory: tempfile::TempDir,
    }

    impl Server {
        fn start(scrape_configs: &str) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let config = directory.path().join("prometheus.yml");
            let global = "global: {scrape_interval: 100ms, scrape_timeout: 100ms}";
            std::fs::write(
                &config,
                format!("{global}\nscrape_configs:\n{scrape_configs}"),
            )
            .unwrap();
            let mut child = Command::new("prometheus")
                .arg(format!("--config.file={}", config.display()))
                .arg(format!(
                    "--storage.tsdb.path={}",
                    directory.path().join("data").display()
                ))
                .arg("--web.listen-address=127.0.0.1:0")
                .arg("--enable-feature=exemplar-storage")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
            let address = log
                .by_ref()
                .find_map(|line| {
                    let line = line.unwrap();
                    // Prometheus 3 names the component in between.
                    let (_, fields) = line.split_once("msg=\"Listening on\" ")?;
                    let (_, address) = fields.split_once("address=")?;
                    Some(address.trim().parse().unwrap())
                })
                .expect("it says where it listens");
            // Nobody may have to wait for room to write what we do not read.
            std::thread::spawn(move || log.for_each(drop));
            Self {
                child,
                address,
                _directory: directory,
            }
        }

        /// Asks again until the answer is as wanted.
        async fn ask(&self, path: &str, wanted: impl Fn(&str) -> bool) -> String {
            let mut last = String::new();
            let asking = async {
                loop {
                    if let Ok((_, body)) = fetch(self.address, request("GET", path)).await {
                        last = String::from_utf8(body.into()).unwrap();
                        if wanted(&last) {
                            return;
                        }
                    }
                    // Another process: there is nothing else to wait for.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let answered = tokio::time::timeout(Duration::from_secs(20), asking).await;
            assert!(answered.is_ok(), "{path} has answered only {last}");
            last
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    #[tokio::test]
    async fn stores_our_figures_and_exemplars() {
        if !programs::present("prometheus", &["--version"]) {
            return;
        }
        let bounds = [0.00005, 0.25, 1.0, 100.0];
        let prometheus = Prometheus::builder()
            .duration_bounds(bounds)
            .response_size_bounds([1_048_576])
            .build()
            .unwrap();
        traffic(prometheus, true).await;
        let open_metrics = serve(prometheus.exposition()).await;
        // It asks for OpenMetrics unless somebody makes it forget.
        let text = ServiceBuilder::new()
            .map_request(|mut request: Request<Incoming>| {
                request.headers_mut().remove("accept");
                request
            })
            .service(prometheus.exposition());
        let text = serve(text).await;
        let server = Server::start(&format!(
            "- {{job_name: open_metrics, static_configs: [{{targets: ['{open_metrics}']}}]}}\n\
             - {{job_name: text, static_configs: [{{targets: ['{text}']}}]}}\n"
        ));

        let metric = "http_server_request_duration_seconds";
        for job in ["open_metrics", "text"] {
            let query = format!("/api/v1/query?query=sum({metric}_count%7Bjob=%22{job}%22%7D)");
            server
                .ask(&query, |answer| answer.contains(",\"6\"]"))
                .await;
            // Prometheus 2 stores a bound as the exposition writes it, Prometheus 3
            // rewrites it: a query must find it in both.
            let durations = bounds.map(|bound| (metric, bound));
            let sizes = [("http_server_response_body_size_bytes", 1_048_576.0)];
            for (metric, bound) in durations.into_iter().chain(sizes) {
                let le = format_bound(bound).replace('+', "%2B");
                let query = format!(
                    "/api/v1/query?query=count({metric}_bucket%7Bjob=%22{job}%22,le=%22{le}%22%7D)"
                );
                server
                    .ask(&query, |answer| answer.contains(",\"6\"]"))
                    .await;
            }
        }
        let query = format!("/api/v1/query_exemplars?query={metric}_bucket&start=0&end=9999999999");
        let exemplars = server.ask(&query, |answer| answer.contains(TRACE)).await;
        assert!(
            exemplars.contains("\"job\":\"open_metrics\""),
            "{exemplars}"
        );
        assert!(!exemplars.contains("\"job\":\"text\""), "{exemplars}");
    }

    /// As dashboards and alerts for that crate ask; it comes with none itself.
    const DASHBOARDS: &str = r#"
rate(axum_http_requests_total[5m])
sum(axum_http_requests_total)
sum by (endpoint, status, method) (rate(axum_http_requests_total{status=~"^2.*$"}[1m]))
sum(rate(axum_http_requests_total{endpoint=~"/users/.*",status="500"}[5m])) > 0
(sum(rate(axum_http_requests_total{status=~"5.."}[5m])) or vector(0)) / clamp_min(sum(rate(axum_http_requests_total[5m])), 1)
round(increase(axum_http_requests_total{status=~"[45].."}[1h]))
sum(rate(axum_http_requests_duration_seconds_count[5m])) by (status)
histogram_quantile(0.95, rate(axum_http_requests_duration_seconds_bucket{status!=""}[5m]))
max(increase(axum_http_requests_duration_seconds_sum{method!~"POST|PUT"}[1m]) * 1000 / increase(axum_http_requests_duration_seconds_count{method!~"POST|PUT"}[1m])) by (method, endpoint)
axum_http_requests_pending
max_over_time(sum(axum_http_requests_pending)[1m:1s])
"#;

    /// Every query that the guide to moving over from axum-prometheus has, and
    /// those of dashboards that are there.
    #[tokio::test]
    async fn answers_the_queries_of_who_moves_over() {
        if !programs::present("prometheus", &["--version"]) {
            return;
        }
        let mut names = Names::axum_prometheus();
        names.error_type = Some("error_type".into());
        let prometheus = Prometheus::builder().names(names).build().unwrap();
        traffic(prometheus, false).await;
        let target = serve(prometheus.exposition()).await;
        let server = Server::start(&format!(
            "- {{job_name: api, static_configs: [{{targets: ['{target}']}}]}}\n"
        ));
        let seen = |number| move |answer: &str| answer.contains(&format!(",\"{number}\"]"));
        let requests = "/api/v1/query?query=sum(axum_http_requests_total)";
        server.ask(requests, seen(6)).await;
        // A rate sees what is added to what there was.
        traffic(prometheus, false).await;
        server.ask(requests, seen(12)).await;

        let guide = include_str!("../../docs/from_axum_prometheus.md");
        let blocks = guide.split("```text\n").skip(1);
        let lines = blocks.flat_map(|block| {
            let (block, _) = block.split_once("```").unwrap();
            // A line that goes on is indented.
            let joined = block.replace("\n ", " ");
            joined.lines().map(str::to_owned).collect::<Vec<_>>()
        });
        let queries: Vec<_> = lines.filter(|line| line.contains("axum_http_")).collect();
        assert_eq!(queries.len(), 5, "{queries:#?}");
        let theirs = DASHBOARDS.trim().lines().map(str::to_owned);
        for query in queries.into_iter().chain(theirs) {
            let escaped: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let path = format!("/api/v1/query?query={escaped}");
            let answered = |answer: &str| {
                answer.contains("\"status\":\"success\"")
                    && answer.contains("\"value\"")
                    && !answer.contains("NaN")
            };
            server.ask(&path, answered).await;
        }
    }
}
