//! Names of metrics and labels.

/// Names of a recorder's metrics and labels.
///
/// Start from a preset and change individual names:
///
/// ```
/// # use tower_metrics::Names;
/// let mut names = Names::open_telemetry();
/// names.in_flight = "http_server_requests_in_flight".into();
/// ```
///
/// Metric names match `[a-zA-Z_:][a-zA-Z0-9_:]*`, label names match
/// `[a-zA-Z_][a-zA-Z0-9_]*`, and no name is used twice:
/// [`PrometheusBuilder::build`](super::PrometheusBuilder::build) checks them. In
/// OpenMetrics a counter whose name does not end in `_total` has the type
/// `unknown`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Names {
    /// Counter of requests. `None` if the `_count` of the duration histogram is
    /// to serve as the counter.
    pub requests: Option<String>,
    /// Histogram of durations in seconds.
    pub duration: String,
    /// Gauge of requests in flight.
    pub in_flight: String,
    /// Histogram of request body sizes in bytes.
    pub request_size: Option<String>,
    /// Histogram of response body sizes in bytes.
    pub response_size: Option<String>,
    /// Histogram of the time to the response head in seconds. Recorded if
    /// [`PrometheusBuilder::time_to_head`](super::PrometheusBuilder::time_to_head)
    /// is enabled.
    pub time_to_head: String,
    /// Gauge of the age of the oldest request in flight in seconds. Exposed unless
    /// [`PrometheusBuilder::oldest_request`](super::PrometheusBuilder::oldest_request)
    /// is disabled.
    pub oldest_request: String,
    /// Label for the request method.
    pub method: Option<String>,
    /// Label for the route template.
    pub route: String,
    /// Label for the response status.
    pub status: Option<String>,
    /// Label for the error type. Without it, errors are recognized by their
    /// status alone.
    pub error_type: Option<String>,
    /// Constant label for the URL scheme.
    pub scheme: Option<String>,
    /// Label for the gRPC status, if the layer records
    /// [gRPC](crate::MetricsLayerBuilder::grpc).
    pub grpc_status: String,
    /// Constant label for the RPC system, whose value is `grpc`. If it is set, the route
    /// is written as the RPC conventions write a method, without the leading slash:
    /// `shop.Tickets/Buy`.
    pub rpc_system: Option<String>,
}

impl Names {
    /// Returns the names of the OpenTelemetry semantic conventions for HTTP
    /// servers, as Prometheus exporters translate them. This is the default.
    pub fn open_telemetry() -> Self {
        Self::of_convention("server", "http_route", Some("url_scheme"))
    }

    /// Returns the names of the OpenTelemetry semantic conventions for HTTP
    /// clients. Configure the layer for a
    /// [`client`](crate::MetricsLayerBuilder::client) as well.
    ///
    /// The route label is `url_template`, which the caller provides with
    /// [`Route::template`](crate::Route::template). Add `server_address` and
    /// `server_port` as custom labels with
    /// [`Label::from_request`](crate::Label::from_request), because only the
    /// program knows how many servers it calls.
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
            oldest_request: format!("http_{side}_oldest_request_seconds"),
            method: Some("http_request_method".into()),
            route: route.into(),
            status: Some("http_response_status_code".into()),
            error_type: Some("error_type".into()),
            scheme: scheme.map(Into::into),
            grpc_status: "rpc_status_code".into(),
            rpc_system: None,
        }
    }

    /// Returns the names of the OpenTelemetry semantic conventions for RPC servers, for
    /// recorders of gRPC services.
    ///
    /// Enable [gRPC](crate::MetricsLayerBuilder::grpc) in the layer. The labels are
    /// `rpc_system_name`, `rpc_method`, `rpc_status_code` and `error_type`; the method and
    /// the status of HTTP are not recorded. Requests other than gRPC have an empty
    /// `rpc_status_code`. The gauge and the sizes are not part of the conventions; they
    /// are named like those of HTTP.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_metrics::{MetricsLayer, Names, Prometheus};
    ///
    /// let prometheus = Prometheus::builder().names(Names::open_telemetry_rpc()).build()?;
    /// let layer = MetricsLayer::builder(prometheus).grpc(true).build()?;
    /// assert_eq!(prometheus.names().duration, "rpc_server_call_duration_seconds");
    /// # Ok::<_, tower_metrics::BuildError>(())
    /// ```
    pub fn open_telemetry_rpc() -> Self {
        Self::of_rpc_convention("server")
    }

    /// Returns the names of the OpenTelemetry semantic conventions for RPC clients.
    ///
    /// As [`open_telemetry_rpc`](Self::open_telemetry_rpc), but for a
    /// [`client`](crate::MetricsLayerBuilder::client):
    /// `rpc_client_call_duration_seconds`.
    pub fn open_telemetry_rpc_client() -> Self {
        Self::of_rpc_convention("client")
    }

    fn of_rpc_convention(side: &str) -> Self {
        Self {
            requests: None,
            duration: format!("rpc_{side}_call_duration_seconds"),
            in_flight: format!("rpc_{side}_active_requests"),
            request_size: Some(format!("rpc_{side}_request_body_size_bytes")),
            response_size: Some(format!("rpc_{side}_response_body_size_bytes")),
            time_to_head: format!("rpc_{side}_time_to_head_seconds"),
            oldest_request: format!("rpc_{side}_oldest_request_seconds"),
            method: None,
            route: "rpc_method".into(),
            status: None,
            error_type: Some("error_type".into()),
            scheme: None,
            grpc_status: "rpc_status_code".into(),
            rpc_system: Some("rpc_system_name".into()),
        }
    }

    /// Returns the names of client_golang's `promhttp`, which many dashboards
    /// expect: `http_requests_total` with the labels `method`, `route`, `code`
    /// and `error`.
    pub fn classic() -> Self {
        Self {
            requests: Some("http_requests_total".into()),
            duration: "http_request_duration_seconds".into(),
            in_flight: "http_requests_in_flight".into(),
            request_size: Some("http_request_size_bytes".into()),
            response_size: Some("http_response_size_bytes".into()),
            time_to_head: "http_time_to_head_seconds".into(),
            oldest_request: "http_oldest_request_seconds".into(),
            method: Some("method".into()),
            route: "route".into(),
            status: Some("code".into()),
            error_type: Some("error".into()),
            scheme: None,
            grpc_status: "grpc_code".into(),
            rpc_system: None,
        }
    }

    /// Returns the names of the crate axum-prometheus, for existing dashboards.
    pub fn axum_prometheus() -> Self {
        Self {
            requests: Some("axum_http_requests_total".into()),
            duration: "axum_http_requests_duration_seconds".into(),
            in_flight: "axum_http_requests_pending".into(),
            request_size: None,
            response_size: Some("axum_http_response_body_size".into()),
            time_to_head: "axum_http_time_to_head_seconds".into(),
            oldest_request: "axum_http_oldest_request_seconds".into(),
            method: Some("method".into()),
            route: "endpoint".into(),
            status: Some("status".into()),
            error_type: None,
            scheme: None,
            grpc_status: "grpc_status".into(),
            rpc_system: None,
        }
    }

    /// Prepends `prefix` and an underscore to the name of every metric.
    pub(crate) fn prefixed(mut self, prefix: &str) -> Self {
        let metrics = [
            &mut self.duration,
            &mut self.in_flight,
            &mut self.time_to_head,
            &mut self.oldest_request,
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

    /// Returns the method and the route as the labels write them.
    pub(crate) fn label_values<'a>(
        &self,
        method: &'static str,
        route: &'a str,
    ) -> (&'static str, &'a str) {
        // Without a label, methods share their series.
        let method = self.method.as_ref().map_or("", |_| method);
        let route = match &self.rpc_system {
            Some(_) => route.strip_prefix('/').unwrap_or(route),
            None => route,
        };
        (method, route)
    }

    /// Returns the names of all metrics that are recorded with these names.
    pub(crate) fn metrics(&self, time_to_head: bool, oldest_request: bool) -> Vec<&str> {
        let mut metrics: Vec<&str> = vec![&self.duration, &self.in_flight];
        let optional = [&self.requests, &self.request_size, &self.response_size];
        metrics.extend(optional.into_iter().flatten().map(String::as_str));
        if time_to_head {
            metrics.push(&self.time_to_head);
        }
        if oldest_request {
            metrics.push(&self.oldest_request);
        }
        metrics
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::open_telemetry()
    }
}

/// Returns the names of all labels of the request metrics except custom labels.
pub(crate) fn label_names<'a>(
    names: &'a Names,
    constant: &'a [(String, String)],
) -> impl Iterator<Item = &'a str> {
    [&names.route, &names.grpc_status]
        .into_iter()
        .chain(&names.method)
        .chain(&names.status)
        .chain(&names.error_type)
        .chain(constant.iter().map(|(name, _)| name))
        .map(String::as_str)
}
