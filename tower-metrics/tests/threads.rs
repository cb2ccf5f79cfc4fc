//! Tests with threads that record while others scrape.

mod scrape;
mod script;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex, mpsc};
use std::task::{Context, Poll, Waker};

use http::{Request, Response};
use http_body::Body as _;
use tower::{Layer, Service, service_fn};
use tower_metrics::prometheus::Format;
use tower_metrics::{Label, MetricsLayer, Prometheus, ResponseBody, Route};

use self::scrape::{Key, Samples};
use self::script::{Script, Step};

type Inflight = Pin<Box<ResponseBody<Script, Prometheus>>>;

fn begin(layer: &MetricsLayer<Prometheus>, body: Script) -> Inflight {
    begin_with(layer, Request::new(body))
}

/// Sends a request whose response is its own body, as an event stream if the
/// size is unknown.
fn begin_with(layer: &MetricsLayer<Prometheus>, request: Request<Script>) -> Inflight {
    let mut service = layer.layer(service_fn(|request: Request<Script>| async {
        let mut response = Response::new(request.into_body());
        let stream = "text/event-stream".parse().unwrap();
        response.headers_mut().insert("content-type", stream);
        Ok::<_, io::Error>(response)
    }));
    let mut future = Box::pin(service.call(request));
    let cx = &mut Context::from_waker(Waker::noop());
    match future.as_mut().poll(cx) {
        Poll::Ready(Ok(response)) => Box::pin(response.into_body()),
        other => panic!("{other:?}"),
    }
}

fn finish(mut body: Inflight) {
    let cx = &mut Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(_)) = body.as_mut().poll_frame(cx) {}
}

fn sized() -> Script {
    Script::new([Step::Data(vec![0; 10])]).sized()
}

fn stream() -> Script {
    Script::new([Step::Data(vec![0; 10])])
}

fn layer(prometheus: Prometheus, route: &'static str) -> MetricsLayer<Prometheus> {
    let builder = MetricsLayer::builder(prometheus);
    builder.route(Route::fixed(route)).build().unwrap()
}

/// Checks that a scrape is consistent, and that no counter decreased since the
/// previous one.
struct Reader {
    last: BTreeMap<Key, f64>,
    most_in_flight: f64,
}

impl Reader {
    fn read(&mut self, samples: &Samples) {
        let samples = &samples.0;
        for (key @ (name, labels), value) in samples {
            if let Some(histogram) = name.strip_suffix("_bucket")
                && labels["le"] == "inf"
            {
                let mut labels = labels.clone();
                labels.remove("le");
                let count = samples[&(format!("{histogram}_count"), labels)];
                assert_eq!(count, *value, "{key:?}");
            }
            if name == "http_server_active_requests" {
                let most = self.most_in_flight;
                assert!((0.0..=most).contains(value), "{value} in flight");
            } else if name == "http_server_oldest_request_seconds" {
                assert!(*value >= 0.0, "{value} s");
            } else if name != "tower_metrics_series" {
                let last = self.last.insert(key.clone(), *value).unwrap_or(0.0);
                assert!(*value >= last, "{key:?} went from {last} to {value}");
            }
        }
        for (name, labels) in self.last.keys() {
            let key = (name.clone(), labels.clone());
            assert!(samples.contains_key(&key), "{key:?} is gone");
        }
    }
}

#[test]
fn repeated_scrapes_are_consistent_and_monotonic() {
    const THREADS: u64 = 3;
    const REQUESTS: u64 = 30_000;
    let prometheus = Prometheus::new();
    let done = AtomicBool::new(false);
    // Bodies that move to another thread.
    let (sender, receiver) = mpsc::sync_channel::<Inflight>(8);

    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let sender = sender.clone();
                scope.spawn(move || {
                    let layer = layer(prometheus, ["/a", "/b"][thread as usize % 2]);
                    for request in 0..REQUESTS {
                        let body = if request % 3 == 0 { stream() } else { sized() };
                        let body = begin(&layer, body);
                        if request % 2 == 0 {
                            sender.send(body).unwrap();
                        } else {
                            finish(body);
                        }
                    }
                })
            })
            .collect();
        drop(sender);
        let mover = scope.spawn(move || receiver.into_iter().for_each(finish));
        for format in [Format::Text, Format::OpenMetrics] {
            let done = &done;
            scope.spawn(move || {
                let mut reader = Reader {
                    last: BTreeMap::new(),
                    // A dozen, and those that begin and end during a scrape.
                    most_in_flight: 50.0,
                };
                while !done.load(Ordering::Relaxed) {
                    let text = prometheus.exposition().render(format);
                    reader.read(&Samples::parse(&text));
                }
            });
        }
        for worker in workers {
            worker.join().unwrap();
        }
        mover.join().unwrap();
        done.store(true, Ordering::Relaxed);
    });

    let samples = Samples::of(&prometheus);
    let all = (THREADS * REQUESTS) as f64;
    assert_eq!(samples.requests(&[("error_type", "")]), all);
    assert_eq!(samples.response_bytes(), 10.0 * all);
    assert_eq!(samples.in_flight(), 0.0);
}

#[test]
fn short_lived_threads_lose_no_requests() {
    let prometheus = Prometheus::new();
    let layer = layer(prometheus, "/a");
    for _ in 0..50 {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        finish(begin(&layer, sized()));
                    }
                });
            }
        });
    }
    let samples = Samples::of(&prometheus);
    assert_eq!(samples.requests(&[]), 1000.0);
    assert_eq!(samples.response_bytes(), 10_000.0);
    assert_eq!(samples.in_flight(), 0.0);
}

/// Two threads end each other's requests concurrently. Recording in the cells of
/// the thread where a request began would lose updates.
#[test]
fn no_request_is_lost_if_two_threads_end_each_others_requests() {
    const REQUESTS: usize = 50_000;
    let prometheus = Prometheus::new();
    let layer = &layer(prometheus, "/a");
    let barrier = &Barrier::new(2);
    let (to_first, first) = mpsc::channel::<Vec<Inflight>>();
    let (to_second, second) = mpsc::channel();
    std::thread::scope(|scope| {
        for (others, to_other) in [(first, to_second), (second, to_first)] {
            scope.spawn(move || {
                let begin = |_| begin(layer, sized());
                to_other.send((0..REQUESTS).map(begin).collect()).unwrap();
                let own: Vec<_> = (0..REQUESTS).map(begin).collect();
                let others = others.recv().unwrap();
                barrier.wait();
                for (own, other) in own.into_iter().zip(others) {
                    finish(own);
                    finish(other);
                }
            });
        }
    });
    let samples = Samples::of(&prometheus);
    assert_eq!(samples.requests(&[]), 4.0 * REQUESTS as f64);
    assert_eq!(samples.response_bytes(), 40.0 * REQUESTS as f64);
    assert_eq!(samples.in_flight(), 0.0);
}

#[test]
fn a_request_can_begin_and_end_on_different_threads() {
    let prometheus = Prometheus::new();
    let layer = layer(prometheus, "/a");
    let bodies: Vec<_> = (0..10)
        .map(|i| {
            let body = if i % 2 == 0 { sized() } else { stream() };
            std::thread::spawn(move || begin(&layer, body))
                .join()
                .unwrap()
        })
        .collect();
    assert_eq!(Samples::of(&prometheus).in_flight(), 10.0);
    for body in bodies {
        std::thread::spawn(move || finish(body)).join().unwrap();
    }
    let samples = Samples::of(&prometheus);
    assert_eq!(samples.requests(&[]), 10.0);
    assert_eq!(samples.in_flight(), 0.0);
}

#[test]
fn requests_that_end_with_their_thread_are_counted() {
    thread_local! {
        // Used before and after the crate's own thread-local, because the order of
        // destruction depends on the platform.
        static EARLY: RefCell<Vec<Inflight>> = const { RefCell::new(Vec::new()) };
        static LATE: RefCell<Vec<Inflight>> = const { RefCell::new(Vec::new()) };
    }
    let prometheus = Prometheus::new();
    let layer = layer(prometheus, "/a");
    std::thread::spawn(move || {
        EARLY.with_borrow_mut(|early| {
            early.push(begin(&layer, sized()));
            early.push(begin(&layer, stream()));
        });
        LATE.with_borrow_mut(|late| {
            late.push(begin(&layer, sized()));
            late.push(begin(&layer, stream()));
        });
    })
    .join()
    .unwrap();
    let samples = Samples::of(&prometheus);
    assert_eq!(samples.requests(&[("error_type", "body_cancelled")]), 2.0);
    assert_eq!(samples.requests(&[("error_type", "")]), 2.0);
    assert_eq!(samples.in_flight(), 0.0);
}

#[test]
fn a_thread_that_first_records_while_it_ends_is_counted() {
    struct Late(MetricsLayer<Prometheus>);
    impl Drop for Late {
        fn drop(&mut self) {
            finish(begin(&self.0, sized()));
        }
    }
    thread_local! {
        static LATE: RefCell<Option<Late>> = const { RefCell::new(None) };
    }
    let prometheus = Prometheus::new();
    for used_before in [false, true] {
        let layer = layer(prometheus, if used_before { "/a" } else { "/b" });
        std::thread::spawn(move || {
            LATE.set(Some(Late(layer)));
            if used_before {
                finish(begin(&layer, sized()));
            }
        })
        .join()
        .unwrap();
    }
    let samples = Samples::of(&prometheus);
    assert_eq!(samples.requests(&[("http_route", "/b")]), 1.0);
    assert_eq!(samples.requests(&[("http_route", "/a")]), 2.0);
    assert_eq!(samples.in_flight(), 0.0);
}

#[test]
fn concurrent_scrapes_include_every_request_that_ended_before_them() {
    let prometheus = Prometheus::new();
    let counted = AtomicU64::new(0);
    let layer = layer(prometheus, "/a");
    const REQUESTS: u64 = 3_000;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..REQUESTS {
                finish(begin(&layer, sized()));
                counted.fetch_add(1, Ordering::Release);
            }
        });
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let before = counted.load(Ordering::Acquire);
                    let seen = Samples::of(&prometheus).requests(&[]);
                    assert!(seen >= before as f64, "{before} were counted, {seen} seen");
                    if before == REQUESTS {
                        return;
                    }
                }
            });
        }
    });
}

/// Request in flight that any thread may end.
struct Wanderer {
    tenant: usize,
    /// Error type if the request is dropped.
    dropped: &'static str,
    finish: Box<dyn FnOnce() + Send>,
}

impl Wanderer {
    /// Event stream, response of known size, or future without a response.
    fn begin(layer: &MetricsLayer<Prometheus>, tenant: usize, kind: usize) -> Self {
        let request = |body| {
            let request = Request::builder().header("tenant", tenant.to_string());
            request.body(body).unwrap()
        };
        let (dropped, finish): (_, Box<dyn FnOnce() + Send>) = match kind {
            0 => {
                let body = begin_with(layer, request(stream()));
                ("", Box::new(|| finish(body)))
            }
            1 => {
                let body = begin_with(layer, request(sized()));
                ("body_cancelled", Box::new(|| finish(body)))
            }
            _ => {
                let mut service = layer.layer(service_fn(move |request: Request<Script>| {
                    let mut body = Some(request.into_body());
                    let mut asked_before = false;
                    poll_fn(move |_| {
                        if !std::mem::replace(&mut asked_before, true) {
                            return Poll::Pending;
                        }
                        let body = body.take().expect("it is ready once");
                        Poll::Ready(Ok::<_, io::Error>(Response::new(body)))
                    })
                }));
                let mut future = Box::pin(service.call(request(sized())));
                let cx = &mut Context::from_waker(Waker::noop());
                assert!(future.as_mut().poll(cx).is_pending());
                let answered = move || {
                    let cx = &mut Context::from_waker(Waker::noop());
                    match future.as_mut().poll(cx) {
                        Poll::Ready(Ok(response)) => finish(Box::pin(response.into_body())),
                        other => panic!("{other:?}"),
                    }
                };
                ("cancelled", Box::new(answered))
            }
        };
        Self {
            tenant,
            dropped,
            finish,
        }
    }
}

/// Deterministic pseudorandom numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as usize % sides
    }
}

#[test]
fn requests_that_move_between_short_lived_threads_are_counted_exactly() {
    const STARTERS: usize = 4;
    const THREADS: usize = 50;
    const REQUESTS: usize = 60;
    const TENANTS: usize = 3;
    thread_local! {
        // Dropped at the end of their thread, before or after the crate's own
        // thread-local.
        static EARLY: RefCell<Vec<Wanderer>> = const { RefCell::new(Vec::new()) };
        static LATE: RefCell<Vec<Wanderer>> = const { RefCell::new(Vec::new()) };
    }
    let prometheus = Prometheus::new();
    let tenant = Label::from_request("tenant", TENANTS as u16, |head| {
        Some(head.headers.get("tenant")?.to_str().ok()?.into())
    });
    let builder = MetricsLayer::builder(prometheus).route(Route::fixed("/a"));
    let layer = &builder.label(tenant).build().unwrap();
    let (sender, receiver) = mpsc::sync_channel::<Wanderer>(64);
    let receiver = &Mutex::new(receiver);
    // Expected counts by tenant and error type.
    let (counted, expected) = mpsc::channel();

    std::thread::scope(|scope| {
        for starter in 0..STARTERS {
            let (sender, counted) = (sender.clone(), counted.clone());
            scope.spawn(move || {
                for thread in 0..THREADS {
                    let (sender, counted) = (&sender, &counted);
                    let mut dice = Dice((starter * THREADS + thread + 1) as u64);
                    let start = move || {
                        for _ in 0..REQUESTS {
                            let (tenant, kind) = (dice.roll(TENANTS), dice.roll(3));
                            let wanderer = Wanderer::begin(layer, tenant, kind);
                            if dice.roll(2) == 0 {
                                sender.send(wanderer).unwrap();
                            } else {
                                (wanderer.finish)();
                                counted.send((tenant, "")).unwrap();
                            }
                        }
                    };
                    std::thread::scope(|scope| scope.spawn(start).join().unwrap());
                }
            });
        }
        drop(sender);
        for ender in 1..=3 {
            let counted = counted.clone();
            scope.spawn(move || {
                let mut dice = Dice(ender << 40);
                // Ends some requests, and returns whether there are more.
                let mut end_some = || {
                    for _ in 0..25 {
                        let Ok(wanderer) = receiver.lock().unwrap().recv() else {
                            return false;
                        };
                        let tenant = wanderer.tenant;
                        let error_type = match dice.roll(5) {
                            0 | 1 => {
                                (wanderer.finish)();
                                ""
                            }
                            way => {
                                let error_type = wanderer.dropped;
                                match way {
                                    2 => drop(wanderer),
                                    3 => EARLY.with_borrow_mut(|early| early.push(wanderer)),
                                    _ => LATE.with_borrow_mut(|late| late.push(wanderer)),
                                }
                                error_type
                            }
                        };
                        counted.send((tenant, error_type)).unwrap();
                    }
                    true
                };
                while std::thread::scope(|scope| scope.spawn(&mut end_some).join().unwrap()) {}
            });
        }
        drop(counted);
    });

    let mut requests = BTreeMap::<_, f64>::new();
    for (tenant, error_type) in expected {
        *requests
            .entry((tenant.to_string(), error_type))
            .or_default() += 1.0;
    }
    let samples = Samples::of(&prometheus);
    for ((tenant, error_type), requests) in &requests {
        let labels = [("tenant", tenant.as_str()), ("error_type", error_type)];
        assert_eq!(samples.requests(&labels), *requests, "{labels:?}");
    }
    let all = (STARTERS * THREADS * REQUESTS) as f64;
    assert_eq!(samples.requests(&[]), all);
    assert_eq!(samples.in_flight(), 0.0);
}
