//! Time, instructions and allocations that each metrics layer adds to a request.
//!
//! Run with `cargo bench -p benches --bench middleware`. With `--features quanta`,
//! tower-metrics reads the processor's time stamp counter. Instructions are counted with
//! valgrind, if it is installed, and include those that count the allocations.

use std::time::Duration;

use criterion::{Criterion, SamplingMode};
use harness::alloc::Counting;
use harness::callgrind;
use harness::candidates::{Candidates, FLOOR, OURS};
use harness::comparison::{Candidate, Measurement, compare};
use harness::extent;
use harness::table;

#[global_allocator]
static COUNTING: Counting = Counting;

/// Requests whose instructions are counted, enough to amortize work that is not done for every
/// request.
const COUNTED: u64 = 1000;

/// Argument with which this program sends requests through one layer.
const SEND: &str = "--send";

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [command, service, name, requests] = &arguments[..]
        && command == SEND
    {
        let requests = requests.parse().expect("it is a number");
        let mut candidates = of_service(Candidates::named(name), service);
        return candidates[0].send(requests);
    }
    let mut criterion = Criterion::default().configure_from_args();
    let is_test = extent::is_test();
    let rounds = if is_test { 2 } else { 500 };
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
    let counts = !is_test && callgrind::is_present();
    if counts {
        println!("Counting instructions with valgrind ...");
    } else {
        println!("Instructions are not counted: valgrind is not installed, or this is a test.");
    }
    let instructions = |service, measured: &[Measurement]| {
        counts.then(|| {
            measured
                .iter()
                .map(|one| instructions(service, one.name))
                .collect()
        })
    };
    for (service, title, measured) in [
        (BARE, "Bare tower service, body of one frame", &bare),
        (
            ROUTER,
            "axum router with 20 routes, body of one frame",
            &routed,
        ),
    ] {
        print(title, measured, instructions(service, measured));
    }
}

const BARE: &str = "bare";
const ROUTER: &str = "router";

fn of_service(all: Candidates, service: &str) -> Vec<Candidate> {
    match service {
        BARE => all.bare,
        _ => all.routed,
    }
}

/// Returns the instructions of one request, from the difference between two runs.
fn instructions(service: &str, name: &str) -> f64 {
    let count = |requests: u64| {
        let requests = requests.to_string();
        let counted = callgrind::instructions(&[SEND, service, name.trim(), &requests]);
        counted.expect("valgrind counts the instructions") as f64
    };
    (count(2 * COUNTED) - count(COUNTED)) / COUNTED as f64
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

fn print(title: &str, measured: &[Measurement], instructions: Option<Vec<f64>>) {
    let base = &measured[0];
    let added = |name: &str| {
        let one = measured.iter().find(|one| one.name == name);
        one.expect("the candidate is in the list").added_to(base)
    };
    let (floor, ours) = (added(FLOOR), added(OURS));
    let rows: Vec<_> = measured
        .iter()
        .enumerate()
        .map(|(i, one)| {
            let counted = instructions.as_ref();
            let added_instructions = counted.map(|counted| counted[i] - counted[0]);
            let added = one.added_to(base);
            vec![
                one.name.to_owned(),
                format!("{:.0}", one.median()),
                format!("{added:.0}"),
                format!("{:.2}", added / floor),
                format!("{:.2}", added / ours),
                added_instructions.map_or("-".to_owned(), |added| format!("{added:.0}")),
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
        "instructions",
        "allocs",
        "bytes",
    ];
    table::print(title, &header, &rows);
}
