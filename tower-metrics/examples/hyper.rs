//! tower service with metrics, served by hyper. It prints its address:
//!
//! ```sh
//! cargo run -p tower-metrics --example hyper
//! curl http://127.0.0.1:PORT/hello/world
//! curl http://127.0.0.1:PORT/metrics
//! ```

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tower::{Layer, Service, service_fn};
use tower_metrics::{MetricsLayer, Prometheus, Route};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let prometheus = Prometheus::new();
    let metrics = MetricsLayer::builder(prometheus)
        .route(Route::template(|head| template(head.uri.path())))
        .build()?;
    let app = metrics.layer(service_fn(app));

    // The layer wraps the application only, so that scrapes are not recorded.
    let service = service_fn(move |request: Request<Incoming>| {
        let mut app = app.clone();
        let mut exposition = prometheus.exposition();
        async move {
            if request.uri().path() == "/metrics" {
                let response = exposition.call(request).await?;
                Ok::<_, Infallible>(response.map(Either::Right))
            } else {
                Ok(app.call(request).await?.map(Either::Left))
            }
        }
    });

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new());
            // Broken connections show in the metrics of their requests.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Returns the template of the route. The path itself would be an unbounded label.
fn template(path: &str) -> Option<&'static str> {
    if path == "/" {
        Some("/")
    } else if path.starts_with("/hello/") {
        Some("/hello/{name}")
    } else {
        None
    }
}

async fn app(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path();
    let (status, text) = match path.strip_prefix("/hello/") {
        Some("") => (StatusCode::NOT_FOUND, "hello whom?\n".to_owned()),
        Some(name) => (StatusCode::OK, format!("hello {name}\n")),
        None if path == "/" => (StatusCode::OK, "hello\n".to_owned()),
        None => (StatusCode::NOT_FOUND, String::new()),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    Ok(response)
}
