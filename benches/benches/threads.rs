//! What two threads on one route cost each other.
//!
//! `cargo bench -p benches --bench threads`
//!
//! Each thread has requests with a `MatchedPath` of its own, and each request
//! clones the service, as axum does. What a layer shares between threads shows
//! as the ratio of two threads at once to one alone.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use harness::contest::median;
use harness::drive::{Driven, drive};
use harness::layers::{FloorLayer, NoopBodyLayer, VectorsLayer};
use harness::services::Bare;
use harness::{peers, table};
use http_body_util::Empty;
use prometheus::Registry;
use tower_layer::{Identity, Layer};
use tower_metrics::{MetricsLayer, Prometheus};

const REQUESTS: u64 = 500;

/// Sends requests through a service that the threads share, once the argument
/// returns; the nanoseconds of one.
type Run = Arc<dyn Fn(&dyn Fn()) -> f64 + Send + Sync>;

fn main() {
    let rounds = if std::env::args().any(|arg| arg == "--test") {
        2
    } else {
        300
    };
    let contenders = [
        contender("no layer", Identity::new()),
        contender("no-op layer, body wrapped", NoopBodyLayer),
        contender("the floor", FloorLayer::new()),
        contender("tower-metrics", MetricsLayer::new(Prometheus::new())),
        contender("vectors by hand", VectorsLayer::new(&Registry::new())),
        contender("axum-prometheus 0.10", peers::axum_prometheus()),
        contender("axum-otel-metrics 0.14", peers::axum_otel().layer),
        contender("otel-instrumentation-tower 0.19", peers::otel_tower().layer),
    ];
    let workers = [Worker::new(), Worker::new()];
    let mut alone = vec![Vec::new(); contenders.len()];
    let mut together = vec![Vec::new(); contenders.len()];
    for _ in 0..rounds {
        for (index, (_, run)) in contenders.iter().enumerate() {
            alone[index].extend(on_all(&workers[..1], run));
            together[index].extend(on_all(&workers, run));
        }
    }

    let rows: Vec<_> = contenders
        .iter()
        .zip(alone.into_iter().zip(together))
        .map(|((name, _), (alone, together))| {
            let (alone, together) = (median(alone), median(together));
            vec![
                (*name).to_owned(),
                format!("{alone:.0}"),
                format!("{together:.0}"),
                format!("{:.2}", together / alone),
            ]
        })
        .collect();
    let header = ["", "one thread", "two threads", "ratio"];
    let title = "Nanoseconds a request, one route";
    table::print(title, &header, &rows);
}

fn contender<L>(name: &'static str, layer: L) -> (&'static str, Run)
where
    L: Layer<Bare>,
    L::Service: Driven<Empty<Bytes>> + Clone + Send + 'static,
{
    // Services need not be `Sync`: each thread takes its clone from here.
    let service = Mutex::new(layer.layer(Bare));
    let run = move |wait: &dyn Fn()| {
        let mine = service.lock().expect("nobody panics").clone();
        let send = |requests| {
            for _ in 0..requests {
                black_box(drive(&mut mine.clone(), Bare::request()));
            }
        };
        send(REQUESTS / 10);
        wait();
        let start = Instant::now();
        send(REQUESTS);
        start.elapsed().as_nanos() as f64 / REQUESTS as f64
    };
    (name, Arc::new(run))
}

struct Job {
    run: Run,
    /// How many threads have still to arrive.
    missing: Arc<AtomicUsize>,
}

struct Worker {
    jobs: Sender<Job>,
    nanoseconds: Receiver<f64>,
}

impl Worker {
    fn new() -> Self {
        let (jobs, todo) = channel::<Job>();
        let (done, nanoseconds) = channel();
        std::thread::spawn(move || {
            for Job { run, missing } in todo {
                // Spinning, so that both run when the clock starts.
                let wait = || {
                    missing.fetch_sub(1, Ordering::AcqRel);
                    while missing.load(Ordering::Acquire) > 0 {
                        std::hint::spin_loop();
                    }
                };
                if done.send(run(&wait)).is_err() {
                    return;
                }
            }
        });
        Self { jobs, nanoseconds }
    }
}

/// Nanoseconds a request, of each worker.
fn on_all(workers: &[Worker], run: &Run) -> Vec<f64> {
    let missing = Arc::new(AtomicUsize::new(workers.len()));
    for worker in workers {
        let job = Job {
            run: Arc::clone(run),
            missing: Arc::clone(&missing),
        };
        worker.jobs.send(job).expect("the worker is running");
    }
    let nanoseconds = workers.iter().map(|worker| worker.nanoseconds.recv());
    nanoseconds
        .map(|one| one.expect("the worker is running"))
        .collect()
}
