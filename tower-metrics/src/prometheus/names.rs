//! What the metrics and their labels are called.

/// The names of a recorder's metrics and labels: a preset, or your own.
///
/// Start from a preset and change what you like:
///
/// ```
/// # use tower_metrics::Names;
/// let mut names = Names::open_telemetry();
/// names.in_flight = "http_server_requests_in_flight".into();
/// ```
///
/// Names of metrics match `[a-zA-Z_:][a-zA-Z0-9_:]*`, those of labels
/// `[a-zA-Z_][a-zA-Z0-9_]*`, and each stands for one thing:
/// [`PrometheusBuilder::build`](super::PrometheusBuilder::build) checks it. OpenMetrics wants a
/// counter to end in `_total`; there, one that does not is of unknown type.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Names {
    /// A counter of requests; `None`: the duration's `_count` is enough.
    pub requests: Option<String>,
    /// The histogram of durations, in seconds.
    pub duration: String,
    /// The gauge of requests in flight.
    pub in_flight: String,
    /// The histogram of request bodies, in bytes.
    pub request_size: Option<String>,
    /// The histogram of response bodies, in bytes.
    pub response_size: Option<String>,
    /// The histogram of times to the response's head, in seconds; recorded
    /// where [`PrometheusBuilder::time_to_head`](super::PrometheusBuilder::time_to_head) says so.
    pub time_to_head: String,
    /// The label of the request's method.
    pub method: String,
    /// The label of the route's template.
    pub route: String,
    /// The label of the response's status.
    pub status: String,
    /// The label of the error's type.
    pub error_type: Option<String>,
    /// The constant label of the URL's scheme.
    pub scheme: Option<String>,
    /// The label of the gRPC status, where a layer has gRPC switched on.
    pub grpc_status: String,
}

impl Names {
    /// The OpenTelemetry semantic conventions for HTTP servers, as Prometheus
    /// writes them. The default.
    pub fn open_telemetry() -> Self {
        Self::of_convention("server", "http_route", Some("url_scheme"))
    }

    /// The OpenTelemetry semantic conventions for HTTP clients. Tell the layer
    /// that it stands around a [`client`](crate::MetricsLayerBuilder::client), too.
    ///
    /// The route is `url.template`, which the caller knows:
    /// [`Route::template`](crate::Route::template). `server_address` and
    /// `server_port` are labels of your own, since only the program knows how
    /// many servers it asks: [`Label::from_request`](crate::Label::from_request).
    pub fn open_telemetry_client() -> Self {
        Self::of_convention("client", "url_template", None)
    }

    fn of_convention(side: &str, route: &str, scheme: Option<&str>) -> Self {
        Self {
            requests: None,
            duration: format!("http_{side}_request_duration_seconds"),
            in_flight: format!("http_{side}_active_requests"),
            request_size: Some(format!("http_{side}_request_body_size_bytes")),
            response_size: Some(format!("http_{side}_response_body_size_bytes")),
            time_to_head: format!("http_{side}_time_to_head_seconds"),
            method: "http_request_method".into(),
            route: route.into(),
            status: "http_response_status_code".into(),
            error_type: Some("error_type".into()),
            scheme: scheme.map(Into::into),
            grpc_status: "rpc_response_status_code".into(),
        }
    }

    /// What client_golang's `promhttp` and many dashboards expect:
    /// `http_requests_total` by `method`, `route`, `code` and `error`.
    pub fn classic() -> Self {
        Self {
            requests: Some("http_requests_total".into()),
            duration: "http_request_duration_seconds".into(),
            in_flight: "http_requests_in_flight".into(),
            request_size: Some("http_request_size_bytes".into()),
            response_size: Some("http_response_size_bytes".into()),
            time_to_head: "http_time_to_head_seconds".into(),
            method: "method".into(),
            route: "route".into(),
            status: "code".into(),
            error_type: Some("error".into()),
            scheme: None,
            grpc_status: "grpc_code".into(),
        }
    }

    /// Those of the crate axum-prometheus, for dashboards that are there.
    pub fn axum_prometheus() -> Self {
        Self {
            requests: Some("axum_http_requests_total".into()),
            duration: "axum_http_requests_duration_seconds".into(),
            in_flight: "axum_http_requests_pending".into(),
            request_size: None,
            response_size: Some("axum_http_response_body_size".into()),
            time_to_head: "axum_http_time_to_head_seconds".into(),
            method: "method".into(),
            route: "endpoint".into(),
            status: "status".into(),
            error_type: None,
            scheme: None,
            grpc_status: "grpc_status".into(),
        }
    }

    /// Every metric's name with `prefix` and an underscore before it.
    pub(crate) fn prefixed(mut self, prefix: &str) -> Self {
        let metrics = [
            &mut self.duration,
            &mut self.in_flight,
            &mut self.time_to_head,
        ];
        let optional = [
            &mut self.requests,
            &mut self.request_size,
            &mut self.response_size,
        ];
        for name in metrics.into_iter().chain(optional.into_iter().flatten()) {
            *name = format!("{prefix}_{name}");
        }
        self
    }

    /// The names of all metrics that these settings make.
    pub(crate) fn metrics(&self, time_to_head: bool) -> Vec<&str> {
        let mut metrics: Vec<&str> = vec![&self.duration, &self.in_flight];
        let optional = [&self.requests, &self.request_size, &self.response_size];
        metrics.extend(optional.into_iter().flatten().map(String::as_str));
        if time_to_head {
            metrics.push(&self.time_to_head);
        }
        metrics
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::open_telemetry()
    }
}
