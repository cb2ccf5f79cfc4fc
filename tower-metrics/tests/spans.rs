//! Tests for exemplars with the trace ID of the current span.

mod timed;

use std::convert::Infallible;
use std::fmt;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};
use opentelemetry::Context;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt, TraceFlags, TraceState, TracerProvider as _,
};
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::trace::TraceLayer;
use tower_metrics::prometheus::Format;
use tower_metrics::{MetricsLayer, Prometheus, Recorder, TraceId};
use tracing::Span;
use tracing::instrument::WithSubscriber;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;

use self::timed::Timed;

/// Tracer that exports the spans that the sampler accepts.
struct Tracing {
    provider: SdkTracerProvider,
    exporter: InMemorySpanExporter,
}

impl Tracing {
    fn new(sampler: Sampler) -> Self {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(exporter.clone())
            .with_sampler(sampler)
            .build();
        Self { provider, exporter }
    }

    fn subscriber(&self) -> impl tracing::Subscriber + Send + Sync + use<> {
        let layer = tracing_opentelemetry::layer().with_tracer(self.provider.tracer("tests"));
        tracing_subscriber::registry().with(layer)
    }

    /// Returns the trace IDs of the finished spans.
    fn exported(&self) -> Vec<String> {
        let spans = self.exporter.get_finished_spans().unwrap().into_iter();
        spans
            .map(|span| span.span_context.trace_id().to_string())
            .collect()
    }
}

fn metrics<R: Recorder>(recorder: R) -> MetricsLayer<R> {
    MetricsLayer::builder(recorder)
        .exemplars(|_| TraceId::from_current_span())
        .build()
        .unwrap()
}

async fn answer(_: Request<Empty<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    // No span is entered at the end of the request.
    tokio::task::yield_now().await;
    Ok(Response::new("hello".into()))
}

/// Sends a request of a trace, and reads the response.
async fn send<S, B>(service: S)
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: Body<Error: fmt::Debug>,
{
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = Request::builder().header("traceparent", traceparent);
    let response = service.oneshot(request.body(Empty::new()).unwrap()).await;
    let body = response.unwrap().into_body();
    assert!(body.collect().await.is_ok());
}

/// Returns the trace IDs of the exemplars in the exposition.
fn exemplars(prometheus: &Prometheus) -> Vec<String> {
    let text = prometheus.exposition().render(Format::OpenMetrics);
    let ids = text.lines().filter_map(|line| {
        let id = line.split_once("# {trace_id=\"")?.1;
        Some(id.split_once('"')?.0.to_owned())
    });
    ids.collect()
}

#[tokio::test]
async fn an_exemplar_has_the_trace_of_an_outer_tower_http_span() {
    let tracing = Tracing::new(Sampler::AlwaysOn);
    let prometheus = Prometheus::new();
    let service = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(metrics(prometheus))
        .service(service_fn(answer));
    send(service).with_subscriber(tracing.subscriber()).await;
    let exported = tracing.exported();
    assert_eq!(exported.len(), 1);
    assert_eq!(exemplars(&prometheus), exported);
}

#[tokio::test]
async fn an_exemplar_has_the_trace_that_the_client_began() {
    const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
    let tracing = Tracing::new(Sampler::ParentBased(Box::new(Sampler::AlwaysOff)));
    let prometheus = Prometheus::new();
    let trace = TraceLayer::new_for_http().make_span_with(|_: &Request<Empty<Bytes>>| {
        let span = tracing::info_span!("request");
        let remote = SpanContext::new(
            TRACE.into(),
            SpanId::from(7),
            TraceFlags::SAMPLED,
            true,
            TraceState::NONE,
        );
        let parent = Context::new().with_remote_span_context(remote);
        span.set_parent(parent).unwrap();
        span
    });
    let service = ServiceBuilder::new()
        .layer(trace)
        .layer(metrics(prometheus))
        .service(service_fn(answer));
    send(service).with_subscriber(tracing.subscriber()).await;
    assert_eq!(exemplars(&prometheus), [format!("{TRACE:032x}")]);
    assert_eq!(exemplars(&prometheus), tracing.exported());
}

#[tokio::test]
async fn an_unsampled_trace_has_no_exemplar() {
    let tracing = Tracing::new(Sampler::AlwaysOff);
    let prometheus = Prometheus::new();
    let service = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(metrics(prometheus))
        .service(service_fn(answer));
    send(service).with_subscriber(tracing.subscriber()).await;
    assert_eq!(exemplars(&prometheus), Vec::<String>::new());
}

#[tokio::test]
async fn a_span_of_an_inner_layer_is_not_used() {
    let tracing = Tracing::new(Sampler::AlwaysOn);
    let prometheus = Prometheus::new();
    let service = ServiceBuilder::new()
        .layer(metrics(prometheus))
        .layer(TraceLayer::new_for_http())
        .service(service_fn(answer));
    send(service).with_subscriber(tracing.subscriber()).await;
    assert_eq!(tracing.exported().len(), 1);
    assert_eq!(exemplars(&prometheus), Vec::<String>::new());
}

#[test]
fn without_a_span_or_without_opentelemetry_there_is_no_trace_id() {
    assert_eq!(TraceId::from_current_span(), None);
    let tracing = Tracing::new(Sampler::AlwaysOn);
    tracing::subscriber::with_default(tracing.subscriber(), || {
        assert_eq!(TraceId::from_current_span(), None);
        let span = tracing::info_span!("a span");
        let _entered = span.enter();
        let context = Span::current().context();
        let expected = context.span().span_context().trace_id().to_string();
        let found = TraceId::from_current_span().map(|id| id.to_string());
        assert_eq!(found, Some(expected));
    });
    tracing::subscriber::with_default(tracing_subscriber::registry(), || {
        let span = tracing::info_span!("a span");
        let _entered = span.enter();
        assert_eq!(TraceId::from_current_span(), None);
    });
}

#[tokio::test]
async fn without_exemplars_the_output_is_identical() {
    let tracing = Tracing::new(Sampler::AlwaysOn);
    let [plain, off, on] = [(); 3].map(|()| Prometheus::new());
    let layers = [
        MetricsLayer::new(Timed::new(plain)),
        MetricsLayer::new(Timed::new(off)),
        metrics(Timed::new(on)),
    ];
    for (i, layer) in layers.into_iter().enumerate() {
        let service = ServiceBuilder::new()
            .layer(TraceLayer::new_for_http())
            .layer(layer)
            .service(service_fn(answer));
        for _ in 0..20 {
            let sent = send(service.clone());
            if i == 0 {
                sent.await;
            } else {
                sent.with_subscriber(tracing.subscriber()).await;
            }
        }
    }
    let shown = |prometheus: Prometheus, format| prometheus.exposition().render(format);
    for format in [Format::Text, Format::OpenMetrics] {
        assert_eq!(shown(off, format), shown(plain, format));
    }
    assert_eq!(shown(on, Format::Text), shown(plain, Format::Text));
    // Exemplars are the only difference.
    let with = shown(on, Format::OpenMetrics);
    let lines = with.lines().map(|line| line.split(" # ").next().unwrap());
    let without: String = lines.flat_map(|line| [line, "\n"]).collect();
    assert_ne!(without, with);
    assert_eq!(without, shown(plain, Format::OpenMetrics));
}
