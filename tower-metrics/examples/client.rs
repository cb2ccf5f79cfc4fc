//! HTTP client with metrics about the servers that it calls. It sends requests to a
//! local server, prints the metrics, and exits:
//!
//! ```sh
//! cargo run -p tower-metrics --example client
//! ```

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::routing::get;
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::timeout::error::Elapsed;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};
use tower_metrics::prometheus::Format;
use tower_metrics::{ErrorType, Label, MetricsLayer, Names, Prometheus, Route};

/// Template of a URL, which the caller provides.
#[derive(Clone, Copy)]
struct UrlTemplate(&'static str);

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // `http_client_request_duration_seconds` and others.
    let prometheus = Prometheus::builder()
        .names(Names::open_telemetry_client())
        .build()?;
    let metrics = MetricsLayer::builder(prometheus)
        // For a client, a 4xx is an error as well.
        .client(true)
        .route(Route::template(|head| {
            head.extensions.get().map(|UrlTemplate(url)| *url)
        }))
        // Useful if the program calls a few servers. The limit bounds the values.
        .label(Label::from_request("server_address", 20, |head| {
            Some(head.uri.host()?.into())
        }))
        .classify_error(|error: &BoxError| match error.is::<Elapsed>() {
            true => ErrorType::TIMEOUT,
            false => ErrorType::new("connection"),
        })
        .build()?;

    // Inside of the layer, so that timeouts are recorded as `timeout` and not as
    // `cancelled`.
    let mut client = ServiceBuilder::new()
        .layer(metrics)
        .timeout(Duration::from_millis(500))
        .service(Client::builder(TokioExecutor::new()).build_http::<Body>());

    let (server, closed) = addresses().await?;
    for id in [1, 2, 404] {
        let url = format!("http://{server}/concerts/{id}");
        let status = send(&mut client, url, UrlTemplate("/concerts/{id}")).await?;
        println!("concert {id}: {status}");
    }
    for url in [
        format!("http://{server}/slow"),
        format!("http://{closed}/slow"),
    ] {
        let error = send(&mut client, url, UrlTemplate("/slow"))
            .await
            .unwrap_err();
        println!("slow: {error}");
    }

    print!("{}", prometheus.exposition().render(Format::Text));
    Ok(())
}

/// Sends a request and reads the response body, whose end completes the request.
async fn send<S, B>(
    client: &mut S,
    url: String,
    template: UrlTemplate,
) -> Result<StatusCode, BoxError>
where
    S: Service<Request<Body>, Response = http::Response<B>, Error = BoxError>,
    B: http_body::Body<Error: Into<BoxError>>,
{
    let request = Request::get(url).extension(template).body(Body::empty())?;
    let response = client.ready().await?.call(request).await?;
    let status = response.status();
    response.into_body().collect().await.map_err(Into::into)?;
    Ok(status)
}

/// Returns the addresses of a server and of a closed port.
async fn addresses() -> Result<(String, String), BoxError> {
    let app = axum::Router::new()
        .route(
            "/concerts/{id}",
            get(|path: axum::extract::Path<u32>| async move {
                match path.0 {
                    404 => StatusCode::NOT_FOUND,
                    _ => StatusCode::OK,
                }
            }),
        )
        .route("/slow", get(std::future::pending::<()>));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let server = listener.local_addr()?.to_string();
    tokio::spawn(async move { axum::serve(listener, app).await });

    // Closed when this function returns.
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    Ok((server, closed.local_addr()?.to_string()))
}
