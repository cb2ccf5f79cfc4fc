//! What the layer's metrics and labels are called.

/// Metric and label names, with the prefix already applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// A counter of requests, where the preset has one beside the histogram's count.
    pub requests: Option<String>,
    /// The histogram of durations, in seconds.
    pub duration: String,
    /// The gauge of requests in flight.
    pub in_flight: String,
    /// The histogram of request sizes, in bytes.
    pub request_size: Option<String>,
    /// The histogram of response sizes, in bytes.
    pub response_size: Option<String>,
    /// The histogram of the time to the head, in seconds.
    pub time_to_head: String,
    /// The label of the method.
    pub method: String,
    /// The label of the route.
    pub route: String,
    /// The label of the status.
    pub status: String,
    /// The label of the kind of error.
    pub error_type: Option<String>,
    /// The label of the scheme.
    pub scheme: Option<String>,
}

impl Names {
    /// The OpenTelemetry semantic conventions.
    #[must_use]
    pub fn open_telemetry() -> Self {
        Self {
            requests: None,
            duration: "http_server_request_duration_seconds".to_owned(),
            in_flight: "http_server_active_requests".to_owned(),
            request_size: Some("http_server_request_body_size_bytes".to_owned()),
            response_size: Some("http_server_response_body_size_bytes".to_owned()),
            time_to_head: "http_server_time_to_head_seconds".to_owned(),
            method: "http_request_method".to_owned(),
            route: "http_route".to_owned(),
            status: "http_response_status_code".to_owned(),
            error_type: Some("error_type".to_owned()),
            scheme: Some("url_scheme".to_owned()),
        }
    }
}
