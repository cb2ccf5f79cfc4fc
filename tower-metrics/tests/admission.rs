//! Tests for the measurement of admission.

mod scrape;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Future, Ready, pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::error_handling::HandleErrorLayer;
use axum::routing::get;
use http::{Request, StatusCode};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::sync::{Semaphore, oneshot};
use tower::buffer::Buffer;
use tower::limit::{ConcurrencyLimit, GlobalConcurrencyLimitLayer, RateLimit, rate::Rate};
use tower::load_shed::LoadShed;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_metrics::admission::{AdmissionOutcome, CompletedWait};
use tower_metrics::{
    AdmissionLayer, AdmissionRecorder, AdmissionWait, BuildError, OpenTelemetry, Prometheus,
};

use self::scrape::Samples;

const WAIT: &str = "http_server_admission_wait_seconds";

/// Recorder that stores every call.
#[derive(Clone, Copy)]
struct Log(&'static Mutex<Told>);

#[derive(Default)]
struct Told {
    queued: usize,
    dequeued: usize,
    ended: Vec<(AdmissionOutcome, Duration)>,
}

impl Log {
    fn new() -> Self {
        Self(Box::leak(Box::default()))
    }

    fn layer(self) -> AdmissionLayer<Self> {
        AdmissionLayer::new(self).unwrap()
    }

    fn queued(self) -> usize {
        let told = self.0.lock().unwrap();
        told.queued - told.dequeued
    }

    /// Returns how many waits ended with each outcome.
    fn outcomes(self) -> [usize; 3] {
        let told = self.0.lock().unwrap();
        AdmissionOutcome::ALL.map(|outcome| {
            told.ended
                .iter()
                .filter(|(ended, _)| *ended == outcome)
                .count()
        })
    }

    fn durations(self) -> Vec<Duration> {
        let told = self.0.lock().unwrap();
        told.ended.iter().map(|(_, duration)| *duration).collect()
    }
}

impl AdmissionRecorder for Log {
    fn queued(&self) {
        self.0.lock().unwrap().queued += 1;
    }

    fn dequeued(&self) {
        let mut told = self.0.lock().unwrap();
        told.dequeued += 1;
        assert!(told.dequeued <= told.queued);
    }

    fn ended(&self, wait: &CompletedWait) {
        let mut told = self.0.lock().unwrap();
        told.ended.push((wait.outcome, wait.duration));
    }
}

const NONE: [usize; 3] = [0, 0, 0];
const ADMITTED: [usize; 3] = [1, 0, 0];
const REJECTED: [usize; 3] = [0, 1, 0];
const CANCELLED: [usize; 3] = [0, 0, 1];

/// Service that responds at once.
#[derive(Clone, Copy, Debug)]
struct Echo;

impl Service<u32> for Echo {
    type Response = u32;
    type Error = Infallible;
    type Future = Ready<Result<u32, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u32) -> Self::Future {
        ready(Ok(request))
    }
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// The wait must have taken some time, and the real clock must have advanced.
fn advance() {
    let start = std::time::Instant::now();
    while start.elapsed() < Duration::from_millis(1) {
        std::hint::spin_loop();
    }
}

mod a_concurrency_limit {
    use super::*;

    #[test]
    fn admits_at_once_while_there_are_permits() {
        let log = Log::new();
        let mut service = log.layer().layer(ConcurrencyLimit::new(Echo, 1));
        assert!(service.poll_ready(&mut cx()).is_ready());
        let mut response = Box::pin(service.call(1));
        assert_eq!(log.outcomes(), NONE);
        assert!(response.as_mut().poll(&mut cx()).is_ready());
        assert_eq!(log.outcomes(), ADMITTED);
        assert_eq!(log.durations(), [Duration::ZERO]);
        drop(response);
        assert_eq!(log.outcomes(), ADMITTED);
    }

    #[test]
    fn queues_requests_until_a_permit_is_free() {
        let log = Log::new();
        let mut service = log.layer().layer(ConcurrencyLimit::new(Echo, 1));
        let mut next = service.clone();
        assert!(service.poll_ready(&mut cx()).is_ready());
        let response = service.call(1);
        assert!(next.poll_ready(&mut cx()).is_pending());
        assert!(next.poll_ready(&mut cx()).is_pending());
        assert_eq!(log.queued(), 1);
        advance();
        drop(response);
        assert!(next.poll_ready(&mut cx()).is_ready());
        assert_eq!(log.queued(), 0);
        assert_eq!(log.outcomes(), CANCELLED, "not polled, so it did not run");
        let mut response = Box::pin(next.call(2));
        assert!(response.as_mut().poll(&mut cx()).is_ready());
        assert_eq!(log.outcomes(), [1, 0, 1]);
        assert!(log.durations()[1] >= Duration::from_millis(1));
    }

    #[test]
    fn is_cancelled_by_a_caller_that_gives_up() {
        let log = Log::new();
        let semaphore = std::sync::Arc::new(Semaphore::new(0));
        let limit = ConcurrencyLimit::with_semaphore(Echo, semaphore);
        let mut service = log.layer().layer(limit);
        assert!(service.poll_ready(&mut cx()).is_pending());
        advance();
        drop(service);
        assert_eq!((log.queued(), log.outcomes()), (0, CANCELLED));
        assert!(log.durations()[0] >= Duration::from_millis(1));
    }

    /// A clone that is ready holds a permit, which it returns when it is dropped.
    #[test]
    fn is_cancelled_by_a_ready_clone_that_is_dropped() {
        let log = Log::new();
        let service = log.layer().layer(ConcurrencyLimit::new(Echo, 1));
        let mut clone = service.clone();
        assert!(clone.poll_ready(&mut cx()).is_ready());
        // Readiness lasts until the call.
        assert!(clone.poll_ready(&mut cx()).is_ready());
        drop(clone);
        assert_eq!(log.outcomes(), CANCELLED);
        drop(service);
        assert_eq!(log.outcomes(), CANCELLED, "the other one did not wait");
    }
}

mod a_rate_limit {
    use super::*;

    fn service(
        log: Log,
        period: Duration,
    ) -> impl Service<u32, Response = u32, Error = Infallible> {
        log.layer()
            .layer(RateLimit::new(Echo, Rate::new(1, period)))
    }

    #[tokio::test]
    async fn queues_requests_until_the_next_period() {
        let log = Log::new();
        let mut service = service(log, Duration::from_secs(3600));
        service.ready().await.unwrap().call(1).await.unwrap();
        assert!(service.poll_ready(&mut cx()).is_pending());
        assert_eq!((log.queued(), log.outcomes()), (1, ADMITTED));
        drop(service);
        assert_eq!((log.queued(), log.outcomes()), (0, [1, 0, 1]));
    }

    #[tokio::test]
    async fn admits_requests_in_each_period() {
        let log = Log::new();
        let mut service = service(log, Duration::from_millis(5));
        for request in [1, 2, 3] {
            service.ready().await.unwrap().call(request).await.unwrap();
        }
        assert_eq!((log.queued(), log.outcomes()), (0, [3, 0, 0]));
    }
}

mod load_shedding {
    use super::*;

    #[tokio::test]
    async fn rejects_without_a_wait() {
        let log = Log::new();
        let mut service = log
            .layer()
            .layer(LoadShed::new(ConcurrencyLimit::new(Echo, 1)));
        let mut other = service.clone();
        let mut admitted = Box::pin(service.ready().await.unwrap().call(1));
        let rejected = other.ready().await.unwrap().call(2);
        assert_eq!(log.outcomes(), NONE);
        assert!(
            rejected
                .await
                .unwrap_err()
                .is::<tower::load_shed::error::Overloaded>()
        );
        assert_eq!(log.outcomes(), REJECTED);
        assert!(admitted.as_mut().poll(&mut cx()).is_ready());
        assert_eq!((log.queued(), log.outcomes()), (0, [1, 1, 0]));
        assert_eq!(log.durations(), [Duration::ZERO; 2]);
    }

    /// Errors of the service itself are those of an admitted request.
    #[tokio::test]
    async fn admits_a_request_that_fails() {
        let log = Log::new();
        let fails = service_fn(|(): ()| ready(Err::<(), BoxError>("out of tickets".into())));
        let mut service = log.layer().layer(LoadShed::new(fails));
        service.ready().await.unwrap().call(()).await.unwrap_err();
        assert_eq!(log.outcomes(), ADMITTED);
    }

    #[tokio::test]
    async fn is_recognized_by_a_function() {
        let log = Log::new();
        let fails = service_fn(|busy: bool| ready(Err::<(), _>(busy)));
        let layer = log.layer().rejected_if(|busy: &bool| *busy);
        for busy in [true, false] {
            layer.layer(fails).oneshot(busy).await.unwrap_err();
        }
        assert_eq!(log.outcomes(), [1, 1, 0]);
    }
}

mod a_buffer {
    use super::*;

    #[tokio::test]
    async fn queues_requests_that_its_queue_has_no_slot_for() {
        let log = Log::new();
        // Not polled yet, so that the queue stays full.
        let (buffer, worker) = Buffer::pair(Echo, 1);
        let mut service = log.layer().layer(buffer);
        let mut next = service.clone();
        let first = service.ready().await.unwrap().call(1);
        assert!(next.poll_ready(&mut cx()).is_pending());
        assert_eq!(log.queued(), 1);
        tokio::spawn(worker);
        let second = next.ready().await.unwrap().call(2);
        assert_eq!((first.await.unwrap(), second.await.unwrap()), (1, 2));
        assert_eq!((log.queued(), log.outcomes()), (0, [2, 0, 0]));
    }

    #[tokio::test]
    async fn rejects_requests_if_its_worker_has_ended() {
        let log = Log::new();
        let (buffer, worker) = Buffer::<u32, _>::pair(Echo, 1);
        let mut service = log.layer().layer(buffer);
        drop(worker);
        assert!(service.ready().await.is_err());
        assert_eq!((log.queued(), log.outcomes()), (0, REJECTED));
        drop(service);
        assert_eq!(log.outcomes(), REJECTED);
    }
}

mod in_a_router {
    use super::*;

    /// axum clones the service for each request.
    #[tokio::test]
    async fn every_request_is_admitted_rejected_or_cancelled() {
        let log = Log::new();
        let (release, released) = oneshot::channel::<()>();
        let released = std::sync::Arc::new(Mutex::new(Some(released)));
        let handler = get(move || {
            let released = released.lock().unwrap().take();
            async move {
                if let Some(released) = released {
                    released.await.unwrap();
                }
                "hello"
            }
        });
        let limits = ServiceBuilder::new()
            .layer(HandleErrorLayer::new(async |_: BoxError| {
                StatusCode::SERVICE_UNAVAILABLE
            }))
            .layer(log.layer())
            .load_shed()
            .layer(GlobalConcurrencyLimitLayer::new(1));
        let router = Router::new()
            .route("/a", handler.clone())
            .route("/b", handler);
        let router: Router = router.layer(limits);
        let request = |path: &str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            Box::pin(router.clone().oneshot(request))
        };
        let mut first = request("/a");
        assert!(first.as_mut().poll(&mut cx()).is_pending());
        assert_eq!(log.outcomes(), ADMITTED);
        for path in ["/a", "/b"] {
            let response = request(path).await.unwrap();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        }
        release.send(()).unwrap();
        assert_eq!(first.await.unwrap().status(), StatusCode::OK);
        assert_eq!(request("/b").await.unwrap().status(), StatusCode::OK);
        assert_eq!((log.queued(), log.outcomes()), (0, [2, 2, 0]));
    }

    #[tokio::test]
    async fn a_request_whose_client_disconnects_while_it_waits_is_cancelled() {
        let log = Log::new();
        let limits = ServiceBuilder::new()
            .layer(log.layer())
            .layer(GlobalConcurrencyLimitLayer::new(1));
        let router: Router = Router::new().route("/", get(pending::<()>)).layer(limits);
        let request = || {
            let request = Request::get("/").body(Body::empty()).unwrap();
            Box::pin(router.clone().oneshot(request))
        };
        let (mut served, mut waiting) = (request(), request());
        assert!(served.as_mut().poll(&mut cx()).is_pending());
        assert!(waiting.as_mut().poll(&mut cx()).is_pending());
        assert_eq!((log.queued(), log.outcomes()), (1, ADMITTED));
        drop(waiting);
        assert_eq!((log.queued(), log.outcomes()), (0, [1, 0, 1]));
        drop(served);
        assert_eq!(log.outcomes(), [1, 0, 1]);
    }
}

mod a_wait_of_its_own {
    use super::*;

    #[test]
    fn ends_once() {
        for (end, expected) in [
            (AdmissionWait::admit as fn(_), ADMITTED),
            (AdmissionWait::reject, REJECTED),
            (drop, CANCELLED),
        ] {
            for is_queued in [false, true] {
                let log = Log::new();
                let mut wait = AdmissionWait::new(log);
                if is_queued {
                    wait.queue();
                    wait.queue();
                    advance();
                }
                assert_eq!(log.queued(), usize::from(is_queued));
                end(wait);
                assert_eq!((log.queued(), log.outcomes()), (0, expected));
                let waited = log.durations()[0] >= Duration::from_millis(1);
                assert_eq!(waited, is_queued);
            }
        }
    }
}

mod recorders {
    use super::*;

    fn admit<R: AdmissionRecorder>(recorder: R) {
        let mut queued = AdmissionWait::new(recorder.clone());
        queued.queue();
        advance();
        queued.admit();
        AdmissionWait::new(recorder.clone()).admit();
        AdmissionWait::new(recorder.clone()).reject();
        let mut waiting = AdmissionWait::new(recorder);
        waiting.queue();
        std::mem::forget(waiting);
    }

    #[test]
    fn prometheus_has_a_histogram_by_outcome_and_a_gauge() {
        let prometheus = Prometheus::builder()
            .prefix("shop")
            .constant_label("zone", "eu")
            .build()
            .unwrap();
        let layer = AdmissionLayer::new(prometheus);
        layer.unwrap();
        let initial = Samples::of(&prometheus);
        let wait = format!("shop_{WAIT}_count");
        assert_eq!(initial.series(&wait), 3);
        admit(prometheus);
        // Layers share the metrics.
        AdmissionLayer::new(prometheus).unwrap();
        let samples = Samples::of(&prometheus);
        for (outcome, count) in [("admitted", 2.0), ("rejected", 1.0), ("cancelled", 0.0)] {
            let labels = [("outcome", outcome), ("zone", "eu"), ("url_scheme", "")];
            assert_eq!(samples.sum(&wait, &labels), count, "{outcome}");
            let at_once = [("outcome", outcome), ("le", "+Inf")];
            let buckets = format!("shop_{WAIT}_bucket");
            let infinite = [("outcome", outcome), ("le", "inf")];
            let all = samples.sum(&buckets, &at_once) + samples.sum(&buckets, &infinite);
            assert_eq!(all, count);
        }
        assert!(samples.sum(&format!("shop_{WAIT}_sum"), &[]) >= 0.001);
        // Of the three that have ended, one has waited.
        let at_once = samples.sum(&format!("shop_{WAIT}_bucket"), &[("le", "0")]);
        assert_eq!(at_once, 2.0);
        let queued = prometheus.admission_names().queued;
        assert_eq!(samples.sum(&queued, &[("zone", "eu")]), 1.0);
        assert_eq!(queued, "shop_http_server_admission_queued");
    }

    #[test]
    fn a_name_that_the_registry_has_is_an_error() {
        let prometheus = Prometheus::new();
        let gauge = prometheus::IntGauge::new("http_server_admission_queued", "Other.").unwrap();
        prometheus.registry().register(Box::new(gauge)).unwrap();
        let error = AdmissionLayer::new(prometheus).unwrap_err();
        assert!(matches!(error, BuildError::Registration { name, .. } if name == WAIT));
    }

    #[test]
    fn a_label_that_the_metrics_have_themselves_is_an_error() {
        let labels = [("outcome".to_owned(), "a".to_owned())].into();
        let registry = prometheus::Registry::new_custom(None, Some(labels)).unwrap();
        for builder in [
            Prometheus::builder().constant_label("outcome", "a"),
            Prometheus::builder().registry(registry),
        ] {
            let error = AdmissionLayer::new(builder.build().unwrap()).unwrap_err();
            assert!(matches!(error, BuildError::Label(_)), "{error}");
            assert!(error.to_string().contains("outcome"), "{error}");
        }
    }

    #[test]
    fn a_pair_and_an_option_record_in_all_of_them() {
        let (prometheus, log) = (Prometheus::new(), Log::new());
        let recorder = ((Some(prometheus), log), None::<Log>);
        AdmissionLayer::new(recorder).unwrap();
        admit(recorder);
        assert_eq!((log.queued(), log.outcomes()), (1, [2, 1, 0]));
        let samples = Samples::of(&prometheus);
        assert_eq!(samples.sum(&format!("{WAIT}_count"), &[]), 3.0);
        assert_eq!(samples.sum("http_server_admission_queued", &[]), 1.0);
    }

    #[test]
    fn opentelemetry_has_the_same_values() {
        let exporter = InMemoryMetricExporter::default();
        let provider = SdkMeterProvider::builder()
            .with_periodic_exporter(exporter.clone())
            .build();
        let recorder = OpenTelemetry::new(&provider.meter("tests"));
        AdmissionLayer::new(recorder).unwrap();
        admit(recorder);
        provider.force_flush().unwrap();
        let mut values = BTreeMap::new();
        let exported = exporter.get_finished_metrics().unwrap();
        let scopes = exported
            .iter()
            .flat_map(|resource| resource.scope_metrics());
        for metric in scopes.flat_map(|scope| scope.metrics()) {
            match metric.data() {
                AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
                    for point in histogram.data_points() {
                        let outcome = point.attributes().next().unwrap().value.to_string();
                        values.insert(format!("{} {outcome}", metric.name()), point.count() as i64);
                    }
                }
                AggregatedMetrics::I64(MetricData::Sum(sum)) => {
                    let value = sum.data_points().next().unwrap().value();
                    values.insert(metric.name().to_owned(), value);
                }
                other => panic!("{other:?}"),
            }
        }
        let expected = [
            ("http.server.admission.queued".to_owned(), 1),
            ("http.server.admission.wait admitted".to_owned(), 2),
            ("http.server.admission.wait rejected".to_owned(), 1),
        ];
        assert_eq!(values, BTreeMap::from(expected));
        provider.shutdown().unwrap();
    }
}

/// Next action of a service.
#[derive(Clone, Copy, Debug)]
enum Readiness {
    Pending,
    Ready,
    Error,
    Panic,
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Pending,
    Ok,
    Overloaded,
    Error,
    Panic,
    PanicInCall,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    PollReady(usize, Readiness),
    Call(usize, Answer),
    PollResponse(usize),
    DropService(usize),
    DropResponse(usize),
    Clone(usize),
}

/// Service that does as the test says.
#[derive(Clone)]
struct Scripted(&'static Mutex<(Readiness, Answer)>);

impl Service<()> for Scripted {
    type Response = ();
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<(), BoxError>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let (readiness, _) = *self.0.lock().unwrap();
        match readiness {
            Readiness::Pending => Poll::Pending,
            Readiness::Ready => Poll::Ready(Ok(())),
            Readiness::Error => Poll::Ready(Err("failed on purpose".into())),
            Readiness::Panic => panic!("a service panics on purpose"),
        }
    }

    fn call(&mut self, (): ()) -> Self::Future {
        let (_, answer) = *self.0.lock().unwrap();
        assert!(!matches!(answer, Answer::PanicInCall), "panics on purpose");
        Box::pin(async move {
            match answer {
                Answer::Pending => pending().await,
                Answer::Ok => Ok(()),
                Answer::Overloaded => Err(tower::load_shed::error::Overloaded::new().into()),
                Answer::Error => Err("failed on purpose".into()),
                Answer::Panic | Answer::PanicInCall => panic!("a future panics on purpose"),
            }
        })
    }
}

fn step() -> impl Strategy<Value = Step> {
    let at = 0usize..4;
    let readiness = prop::sample::select(vec![
        Readiness::Pending,
        Readiness::Ready,
        Readiness::Error,
        Readiness::Panic,
    ]);
    let answer = prop::sample::select(vec![
        Answer::Pending,
        Answer::Ok,
        Answer::Overloaded,
        Answer::Error,
        Answer::Panic,
        Answer::PanicInCall,
    ]);
    prop_oneof![
        (at.clone(), readiness).prop_map(|(at, readiness)| Step::PollReady(at, readiness)),
        (at.clone(), answer).prop_map(|(at, answer)| Step::Call(at, answer)),
        at.clone().prop_map(Step::PollResponse),
        at.clone().prop_map(Step::DropService),
        at.clone().prop_map(Step::DropResponse),
        at.prop_map(Step::Clone),
    ]
}

#[test]
fn a_request_that_panics_in_the_service_was_admitted() {
    for answer in [Answer::PanicInCall, Answer::Panic] {
        let script = Box::leak(Box::new(Mutex::new((Readiness::Ready, answer))));
        let log = Log::new();
        let mut service = log.layer().layer(Scripted(script));
        assert!(service.poll_ready(&mut cx()).is_ready());
        let panic = catch_unwind(AssertUnwindSafe(|| {
            _ = Box::pin(service.call(())).as_mut().poll(&mut cx());
        }));
        assert!(panic.is_err());
        drop(service);
        assert_eq!(log.outcomes(), ADMITTED, "{answer:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A wait begins with a poll or a call that finds none, and ends exactly once,
    /// whatever becomes of services and futures.
    #[test]
    fn every_wait_ends_exactly_once(steps in vec(step(), 0..40)) {
        std::panic::set_hook(Box::new(|_| ()));
        let script: &'static Mutex<_> =
            Box::leak(Box::new(Mutex::new((Readiness::Ready, Answer::Ok))));
        let set = |next| *script.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = next;
        let log = Log::new();
        let layer = log.layer();
        // Each service with whether it has a wait.
        let mut services = vec![(layer.layer(Scripted(script)), false)];
        let mut responses = Vec::new();
        let mut begun = 0;
        for step in steps {
            match step {
                Step::PollReady(at, readiness) => {
                    set((readiness, Answer::Ok));
                    if let Some((service, waits)) = services.get_mut(at) {
                        begun += usize::from(!*waits);
                        let polled = catch_unwind(AssertUnwindSafe(|| service.poll_ready(&mut cx())));
                        *waits = !matches!(polled, Ok(Poll::Ready(Err(_))));
                    }
                }
                Step::Call(at, answer) => {
                    set((Readiness::Ready, answer));
                    if let Some((service, waits)) = services.get_mut(at) {
                        begun += usize::from(!*waits);
                        *waits = false;
                        let called = catch_unwind(AssertUnwindSafe(|| service.call(())));
                        responses.extend(called.ok().map(Box::pin));
                    }
                }
                Step::PollResponse(at) if at < responses.len() => {
                    let response = &mut responses[at];
                    let polled = catch_unwind(AssertUnwindSafe(|| response.as_mut().poll(&mut cx())));
                    if !matches!(polled, Ok(Poll::Pending)) {
                        drop(responses.remove(at));
                    }
                }
                Step::DropService(at) if at < services.len() => drop(services.remove(at)),
                Step::DropResponse(at) if at < responses.len() => drop(responses.remove(at)),
                Step::Clone(at) if at < services.len() => {
                    let clone = services[at].0.clone();
                    services.push((clone, false));
                }
                _ => {}
            }
            let ended: usize = log.outcomes().iter().sum();
            prop_assert!(ended <= begun);
        }
        drop((services, responses));
        prop_assert_eq!(log.outcomes().iter().sum::<usize>(), begun);
        prop_assert_eq!(log.queued(), 0);
    }
}
