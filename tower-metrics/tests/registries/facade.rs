//! The recorder of the crate `metrics`.

use std::time::Duration;

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
    with_local_recorder,
};
use tower_metrics::BuildError;
use tower_metrics::prometheus::MetricsFacadeBuilder;

use super::*;

/// Records with a facade and returns the recorder of the exposition.
fn recorded(
    settings: impl FnOnce(MetricsFacadeBuilder) -> MetricsFacadeBuilder,
    record: impl FnOnce(),
) -> Prometheus {
    let prometheus = Prometheus::new();
    let facade = settings(prometheus.metrics_facade()).build().unwrap();
    with_local_recorder(&facade, record);
    prometheus
}

#[test]
fn counters_gauges_and_histograms_are_exposed_with_their_labels() {
    let prometheus = recorded(
        |facade| facade.bounds([0.5, 1.0]),
        || {
            for concert in ["a", "b\"\\\n"] {
                counter!("sold_total", "concert" => concert).increment(2);
            }
            counter!("sold_total", "concert" => "a").absolute(7);
            counter!("sold_total", "concert" => "a").absolute(3);
            let load = gauge!("load");
            load.set(5.0);
            load.increment(2.0);
            load.decrement(0.5);
            let wait = histogram!("wait_seconds");
            wait.record(Duration::from_millis(500));
            wait.record(0.75);
            wait.record_many(30.0, 2);
        },
    );
    let samples = assert_readable(prometheus);
    assert_eq!(samples.sum("sold_total", &[("concert", "a")]), 7.0);
    assert_eq!(samples.sum("sold_total", &[("concert", "b\"\\\n")]), 2.0);
    assert_eq!(samples.sum("load", &[]), 6.5);
    let bucket = |le| samples.sum("wait_seconds_bucket", &[("le", le)]);
    assert_eq!([bucket("0.5"), bucket("1"), bucket("inf")], [1.0, 2.0, 4.0]);
    assert_eq!(samples.sum("wait_seconds_sum", &[]), 61.25);
    assert_eq!(samples.sum("wait_seconds_count", &[]), 4.0);
}

#[test]
fn descriptions_and_units_become_metadata_whenever_they_are_given() {
    let prometheus = recorded(
        |facade| facade,
        || {
            describe_counter!("sent_bytes_total", Unit::Bytes, "Sent.");
            describe_counter!("never_used_total", "Not exposed.");
            counter!("sent_bytes_total").increment(1);
            gauge!("full_percent").set(1.0);
            describe_gauge!("full_percent", Unit::Percent, "Full \"disk\"\nof a \\.");
            histogram!("wait").record(1.0);
            describe_histogram!("wait", Unit::Seconds, "The name has no unit.");
        },
    );
    assert_readable(prometheus);
    let open_metrics = open_metrics(prometheus);
    for line in [
        "# HELP sent_bytes Sent.",
        "# TYPE sent_bytes counter",
        "# UNIT sent_bytes bytes",
        "# HELP full_percent Full \\\"disk\\\"\\nof a \\\\.",
        "# UNIT full_percent percent",
        "# TYPE wait histogram",
    ] {
        let found = open_metrics.lines().any(|found| found == line);
        assert!(found, "{line}\n{open_metrics}");
    }
    assert!(!open_metrics.contains("UNIT wait"), "{open_metrics}");
    assert!(!open_metrics.contains("never_used"), "{open_metrics}");
}

#[test]
fn bounds_are_those_of_the_name_of_the_longest_suffix_or_the_default() {
    let prometheus = recorded(
        |facade| {
            facade
                .bounds_for_suffix("_bytes", [1.0])
                .bounds_for_suffix("_disk_bytes", [2.0])
                .bounds_for("net.bytes", [3.0])
                .bounds_for("empty", [])
        },
        || {
            for name in ["a_bytes", "a_disk_bytes", "net.bytes", "empty", "other"] {
                histogram!(name).record(1.0);
            }
        },
    );
    let samples = assert_readable(prometheus);
    let has = |name: &str, le| samples.series_with(&format!("{name}_bucket"), ("le", le));
    assert!(has("a_bytes", "1") && has("a_disk_bytes", "2") && has("net_bytes", "3"));
    assert_eq!(samples.series("a_bytes_bucket"), 2);
    assert_eq!(samples.series("empty_bucket"), 1);
    assert_eq!(samples.series("other_bucket"), 15);
    assert!(has("other", "0.005"));
}

#[test]
fn names_that_are_equal_when_they_are_escaped_are_one_series() {
    let prometheus = recorded(
        |facade| facade,
        || {
            for name in ["a.b", "a_b", "a/b"] {
                counter!(name, "x.y" => "1", "z" => "2").increment(1);
                counter!(name, "z" => "2", "x_y" => "1").increment(1);
            }
        },
    );
    let samples = assert_readable(prometheus);
    assert_eq!(samples.series("a_b"), 1);
    assert_eq!(samples.sum("a_b", &[("x_y", "1"), ("z", "2")]), 6.0);
}

#[test]
fn labels_that_prometheus_uses_itself_are_renamed() {
    let prometheus = recorded(
        |facade| facade.bounds([1.0]),
        || {
            histogram!("wait", "le" => "mine").record(1.0);
            gauge!("load", "le" => "7", "__name__" => "other").set(1.0);
        },
    );
    let samples = assert_readable(prometheus);
    let labels = [("exported_le", "mine"), ("le", "1")];
    assert_eq!(samples.sum("wait_bucket", &labels), 1.0);
    let labels = [("exported___name__", "other"), ("le", "7")];
    assert_eq!(samples.sum("load", &labels), 1.0);
}

#[test]
fn a_name_belongs_to_the_first_type_that_uses_it() {
    let prometheus = recorded(
        |facade| facade,
        || {
            counter!("jobs").increment(1);
            gauge!("jobs").set(5.0);
            histogram!("jobs", "of" => "a").record(5.0);
            counter!("jobs").increment(1);
        },
    );
    let samples = assert_readable(prometheus);
    assert_eq!(samples.sum("jobs", &[]), 2.0);
    assert_eq!(samples.series("jobs_count"), 0);
    // Its name has no `_total`.
    assert!(open_metrics(prometheus).contains("# TYPE jobs unknown\n"));
    assert!(text(prometheus).contains("# TYPE jobs counter\n"));
}

#[test]
fn values_that_would_ruin_a_metric_are_ignored_or_saturate() {
    let prometheus = recorded(
        |facade| facade,
        || {
            for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 2.0] {
                histogram!("wait").record(value);
            }
            counter!("n_total").increment(u64::MAX);
            counter!("n_total").increment(5);
        },
    );
    let samples = assert_readable(prometheus);
    assert_eq!(samples.sum("wait_count", &[]), 1.0);
    assert_eq!(samples.sum("wait_sum", &[]), 2.0);
    assert_eq!(samples.sum("n_total", &[]), u64::MAX as f64);
}

fn overflows(samples: &Samples) -> f64 {
    samples.sum("tower_metrics_overflow_total", &[("limit", "metrics")])
}

#[test]
fn series_beyond_the_limit_of_a_name_are_recorded_as_other_and_counted() {
    let prometheus = recorded(
        |facade| {
            let facade = facade.max_series_per_metric(3);
            facade.constant_label("zone", "eu")
        },
        || {
            for user in 0..100 {
                counter!("logins_total", "user" => user.to_string()).increment(1);
            }
            counter!("logins_total", "user" => "0").increment(1);
            counter!("other_total", "user" => "1").increment(1);
        },
    );
    let samples = assert_readable(prometheus);
    assert_eq!(samples.series("logins_total"), 4);
    assert_eq!(samples.sum("logins_total", &[("zone", "eu")]), 101.0);
    assert_eq!(samples.sum("logins_total", &[("user", "0")]), 2.0);
    let other = [("user", "_OTHER"), ("zone", "eu")];
    assert_eq!(samples.sum("logins_total", &other), 97.0);
    assert_eq!(samples.sum("other_total", &[("user", "1")]), 1.0);
    assert_eq!(overflows(&samples), 97.0);
}

#[test]
fn overflows_are_exposed_from_the_start() {
    let samples = assert_readable(recorded(|facade| facade, || ()));
    assert!(samples.series_with("tower_metrics_overflow_total", ("limit", "metrics")));
}

#[test]
fn values_that_replace_a_constant_label_are_limited_like_others() {
    let prometheus = recorded(
        |facade| facade.constant_label("zone", "eu").max_series_per_metric(3),
        || {
            counter!("logins_total").increment(1);
            for zone in 0..100 {
                counter!("logins_total", "zone" => zone.to_string()).increment(1);
            }
        },
    );
    let samples = assert_readable(prometheus);
    assert_eq!(samples.series("logins_total"), 4);
    assert_eq!(samples.sum("logins_total", &[("zone", "eu")]), 1.0);
    assert_eq!(samples.sum("logins_total", &[("zone", "_OTHER")]), 98.0);
    assert_eq!(overflows(&samples), 98.0);
}

#[test]
fn series_beyond_the_limit_of_the_facade_are_recorded_as_other() {
    let prometheus = recorded(
        |facade| facade.max_series(2),
        || {
            for name in ["a", "b"] {
                for user in ["1", "2"] {
                    gauge!(name, "user" => user).set(1.0);
                }
            }
        },
    );
    let samples = assert_readable(prometheus);
    assert_eq!(samples.sum("a", &[("user", "2")]), 1.0);
    assert_eq!(samples.sum("b", &[("user", "_OTHER")]), 1.0);
    assert_eq!(samples.series("b"), 1);
}

#[test]
fn names_values_and_labels_are_bounded() {
    let long = "v".repeat(129);
    let prometheus = recorded(
        |facade| facade,
        || {
            counter!("a_total", "user" => long.clone()).increment(1);
            counter!("n".repeat(257)).increment(1);
            counter!("b_total", &[(long.clone(), "1")]).increment(1);
            let many: Vec<_> = (0..17).map(|i| (format!("l{i}"), "1")).collect();
            counter!("c_total", &many).increment(1);
            let sets = (0..20).map(|i| [(format!("l{i}"), long.clone())]);
            for labels in sets {
                counter!("d_total", &labels).increment(1);
            }
            for i in 0..1100 {
                gauge!(format!("g{i}")).set(1.0);
            }
        },
    );
    let samples = assert_readable(prometheus);
    assert_eq!(samples.sum("a_total", &[("user", "_OTHER")]), 1.0);
    assert_eq!(samples.series("b_total") + samples.series("c_total"), 0);
    assert_eq!(samples.sum("g990", &[]), 1.0);
    assert_eq!(samples.series("g1050"), 0);
    assert!(samples.0.len() < 1100, "{}", samples.0.len());
}

#[test]
fn concurrent_threads_lose_no_value() {
    let prometheus = Prometheus::new();
    let facade = prometheus.metrics_facade().build().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                with_local_recorder(&facade, || {
                    for i in 0..1000 {
                        let user = (i % 10).to_string();
                        counter!("n_total", "user" => user.clone()).increment(1);
                        gauge!("sum").increment(1.0);
                        histogram!("wait").record(0.5);
                    }
                });
            });
        }
    });
    let samples = assert_readable(prometheus);
    assert_eq!(samples.sum("n_total", &[]), 4000.0);
    assert_eq!(samples.sum("n_total", &[("user", "3")]), 400.0);
    assert_eq!(samples.sum("sum", &[]), 4000.0);
    assert_eq!(samples.sum("wait_count", &[]), 4000.0);
    assert_eq!(samples.sum("wait_sum", &[]), 2000.0);
}

#[test]
fn invalid_settings_are_rejected() {
    let facade = || Prometheus::new().metrics_facade();
    for (builder, message) in [
        (
            facade().bounds([2.0, 1.0]),
            "bounds of the histograms of the crate metrics must be in increasing order: \
             1 follows 2",
        ),
        (
            facade().bounds_for("wait", [f64::NAN]),
            "bound NaN of wait: must be a finite number, in the unit of its values",
        ),
        (
            facade().constant_label("a-b", "x"),
            "label \"a-b\": must match [a-zA-Z_][a-zA-Z0-9_]*",
        ),
        (
            facade().constant_label("a", "x").constant_label("a", "y"),
            "label \"a\": it is set twice",
        ),
    ] {
        assert_eq!(builder.build().unwrap_err().to_string(), message);
    }
}

/// The only test that sets the global recorder of this process.
#[test]
fn the_global_recorder_is_installed_once() {
    let prometheus = Prometheus::new();
    prometheus.metrics_facade().install().unwrap();
    counter!("installed_total").increment(1);
    assert_eq!(assert_readable(prometheus).sum("installed_total", &[]), 1.0);
    let again = Prometheus::new().metrics_facade().install();
    assert_eq!(again.unwrap_err(), BuildError::GlobalRecorder);
}
