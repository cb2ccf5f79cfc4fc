//! Routes of the page.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, Query, State};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;

use super::assets::{FILES, PAGE};
use super::control::{Control, SetError};
use super::feed::{Feed, FeedParts};
use super::hook;
use super::recent::RequestLog;
use super::requests::{parse_query, to_json};
use super::response::{json_response, problem, set_headers};

/// Parts of a page that belong to its handlers.
pub(super) struct RouterParts {
    pub(super) title: String,
    pub(super) definition: Bytes,
    pub(super) controls: Arc<[Control]>,
    pub(super) log: Option<Arc<dyn RequestLog>>,
}

/// State of the handlers. The tasks end when it is dropped.
struct Page {
    parts: RouterParts,
    feed: Arc<Feed>,
    _tasks: JoinSet<()>,
}

type Shared = State<Arc<Page>>;

pub(super) fn router(feed: FeedParts, parts: RouterParts, runtime: &Handle) -> Router {
    let (feed, tasks) = Feed::start(feed, runtime);
    let page = Page {
        parts,
        feed,
        _tasks: tasks,
    };
    Router::new()
        .route("/", get(html))
        .route("/assets/{name}", get(asset))
        .route("/api/", get(index))
        .route("/api/dashboard", get(dashboard))
        .route("/api/now", get(now))
        .route("/api/history", get(history))
        .route("/api/panels/{id}", get(panel))
        .route("/api/stream", get(stream))
        .route("/api/requests", get(requests))
        .route("/api/controls", get(controls))
        .route("/api/controls/{id}", put(set_control))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(map_response(set_headers))
        .with_state(Arc::new(page))
}

async fn method_not_allowed(method: Method) -> Response {
    problem(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{method} is not allowed; see the Allow header"),
    )
}

/// Serves the page, or with `?asset=NAME` a file that the page needs before its
/// script has determined the base URL.
///
/// The page refers to these files by a query alone, which resolves against any
/// path that the browser sees, with or without a trailing slash, and behind a proxy
/// that maps another path to this one.
async fn html(State(page): Shared, Query(parameters): Query<HashMap<String, String>>) -> Response {
    if let Some(name) = parameters.get("asset") {
        return file(name);
    }
    let title = page
        .parts
        .title
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;");
    let html = PAGE.replace("{{title}}", &title);
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response()
}

async fn asset(name: Result<Path<String>, PathRejection>) -> Response {
    match name {
        Ok(Path(name)) => file(&name),
        Err(rejection) => problem(rejection.status(), rejection.body_text()),
    }
}

fn file(name: &str) -> Response {
    match FILES.iter().find(|(known, _)| *known == name) {
        Some((_, (kind, content))) => ([(CONTENT_TYPE, *kind)], *content).into_response(),
        None => problem(StatusCode::NOT_FOUND, format!("no file is named {name:?}")),
    }
}

async fn index() -> Response {
    let list = json!({
        "GET api/dashboard": "definition of the page: rows, panels, units, objectives, controls, checks",
        "GET api/now": "current values of all panels, objectives, checks, controls, marks and problems",
        "GET api/history": "values of all panels by second, and the current state",
        "GET api/panels/{id}": "values of one panel by second",
        "GET api/stream": "server-sent events: a history event, then an update event every second",
        "GET api/requests?from&to&at_least&at_most&method&route&id&limit": "recent requests, latest first",
        "GET api/controls": "controls and their current values",
        "PUT api/controls/{id}": "sets the value of a control: {\"value\": \"...\"}",
    });
    json_response(list.to_string().into())
}

async fn dashboard(State(page): Shared) -> Response {
    json_response(page.parts.definition.clone())
}

async fn now(State(page): Shared) -> Response {
    let body = page.feed.sampler().now_json();
    json_response(body)
}

async fn history(State(page): Shared) -> Response {
    let body = page.feed.sampler().history_json(None);
    json_response(body.unwrap_or_default())
}

async fn panel(State(page): Shared, id: Result<Path<String>, PathRejection>) -> Response {
    let id = match id {
        Ok(Path(id)) => id,
        Err(rejection) => return problem(rejection.status(), rejection.body_text()),
    };
    let body = page.feed.sampler().history_json(Some(&id));
    match body {
        Some(body) => json_response(body),
        None => problem(
            StatusCode::NOT_FOUND,
            format!("unknown panel {id:?}: must be an id of api/dashboard"),
        ),
    }
}

async fn stream(State(page): Shared) -> Response {
    let Some((history, updates)) = page.feed.subscribe() else {
        return problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "the server is shutting down",
        );
    };
    let events =
        futures_util::stream::unfold((Some(history), updates), |(first, mut updates)| async {
            let next = match first {
                Some(history) => history,
                None => match updates.recv().await {
                    Ok(update) => update,
                    Err(RecvError::Lagged(_) | RecvError::Closed) => return None,
                },
            };
            Some((Ok::<_, Infallible>(next), (None, updates)))
        });
    // Proxies must not collect or compress events: nginx buffers 4 or 8 kB of a
    // response by default, which delays a small page by many updates.
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store, no-transform"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(events)).into_response()
}

async fn controls(State(page): Shared) -> Response {
    let list = page.parts.controls.iter().map(|control| {
        let mut object = json!({"id": control.id, "title": control.title,
            "description": control.description, "choices": control.choices,
            "default": control.default});
        add_state(&mut object, control);
        object
    });
    json_response(Value::from_iter(list).to_string().into())
}

/// Adds the value of a control, `null` if it is unknown, and its detail if it has one.
fn add_state(object: &mut Value, control: &Control) {
    let state = control.current().ok();
    object["value"] = json!(state.as_ref().map(|state| &state.value));
    if let Some(detail) = state.and_then(|state| state.detail) {
        object["detail"] = detail.into();
    }
}

async fn set_control(
    State(page): Shared,
    id: Result<Path<String>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let id = match id {
        Ok(Path(id)) => id,
        Err(rejection) => return problem(rejection.status(), rejection.body_text()),
    };
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return problem(rejection.status(), rejection.body_text()),
    };
    let Some(control) = page.parts.controls.iter().find(|control| control.id == id) else {
        return problem(
            StatusCode::NOT_FOUND,
            format!("unknown control {id:?}: must be an id of api/controls"),
        );
    };
    let body: Option<Value> = serde_json::from_slice(&body).ok();
    let Some(value) = body.as_ref().and_then(|body| body["value"].as_str()) else {
        return problem(
            StatusCode::BAD_REQUEST,
            "the body must be a JSON object with a string: {\"value\": \"...\"}",
        );
    };
    match control.set(value) {
        Ok(()) => {
            let mut object = json!({});
            add_state(&mut object, control);
            json_response(object.to_string().into())
        }
        Err(SetError::Unknown(error)) => problem(StatusCode::UNPROCESSABLE_ENTITY, error),
        Err(SetError::Rejected(error)) => problem(StatusCode::CONFLICT, error),
        Err(SetError::Panicked(error)) => problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the control {:?} {error}", control.title),
        ),
    }
}

async fn requests(
    State(page): Shared,
    Query(parameters): Query<HashMap<String, String>>,
) -> Response {
    let Some(log) = &page.parts.log else {
        return problem(StatusCode::NOT_FOUND, "this page has no request log");
    };
    match parse_query(&parameters) {
        Ok(query) => match hook::call(|| log.find(&query)) {
            Ok(found) => {
                let found: Vec<Value> = found.iter().map(to_json).collect();
                json_response(json!({"requests": found}).to_string().into())
            }
            Err(error) => problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("the request log {error}"),
            ),
        },
        Err(error) => problem(StatusCode::BAD_REQUEST, error),
    }
}
