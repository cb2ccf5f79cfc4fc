//! Tests for the metrics of Tokio runtimes and of the process.

mod scrape;

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use prometheus::Registry;
use tokio::runtime::{Builder, Runtime};
use tower_metrics::prometheus::Format;
use tower_metrics::{ProcessCollector, Prometheus, TokioCollector};

use self::scrape::Samples;

/// Generous, so that a busy machine does not fail the test.
const TIMEOUT: Duration = Duration::from_secs(60);

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn samples(registry: &Registry) -> Samples {
    let text = prometheus::TextEncoder::new();
    Samples::parse(&text.encode_to_string(&registry.gather()).unwrap())
}

/// Scrapes until a condition holds, and returns the last scrape.
fn eventually(registry: &Registry, holds: impl Fn(&Samples) -> bool) -> Samples {
    let start = Instant::now();
    loop {
        let samples = samples(registry);
        if holds(&samples) {
            return samples;
        }
        assert!(start.elapsed() < TIMEOUT, "{samples:#?}");
        thread::yield_now();
    }
}

mod a_runtime {
    use super::*;

    fn with_runtime(name: &str) -> (Registry, Runtime) {
        let (registry, runtime) = (Registry::new(), runtime());
        let collector = TokioCollector::new(name, runtime.handle());
        registry.register(Box::new(collector)).unwrap();
        (registry, runtime)
    }

    fn delays(samples: &Samples, suffix: &str, labels: &[(&str, &str)]) -> f64 {
        samples.sum(&format!("tokio_scheduling_delay_seconds_{suffix}"), labels)
    }

    /// The runtime is blocked until the gauge shows it, which is another thread's scrape.
    #[test]
    fn that_is_blocked_is_visible_during_the_block_and_after_it() {
        const BLOCK: f64 = 0.3;
        let (registry, runtime) = with_runtime("api");
        let (release, released) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            runtime.block_on(async move {
                // Blocks the thread, as tasks must not.
                released.recv().unwrap();
                std::future::pending::<()>().await;
            });
        });
        let during = eventually(&registry, |samples| {
            samples.sum("tokio_blocked_seconds", &[("runtime", "api")]) > BLOCK
        });
        assert_eq!(delays(&during, "count", &[]), 0.0, "{during:#?}");
        release.send(()).unwrap();
        let after = eventually(&registry, |samples| delays(samples, "count", &[]) >= 3.0);
        let long = delays(&after, "count", &[]) - delays(&after, "bucket", &[("le", "0.25")]);
        assert!(long >= 1.0, "{after:#?}");
        assert!(delays(&after, "sum", &[("runtime", "api")]) >= BLOCK);
        // The task keeps running.
        let count = delays(&after, "count", &[]);
        eventually(&registry, |samples| delays(samples, "count", &[]) > count);
        drop(thread);
    }

    #[test]
    fn can_have_a_paused_clock() {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build().unwrap();
        let registry = Registry::new();
        let collector = TokioCollector::new("api", runtime.handle());
        registry.register(Box::new(collector)).unwrap();
        // Does not return if the task keeps the runtime from advancing the clock.
        runtime.block_on(async { tokio::time::sleep(Duration::from_secs(3600)).await });
        let samples = samples(&registry);
        assert!(delays(&samples, "count", &[]) >= 35_999.0, "{samples:#?}");
        assert_eq!(samples.sum("tokio_blocked_seconds", &[]), 0.0);
    }

    #[test]
    fn has_all_metrics_with_its_name_and_its_workers() {
        let registry = Registry::new();
        let runtimes = [("api", 3), ("ops", 1)].map(|(name, workers)| {
            let runtime = Builder::new_multi_thread()
                .worker_threads(workers)
                .enable_all()
                .build()
                .unwrap();
            let collector = TokioCollector::new(name, runtime.handle());
            registry.register(Box::new(collector)).unwrap();
            runtime.spawn(std::future::pending::<()>());
            runtime
        });
        for (name, workers) in [("api", 3), ("ops", 1)] {
            let of_runtime = [("runtime", name)];
            let samples = eventually(&registry, |samples| {
                delays(samples, "count", &of_runtime) > 0.0
                    && samples.sum("tokio_worker_busy_seconds_total", &of_runtime) > 0.0
                    && samples.sum("tokio_worker_parks_total", &of_runtime) > 0.0
            });
            assert_eq!(
                samples.sum("tokio_workers", &of_runtime),
                f64::from(workers)
            );
            // The one above, and the one that measures the delay.
            assert_eq!(samples.sum("tokio_alive_tasks", &of_runtime), 2.0);
            assert_eq!(samples.sum("tokio_global_queue_depth", &of_runtime), 0.0);
            for worker in 0..workers {
                let labels = [("runtime", name), ("worker", &worker.to_string())];
                for metric in [
                    "tokio_worker_busy_seconds_total",
                    "tokio_worker_parks_total",
                ] {
                    let found = samples.0.keys().filter(|(found, of)| {
                        found == metric && labels.iter().all(|(label, value)| of[*label] == *value)
                    });
                    assert_eq!(found.count(), 1, "{metric} {labels:?}");
                }
            }
            assert_eq!(
                delays(&samples, "bucket", &[of_runtime[0], ("le", "+Inf")]),
                0.0
            );
        }
        drop(runtimes);
    }

    /// `RUSTFLAGS="--cfg tokio_unstable" cargo test -p tower-metrics --features process,tokio --test saturation`
    #[cfg(tokio_unstable)]
    #[test]
    fn has_the_unstable_metrics_of_tokio() {
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let registry = Registry::new();
        let collector = TokioCollector::new("api", runtime.handle());
        registry.register(Box::new(collector)).unwrap();
        runtime.spawn_blocking(|| {});
        let samples = eventually(&registry, |samples| {
            samples.sum("tokio_spawned_tasks_total", &[]) >= 1.0
                && samples.sum("tokio_blocking_threads", &[]) >= 1.0
                && samples.sum("tokio_worker_polls_total", &[]) >= 1.0
        });
        for metric in [
            "tokio_idle_blocking_threads",
            "tokio_blocking_queue_depth",
            "tokio_remote_schedules_total",
            "tokio_budget_forced_yields_total",
            "tokio_worker_local_queue_depth",
            "tokio_worker_steals_total",
            "tokio_worker_overflows_total",
        ] {
            assert_eq!(samples.series(metric), 1, "{metric}");
        }
    }

    #[test]
    fn needs_a_name_that_no_other_has() {
        let (registry, runtime) = with_runtime("api");
        let same = TokioCollector::new("api", runtime.handle());
        registry.register(Box::new(same)).unwrap_err();
        let other = TokioCollector::new("other \"one\"\n", runtime.handle());
        registry.register(Box::new(other)).unwrap();
        assert_eq!(samples(&registry).series("tokio_workers"), 2);
    }

    #[test]
    fn that_has_shut_down_is_not_blocked() {
        let (registry, runtime) = with_runtime("api");
        let shows = |samples: &Samples| samples.series("tokio_blocked_seconds");
        assert_eq!(shows(&samples(&registry)), 1);
        drop(runtime);
        assert_eq!(shows(&samples(&registry)), 0);
        assert_eq!(samples(&registry).sum("tokio_alive_tasks", &[]), 0.0);
    }

    #[test]
    fn is_no_longer_measured_when_the_collector_is_dropped() {
        let runtime = runtime();
        let collector = TokioCollector::new("api", runtime.handle());
        assert_eq!(runtime.metrics().num_alive_tasks(), 1);
        drop(collector);
        let start = Instant::now();
        runtime.block_on(async {
            while runtime.metrics().num_alive_tasks() > 0 {
                assert!(start.elapsed() < TIMEOUT);
                tokio::task::yield_now().await;
            }
        });
    }

    #[test]
    #[should_panic(expected = "timers are disabled")]
    fn without_a_timer_is_rejected() {
        let runtime = Builder::new_current_thread().build().unwrap();
        TokioCollector::new("api", runtime.handle());
    }
}

mod a_process {
    use super::*;

    fn with_process() -> Registry {
        let registry = Registry::new();
        registry
            .register(Box::new(ProcessCollector::new()))
            .unwrap();
        registry
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn has_the_standard_metrics() {
        let samples = samples(&with_process());
        for (name, from, to) in [
            ("process_cpu_seconds_total", 0.0, 1e6),
            ("process_open_fds", 3.0, 1e6),
            ("process_max_fds", 3.0, u64::MAX as f64),
            ("process_resident_memory_bytes", 1e6, 1e11),
            ("process_virtual_memory_bytes", 1e6, 1e15),
            ("process_virtual_memory_max_bytes", 1e6, u64::MAX as f64),
            ("process_threads", 1.0, 1e5),
        ] {
            assert_eq!(samples.series(name), 1, "{name}");
            let value = samples.sum(name, &[]);
            assert!((from..=to).contains(&value), "{name} {value}");
        }
        let start = samples.sum("process_start_time_seconds", &[]);
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        // The boot time is in whole seconds.
        assert!(start <= now.as_secs_f64() + 1.0, "{start} {now:?}");
        assert!(start > now.as_secs_f64() - 3600.0, "{start} {now:?}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn shows_what_it_uses() {
        const FILES: usize = 500;
        const MEMORY: usize = 64 << 20;
        let registry = with_process();
        let before = samples(&registry);
        let files: Vec<_> = (0..FILES)
            .map(|_| std::fs::File::open("/dev/null").unwrap())
            .collect();
        let memory = vec![1u8; MEMORY];
        // Other tests open and close a few files in the meantime.
        let after = eventually(&registry, |samples| {
            samples.sum("process_cpu_seconds_total", &[])
                > before.sum("process_cpu_seconds_total", &[])
        });
        let more = |name| after.sum(name, &[]) - before.sum(name, &[]);
        assert!((more("process_open_fds") - FILES as f64).abs() < 100.0);
        assert!(more("process_resident_memory_bytes") > 0.9 * MEMORY as f64);
        assert!(more("process_virtual_memory_bytes") > 0.9 * MEMORY as f64);
        drop((files, memory));
    }

    #[test]
    fn is_part_of_an_exposition() {
        let prometheus = Prometheus::new();
        let process = ProcessCollector::new();
        prometheus.registry().register(Box::new(process)).unwrap();
        let exposition = prometheus.exposition().render(Format::Text);
        if cfg!(target_os = "linux") {
            assert!(exposition.contains("\nprocess_cpu_seconds_total "));
        }
    }
}
