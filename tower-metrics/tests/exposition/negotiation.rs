//! Negotiation with scrapers.

use super::http_scrape::{scrape, scrape_path};
use super::*;

/// `Accept` of Prometheus 3.16 with its default configuration.
const DEFAULT: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.7,application/openmetrics-text;version=0.0.1;q=0.6,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.3";
/// With `scrape_native_histograms: true`.
const NATIVE: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
/// With `metric_name_validation_scheme: legacy`.
const LEGACY: &str = "application/openmetrics-text;version=1.0.0;escaping=underscores;q=0.7,application/openmetrics-text;version=0.0.1;q=0.6,text/plain;version=1.0.0;escaping=underscores;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.3";
/// With `metric_name_escaping_scheme: values`.
const VALUES: &str = "application/openmetrics-text;version=1.0.0;escaping=values;q=0.7,application/openmetrics-text;version=0.0.1;q=0.6,text/plain;version=1.0.0;escaping=values;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.3";
/// With `scrape_protocols: [PrometheusText1.0.0, PrometheusText0.0.4]`.
const TEXT: &str =
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.7,text/plain;version=0.0.4;q=0.6,*/*;q=0.5";
/// Of Prometheus 2.42.
const PROMETHEUS_2: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

#[tokio::test]
async fn prometheus_receives_the_format_that_it_prefers() {
    let prometheus = Prometheus::new();
    traffic(prometheus, true).await;
    let exposition = prometheus.exposition();
    let open_metrics = exposition.render(Format::OpenMetrics);
    let text = exposition.render(Format::Text);
    let om = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    for (accept, content_type, content) in [
        (
            DEFAULT,
            format!("{om}; escaping=allow-utf-8"),
            &open_metrics,
        ),
        (LEGACY, format!("{om}; escaping=underscores"), &open_metrics),
        (VALUES, format!("{om}; escaping=values"), &open_metrics),
        (
            PROMETHEUS_2,
            format!("{om}; escaping=underscores"),
            &open_metrics,
        ),
        (
            TEXT,
            "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8".to_owned(),
            &text,
        ),
    ] {
        let (_, head, body) = scrape(exposition, "GET", &[("accept", accept)]).await;
        assert_eq!(head["content-type"], content_type, "{accept}");
        assert_eq!(body, content.as_bytes(), "{accept}");
    }
    let (_, head, body) = scrape(exposition, "GET", &[("accept", NATIVE)]).await;
    assert_eq!(head["content-type"], PROTOBUF);
    assert_eq!(Exposition::PROTOBUF_CONTENT_TYPE, PROTOBUF);
    assert_eq!(body, exposition.render_protobuf());
    let families = messages::decode(&body);
    assert_eq!(families.len(), text.matches("# TYPE ").count());
}

/// A name that Prometheus 2 does not allow is escaped, and `Content-Type` names the escaping.
#[tokio::test]
async fn escaped_names_are_announced() {
    struct Dotted(Desc);
    impl Collector for Dotted {
        fn desc(&self) -> Vec<&Desc> {
            vec![&self.0]
        }
        fn collect(&self) -> Vec<proto::MetricFamily> {
            let mut family = proto::MetricFamily::default();
            family.set_name("jobs.waiting".into());
            family.set_field_type(proto::MetricType::GAUGE);
            let mut metric = proto::Metric::default();
            metric.set_gauge(proto::Gauge::default());
            family.set_metric(vec![metric]);
            vec![family]
        }
    }
    let prometheus = Prometheus::new();
    let desc = Desc::new("dotted".into(), "Dots.".into(), vec![], HashMap::new());
    let registry = prometheus.registry();
    registry.register(Box::new(Dotted(desc.unwrap()))).unwrap();
    for accept in [DEFAULT, VALUES, TEXT] {
        let headers = [("accept", accept)];
        let (_, head, body) = scrape(prometheus.exposition(), "GET", &headers).await;
        let content_type = head["content-type"].to_str().unwrap();
        assert!(content_type.ends_with("; escaping=underscores"), "{accept}");
        let text = String::from_utf8(body).unwrap();
        assert!(text.contains("\njobs_waiting 0\n"), "{text}");
    }
    let families = messages::decode(&prometheus.exposition().render_protobuf());
    assert!(
        families
            .iter()
            .any(|family| family.name() == "jobs_waiting")
    );
}

#[tokio::test]
async fn head_requests_receive_the_headers_of_every_format() {
    let prometheus = Prometheus::new();
    traffic(prometheus, false).await;
    for accept in [DEFAULT, NATIVE, TEXT, "*/*"] {
        for path in ["/metrics", "/metrics?name[]=tower_metrics_series"] {
            let headers = [("accept", accept)];
            let get = scrape_path(prometheus.exposition(), "GET", path, &headers).await;
            let head = scrape_path(prometheus.exposition(), "HEAD", path, &headers).await;
            assert_eq!((head.0, head.1), (get.0, get.1));
            assert!(head.2.is_empty() && !get.2.is_empty());
        }
    }
}

/// Returns the names of the families of a scrape.
async fn families(prometheus: Prometheus, query: &str, accept: &str) -> Vec<String> {
    let path = format!("/metrics?{query}");
    let headers = [("accept", accept)];
    let body = scrape_path(prometheus.exposition(), "GET", &path, &headers)
        .await
        .2;
    if accept == NATIVE {
        let families = messages::decode(&body).into_iter();
        return families.map(|family| family.name.unwrap()).collect();
    }
    let text = String::from_utf8(body).unwrap();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn the_query_selects_families_by_name() {
    let prometheus = Prometheus::new();
    register_others(prometheus.registry());
    traffic(prometheus, false).await;
    let duration = "http_server_request_duration_seconds";
    for (query, expected) in [
        (format!("name[]={duration}"), vec![duration]),
        // As Prometheus sends it.
        (
            format!("name%5B%5D={duration}&name%5B%5D=rows"),
            vec![duration, "rows"],
        ),
        // The names of samples.
        (format!("name[]={duration}_count"), vec![duration]),
        (format!("name[]={duration}_bucket"), vec![duration]),
        (
            "name[]=unusual&name[]=rows_sum".into(),
            vec!["rows", "unusual"],
        ),
        ("name[]=nothing".into(), vec![]),
        ("name[]=".into(), vec![]),
    ] {
        for accept in [DEFAULT, NATIVE, TEXT, "*/*"] {
            let mut found = families(prometheus, &query, accept).await;
            found.sort_unstable();
            assert_eq!(found, expected, "{query} {accept}");
        }
    }
    // A counter has two names in OpenMetrics.
    for query in ["name[]=seconds_total", "name[]=seconds"] {
        assert_eq!(families(prometheus, query, DEFAULT).await, ["seconds"]);
        assert_eq!(families(prometheus, query, NATIVE).await, ["seconds_total"]);
    }
    assert!(families(prometheus, "x=1", "*/*").await.len() > 10);
}

#[tokio::test]
async fn selected_families_are_rendered_as_in_the_whole() {
    let prometheus = Prometheus::new();
    traffic(prometheus, true).await;
    for format in FORMATS {
        let whole = prometheus.exposition().render(format);
        let names = ["http_server_request_body_size_bytes"];
        let selected = prometheus.exposition().render_families(format, names);
        assert!(selected.contains(names[0]));
        for line in selected.lines() {
            assert!(line.contains(names[0]) || line == "# EOF");
        }
        assert_eq!(
            Samples::parse(&selected).0.len(),
            whole.matches(&format!("\n{}_", names[0])).count()
        );
        let none = prometheus.exposition().render_families(format, [""; 0]);
        let end = if format == Format::OpenMetrics {
            "# EOF\n"
        } else {
            ""
        };
        assert_eq!(none, end);
    }
}
