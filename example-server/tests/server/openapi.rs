use std::collections::HashSet;

use http::{HeaderName, HeaderValue, Method, header};
use serde_json::{Value, json};

use crate::process::{Server, new_concert, order, program, send, value};

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
            .replace("{purchase_id}", "0192a7c4-5d1e-7b36-9a55-0c1f3a7be901")
            .replace("{file}", "page.css");
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

fn document() -> Value {
    let output = program().arg("openapi").output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn the_server_and_the_command_return_the_same_document() {
    let server = Server::start(&[]);
    let output = program().arg("openapi").output().unwrap();
    let served = server.api.get("/openapi.json").await.unwrap();
    assert_eq!(served.headers["content-type"], "application/json");
    assert_eq!(served.body, output.stdout);
    assert_eq!(document()["openapi"], "3.1.0");
}

#[tokio::test]
async fn every_request_body_has_an_example_that_the_server_accepts() {
    let server = Server::start(&[]);
    let document = document();
    let example = |path: &str| {
        let body = &document["paths"][path]["post"]["requestBody"]["content"]["application/json"];
        let schema = body["schema"]["$ref"].as_str().unwrap();
        let schema = document.pointer(schema.strip_prefix('#').unwrap()).unwrap();
        schema["examples"][0].clone()
    };
    let created = server.post("/concerts", &example("/concerts")).await;
    assert_eq!(created.status, 201);
    let path = "/concerts/{concert_id}/purchases";
    let url = path.replace("{concert_id}", value(&created)["id"].as_str().unwrap());
    assert_eq!(server.post(&url, &example(path)).await.status, 201);
}

#[tokio::test]
async fn every_problem_has_an_example_of_each_of_its_types() {
    let document = document();
    let responses = document["components"]["responses"].as_object().unwrap();
    for (name, response) in responses {
        // hyper sends it, without a body.
        if name == "HeadTooLarge" {
            continue;
        }
        let examples = &response["content"]["application/problem+json"]["examples"];
        let examples = examples.as_object().unwrap();
        let types = response["x-problem-types"].as_object().unwrap();
        assert!(examples.keys().eq(types.keys()), "{name}");
        for (id, example) in examples {
            assert_eq!(example["value"]["type"], format!("/docs#{id}"));
        }
    }
}

#[tokio::test]
async fn the_largest_documented_values_are_accepted_and_larger_ones_are_not() {
    let server = Server::start(&[]);
    let document = document();
    let maximum = |schema: &str, pointer: &str| {
        let schema = &document["components"]["schemas"][schema]["properties"];
        schema.pointer(pointer).unwrap().as_i64().unwrap()
    };
    let mut concert = new_concert(1);
    for (field, pointer) in [
        ("/capacity", "/capacity/maximum"),
        ("/max_per_buyer", "/max_per_buyer/maximum"),
        ("/price/amount", "/price/allOf/1/properties/amount/maximum"),
    ] {
        let maximum = maximum("NewConcert", pointer);
        concert["max_per_buyer"] = json!(1);
        *concert.pointer_mut(field).unwrap() = json!(maximum + 1);
        assert_eq!(server.post("/concerts", &concert).await.status, 422);
        *concert.pointer_mut(field).unwrap() = json!(maximum);
        assert_eq!(server.post("/concerts", &concert).await.status, 201);
    }
    let url = format!("/concerts/{}/purchases", server.concert(100).await);
    let quantity = u32::try_from(maximum("NewPurchase", "/quantity/maximum")).unwrap();
    let over = server.post(&url, &order("Ada", quantity + 1)).await;
    assert_eq!(over.status, 422);
    assert_eq!(server.post(&url, &order("Ada", quantity)).await.status, 201);
}

#[tokio::test]
async fn a_request_head_that_is_too_large_is_answered_as_documented() {
    let server = Server::start(&[]);
    let long = HeaderValue::from_str(&"x".repeat(20_000)).unwrap();
    let headers = [(HeaderName::from_static("x-long"), long)];
    let response = server.api.send(Method::GET, "/concerts", &headers, None);
    assert_eq!(response.await.unwrap().status, 431);
    let paths = document()["paths"].as_object().unwrap().clone();
    for operation in paths
        .values()
        .flat_map(|it| it.as_object().unwrap().values())
    {
        assert!(operation["responses"]["431"].is_object());
    }
}

#[tokio::test]
async fn every_reference_in_the_document_resolves() {
    let document = document();
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
    // Scripts and style sheets are files of this server.
    assert!(
        !policy.contains("script-src 'self' 'unsafe-inline'"),
        "{policy}"
    );
    let files: Vec<_> = text
        .split('"')
        .filter(|it| it.starts_with("docs/"))
        .collect();
    assert_eq!(files.len(), 4);
    for file in files {
        let response = server.api.get(&format!("/{file}")).await.unwrap();
        assert_eq!(response.status, 200, "{file}");
        let content_type = response.headers["content-type"].to_str().unwrap();
        assert!(content_type.starts_with("text/"), "{content_type}");
        assert!(!response.headers.contains_key("content-encoding"), "{file}");
        let gzip = [(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"))];
        let path = format!("/{file}");
        let compressed = server.api.send(Method::GET, &path, &gzip, None);
        let compressed = compressed.await.unwrap();
        if compressed.headers.contains_key("content-encoding") {
            assert!(compressed.body.len() < response.body.len() / 3, "{file}");
        }
    }
    let unknown = server.api.get("/docs/other.js").await.unwrap();
    assert_eq!(unknown.status, 404);
}

#[tokio::test]
async fn the_type_of_every_problem_links_to_a_row_of_the_documentation_page() {
    let server = Server::start(&[]);
    let page = server.api.get("/docs").await.unwrap();
    let page = String::from_utf8(page.body.to_vec()).unwrap();
    let document = document();
    let responses = document["components"]["responses"].as_object().unwrap();
    let types = responses.values().map(|it| &it["x-problem-types"]);
    let types = types.chain([&document["x-problem-types"]]);
    let ids: Vec<_> = types
        .filter_map(Value::as_object)
        .flat_map(|types| types.keys())
        .collect();
    assert_eq!(ids.len(), 22);
    for id in ids {
        assert!(page.contains(&format!("<tr id=\"{id}\">")), "{id}");
    }
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
