//! Proxy between Prometheus and the server: `/text` requests the text format, which Prometheus 2.42
//! cannot be configured to do, and `/asked` and `/native` forward the format that Prometheus requests.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::get;
use http::{HeaderMap, HeaderValue, Method, header};
use tokio::net::TcpListener;

use crate::client::Client;

pub(crate) struct Proxy {
    pub(crate) address: String,
    text: Formats,
    asked: Formats,
    native: Formats,
}

/// Distinct content types of the server's responses.
type Formats = Arc<Mutex<Vec<String>>>;

impl Proxy {
    pub(crate) async fn start(ops: &Client) -> Self {
        let (text, asked, native) = <(Formats, Formats, Formats)>::default();
        let plain = HeaderValue::from_static("text/plain;version=0.0.4");
        let router = Router::new()
            .route("/text", scrape(ops, Some(plain), &text))
            .route("/asked", scrape(ops, None, &asked))
            .route("/native", scrape(ops, None, &native));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            text,
            asked,
            native,
        }
    }

    /// Returns the content types of the server's responses on this path.
    pub(crate) fn seen(&self, path: &str) -> Vec<String> {
        let formats = match path {
            "/text" => &self.text,
            "/asked" => &self.asked,
            _ => &self.native,
        };
        formats.lock().unwrap().clone()
    }
}

fn scrape(
    ops: &Client,
    accept: Option<HeaderValue>,
    formats: &Formats,
) -> axum::routing::MethodRouter {
    let (ops, formats) = (ops.clone(), formats.clone());
    get(async move |headers: HeaderMap| {
        let accept = accept.unwrap_or_else(|| headers[header::ACCEPT].clone());
        let mut sent = vec![(header::ACCEPT, accept)];
        sent.extend(
            headers
                .get(header::ACCEPT_ENCODING)
                .map(|coding| (header::ACCEPT_ENCODING, coding.clone())),
        );
        let scraped = ops.send(Method::GET, "/metrics", &sent, None).await;
        let scraped = scraped.unwrap();
        let format = scraped.headers[header::CONTENT_TYPE].to_str().unwrap();
        let mut formats = formats.lock().unwrap();
        if !formats.iter().any(|known| known == format) {
            formats.push(format.to_owned());
        }
        let mut answer = Response::new(Body::from(scraped.body));
        *answer.status_mut() = scraped.status;
        for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING] {
            if let Some(value) = scraped.headers.get(&name) {
                answer.headers_mut().insert(name, value.clone());
            }
        }
        answer
    })
}
