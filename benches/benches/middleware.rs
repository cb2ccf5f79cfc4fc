//! Time and allocations that each metrics layer adds to a request.
//!
//! Run with `cargo bench -p benches --bench middleware`. With `--features quanta`,
//! tower-metrics reads the processor's time stamp counter.

use std::time::Duration;

use criterion::{Criterion, SamplingMode};
use harness::alloc::Counting;
use harness::candidates::{Candidates, FLOOR, OURS};
use harness::comparison::{Measurement, compare};
use harness::table;

#[global_allocator]
static COUNTING: Counting = Counting;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    // `cargo test --benches` runs a minimal number of rounds.
    let rounds = if std::env::args().any(|arg| arg == "--test") {
        2
    } else {
        500
    };
    let mut candidates = Candidates::all();
    let bare = compare(&mut candidates.bare, rounds, 1000);
    let routed = compare(&mut candidates.routed, rounds, 400);
    report(&mut criterion, "bare tower service", &bare);
    report(&mut criterion, "axum router with 20 routes", &routed);
    criterion.final_summary();

    let clock = if cfg!(feature = "quanta") {
        "time stamp counter"
    } else {
        "Instant"
    };
    println!("\nMedians of {rounds} interleaved rounds. Clock of tower-metrics: {clock}.");
    println!(
        "`added` is the difference from no layer in the same round; ratios compare the added time."
    );
    print("Bare tower service, body of one frame", &bare);
    print("axum router with 20 routes, body of one frame", &routed);
}

/// Passes the measurements to criterion, which saves them and reports changes since
/// the last run.
fn report(criterion: &mut Criterion, group: &str, measured: &[Measurement]) {
    let mut group = criterion.benchmark_group(group);
    group
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_nanos(1))
        .measurement_time(Duration::from_millis(1));
    for one in measured {
        let mut samples = one.nanoseconds.iter().cycle();
        group.bench_function(one.name.trim(), |bencher| {
            bencher.iter_custom(|requests| {
                let nanoseconds = samples.next().expect("there is at least one round");
                Duration::from_secs_f64(nanoseconds * 1e-9 * requests as f64)
            });
        });
    }
    group.finish();
}

fn print(title: &str, measured: &[Measurement]) {
    let base = &measured[0];
    let added = |name: &str| {
        let one = measured.iter().find(|one| one.name == name);
        one.expect("the candidate is in the list").added_to(base)
    };
    let (floor, ours) = (added(FLOOR), added(OURS));
    let rows: Vec<_> = measured
        .iter()
        .map(|one| {
            let added = one.added_to(base);
            vec![
                one.name.to_owned(),
                format!("{:.0}", one.median()),
                format!("{added:.0}"),
                format!("{:.2}", added / floor),
                format!("{:.2}", added / ours),
                format!("{:.0}", one.allocations - base.allocations),
                format!("{:.0}", one.bytes - base.bytes),
            ]
        })
        .collect();
    let header = [
        "",
        "ns",
        "added",
        "/floor",
        "/tower-metrics",
        "allocs",
        "bytes",
    ];
    table::print(title, &header, &rows);
}
