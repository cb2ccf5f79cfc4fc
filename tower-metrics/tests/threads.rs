//! Many threads record while others read.

mod figures;
mod script;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};

use http::{Request, Response};
use http_body::Body as _;
use tower::{Layer, Service, service_fn};
use tower_metrics::prometheus::Format;
use tower_metrics::{MetricsLayer, Prometheus, ResponseBody, Route};

use self::figures::{Figures, Key};
use self::script::{Script, Step};

type Inflight = Pin<Box<ResponseBody<Script, Prometheus>>>;

/// A request whose answer is the request's own body; an event stream where
/// nobody knows its size.
fn begin(layer: &MetricsLayer<Prometheus>, body: Script) -> Inflight {
    let mut service = layer.layer(service_fn(|request: Request<Script>| async {
        let mut response = Response::new(request.into_body());
        let stream = "text/event-stream".parse().unwrap();
        response.headers_mut().insert("content-type", stream);
        Ok::<_, io::Error>(response)
    }));
    let mut future = Box::pin(service.call(Request::new(body)));
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

/// Checks one scrape by itself, and that nothing went back since the last.
struct Reader {
    last: BTreeMap<Key, f64>,
    most_in_flight: f64,
}

impl Reader {
    fn read(&mut self, figures: &Figures) {
        let figures = &figures.0;
        for (key @ (name, labels), value) in figures {
            if let Some(histogram) = name.strip_suffix("_bucket")
                && labels["le"] == "inf"
            {
                let mut labels = labels.clone();
                labels.remove("le");
                let count = figures[&(format!("{histogram}_count"), labels)];
                assert_eq!(count, *value, "{key:?}");
            }
            if name == "http_server_active_requests" {
                let most = self.most_in_flight;
                assert!((0.0..=most).contains(value), "{value} in flight");
            } else if name != "tower_metrics_series" {
                let last = self.last.insert(key.clone(), *value).unwrap_or(0.0);
                assert!(*value >= last, "{key:?} went from {last} to {value}");
            }
        }
        for (name, labels) in self.last.keys() {
            let key = (name.clone(), labels.clone());
            assert!(figures.contains_key(&key), "{key:?} is gone");
        }
    }
}

#[test]
fn a_scraper_in_a_loop_sees_figures_that_agree_and_never_go_back() {
    const THREADS: u64 = 3;
    const REQUESTS: u64 = 30_000;
    let prometheus = Prometheus::new();
    let done = AtomicBool::new(false);
    // Bodies on their way to another thread.
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
                    // A dozen, and those that pass while a scrape reads.
                    most_in_flight: 50.0,
                };
                while !done.load(Ordering::Relaxed) {
                    let text = prometheus.exposition().render(format);
                    reader.read(&Figures::parse(&text));
                }
            });
        }
        for worker in workers {
            worker.join().unwrap();
        }
        mover.join().unwrap();
        done.store(true, Ordering::Relaxed);
    });

    let figures = Figures::of(&prometheus);
    let all = (THREADS * REQUESTS) as f64;
    assert_eq!(figures.requests(&[("error_type", "")]), all);
    assert_eq!(figures.response_bytes(), 10.0 * all);
    assert_eq!(figures.in_flight(), 0.0);
}

#[test]
fn threads_that_come_and_go_lose_nothing() {
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
    let figures = Figures::of(&prometheus);
    assert_eq!(figures.requests(&[]), 1000.0);
    assert_eq!(figures.response_bytes(), 10_000.0);
    assert_eq!(figures.in_flight(), 0.0);
}

#[test]
fn a_request_may_begin_and_end_on_different_threads() {
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
    assert_eq!(Figures::of(&prometheus).in_flight(), 10.0);
    for body in bodies {
        std::thread::spawn(move || finish(body)).join().unwrap();
    }
    let figures = Figures::of(&prometheus);
    assert_eq!(figures.requests(&[]), 10.0);
    assert_eq!(figures.in_flight(), 0.0);
}

#[test]
fn requests_that_end_with_their_thread_are_counted() {
    thread_local! {
        // Used before our own local as well as after it, because the order in
        // which a thread's locals end is the order of their first use or its
        // reverse.
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
    let figures = Figures::of(&prometheus);
    assert_eq!(figures.requests(&[("error_type", "body_cancelled")]), 2.0);
    assert_eq!(figures.requests(&[("error_type", "")]), 2.0);
    assert_eq!(figures.in_flight(), 0.0);
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
    let figures = Figures::of(&prometheus);
    assert_eq!(figures.requests(&[("http_route", "/b")]), 1.0);
    assert_eq!(figures.requests(&[("http_route", "/a")]), 2.0);
    assert_eq!(figures.in_flight(), 0.0);
}

#[test]
fn scrapes_together_never_miss_what_was_counted_before_them() {
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
                    let seen = Figures::of(&prometheus).requests(&[]);
                    assert!(seen >= before as f64, "{before} were counted, {seen} seen");
                    if before == REQUESTS {
                        return;
                    }
                }
            });
        }
    });
}
