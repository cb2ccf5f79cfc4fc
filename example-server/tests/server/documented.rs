//! Compares the responses that a test has provoked with the OpenAPI document.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::Value;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let printed = super::program().arg("openapi").output().unwrap();
    serde_json::from_slice(&printed.stdout).unwrap()
});

/// Returns the responses of the server, as method, route and status, that the OpenAPI document does
/// not have; none if the server is unreachable.
pub(crate) fn undocumented(ops_url: &str) -> Vec<String> {
    let metrics = scrape(ops_url).unwrap_or_default();
    let mut undocumented = Vec::new();
    for series in metrics.lines() {
        let Some(series) = series.strip_prefix("http_server_request_duration_seconds_count{")
        else {
            continue;
        };
        let (labels, count) = series.rsplit_once("} ").unwrap();
        let label = |name: &str| {
            let (_, rest) = labels.split_once(&format!("{name}=\"")).unwrap();
            rest.split_once('"').unwrap().0
        };
        let (route, status) = (label("http_route"), label("http_response_status_code"));
        if route.is_empty() || status.is_empty() || count == "0" {
            continue;
        }
        let method = match label("http_request_method") {
            "HEAD" => "get".to_owned(),
            method => method.to_lowercase(),
        };
        let is_documented = match &DOCUMENT["paths"][route][&method]["responses"] {
            Value::Object(responses) => responses.contains_key(status),
            // The path has no such operation; these come from the layers around all of them.
            _ => ["405", "503", "504"].contains(&status),
        };
        if !is_documented {
            undocumented.push(format!("{method} {route} {status}"));
        }
    }
    undocumented
}

fn scrape(ops_url: &str) -> Option<String> {
    let address = ops_url.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).ok()?;
    connection
        .set_read_timeout(Some(Duration::from_secs(60)))
        .ok()?;
    // HTTP/1.0 has no chunks.
    connection
        .write_all(b"GET /metrics HTTP/1.0\r\n\r\n")
        .ok()?;
    let mut response = String::new();
    connection.read_to_string(&mut response).ok()?;
    Some(response)
}
