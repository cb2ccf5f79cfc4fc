//! Names of metrics and labels, validation of settings, and limits on the number
//! of series.

mod cardinality;
mod custom_labels;
mod grouped_statuses;
mod grpc;
mod invalid_settings;
mod presets;
mod protocol_version;
mod recorders;
mod registry;
#[path = "../scrape/mod.rs"]
mod scrape;
#[path = "../script/mod.rs"]
mod script;
mod settings;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use prometheus::{Counter, Registry};
use tower::{Layer, ServiceExt, service_fn};
use tower_metrics::prometheus::PrometheusBuilder;
use tower_metrics::{
    BuildError, DurationTo, ErrorType, GrpcStatus, InitialSeries, Label, LabelValue, MetricsLayer,
    Names, Prometheus, Recorder, Route,
};

use self::scrape::Samples;
use self::script::{Script, Step, data, trailers};

/// Sends a request and reads the response to its end.
async fn send<R: Recorder>(
    layer: &MetricsLayer<R>,
    request: Request<Script>,
    response: Response<Script>,
) where
    R::Series: Unpin,
    R::InFlight: Unpin,
{
    let response = std::cell::RefCell::new(Some(response));
    let service = service_fn(|_: Request<Script>| {
        let response = response.take().unwrap();
        async move { Ok::<_, io::Error>(response) }
    });
    let response = layer.layer(service).oneshot(request).await.unwrap();
    std::pin::pin!(response.into_body())
        .collect()
        .await
        .unwrap();
}

fn request(method: &str, path: &str) -> Request<Script> {
    let request = Request::builder().method(method).uri(path);
    request.body(Script::default().sized()).unwrap()
}

fn response(status: u16) -> Response<Script> {
    let response = Response::builder().status(status);
    response.body(Script::new([data("hello")])).unwrap()
}

/// Returns the names of all samples with the names of their labels except `le`.
fn shape(samples: &Samples) -> BTreeMap<String, BTreeSet<String>> {
    let mut shape = BTreeMap::<_, BTreeSet<_>>::new();
    for (name, labels) in samples.0.keys() {
        if !name.starts_with("tower_metrics_") {
            let labels = labels.keys().filter(|name| *name != "le").cloned();
            shape.entry(name.clone()).or_default().extend(labels);
        }
    }
    shape
}

/// Returns the sample names of a histogram with these labels.
fn histogram(name: &str, labels: &[&str]) -> Vec<(String, BTreeSet<String>)> {
    let suffixes = ["_bucket", "_count", "_sum"];
    suffixes
        .iter()
        .flat_map(|suffix| one(&format!("{name}{suffix}"), labels))
        .collect()
}

fn one(name: &str, labels: &[&str]) -> Vec<(String, BTreeSet<String>)> {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    vec![(name.to_owned(), labels)]
}

/// Returns the samples after a successful and a failed request with a route.
async fn samples_of(prometheus: Prometheus) -> Samples {
    let layer = MetricsLayer::builder(prometheus).route(Route::fixed("/users/{id}"));
    let layer = layer.build().unwrap();
    send(&layer, request("GET", "/users/1"), response(200)).await;
    send(&layer, request("GET", "/users/1"), response(500)).await;
    Samples::of(&prometheus)
}
