//! Attributes and bound instruments of a method and route.

use std::collections::HashMap;
use std::fmt;
use std::sync::{OnceLock, PoisonError, RwLock};

use foldhash::fast::RandomState;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, BoundHistogram};

use super::in_flight::InFlight;
use super::{Inner, seconds};
use crate::completed_request::CompletedRequest;
use crate::grpc::GrpcStatus;
use crate::label::LabelKey;
use crate::protocol_version;

pub(super) const STATUS: &str = "http.response.status_code";
pub(super) const ERROR_TYPE: &str = "error.type";
pub(super) const PROTOCOL_VERSION: &str = "network.protocol.version";
pub(super) const GRPC_STATUS: &str = "rpc.status_code";

/// All series of a recorder.
#[derive(Default)]
pub(super) struct AllSeries(RwLock<HashMap<(&'static str, &'static str), &'static Series>>);

impl AllSeries {
    /// Returns the series of a method and a route.
    pub(super) fn get_or_insert(
        &self,
        method: &'static str,
        route: &'static str,
        new: impl FnOnce() -> Series,
    ) -> &'static Series {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.entry((method, route))
            .or_insert_with(|| Box::leak(Box::new(new())))
    }

    /// Reports the requests in flight of all series.
    pub(super) fn observe_in_flight(&self, observer: &dyn AsyncInstrument<i64>) {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for series in all.values() {
            observer.observe(series.in_flight.get(), &series.attributes);
        }
    }
}

/// Method and route with their instruments.
pub struct Series {
    /// Attributes of requests in flight.
    attributes: Box<[KeyValue]>,
    pub(super) in_flight: InFlight,
    /// Instruments of completed requests, in a list in the order of first use. Most
    /// series have one to five.
    first: OnceLock<&'static Node>,
    /// Instruments beyond [`MAX_NODES`]. Custom labels can produce many.
    others: RwLock<HashMap<Key, &'static Completed, RandomState>>,
}

/// Instruments that are bound to the attributes of completed requests.
pub(super) struct Completed {
    duration: BoundHistogram<f64>,
    time_to_head: Option<BoundHistogram<f64>>,
    request_size: BoundHistogram<f64>,
    response_size: BoundHistogram<f64>,
}

struct Node {
    key: Key,
    completed: Completed,
    next: OnceLock<&'static Node>,
}

/// Maximum length of the list.
const MAX_NODES: usize = 8;

/// Key of the instruments of a completed request, which is cheap to compare. Different
/// keys may have equal attributes, for which the SDK returns the same data point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// Status, gRPC status, and length of the error type.
    statuses: u64,
    /// Address of the error type, a `&'static str`.
    error_type: usize,
    labels: LabelKey,
}

impl Key {
    #[inline]
    fn of(request: &CompletedRequest<'_>) -> Self {
        let status = request.status.map_or(0, |status| status.as_u16());
        let grpc = request.grpc_status.map_or(u8::MAX, GrpcStatus::code);
        let error_type = request.error_type.as_str();
        Self {
            statuses: u64::from(status) | u64::from(grpc) << 16 | (error_type.len() as u64) << 24,
            error_type: error_type.as_ptr().addr(),
            labels: request.labels.key(),
        }
    }
}

impl Series {
    pub(super) fn new(attributes: impl IntoIterator<Item = (&'static str, &'static str)>) -> Self {
        Self {
            attributes: non_empty(attributes).collect(),
            in_flight: InFlight::default(),
            first: OnceLock::new(),
            others: RwLock::default(),
        }
    }

    /// Returns the instruments of a completed request, which are bound once and never
    /// released.
    #[inline]
    pub(super) fn completed(
        &self,
        inner: &Inner,
        request: &CompletedRequest<'_>,
    ) -> &'static Completed {
        let key = Key::of(request);
        let mut next = &self.first;
        for _ in 0..MAX_NODES {
            let Some(node) = next.get() else { break };
            if node.key == key {
                return &node.completed;
            }
            next = &node.next;
        }
        self.find_or_bind(key, inner, request)
    }

    #[inline(never)]
    fn find_or_bind(
        &self,
        key: Key,
        inner: &Inner,
        request: &CompletedRequest<'_>,
    ) -> &'static Completed {
        let others = self.others.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(completed) = others.get(&key) {
            return completed;
        }
        drop(others);
        // Serializes the additions.
        let mut others = self.others.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(completed) = others.get(&key) {
            return completed;
        }
        let mut next = &self.first;
        for _ in 0..MAX_NODES {
            let Some(node) = next.get() else {
                let completed = Completed::bind(inner, &self.new_attributes(request));
                let node = Node {
                    key,
                    completed,
                    next: OnceLock::new(),
                };
                return &next.get_or_init(|| Box::leak(Box::new(node))).completed;
            };
            if node.key == key {
                return &node.completed;
            }
            next = &node.next;
        }
        let completed = Completed::bind(inner, &self.new_attributes(request));
        let completed: &Completed = Box::leak(Box::new(completed));
        others.insert(key, completed);
        completed
    }

    fn new_attributes(&self, request: &CompletedRequest<'_>) -> Vec<KeyValue> {
        let status = request.status.map(|status| i64::from(status.as_u16()));
        let grpc_status = request.grpc_status.map_or("", GrpcStatus::as_str);
        let texts = [
            (ERROR_TYPE, request.error_type.as_str()),
            (GRPC_STATUS, grpc_status),
        ];
        let mut attributes = self.attributes.to_vec();
        attributes.extend(status.map(|status| KeyValue::new(STATUS, status)));
        let labels = request.labels.iter();
        let labels = labels.map(|(name, value)| (attribute_name(name), value));
        attributes.extend(non_empty(texts.into_iter().chain(labels)));
        attributes
    }
}

impl Completed {
    fn bind(inner: &Inner, attributes: &[KeyValue]) -> Self {
        let time_to_head = inner.time_to_head.as_ref();
        Self {
            duration: inner.duration.bind(attributes),
            time_to_head: time_to_head.map(|histogram| histogram.bind(attributes)),
            request_size: inner.request_size.bind(attributes),
            response_size: inner.response_size.bind(attributes),
        }
    }

    #[inline]
    pub(super) fn record(&self, request: &CompletedRequest<'_>) {
        // The duration is last, so that its division overlaps with the locks of the others.
        let duration = seconds(request.duration);
        self.request_size.record(request.request_size as f64);
        self.response_size.record(request.response_size as f64);
        if let (Some(histogram), Some(time)) = (&self.time_to_head, request.time_to_head) {
            histogram.record(seconds(time));
        }
        self.duration.record(duration);
    }
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Series")
            .field("attributes", &self.attributes)
            .finish_non_exhaustive()
    }
}

/// Returns the name of the attribute of a label.
pub(super) fn attribute_name(label: &'static str) -> &'static str {
    match label {
        protocol_version::NAME => PROTOCOL_VERSION,
        label => label,
    }
}

fn non_empty(
    attributes: impl IntoIterator<Item = (&'static str, &'static str)>,
) -> impl Iterator<Item = KeyValue> {
    attributes
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| KeyValue::new(name, value))
}
