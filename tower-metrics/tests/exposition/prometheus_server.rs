//! Scrapes by a Prometheus server.

use super::*;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;

use super::native::{layer, record};

/// Prometheus server on a free port, with a temporary directory.
struct Server {
    child: std::process::Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Server {
    fn start(scrape_configs: &str) -> Self {
        Self::start_program("prometheus".as_ref(), scrape_configs)
    }

    fn start_program(program: &Path, scrape_configs: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("prometheus.yml");
        let global = "global: {scrape_interval: 100ms, scrape_timeout: 100ms}";
        std::fs::write(
            &config,
            format!("{global}\nscrape_configs:\n{scrape_configs}"),
        )
        .unwrap();
        let mut child = Command::new(program)
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
            .expect("Prometheus logs its address");
        // Drain the log, so that the server never blocks on a full pipe.
        std::thread::spawn(move || log.for_each(drop));
        Self {
            child,
            address,
            _directory: directory,
        }
    }

    /// Repeats a query until the response satisfies a predicate.
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
                // Another process: polling is the only way to wait.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let answered = tokio::time::timeout(Duration::from_secs(20), asking).await;
        assert!(answered.is_ok(), "last response to {path}: {last}");
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
async fn prometheus_stores_samples_and_exemplars() {
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
    // Prometheus requests OpenMetrics unless the header is removed.
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

fn escaped(query: &str) -> String {
    query.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Returns the value of a query that has one series, once it is the expected one.
async fn expect_value(server: &Server, query: &str, expected: f64) {
    let path = format!("/api/v1/query?query={}", escaped(query));
    let expected = format!(",\"{expected}\"]");
    server.ask(&path, |answer| answer.contains(&expected)).await;
}

/// Prometheus 3 scrapes protobuf and stores native histograms, classic ones, or both.
#[tokio::test]
async fn prometheus_3_stores_native_histograms() {
    let Some(program) = programs::prometheus_3() else {
        return;
    };
    let builder = Prometheus::builder().native_histogram(true);
    let prometheus = builder.build().unwrap();
    register_others(prometheus.registry());
    let quarter = 250_000_000;
    let durations = [
        0,
        100_000_000,
        110_000_000,
        quarter,
        400_000_000,
        quarter + 1,
    ];
    record(&layer(prometheus), &durations);
    // Every octave, at a lower resolution.
    let wide = Prometheus::builder()
        .native_histogram(true)
        .build()
        .unwrap();
    let octaves: Vec<_> = (0..500).map(|i| 1.09f64.powi(i) as u64).collect();
    record(&layer(wide), &octaves);

    let (target, wide) = (
        serve(prometheus.exposition()).await,
        serve(wide.exposition()).await,
    );
    let job = |name: &str, settings: &str, target: SocketAddr| {
        format!("- {{job_name: {name}, {settings}, static_configs: [{{targets: ['{target}']}}]}}\n")
    };
    let native = "scrape_native_histograms: true";
    let both = format!("{native}, always_scrape_classic_histograms: true");
    let jobs = [
        job("native", native, target),
        job("both", &both, target),
        job("classic", "scrape_native_histograms: false", target),
        // Protobuf without native histograms.
        job("protobuf", "scrape_protocols: [PrometheusProto]", target),
        job("wide", native, wide),
    ];
    let server = Server::start_program(&program, &jobs.concat());

    expect_value(&server, "sum(up)", 5.0).await;
    let metric = "http_server_request_duration_seconds";
    for job in ["native", "both"] {
        let metric = format!("{metric}{{job=\"{job}\"}}");
        expect_value(&server, &format!("histogram_count({metric})"), 6.0).await;
        expect_value(&server, &format!("histogram_sum({metric})"), 1.110000001).await;
        // A quarter of a second is a bound of both kinds of buckets.
        let within = format!("histogram_fraction(-Inf, 0.25, {metric}) * 6");
        expect_value(&server, &within, 4.0).await;
        let quantile = format!("round(histogram_quantile(0.4, {metric}), 0.01)");
        expect_value(&server, &quantile, 0.11).await;
    }
    for (job, buckets) in [
        ("native", 0),
        ("both", 15),
        ("classic", 15),
        ("protobuf", 15),
    ] {
        let buckets_of = format!("count({metric}_bucket{{job=\"{job}\"}}) or vector(0)");
        expect_value(&server, &buckets_of, f64::from(buckets)).await;
        // The registry's counter and gauge.
        let others = format!("seconds_total{{job=\"{job}\"}} + free_bytes{{job=\"{job}\"}}");
        expect_value(&server, &format!("sum({others})"), 4.5).await;
        if buckets > 0 {
            let le = "le=\"0.25\"";
            let within = format!("{metric}_bucket{{job=\"{job}\", {le}}}");
            expect_value(&server, &within, 4.0).await;
        }
    }
    let all = format!("histogram_count({metric}{{job=\"wide\"}})");
    expect_value(&server, &all, 500.0).await;
    let metadata = format!("/api/v1/metadata?metric={metric}");
    let unit = |answer: &str| answer.contains("\"unit\":\"seconds\"");
    server.ask(&metadata, unit).await;
}

#[tokio::test]
async fn prometheus_3_stores_exemplars_of_native_histograms() {
    let Some(program) = programs::prometheus_3() else {
        return;
    };
    let builder = Prometheus::builder().native_histogram(true);
    let prometheus = builder.build().unwrap();
    traffic(prometheus, true).await;
    let target = serve(prometheus.exposition()).await;
    let job = |name: &str, settings: &str| {
        format!("- {{job_name: {name}, {settings}, static_configs: [{{targets: ['{target}']}}]}}\n")
    };
    let jobs = [
        job("native", "scrape_native_histograms: true"),
        job(
            "both",
            "scrape_native_histograms: true, always_scrape_classic_histograms: true",
        ),
    ];
    let server = Server::start_program(&program, &jobs.concat());
    let metric = "http_server_request_duration_seconds";
    // Without the classic ones, Prometheus 3.16 reads the exemplars of a family's
    // first histogram only.
    for (job, exemplars) in [("native", 1), ("both", 6)] {
        let query = escaped(&format!("{metric}{{job=\"{job}\"}}"));
        let query = format!("/api/v1/query_exemplars?query={query}&start=0&end=9999999999");
        let wanted = |answer: &str| answer.matches(TRACE).count() >= exemplars;
        server.ask(&query, wanted).await;
    }
}

/// Queries of dashboards and alerts for axum-prometheus. The crate provides none.
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

/// All queries of the guide to the migration from axum-prometheus, and those of
/// existing dashboards.
#[tokio::test]
async fn queries_for_axum_prometheus_work() {
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
    // `rate()` needs an increase between two samples.
    traffic(prometheus, false).await;
    server.ask(requests, seen(12)).await;

    let guide = include_str!("../../docs/from_axum_prometheus.md");
    let blocks = guide.split("```text\n").skip(1);
    let lines = blocks.flat_map(|block| {
        let (block, _) = block.split_once("```").unwrap();
        // Continuation lines are indented.
        let joined = block.replace("\n ", " ");
        joined.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    let queries: Vec<_> = lines.filter(|line| line.contains("axum_http_")).collect();
    assert_eq!(queries.len(), 5, "{queries:#?}");
    let theirs = DASHBOARDS.trim().lines().map(str::to_owned);
    for query in queries.into_iter().chain(theirs) {
        let path = format!("/api/v1/query?query={}", escaped(&query));
        let answered = |answer: &str| {
            answer.contains("\"status\":\"success\"")
                && answer.contains("\"value\"")
                && !answer.contains("NaN")
        };
        server.ask(&path, answered).await;
    }
}
