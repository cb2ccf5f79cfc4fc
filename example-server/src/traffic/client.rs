//! An HTTP client for one base address: pooled connections, JSON in and out.

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
/// Largest response body in bytes. A longer one is an error, and its rest is not read.
const LARGEST_RESPONSE: usize = 64 * 1024 * 1024;

#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: legacy::Client<HttpConnector, Full<Bytes>>,
    base: Uri,
    timeout: Duration,
}

/// What came back, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(Failure::NotJson)
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("no connection")]
    Connect(#[source] legacy::Error),
    #[error("the connection broke before an answer")]
    Broken(#[source] legacy::Error),
    #[error("the answer broke off")]
    CutShort(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("no response within {0:?}")]
    TimedOut(Duration),
    #[error("the answer is not the JSON it should be")]
    NotJson(#[source] serde_json::Error),
    #[error("the request cannot be made")]
    Request(#[from] http::Error),
}

impl Failure {
    /// A word for a table.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Connect(_) => "no connection",
            Self::Broken(_) => "broken connection",
            Self::CutShort(_) => "cut short",
            Self::TimedOut(_) => "no answer",
            Self::NotJson(_) => "not JSON",
            Self::Request(_) => "bad request",
        }
    }
}

impl Client {
    /// A client for the server at `base`, of which only scheme and authority count.
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

    /// Sets the time limit for a response, body included. Defaults to 60 s.
    pub(crate) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.send(Method::GET, path, &[], None).await
    }

    /// Sends `body`, where there is one, as JSON.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: Option<Vec<u8>>,
    ) -> Result<Answer, Failure> {
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
                    Failure::Connect(error)
                } else {
                    Failure::Broken(error)
                }
            })?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, LARGEST_RESPONSE).collect().await;
            let body = body.map_err(Failure::CutShort)?;
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body: body.to_bytes(),
            })
        })
        .await
        .map_err(|_| Failure::TimedOut(self.timeout))?
    }
}

/// `value` as the bytes of a JSON body.
pub(crate) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("what is sent has string keys and finite numbers")
}
