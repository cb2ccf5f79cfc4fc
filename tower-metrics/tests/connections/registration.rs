//! Registration, names and labels of the metrics.

use prometheus::{IntGauge, Registry};
use tower_metrics::prometheus::Format;
use tower_metrics::{BuildError, Connections, Names, Prometheus};

use crate::measured::Metrics;

#[test]
fn metrics_appear_with_the_first_connections_and_start_at_zero() {
    let prometheus = Prometheus::new();
    let text = || prometheus.exposition().render(Format::Text);
    assert!(!text().contains("http_server_open_connections"));
    let _connections = prometheus.connections().build().unwrap();
    for line in [
        "# TYPE http_server_open_connections gauge",
        "http_server_open_connections 0",
        "# TYPE http_server_connection_duration_seconds histogram",
        "http_server_connection_duration_seconds_count{error_type=\"\"} 0",
        "http_server_connection_duration_seconds_count{error_type=\"reset\"} 0",
        "http_server_connection_duration_seconds_bucket{error_type=\"\",le=\"300.0\"} 0",
        "# TYPE http_server_rejected_connections_total counter",
        "http_server_rejected_connections_total{reason=\"limit\"} 0",
        "http_server_rejected_connections_total{reason=\"accept_error\"} 0",
        "# TYPE http_server_network_io_bytes_total counter",
        "http_server_network_io_bytes_total{network_io_direction=\"receive\"} 0",
        "http_server_network_io_bytes_total{network_io_direction=\"transmit\"} 0",
    ] {
        let text = text();
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(!text().contains("tls_handshake"));
}

#[test]
fn connections_of_one_recorder_add_up() {
    let prometheus = Prometheus::new();
    let first = prometheus.connections().build().unwrap();
    let second = prometheus.connections().build().unwrap();
    let io = (first.wrap(()).unwrap(), second.wrap(()).unwrap());
    assert_eq!(Metrics::of(&prometheus).open(), 2.0);
    drop(io);
    let metrics = Metrics::of(&prometheus);
    assert_eq!((metrics.open(), metrics.ended()), (0.0, 2.0));
}

#[test]
fn recorders_do_not_share_values() {
    let recorders = [Prometheus::new(), Prometheus::new()];
    let connections = recorders.map(|recorder| recorder.connections().build().unwrap());
    let open = [3, 1].into_iter().zip(&connections);
    let open: Vec<_> = open
        .flat_map(|(n, connections)| (0..n).map(|_| connections.wrap(()).unwrap()))
        .collect();
    assert_eq!(
        recorders.map(|recorder| Metrics::of(&recorder).open()),
        [3.0, 1.0]
    );
    drop(open);
    assert_eq!(
        recorders.map(|recorder| Metrics::of(&recorder).ended()),
        [3.0, 1.0]
    );
}

#[test]
fn prefixes_and_constant_labels_apply_and_presets_do_not() {
    let labels = [("zone".to_owned(), "a".to_owned())].into();
    let registry = Registry::new_custom(Some("eu".into()), Some(labels)).unwrap();
    let prometheus = Prometheus::builder()
        .registry(registry)
        .names(Names::classic())
        .prefix("shop")
        .constant_label("app", "tickets")
        .build()
        .unwrap();
    let connections = prometheus.connections().build().unwrap();
    connections.accept_failed();
    let names = prometheus.connection_names();
    assert_eq!(
        names.rejected,
        "eu_shop_http_server_rejected_connections_total"
    );
    let text = prometheus.exposition().render(Format::Text);
    let sample = format!(
        "{}{{app=\"tickets\",reason=\"accept_error\",zone=\"a\"}} 1\n",
        names.rejected
    );
    assert!(text.contains(&sample), "{text}");
    for name in [&names.open, &names.duration, &names.network_io] {
        assert!(text.contains(&format!("# HELP {name} ")), "{name}\n{text}");
    }
}

#[test]
fn a_metric_of_the_same_name_is_an_error_that_leaves_the_registry_as_it_was() {
    let prometheus = Prometheus::new();
    let gauge = IntGauge::new("http_server_open_connections", "Mine.").unwrap();
    prometheus.registry().register(Box::new(gauge)).unwrap();
    let before = prometheus.exposition().render(Format::Text);
    for _ in 0..2 {
        let error = prometheus.connections().build().unwrap_err();
        assert!(matches!(error, BuildError::Registration { .. }), "{error}");
        assert!(error.to_string().contains("http_server_open_connections"));
    }
    assert_eq!(prometheus.exposition().render(Format::Text), before);
}

#[test]
fn optional_recorders_record_if_there_is_one() {
    let prometheus = Prometheus::new();
    let recorder = (Some(prometheus), None::<Prometheus>);
    let connections = Connections::builder(recorder).build().unwrap();
    let io = connections.wrap(()).unwrap();
    assert_eq!(Metrics::of(&prometheus).open(), 1.0);
    drop(io);
    assert_eq!(Metrics::of(&prometheus).ended_with(""), 1.0);
}

#[test]
fn a_label_that_the_metrics_have_themselves_is_an_error() {
    for (names, label) in [
        (Names::open_telemetry(), "reason"),
        (Names::open_telemetry(), "network_io_direction"),
        (Names::classic(), "error_type"),
    ] {
        let constant = Prometheus::builder().constant_label(label, "a");
        let labels = [(label.to_owned(), "a".to_owned())].into();
        let registry = Registry::new_custom(None, Some(labels)).unwrap();
        let of_registry = Prometheus::builder().registry(registry);
        for builder in [constant, of_registry] {
            let prometheus = builder.names(names.clone()).build().unwrap();
            let before = prometheus.exposition().render(Format::Text);
            let error = prometheus.connections().build().unwrap_err();
            assert!(matches!(error, BuildError::Label(_)), "{error}");
            assert!(error.to_string().contains(label), "{error}");
            assert_eq!(prometheus.exposition().render(Format::Text), before);
        }
    }
}
