//! HTTP client for one base URL, with pooled connections and JSON bodies.

use std::error::Error;
use std::time::Duration;

use axum::body::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Default time limit for a response.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Largest response body in bytes. A longer one is an error, and the rest is not read.
const LARGEST_RESPONSE: usize = 64 * 1024 * 1024;

#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: legacy::Client<HttpConnector, Full<Bytes>>,
    base: Uri,
    timeout: Duration,
}

/// A complete response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Response {
    /// # Errors
    ///
    /// Returns an error if the body is not JSON of the expected shape.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, RequestError> {
        serde_json::from_slice(&self.body).map_err(RequestError::Json)
    }
}

/// The reason why a request has no complete response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("connection failed")]
    Connect(#[source] legacy::Error),
    #[error("connection closed before the response")]
    Closed(#[source] legacy::Error),
    #[error("response body failed")]
    Body(#[source] Box<dyn Error + Send + Sync>),
    #[error("no response within {0:?}")]
    Timeout(Duration),
    #[error("unexpected response body")]
    Json(#[source] serde_json::Error),
    #[error("invalid request")]
    Request(#[from] http::Error),
}

impl RequestError {
    /// Returns a name for the status column of a report.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect error",
            Self::Closed(_) => "closed",
            Self::Body(_) => "body error",
            Self::Timeout(_) => "timeout",
            Self::Json(_) => "invalid JSON",
            Self::Request(_) => "invalid request",
        }
    }
}

impl Client {
    /// Creates a client for the scheme and the authority of `base`.
    pub(crate) fn new(base: Uri) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(5)));
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Self {
            http,
            base,
            timeout: TIMEOUT,
        }
    }

    /// Sets the time limit for a response, including its body. Defaults to 60 s.
    pub(crate) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// # Errors
    ///
    /// Returns an error if there is no complete response in time, as [`send`](Self::send) does.
    pub(crate) async fn get(&self, path: &str) -> Result<Response, RequestError> {
        self.send(Method::GET, path, &[], None).await
    }

    /// Sends a request, with `body` as JSON if there is one, and reads the response.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no complete response within the time limit. A status of 4xx or
    /// 5xx is not an error.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: Option<Vec<u8>>,
    ) -> Result<Response, RequestError> {
        let mut parts = self.base.clone().into_parts();
        parts.path_and_query = Some(path.parse().map_err(http::Error::from)?);
        let uri = Uri::from_parts(parts).map_err(http::Error::from)?;
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::from(body.unwrap_or_default()))?;
        tokio::time::timeout(self.timeout, async {
            let response = self.http.request(request).await.map_err(|error| {
                if error.is_connect() {
                    RequestError::Connect(error)
                } else {
                    RequestError::Closed(error)
                }
            })?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, LARGEST_RESPONSE).collect().await;
            Ok(Response {
                status: head.status,
                headers: head.headers,
                body: body.map_err(RequestError::Body)?.to_bytes(),
            })
        })
        .await
        .map_err(|_| RequestError::Timeout(self.timeout))?
    }
}

/// Serializes `value` as the body of a request.
pub(crate) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("request bodies have string keys and finite numbers")
}
