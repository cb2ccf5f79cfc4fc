//! Property test: after each step of random requests, the samples equal those of
//! a simple reference model.

mod fates;
mod scrape;
mod script;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use http_body::Body as _;
use proptest::collection::vec;
use proptest::prelude::*;
use tower::{Layer, Service};
use tower_metrics::prometheus::Format;
use tower_metrics::{
    MetricsLayer, MetricsService, Outcome, Prometheus, ResponseBody, ResponseFuture, Route,
    ServiceError,
};

use self::fates::{Answer, Fate, FutureEnd, Inner, InnerFuture, fate, quiet};
use self::scrape::Samples;
use self::script::{Script, Step};

/// Method and route.
type Endpoint = (String, String);

/// Reference model of the expected counts.
#[derive(Debug, Default)]
struct Model {
    routes: BTreeSet<&'static str>,
    overflows: u64,
    /// By endpoint, status and error type: requests, bytes in, bytes out.
    ended: BTreeMap<(Endpoint, String, String), (u64, u64, u64)>,
    in_flight: BTreeMap<Endpoint, u64>,
}

const MAX_ROUTES: usize = 3;

/// Request in the model.
#[derive(Clone, Debug)]
struct Counted {
    method: &'static str,
    route: &'static str,
    /// Route without a slot.
    candidate: Option<&'static str>,
    request_bytes: u64,
    status: String,
    error_type: String,
    streams: bool,
    /// The route is beyond the limit.
    overflowed: bool,
    sent: u64,
}

impl Counted {
    fn endpoint(&self) -> Endpoint {
        (self.method.into(), self.route.into())
    }
}

impl Model {
    fn begin(&mut self, fate: &Fate) -> Option<Counted> {
        if fate.skipped || fate.route == "/skipped" {
            return None;
        }
        let known = fate.route.is_empty() || self.routes.contains(fate.route);
        let counted = Counted {
            method: match fate.method {
                "BREW" => "_OTHER",
                method => method,
            },
            route: if known { fate.route } else { "_OTHER" },
            candidate: (!known).then_some(fate.route),
            request_bytes: fate.request_bytes,
            status: String::new(),
            error_type: String::new(),
            streams: false,
            overflowed: false,
            sent: 0,
        };
        *self.in_flight.entry(counted.endpoint()).or_default() += 1;
        Some(counted)
    }

    fn leave(&mut self, counted: &Counted) {
        *self.in_flight.get_mut(&counted.endpoint()).unwrap() -= 1;
    }

    /// Returns the counts of the series that the request belongs to.
    fn samples(&mut self, counted: &Counted) -> &mut (u64, u64, u64) {
        let key = (
            counted.endpoint(),
            counted.status.clone(),
            counted.error_type.clone(),
        );
        self.ended.entry(key).or_default()
    }

    fn end(&mut self, mut counted: Counted, outcome: Outcome) {
        self.leave(&counted);
        self.overflows += u64::from(counted.overflowed);
        counted.error_type = match outcome {
            Outcome::Complete => counted.error_type,
            Outcome::Cancelled => "cancelled".into(),
            Outcome::ServiceError => "service_error".into(),
            Outcome::Panic => "panic".into(),
            Outcome::BodyError => "body_error".into(),
            // A disconnect is the ordinary end of a stream.
            Outcome::BodyCancelled if counted.streams => counted.error_type,
            Outcome::BodyCancelled => "body_cancelled".into(),
            _ => unreachable!(),
        };
        let samples = self.samples(&counted);
        samples.0 += 1;
        samples.1 += counted.request_bytes;
        samples.2 += counted.sent;
    }

    /// Records the response head. Returns `None` if the request has ended.
    fn head(&mut self, mut counted: Counted, fate: &Fate, answer: &Answer) -> Option<Counted> {
        self.leave(&counted);
        if answer.skipped {
            return None;
        }
        if let Some(route) = counted.candidate.take() {
            counted.route = if self.routes.contains(route) {
                route
            } else if answer.status != 101 && !(200..300).contains(&answer.status) {
                ""
            } else if self.routes.len() < MAX_ROUTES {
                self.routes.insert(route);
                route
            } else {
                counted.overflowed = true;
                "_OTHER"
            };
        }
        *self.in_flight.entry(counted.endpoint()).or_default() += 1;

        counted.status = answer.status.to_string();
        counted.error_type = match answer.error_type {
            Some(error_type) => error_type.as_str().into(),
            None if answer.status >= 500 => counted.status.clone(),
            None => String::new(),
        };
        let size = answer.size();
        let no_body = fate.method == "HEAD"
            || matches!(answer.status, 101 | 204 | 304)
            || answer.body.is_end_stream()
            || size == Some(0);
        let upgrade = answer.status == 101
            || (fate.method == "CONNECT" && (200..300).contains(&answer.status));
        counted.streams = upgrade || (!no_body && answer.event_stream && size.is_none());
        if no_body && !counted.streams {
            self.end(counted, Outcome::Complete);
            return None;
        }
        Some(counted)
    }

    fn compare(&self, samples: &Samples) -> Result<(), TestCaseError> {
        let mut in_flight = self.in_flight.clone();
        let mut requests = BTreeMap::new();
        for ((name, labels), value) in &samples.0 {
            let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
            let endpoint = (label("http_request_method"), label("http_route"));
            let key = (
                endpoint.clone(),
                label("http_response_status_code"),
                label("error_type"),
            );
            let value = *value as u64;
            let entry = requests.entry(key);
            match &**name {
                "http_server_request_duration_seconds_count" => {
                    entry.or_insert((0, 0, 0)).0 = value
                }
                "http_server_request_body_size_bytes_sum" => entry.or_insert((0, 0, 0)).1 = value,
                "http_server_response_body_size_bytes_sum" => entry.or_insert((0, 0, 0)).2 = value,
                "http_server_active_requests" => {
                    prop_assert_eq!(
                        in_flight.remove(&endpoint).unwrap_or(0),
                        value,
                        "{:?}",
                        endpoint
                    );
                }
                "tower_metrics_overflow_total" => prop_assert_eq!(self.overflows, value),
                _ => {}
            }
        }
        prop_assert!(
            in_flight.values().all(|n| *n == 0),
            "missing: {in_flight:?}"
        );
        prop_assert_eq!(&self.ended, &requests);
        Ok(())
    }
}

impl Answer {
    fn size(&self) -> Option<u64> {
        let size = self.body.clone().sized().exact;
        if self.body.exact.is_some() || self.length_in_header {
            size
        } else {
            None
        }
    }
}

/// Request in flight, in the middleware and in the model.
struct Running {
    fate: Fate,
    counted: Option<Counted>,
    at: At,
    polls: usize,
}

enum At {
    Future(Pin<Box<ResponseFuture<InnerFuture, Prometheus, ServiceError>>>),
    Body {
        body: Pin<Box<ResponseBody<Script, Prometheus>>>,
        /// Bytes that are left, according to the model.
        left: Option<u64>,
        steps: Script,
    },
    Done,
}

impl Running {
    fn begin(
        service: &mut MetricsService<Inner, Prometheus>,
        fate: &Fate,
        model: &mut Model,
    ) -> Self {
        let counted = model.begin(fate);
        let called = catch_unwind(AssertUnwindSafe(|| service.call(fate.request())));
        let mut running = Self {
            fate: fate.clone(),
            counted,
            at: At::Done,
            polls: 0,
        };
        match called {
            Ok(future) => running.at = At::Future(Box::pin(future)),
            Err(_) => running.ended(model, Outcome::Panic),
        }
        running
    }

    fn ended(&mut self, model: &mut Model, outcome: Outcome) {
        if let Some(counted) = self.counted.take() {
            model.end(counted, outcome);
        }
    }

    /// Polls once, or drops. Returns whether more steps follow.
    fn step(&mut self, model: &mut Model) -> bool {
        let dropped = self.fate.dropped_after == Some(self.polls);
        self.polls += 1;
        let cx = &mut Context::from_waker(Waker::noop());
        match &mut self.at {
            At::Done => return false,
            At::Future(_) if dropped => {
                self.at = At::Done;
                self.ended(model, Outcome::Cancelled);
            }
            At::Body { .. } if dropped => {
                self.at = At::Done;
                self.ended(model, Outcome::BodyCancelled);
            }
            At::Future(future) => {
                match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
                    Err(_) => {
                        self.at = At::Done;
                        self.ended(model, Outcome::Panic);
                    }
                    Ok(Poll::Pending) => {}
                    Ok(Poll::Ready(Err(_))) => {
                        self.at = At::Done;
                        self.ended(model, Outcome::ServiceError);
                    }
                    Ok(Poll::Ready(Ok(response))) => {
                        let FutureEnd::Response(answer) = self.fate.end.clone() else {
                            panic!("an answer that nobody gave");
                        };
                        self.counted = self
                            .counted
                            .take()
                            .and_then(|counted| model.head(counted, &self.fate, &answer));
                        self.at = At::Body {
                            body: Box::pin(response.into_body()),
                            left: answer.size(),
                            steps: answer.body,
                        };
                    }
                }
            }
            At::Body { body, left, steps } => {
                let polled = catch_unwind(AssertUnwindSafe(|| body.as_mut().poll_frame(cx)));
                let step = steps.steps.pop_front();
                let told = steps.is_end_stream();
                let end = match (polled, step) {
                    (Err(_), Some(Step::Panic)) => {
                        self.at = At::Done;
                        Some(Outcome::Panic)
                    }
                    (Ok(Poll::Pending), Some(Step::Pending)) => None,
                    (Ok(Poll::Ready(Some(Err(_)))), Some(Step::Error)) => Some(Outcome::BodyError),
                    (Ok(Poll::Ready(Some(Ok(frame)))), Some(Step::Data(data))) => {
                        let bytes = frame.into_data().unwrap();
                        assert_eq!(*bytes, *data);
                        if let Some(counted) = &mut self.counted {
                            counted.sent += data.len() as u64;
                        }
                        if let Some(left) = left {
                            *left -= data.len() as u64;
                        }
                        (told || *left == Some(0)).then_some(Outcome::Complete)
                    }
                    (Ok(Poll::Ready(Some(Ok(frame)))), Some(Step::Trailers(trailers))) => {
                        assert_eq!(frame.into_trailers().unwrap(), trailers);
                        Some(Outcome::Complete)
                    }
                    (Ok(Poll::Ready(None)), None) => {
                        self.at = At::Done;
                        Some(Outcome::Complete)
                    }
                    (polled, step) => panic!("{polled:?} from {step:?}"),
                };
                if let Some(outcome) = end {
                    self.ended(model, outcome);
                }
            }
        }
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_request_is_counted_as_the_model_says(
        fates in vec(fate(), 1..12),
        order in vec(any::<prop::sample::Index>(), 0..60),
        size_bounds in any::<bool>(),
    ) {
        quiet();
        let mut builder = Prometheus::builder();
        if size_bounds {
            builder = builder.request_size_bounds([0, 100]).response_size_bounds([0, 1000]);
        }
        let prometheus = builder.build().unwrap();
        let layer = MetricsLayer::builder(prometheus)
            .route(Route::from_fn(|head| {
                Some(head.extensions.get::<Fate>().unwrap().route.into())
            }))
            .max_routes(MAX_ROUTES)
            .skip(["/skipped"])
            .build()
            .unwrap();
        let mut service = layer.layer(Inner);
        let mut model = Model::default();

        // All requests are in flight at once.
        let mut running: Vec<_> = fates
            .iter()
            .map(|fate| Running::begin(&mut service, fate, &mut model))
            .collect();
        model.compare(&Samples::of(&prometheus))?;
        for index in &order {
            let i = index.index(running.len());
            if running[i].step(&mut model) {
                model.compare(&Samples::of(&prometheus))?;
            }
        }
        for running in &mut running {
            while running.step(&mut model) {}
        }
        let samples = Samples::of(&prometheus);
        model.compare(&samples)?;

        prop_assert_eq!(samples.in_flight(), 0.0);
        let sizes = samples.sum("http_server_response_body_size_bytes_count", &[]);
        prop_assert_eq!(sizes, samples.requests(&[]));

        // The registry returns the same samples.
        let encoder = prometheus::TextEncoder::new();
        let gathered = encoder.encode_to_string(&prometheus.registry().gather()).unwrap();
        let rendered = prometheus.exposition().render(Format::Text);
        prop_assert_eq!(Samples::parse(&gathered), Samples::parse(&rendered));
    }
}
