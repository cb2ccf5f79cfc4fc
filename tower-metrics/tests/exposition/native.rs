//! Native histograms, compared with a reference of exact integers.

use std::cell::Cell;
use std::cmp::Ordering as Compared;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::AtomicBool;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tower_metrics::{CompletedRequest, InitialSeries, LabelError, LabelValues, Limit, Recorder};

use super::messages::{BucketSpan, Histogram, MetricFamily};
use super::protobuf::scraped;
use super::*;

thread_local! {
    /// Duration of the next request on this thread.
    static NEXT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Recorder whose requests take the time in [`NEXT`].
pub(crate) struct Fixed(Prometheus);

impl Recorder for Fixed {
    type Series = <Prometheus as Recorder>::Series;
    type InFlight = <Prometheus as Recorder>::InFlight;

    fn series(&self, method: &'static str, route: &'static str) -> Self::Series {
        self.0.series(method, route)
    }
    fn begin(&self, series: Self::Series) -> Self::InFlight {
        self.0.begin(series)
    }
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

pub(crate) fn layer(prometheus: Prometheus) -> MetricsLayer<Fixed> {
    let builder = MetricsLayer::builder(Fixed(prometheus)).route(Route::fixed("/"));
    builder.build().unwrap()
}

/// Records requests with these durations in nanoseconds on this thread.
pub(crate) fn record(layer: &MetricsLayer<Fixed>, nanoseconds: &[u64]) {
    use tower::Service;
    let respond =
        |_: Request<String>| std::future::ready(Ok::<_, Infallible>(Response::new(String::new())));
    let mut service = layer.layer(service_fn(respond));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    for nanoseconds in nanoseconds {
        NEXT.set(Duration::from_nanos(*nanoseconds));
        let mut response = std::pin::pin!(service.call(Request::new(String::new())));
        assert!(response.as_mut().poll(&mut cx).is_ready());
    }
}

fn duration(families: &[MetricFamily]) -> Option<&Histogram> {
    let named = |family: &&MetricFamily| family.name() == "http_server_request_duration_seconds";
    let family = families.iter().find(named)?;
    assert_eq!(family.metric.len(), 1);
    family.metric[0].histogram.as_ref()
}

/// Returns the populated positive buckets and their counts.
fn positive(histogram: &Histogram) -> BTreeMap<i32, u64> {
    let mut buckets = BTreeMap::new();
    let mut deltas = histogram.positive_delta.iter();
    let (mut next, mut count) = (0, 0);
    for BucketSpan { offset, length } in &histogram.positive_span {
        next += offset.unwrap();
        for _ in 0..length.unwrap() {
            count += deltas.next().unwrap();
            if count > 0 {
                buckets.insert(next, count as u64);
            }
            next += 1;
        }
    }
    assert!(deltas.next().is_none());
    buckets
}

/// Integer of any size, as digits of 32 bits, the lowest first.
struct Big(Vec<u32>);

impl Big {
    fn times(mut self, factor: u64) -> Self {
        let mut carry = 0u128;
        for digit in &mut self.0 {
            carry += u128::from(*digit) * u128::from(factor);
            *digit = carry as u32;
            carry >>= 32;
        }
        while carry > 0 {
            self.0.push(carry as u32);
            carry >>= 32;
        }
        self
    }

    fn power(base: u64, exponent: u32) -> Self {
        (0..exponent).fold(Self(vec![1]), |power, _| power.times(base))
    }

    fn shifted(self, bits: i32) -> Self {
        (0..bits).fold(self, |shifted, _| shifted.times(2))
    }

    fn compare(&self, other: &Self) -> Compared {
        let length = self.0.len().cmp(&other.0.len());
        length.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }
}

/// Returns the bucket with the lowest upper bound that is at least this duration:
/// v <= 10^9 * 2^(i / 2^schema), without roots.
fn reference(nanoseconds: u64, schema: u32) -> i32 {
    let exponent = 1 << schema;
    let within = |bucket: i32| {
        let value = Big::power(nanoseconds, exponent).shifted(-bucket);
        let bound = Big::power(1_000_000_000, exponent).shifted(bucket);
        value.compare(&bound) != Compared::Greater
    };
    let seconds = nanoseconds as f64 / 1e9;
    let mut bucket = (seconds.log2() * f64::from(exponent)).ceil() as i32;
    while within(bucket - 1) {
        bucket -= 1;
    }
    while !within(bucket) {
        bucket += 1;
    }
    bucket
}

fn check(bounds: &[f64], threads: &[Vec<u64>]) {
    let builder = Prometheus::builder().duration_bounds(bounds.iter().copied());
    let classic = builder.clone().build().unwrap();
    let native = builder.native_histogram(true).build().unwrap();
    for prometheus in [classic, native] {
        let layer = layer(prometheus);
        // All at once, so that each has a separate slot.
        let barrier = std::sync::Barrier::new(threads.len());
        std::thread::scope(|scope| {
            for durations in threads {
                scope.spawn(|| {
                    let (first, rest) = durations.split_at(durations.len().min(1));
                    record(&layer, first);
                    barrier.wait();
                    record(&layer, rest);
                });
            }
        });
    }
    for format in FORMATS {
        let [expected, found] = [classic, native]
            .map(|prometheus| Samples::parse(&prometheus.exposition().render(format)).texts());
        assert_eq!(found, expected);
    }

    let all: Vec<u64> = threads.concat();
    let families = scraped(native);
    let Some(histogram) = duration(&families) else {
        assert!(all.is_empty());
        return;
    };
    let without = scraped(classic);
    let without = duration(&without).unwrap();
    assert_eq!(histogram.bucket, without.bucket);
    assert_eq!(histogram.sample_sum, without.sample_sum);
    assert_eq!(without.schema, None);

    let found = positive(histogram);
    let zeros = all.iter().filter(|nanoseconds| **nanoseconds == 0).count() as u64;
    assert_eq!(histogram.zero_count(), zeros);
    assert_eq!(histogram.sample_count(), all.len() as u64);
    assert_eq!(zeros + found.values().sum::<u64>(), all.len() as u64);
    assert!(histogram.zero_threshold() > 0.0 && histogram.zero_threshold() < 1e-9);

    let at = |schema: u32| {
        let mut expected = BTreeMap::new();
        for nanoseconds in all.iter().filter(|nanoseconds| **nanoseconds > 0) {
            *expected.entry(reference(*nanoseconds, schema)).or_insert(0) += 1;
        }
        expected
    };
    let schema = histogram.schema() as u32;
    assert_eq!(found, at(schema), "schema {schema}");
    // The highest resolution that fits.
    assert!(found.len() <= 160);
    assert!(schema == 3 || at(schema + 1).len() > 160);
}

/// Durations on, next to and far from the bounds of classic and native buckets.
fn nanoseconds() -> impl Strategy<Value = u64> {
    let near = |bound: f64| (-1i64..=1).prop_map(move |d| (bound as u64).saturating_add_signed(d));
    prop_oneof![
        1 => Just(0),
        1 => Just(u64::MAX),
        2 => 0..2_000_000_000u64,
        6 => (0..64u32, any::<u64>()).prop_map(|(bits, random)| random >> bits),
        6 => (-240..272i32).prop_flat_map(move |i| near(1e9 * 2f64.powf(f64::from(i) / 8.0))),
        4 => select(vec![1.0, 1e5, 1e8, 1.001e8, 1.002e8, 2.5e8, 5e8, 1e9, 2e9, 1e10]).prop_flat_map(near),
    ]
}

fn bounds() -> impl Strategy<Value = &'static [f64]> {
    select(vec![
        &[][..],
        &[1e-9],
        &[1e-9, 2e-9, 3e-9],
        // Bounds of native buckets.
        &[0.25, 0.5, 1.0, 2.0],
        // Several in one bucket, the first and the last on its bounds.
        &[0.5, 0.51, 0.52, 0.53, 0.545253866],
        &[0.0001, 0.1, 0.1001, 0.1002, 2.0],
        &[
            0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
        ],
        &[1e9],
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn buckets_equal_those_of_an_exact_reference(
        bounds in bounds(),
        threads in vec(vec(nanoseconds(), 0..30), 1..4),
    ) {
        check(bounds, &threads);
    }

    #[test]
    fn resolution_is_reduced_to_the_highest_that_fits(
        bounds in bounds(),
        threads in vec(vec(nanoseconds(), 150..400), 1..3),
    ) {
        check(bounds, &threads);
    }
}

/// The extreme: every bucket of every octave.
#[test]
fn all_octaves_fit_at_a_lower_resolution() {
    let all: Vec<_> = (-239..273)
        .map(|i| (1e9 * 2f64.powf(f64::from(i) / 8.0)) as u64)
        .collect();
    check(&[0.1, 1.0], &[all]);
}

#[test]
fn a_series_without_requests_has_native_buckets() {
    let builder = Prometheus::builder().native_histogram(true);
    let prometheus = builder.build().unwrap();
    assert!(prometheus.records_native_histogram());
    assert!(!Prometheus::new().records_native_histogram());
    let layer = MetricsLayer::builder(prometheus);
    let layer = layer.initialize(http::Method::GET, "/", [StatusCode::OK]);
    layer.build().unwrap();
    let families = scraped(prometheus);
    let histogram = duration(&families).unwrap();
    assert_eq!(histogram.schema(), 3);
    assert!(histogram.zero_threshold() > 0.0);
    assert_eq!((histogram.sample_count(), histogram.zero_count()), (0, 0));
    assert!(histogram.positive_span.is_empty() && histogram.positive_delta.is_empty());
}

/// Only the duration has native buckets.
#[tokio::test]
async fn other_histograms_stay_classic() {
    let builder = Prometheus::builder().native_histogram(true);
    let builder = builder.time_to_head(true).response_size_bounds([1024]);
    let prometheus = builder.build().unwrap();
    traffic(prometheus, true).await;
    register_others(prometheus.registry());
    let mut native = 0;
    for family in scraped(prometheus) {
        for histogram in family
            .metric
            .iter()
            .filter_map(|metric| metric.histogram.as_ref())
        {
            let is_duration = family.name() == "http_server_request_duration_seconds";
            assert_eq!(histogram.schema.is_some(), is_duration);
            native += u64::from(is_duration);
        }
    }
    assert_eq!(native, 6);
}

/// Requests are counted in one cell: no scrape sees a count that differs from the
/// sum of its buckets, or a bucket that decreases.
#[test]
fn concurrent_scrapes_are_consistent() {
    let builder = Prometheus::builder().native_histogram(true);
    let prometheus = builder.duration_bounds([0.1, 0.101]).build().unwrap();
    let layer = layer(prometheus);
    let done = AtomicBool::new(false);
    let durations = [
        0,
        1_000,
        99_000_000,
        100_500_000,
        102_000_000,
        3_000_000_000,
    ];
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| (0..3_000).for_each(|_| record(&layer, &durations))))
            .collect();
        let scraper = scope.spawn(|| {
            let mut before = BTreeMap::new();
            while !done.load(Ordering::Relaxed) {
                let families = scraped(prometheus);
                let Some(histogram) = duration(&families) else {
                    continue;
                };
                let buckets = positive(histogram);
                let total = histogram.zero_count() + buckets.values().sum::<u64>();
                assert_eq!(histogram.sample_count(), total);
                for (bucket, count) in &before {
                    assert!(buckets.get(bucket) >= Some(count));
                }
                before = buckets;
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        scraper.join().unwrap();
    });
    let families = scraped(prometheus);
    let histogram = duration(&families).unwrap();
    assert_eq!(histogram.sample_count(), 36_000);
    assert_eq!(histogram.zero_count(), 6_000);
    assert_eq!(positive(histogram).values().sum::<u64>(), 30_000);
}
