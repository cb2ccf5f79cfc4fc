use std::collections::HashSet;

use http::Method;
use serde_json::Value;

use crate::process::{Server, program, send, value};

const METHODS: [Method; 5] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];

#[tokio::test]
async fn the_document_has_exactly_the_routes_of_the_server() {
    let server = Server::start(&[]);
    let document = value(&server.api.get("/openapi.json").await.unwrap());
    for (path, item) in document["paths"].as_object().unwrap() {
        let url = path
            .replace("{concert_id}", "0192a7c4-5d1e-7b36-9a55-0c1f3a7be901")
            .replace("{purchase_id}", "0192a7c4-5d1e-7b36-9a55-0c1f3a7be901");
        for method in METHODS {
            let response = send(&server.api, method.clone(), &url, &[], None).await;
            let described = item.get(method.as_str().to_lowercase());
            assert_eq!(
                response.status != 405,
                described.is_some(),
                "{method} {path}"
            );
            if let Some(operation) = described {
                let responses = operation["responses"].as_object().unwrap();
                let status = response.status.as_str();
                assert!(
                    responses.contains_key(status),
                    "{method} {path} responses {status}"
                );
            }
        }
    }
    // The metrics contain every route that has been requested, which are all of them.
    let seen: HashSet<_> = server
        .metrics()
        .await
        .iter()
        .filter_map(|(series, _)| {
            Some(
                series
                    .split_once("http_route=\"")?
                    .1
                    .split_once('"')?
                    .0
                    .to_owned(),
            )
        })
        .filter(|route| !route.is_empty())
        .collect();
    let described: HashSet<_> = document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert_eq!(seen, described);
}

#[tokio::test]
async fn every_reference_in_the_document_resolves() {
    let output = program().arg("openapi").output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut open = vec![&document];
    while let Some(value) = open.pop() {
        if let Some(reference) = value["$ref"].as_str() {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        match value {
            Value::Object(fields) => open.extend(fields.values()),
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
}

#[tokio::test]
async fn the_documentation_page_loads_nothing_from_other_hosts() {
    let server = Server::start(&[]);
    let page = server.api.get("/docs").await.unwrap();
    assert_eq!(page.status, 200);
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    for directive in ["default-src 'none'", "frame-ancestors 'none'"] {
        assert!(policy.contains(directive), "{policy}");
    }
    assert_eq!(page.headers["x-frame-options"], "DENY");
    assert_eq!(page.headers["referrer-policy"], "no-referrer");
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(!text.contains("http://") && !text.contains("https://"));
}

#[tokio::test]
async fn every_response_disables_content_type_sniffing() {
    let server = Server::start(&[]);
    for (client, path) in [
        (&server.api, "/docs"),
        (&server.api, "/openapi.json"),
        (&server.api, "/concerts"),
        (&server.api, "/concerts?limit=0"),
        (&server.api, "/nothing"),
        (&server.ops, "/"),
        (&server.ops, "/metrics"),
        (&server.ops, "/livez"),
        (&server.ops, "/readyz"),
        (&server.ops, "/faults"),
        (&server.ops, "/faults/presets"),
        (&server.ops, "/commit"),
        (&server.ops, "/api/now"),
        (&server.ops, "/nothing"),
    ] {
        let response = client.get(path).await.unwrap();
        assert_eq!(
            response.headers["x-content-type-options"], "nosniff",
            "{path}"
        );
    }
}
