//! What a metrics layer adds to a request, beside its peers.
//!
//! `cargo bench -p benches --bench middleware`, with `--features quanta` for
//! the processor's time stamp counter as tower-metrics' clock.

use std::time::Duration;

use criterion::{Criterion, SamplingMode};
use harness::alloc::Counting;
use harness::contenders::{Contenders, FLOOR, OURS};
use harness::contest::{Measured, contest};
use harness::table;

#[global_allocator]
static COUNTING: Counting = Counting;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    // `cargo test --benches` only wants to see it run.
    let rounds = if std::env::args().any(|arg| arg == "--test") {
        2
    } else {
        500
    };
    let mut contenders = Contenders::all();
    let bare = contest(&mut contenders.bare, rounds, 1000);
    let routed = contest(&mut contenders.routed, rounds, 400);
    tell(&mut criterion, "bare tower service", &bare);
    tell(&mut criterion, "axum router of 20 routes", &routed);
    criterion.final_summary();

    let clock = if cfg!(feature = "quanta") {
        "time stamp counter"
    } else {
        "Instant"
    };
    println!("\nMedians of {rounds} rounds in turns; tower-metrics' clock: {clock}.");
    println!("`added` is to no layer, of the same round; the ratios are of what is added.");
    show("A bare tower service, a body of one frame", &bare);
    show("An axum router of 20 routes, a body of one frame", &routed);
}

/// Hands what was measured in turns to criterion, which keeps it and says what
/// has changed since the last run.
fn tell(criterion: &mut Criterion, group: &str, measured: &[Measured]) {
    let mut group = criterion.benchmark_group(group);
    group
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_nanos(1))
        .measurement_time(Duration::from_millis(1));
    for one in measured {
        let mut samples = one.nanoseconds.iter().cycle();
        group.bench_function(one.name.trim(), |bencher| {
            bencher.iter_custom(|requests| {
                let nanoseconds = samples.next().expect("there is a round at least");
                Duration::from_secs_f64(nanoseconds * 1e-9 * requests as f64)
            });
        });
    }
    group.finish();
}

fn show(title: &str, measured: &[Measured]) {
    let base = &measured[0];
    let added = |name: &str| {
        let one = measured.iter().find(|one| one.name == name);
        one.expect("the contender is in the list").added_to(base)
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
    let header = ["", "ns", "added", "/floor", "/ours", "allocs", "bytes"];
    table::print(title, &header, &rows);
}
