//! `/metrics`: scrapes share their renderings, which run outside the ops port's thread, so that
//! scrapers do not delay the probes.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use tower::Service;
use tower_metrics::Prometheus;

use super::shared::{Full, Shared};
use crate::problem::Problem;

/// Parts of a request that the exposition depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    method: Method,
    query: Option<String>,
    accept: Vec<HeaderValue>,
    accept_encoding: Vec<HeaderValue>,
}

/// A rendered response.
#[derive(Clone, Debug)]
struct Rendered {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// State of the `/metrics` handler.
#[derive(Clone, Debug)]
pub(super) struct Scrapes {
    prometheus: Prometheus,
    shared: Arc<Renderings>,
    /// Renderings of requests with a query. They wait only for each other: a client that sends a
    /// different filter each time does not delay the scrapes of Prometheus.
    filtered: Arc<Renderings>,
}

type Renderings = Shared<Key, Option<Rendered>>;

impl Scrapes {
    pub(super) fn new(prometheus: Prometheus) -> Self {
        Self {
            prometheus,
            shared: Arc::new(Shared::new()),
            filtered: Arc::new(Shared::new()),
        }
    }
}

/// `GET /metrics`
pub(super) async fn metrics(State(scrapes): State<Scrapes>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let key = Key {
        method: head.method.clone(),
        query: head.uri.query().map(str::to_owned),
        accept: values(&head.headers, header::ACCEPT),
        accept_encoding: values(&head.headers, header::ACCEPT_ENCODING),
    };
    let request = http::Request::from_parts(head, ());
    let prometheus = scrapes.prometheus;
    let shared = match key.query {
        None => &scrapes.shared,
        Some(_) => &scrapes.filtered,
    };
    let rendered = shared.get(key, || async move {
        let rendering = tokio::task::spawn_blocking(move || prometheus.exposition().call(request));
        let Ok(response) = rendering.await.ok()?.await;
        let (head, body) = response.into_parts();
        Some(Rendered {
            status: head.status,
            headers: head.headers,
            body: body.collect().await.ok()?.to_bytes(),
        })
    });
    match rendered.await {
        Ok(Some(Rendered {
            status,
            headers,
            body,
        })) => (status, headers, body).into_response(),
        // A collector panicked, which the log shows.
        Ok(None) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Err(Full) => Problem::too_many_scrapes().into_response(),
    }
}

fn values(headers: &HeaderMap, name: HeaderName) -> Vec<HeaderValue> {
    headers.get_all(name).iter().cloned().collect()
}
