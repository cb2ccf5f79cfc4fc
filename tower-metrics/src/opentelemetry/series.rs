//! Attributes of a method and route.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use foldhash::fast::RandomState;
use http::StatusCode;
use opentelemetry::KeyValue;

use crate::completed_request::CompletedRequest;
use crate::error_type::ErrorType;
use crate::grpc::GrpcStatus;
use crate::label::LabelKey;
use crate::protocol_version;

pub(super) const STATUS: &str = "http.response.status_code";
pub(super) const ERROR_TYPE: &str = "error.type";
pub(super) const PROTOCOL_VERSION: &str = "network.protocol.version";
pub(super) const GRPC_STATUS: &str = "rpc.status_code";

/// Attributes of a method and route.
#[derive(Debug)]
pub struct Series {
    /// Attributes of requests in flight.
    pub(super) in_flight: Box<[KeyValue]>,
    /// Attributes of completed requests.
    completed: RwLock<HashMap<Key, &'static [KeyValue], RandomState>>,
}

/// Key of the attributes of completed requests.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    status: Option<StatusCode>,
    error_type: ErrorType,
    grpc_status: Option<GrpcStatus>,
    labels: LabelKey,
}

impl Series {
    pub(super) fn new(attributes: impl IntoIterator<Item = (&'static str, &'static str)>) -> Self {
        Self {
            in_flight: sort(non_empty(attributes).collect()).into(),
            completed: RwLock::default(),
        }
    }

    /// Returns the attributes of a completed request, which are created once and never
    /// freed.
    pub(super) fn completed(&self, request: &CompletedRequest<'_>) -> &'static [KeyValue] {
        let key = Key {
            status: request.status,
            error_type: request.error_type,
            grpc_status: request.grpc_status,
            labels: request.labels.key(),
        };
        let known = self
            .completed
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(attributes) = known.get(&key) {
            return attributes;
        }
        drop(known);
        self.completed
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(key)
            .or_insert_with(|| Vec::leak(self.new_attributes(request)))
    }

    fn new_attributes(&self, request: &CompletedRequest<'_>) -> Vec<KeyValue> {
        let status = request.status.map(|status| i64::from(status.as_u16()));
        let grpc_status = request.grpc_status.map_or("", GrpcStatus::as_str);
        let texts = [
            (ERROR_TYPE, request.error_type.as_str()),
            (GRPC_STATUS, grpc_status),
        ];
        let mut attributes = self.in_flight.to_vec();
        attributes.extend(status.map(|status| KeyValue::new(STATUS, status)));
        let labels = request.labels.iter();
        let labels = labels.map(|(name, value)| (attribute_name(name), value));
        attributes.extend(non_empty(texts.into_iter().chain(labels)));
        sort(attributes)
    }
}

/// Returns the name of the attribute of a label.
fn attribute_name(label: &'static str) -> &'static str {
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

/// Sorts attributes, so that the SDK finds them without sorting a copy.
fn sort(mut attributes: Vec<KeyValue>) -> Vec<KeyValue> {
    attributes.sort_by(|a, b| a.key.cmp(&b.key));
    attributes
}
