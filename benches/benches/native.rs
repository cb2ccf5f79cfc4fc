//! Time and memory that native histograms add to classic ones.
//!
//! Run with `cargo bench -p benches --bench native`.
//!
//! Each library records the same durations, whose distribution is log-normal with a
//! median of 20 ms, with 14 classic buckets and with native buckets of schema 3
//! beside them. tower-metrics records a request through its layer, the others record
//! one value. Rounds are interleaved; the time added is the median of the
//! differences of the same round.

use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use foundations_metrics as foundations;
use harness::alloc::{Counting, allocated};
use harness::comparison::median;
use harness::drive::drive;
use harness::extent;
use harness::services::Bare;
use harness::table;
use http::Uri;
use metrics::{Key, Label, Level, Metadata, Recorder as _};
use metrics_exporter_prometheus::{Matcher, NativeHistogramConfig, PrometheusBuilder};
use prometheus_client::metrics::histogram as client;
use tower_layer::Layer;
use tower_metrics::{
    CompletedRequest, InitialSeries, LabelError, LabelValues, Limit, MetricsLayer, Prometheus,
    Recorder, Route,
};

#[global_allocator]
static COUNTING: Counting = Counting;

/// The recommendation of the OpenTelemetry semantic conventions.
const BOUNDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
/// Growth of the buckets of schema 3.
const FACTOR: f64 = 1.090_507_732_665_257_7;
const NAME: &str = "http_server_request_duration_seconds";
/// Series of which the memory is measured.
const SERIES: usize = 100;

thread_local! {
    /// Duration of the next request.
    static NEXT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Recorder whose requests take the time in [`NEXT`].
#[derive(Debug)]
struct Fixed(Prometheus);

impl Recorder for Fixed {
    type Series = <Prometheus as Recorder>::Series;
    type InFlight = <Prometheus as Recorder>::InFlight;

    fn series(&self, method: &'static str, route: &'static str) -> Self::Series {
        self.0.series(method, route)
    }
    #[inline(always)]
    fn begin(&self, series: Self::Series) -> Self::InFlight {
        self.0.begin(series)
    }
    #[inline(always)]
    fn end(&self, series: Self::Series, in_flight: Self::InFlight, end: &CompletedRequest<'_>) {
        let mut end = end.clone();
        end.duration = NEXT.get();
        self.0.end(series, in_flight, &end);
    }
    fn abandon(&self, series: Self::Series, in_flight: Self::InFlight) {
        self.0.abandon(series, in_flight);
    }
    fn declare_labels(&self, names: &[&'static str]) -> Result<(), LabelError> {
        self.0.declare_labels(names)
    }
    fn initialize(&self, series: Self::Series, initial: InitialSeries, labels: LabelValues<'_>) {
        self.0.initialize(series, initial, labels);
    }
    fn overflowed(&self, limit: Limit) {
        self.0.overflowed(limit);
    }
}

/// Records durations in nanoseconds in one series.
type Record = Box<dyn FnMut(&[u64])>;

/// Library with a constructor of a series, without or with native buckets.
struct Library {
    name: &'static str,
    series: Box<dyn Fn(usize, bool) -> Record>,
}

fn libraries() -> Vec<Library> {
    vec![
        Library {
            name: "tower-metrics, a request",
            series: Box::new(tower_metrics_series()),
        },
        Library {
            name: "prometheus-client 0.26",
            series: Box::new(|_, native| {
                let histogram = if native {
                    let config = client::NativeHistogramConfig::with_schema(3).max_buckets(160);
                    client::Histogram::new_classic_and_native(BOUNDS, config)
                } else {
                    client::Histogram::new(BOUNDS)
                };
                values(move |seconds| histogram.observe(seconds))
            }),
        },
        Library {
            name: "foundations-metrics 0.1.0-beta.6",
            series: Box::new(|_, native| {
                if native {
                    let histogram =
                        foundations::NativeHistogram::new_classic_and_native(BOUNDS, FACTOR);
                    values(move |seconds| histogram.observe(seconds))
                } else {
                    let histogram = foundations::Histogram::new(BOUNDS);
                    values(move |seconds| histogram.observe(seconds))
                }
            }),
        },
        Library {
            name: "metrics-exporter-prometheus 0.18",
            series: Box::new(exporter_series()),
        },
    ]
}

fn values(mut record: impl FnMut(f64) + 'static) -> Record {
    Box::new(move |durations| {
        for nanoseconds in durations {
            record(*nanoseconds as f64 / 1e9);
        }
    })
}

fn tower_metrics_series() -> impl Fn(usize, bool) -> Record {
    let layer = |native| {
        let builder = Prometheus::builder().native_histogram(native);
        let prometheus = builder.build().expect("the settings are valid");
        let layer = MetricsLayer::builder(Fixed(prometheus)).route(Route::path());
        layer.build().expect("the settings are valid")
    };
    let layers = [layer(false), layer(true)];
    move |series, native| {
        let path = format!("/resources-{series}").parse::<Uri>();
        let path = path.expect("the path is valid");
        let mut service = layers[usize::from(native)].layer(Bare);
        Box::new(move |durations| {
            for nanoseconds in durations {
                NEXT.set(Duration::from_nanos(*nanoseconds));
                let mut request = Bare::request();
                request.uri_mut().clone_from(&path);
                black_box(drive(&mut service, request));
            }
        })
    }
}

/// The exporter's classic histogram and its native one are alternatives. Values are
/// queued, and counted at the next scrape or upkeep.
fn exporter_series() -> impl Fn(usize, bool) -> Record {
    let exporter = |native| {
        let builder = PrometheusBuilder::new();
        let builder = if native {
            let config = NativeHistogramConfig::new(FACTOR, 160, 1e-9).expect("it is valid");
            builder.set_native_histogram_for_metric(Matcher::Full(NAME.into()), config)
        } else {
            let builder = builder.set_buckets(&BOUNDS);
            builder.expect("there are buckets")
        };
        builder.build_recorder()
    };
    let recorders = [exporter(false), exporter(true)];
    move |series, native| {
        let recorder = &recorders[usize::from(native)];
        let label = Label::new("http_route", format!("/resources-{series}"));
        let key = Key::from_parts(NAME, vec![label]);
        let metadata = Metadata::new(module_path!(), Level::INFO, None);
        let histogram = recorder.register_histogram(&key, &metadata);
        let handle = recorder.handle();
        Box::new(move |durations| {
            for nanoseconds in durations {
                histogram.record(*nanoseconds as f64 / 1e9);
            }
            handle.run_upkeep();
        })
    }
}

/// Returns log-normal durations in nanoseconds with a median of 20 ms, always the
/// same ones.
fn durations(n: usize) -> Vec<u64> {
    let mut state = 7u64;
    let mut uniform = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    };
    let one = |_| {
        // Box and Muller.
        let normal = (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
        (20e6 * (0.8 * normal).exp()) as u64
    };
    (0..n).map(one).collect()
}

fn main() {
    let (rounds, requests) = if extent::is_test() {
        (2, 100)
    } else {
        (401, 2_000)
    };
    let durations = durations(requests);
    let mut memory = Vec::new();
    let mut recorders: Vec<[Record; 2]> = Vec::new();
    for library in libraries() {
        let bytes = [false, true].map(|native| {
            // State that all series share.
            (library.series)(SERIES, native)(&durations);
            let before = allocated();
            let mut series: Vec<_> = (0..SERIES).map(|i| (library.series)(i, native)).collect();
            for record in &mut series {
                record(&durations);
            }
            (allocated() - before).live as f64 / SERIES as f64
        });
        memory.push(bytes);
        recorders.push([false, true].map(|native| (library.series)(SERIES, native)));
    }

    let mut nanoseconds = vec![[const { Vec::new() }; 2]; recorders.len()];
    for round in 0..rounds {
        for (recorders, nanoseconds) in recorders.iter_mut().zip(&mut nanoseconds) {
            for i in 0..2 {
                let i = (i + round) % 2;
                let start = Instant::now();
                recorders[i](black_box(&durations));
                let each = start.elapsed().as_secs_f64() * 1e9 / requests as f64;
                nanoseconds[i].push(each);
            }
        }
    }
    let rows: Vec<_> = libraries()
        .iter()
        .zip(nanoseconds)
        .zip(memory)
        .map(|((library, [classic, native]), [bytes, native_bytes])| {
            let pairs = native.iter().zip(&classic);
            let added = median(pairs.map(|(native, classic)| native - classic).collect());
            vec![
                library.name.to_owned(),
                format!("{:.1}", median(classic)),
                format!("{:.1}", median(native)),
                format!("{added:.1}"),
                format!("{bytes:.0}"),
                format!("{native_bytes:.0}"),
            ]
        })
        .collect();
    let header = [
        "",
        "classic ns",
        "native ns",
        "added ns",
        "classic bytes",
        "native bytes",
    ];
    let title = "Native histograms: nanoseconds per observation, bytes per series of one thread";
    table::print(title, &header, &rows);
}
