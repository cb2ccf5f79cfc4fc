//! Contention of two threads that record requests of the same route.
//!
//! Run with `cargo bench -p benches --bench threads`.
//!
//! The threads do not share a `MatchedPath`, and each request clones the service, as
//! axum does. The ratio between two threads and one shows the cost of the cache lines
//! that a layer shares between threads.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use harness::comparison::median;
use harness::drive::{Driven, drive};
use harness::extent;
use harness::layers::{FloorLayer, NoopBodyLayer, VectorsLayer};
use harness::services::Bare;
use harness::{peers, table};
use http_body_util::Empty;
use prometheus::Registry;
use tower_layer::{Identity, Layer};
use tower_metrics::{MetricsLayer, Prometheus};

const REQUESTS: u64 = 500;

/// Sends requests through a service that the threads share as soon as the argument
/// returns. Returns the nanoseconds per request.
type Run = Arc<dyn Fn(&dyn Fn()) -> f64 + Send + Sync>;

fn main() {
    let rounds = if extent::is_test() { 2 } else { 300 };
    let candidates = [
        candidate("no layer", Identity::new()),
        candidate("no-op layer, body wrapped", NoopBodyLayer),
        candidate("the floor", FloorLayer::new()),
        candidate("tower-metrics", MetricsLayer::new(Prometheus::new())),
        candidate("hand-written vectors", VectorsLayer::new(&Registry::new())),
        candidate("axum-prometheus 0.10", peers::axum_prometheus()),
        candidate("axum-otel-metrics 0.14", peers::axum_otel().layer),
        candidate("otel-instrumentation-tower 0.19", peers::otel_tower().layer),
        candidate("tower-otel 0.12", peers::tower_otel().layer),
    ];
    let workers = [Worker::new(), Worker::new()];
    let mut one_thread = vec![Vec::new(); candidates.len()];
    let mut two_threads = vec![Vec::new(); candidates.len()];
    for _ in 0..rounds {
        for (index, (_, run)) in candidates.iter().enumerate() {
            one_thread[index].extend(run_on_all(&workers[..1], run));
            two_threads[index].extend(run_on_all(&workers, run));
        }
    }

    let rows: Vec<_> = candidates
        .iter()
        .zip(one_thread.into_iter().zip(two_threads))
        .map(|((name, _), (one_thread, two_threads))| {
            let (one_thread, two_threads) = (median(one_thread), median(two_threads));
            vec![
                (*name).to_owned(),
                format!("{one_thread:.0}"),
                format!("{two_threads:.0}"),
                format!("{:.2}", two_threads / one_thread),
            ]
        })
        .collect();
    let header = ["", "one thread", "two threads", "ratio"];
    let title = "Nanoseconds per request, one route";
    table::print(title, &header, &rows);
}

fn candidate<L>(name: &'static str, layer: L) -> (&'static str, Run)
where
    L: Layer<Bare>,
    L::Service: Driven<Empty<Bytes>> + Clone + Send + 'static,
{
    // The service may not be `Sync`, so each thread clones it from the mutex.
    let service = Mutex::new(layer.layer(Bare));
    let run = move |wait: &dyn Fn()| {
        let service = service.lock().expect("no thread panics").clone();
        let send = |requests| {
            for _ in 0..requests {
                black_box(drive(&mut service.clone(), Bare::request()));
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
    /// Number of threads that have not arrived yet.
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
                // Spin, so that both threads are running when the time starts.
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

/// Returns the nanoseconds per request of each worker.
fn run_on_all(workers: &[Worker], run: &Run) -> Vec<f64> {
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
