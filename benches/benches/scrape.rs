//! Cost of a scrape of 15,000 series, and its effect on concurrent requests.
//!
//! Run with `cargo bench -p benches --bench scrape`.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::alloc::{Counting, allocated};
use harness::comparison::median;
use harness::extent;
use harness::stores::{
    FastMetrics, Measured, MetricsExporter, Observation, PrometheusClient, PrometheusVectors,
    Store, TowerMetrics, TowerMetricsFacade,
};
use harness::table;
use http::{Method, StatusCode};

#[global_allocator]
static COUNTING: Counting = Counting;

const METHODS: [Method; 3] = [Method::GET, Method::POST, Method::DELETE];
const STATUSES: [u16; 5] = [200, 201, 400, 409, 500];
/// Statuses of series that are created during the measurement.
const NEW: [u16; 10] = [202, 203, 206, 301, 302, 401, 402, 403, 412, 422];

/// Extent of the measurement.
struct Size {
    routes: usize,
    scrapes: usize,
    slices: usize,
    slice: Duration,
}

fn main() {
    let size = if extent::is_test() {
        Size {
            routes: 10,
            scrapes: 1,
            slices: 1,
            slice: Duration::from_millis(1),
        }
    } else {
        Size {
            routes: 1000,
            scrapes: 15,
            slices: 5,
            slice: Duration::from_millis(200),
        }
    };
    let formats = formats(&size);
    let (ours, ours_delays) = measure(TowerMetrics::new(size.routes), &size);
    let (vectors, vectors_delays) = measure(PrometheusVectors::new(), &size);
    let (client, client_delays) = measure(PrometheusClient::new(), &size);
    let others = [
        measure(FastMetrics::new(), &size),
        measure(Measured::new(), &size),
        measure(MetricsExporter::new(), &size),
        measure(TowerMetricsFacade::new(), &size),
    ];

    let series = size.routes * METHODS.len() * STATUSES.len();
    let title = format!("Scrape of {series} series");
    let header = [
        "",
        "MB",
        "first ms",
        "ms",
        "/tower-metrics",
        "allocs",
        "MB allocated",
        "bytes per series",
    ];
    let mut scrapes = vec![ours, vectors, client];
    let mut delays = vec![ours_delays, vectors_delays, client_delays];
    for (scrape, delay) in others {
        scrapes.push(scrape);
        delays.push(delay);
    }
    let base = scrapes[0].milliseconds;
    let rows: Vec<_> = scrapes.iter().map(|scrape| scrape.row(base)).collect();
    table::print(&title, &header, &rows);
    let header = [
        "",
        "MB",
        "ms",
        "MB/text",
        "ms/text",
        "allocs",
        "gzip MB",
        "gzip ms",
        "gzip ms/text",
    ];
    table::print("tower-metrics by format", &header, &formats);

    let header = [
        "",
        "",
        "p50",
        "p99",
        "p99.9",
        "p50",
        "p99",
        "p99.9",
        "relative rate",
    ];
    let rows = delays.concat();
    let title =
        "Nanoseconds per request: without and with continuous scrapes, and their relative rate";
    table::print(title, &header, &rows);
}

const TEXT: &str = "text/plain;version=0.0.4";
const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0";
const PROTOBUF: &str =
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

/// Measures a scrape of tower-metrics in every format, interleaved, without and
/// with compression. Ratios are medians over the rounds, to the text format of the same
/// recorder.
fn formats(size: &Size) -> Vec<Vec<String>> {
    let mut classic = TowerMetrics::new(size.routes);
    let mut native = TowerMetrics::native(size.routes);
    for one in &observations(size.routes, &STATUSES) {
        classic.observe(one);
        native.observe(one);
    }
    let formats = [
        ("text", &classic, TEXT),
        ("OpenMetrics", &classic, OPEN_METRICS),
        ("protobuf", &classic, PROTOBUF),
        ("text, native histograms", &native, TEXT),
        ("protobuf, native histograms", &native, PROTOBUF),
    ];
    // Position of the text format of the same recorder.
    let texts = [0, 0, 0, 3, 3];
    let mut megabytes = [[0.0; 2]; 5];
    let mut milliseconds = [const { [Vec::new(), Vec::new()] }; 5];
    let mut allocations = [0; 5];
    for _ in 0..size.scrapes {
        for (i, (_, store, accept)) in formats.iter().enumerate() {
            for gzip in [false, true] {
                let before = allocated();
                let start = Instant::now();
                let bytes = black_box(store.scrape_as(accept, gzip));
                let took = start.elapsed().as_secs_f64() * 1e3;
                if !gzip {
                    allocations[i] = (allocated() - before).times;
                }
                megabytes[i][usize::from(gzip)] = bytes as f64 / 1e6;
                milliseconds[i][usize::from(gzip)].push(took);
            }
        }
    }
    let row = |(i, (name, _, _)): (usize, &(&str, _, _))| {
        let text = texts[i];
        let [size, gzip_size] = megabytes[i];
        let time = |gzip: usize| median(milliseconds[i][gzip].clone());
        let ratio = |gzip: usize| {
            let rounds = milliseconds[i][gzip].iter().zip(&milliseconds[text][gzip]);
            median(rounds.map(|(time, text)| time / text).collect())
        };
        vec![
            (*name).to_owned(),
            format!("{size:.1}"),
            format!("{:.1}", time(0)),
            format!("{:.2}", size / megabytes[text][0]),
            format!("{:.2}", ratio(0)),
            allocations[i].to_string(),
            format!("{gzip_size:.2}"),
            format!("{:.0}", time(1)),
            format!("{:.2}", ratio(1)),
        ]
    };
    formats.iter().enumerate().map(row).collect()
}

struct Scrape {
    name: &'static str,
    bytes: usize,
    first: f64,
    milliseconds: f64,
    allocations: u64,
    allocated: u64,
    memory: f64,
}

impl Scrape {
    fn row(&self, base: f64) -> Vec<String> {
        vec![
            self.name.to_owned(),
            format!("{:.1}", self.bytes as f64 / 1e6),
            format!("{:.1}", self.first),
            format!("{:.1}", self.milliseconds),
            format!("{:.1}", self.milliseconds / base),
            self.allocations.to_string(),
            format!("{:.1}", self.allocated as f64 / 1e6),
            format!("{:.0}", self.memory),
        ]
    }
}

fn measure<S: Store>(mut store: S, size: &Size) -> (Scrape, Vec<Vec<String>>) {
    let observed = observations(size.routes, &STATUSES);
    let before = allocated();
    for one in &observed {
        store.observe(one);
    }
    let memory = (allocated() - before).live as f64 / observed.len() as f64;

    let timed = || {
        let start = Instant::now();
        let bytes = black_box(store.scrape());
        (bytes, start.elapsed().as_secs_f64() * 1e3)
    };
    let (bytes, first) = timed();
    timed();
    let before = allocated();
    timed();
    let each = allocated() - before;
    let scrape = Scrape {
        name: S::NAME,
        bytes,
        first,
        milliseconds: median((0..size.scrapes).map(|_| timed().1).collect()),
        allocations: each.times,
        allocated: each.bytes,
        memory,
    };

    let delays = [
        delay(&store, "existing series", size, |_| observed.clone()),
        delay(&store, "new series", size, |slice| {
            let status = NEW[slice % NEW.len()];
            observations(size.routes, &[status])
        }),
    ];
    (scrape, delays.into())
}

/// Returns one request for each series.
fn observations(routes: usize, statuses: &[u16]) -> Vec<Observation> {
    let mut all = Vec::with_capacity(routes * METHODS.len() * statuses.len());
    for route in 0..routes {
        let route: &'static str = format!("/resources-{route}/:id").leak();
        let uri = route.parse::<http::Uri>().expect("it is a path");
        for method in &METHODS {
            all.extend(statuses.iter().map(|status| Observation {
                method: method.clone(),
                uri: uri.clone(),
                route,
                status: StatusCode::from_u16(*status).expect("it is a status"),
            }));
        }
    }
    all
}

/// Measures requests without and with continuous scrapes, interleaved.
fn delay<S: Store>(
    store: &S,
    what: &str,
    size: &Size,
    requests: impl Fn(usize) -> Vec<Observation>,
) -> Vec<String> {
    let mut undisturbed = Vec::new();
    let mut scraped = Vec::new();
    for slice in 0..size.slices {
        let quiet = requests(2 * slice);
        undisturbed.extend(observe(store, &quiet, what, size.slice));

        let beside = requests(2 * slice + 1);
        let stop = Arc::new(AtomicBool::new(false));
        let scraper = {
            let (store, stop) = (store.clone(), Arc::clone(&stop));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    black_box(store.scrape());
                }
            })
        };
        scraped.extend(observe(store, &beside, what, size.slice));
        stop.store(true, Ordering::Relaxed);
        scraper.join().expect("the scraper does not panic");
    }
    let seconds = |all: &[u32]| all.iter().map(|ns| f64::from(*ns)).sum::<f64>();
    let rate = |all: &[u32]| all.len() as f64 / seconds(all);
    let times = rate(&scraped) / rate(&undisturbed);
    let mut row = vec![S::NAME.to_owned(), what.to_owned()];
    for mut all in [undisturbed, scraped] {
        all.sort_unstable();
        let quantile = |q: f64| all[((all.len() - 1) as f64 * q) as usize].to_string();
        row.extend([quantile(0.5), quantile(0.99), quantile(0.999)]);
    }
    row.push(format!("{times:.2}"));
    row
}

/// Returns the nanoseconds of each request. Existing series are repeated until the time
/// is over, new ones are created once.
fn observe<S: Store>(store: &S, requests: &[Observation], what: &str, slice: Duration) -> Vec<u32> {
    let mut store = store.clone();
    let end = Instant::now() + slice;
    let mut took = Vec::with_capacity(4_000_000);
    let rounds = if what == "existing series" {
        usize::MAX
    } else {
        1
    };
    'time: for _ in 0..rounds {
        for one in requests {
            let start = Instant::now();
            if start >= end {
                break 'time;
            }
            store.observe(one);
            took.push(u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX));
        }
    }
    took
}
