//! Routes of the page, the task that samples, and the event stream.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, interval_at};

use super::assets::{FILES, PAGE};
use super::check::{Check, CheckStatus};
use super::clock::Timestamp;
use super::control::{Control, SetError};
use super::hook;
use super::recent::{LoggedRequest, RequestLog, RequestQuery};
use super::sampler::Sampler;

/// Updates that a slow client may lag behind before its stream ends. The page
/// then reconnects and starts from the history.
const MAX_LAG: usize = 8;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'";

/// Parts of a page that are ready to be served.
pub(super) struct Parts {
    pub(super) title: String,
    pub(super) definition: Bytes,
    pub(super) sampler: Sampler,
    pub(super) controls: Arc<[Control]>,
    pub(super) checks: Vec<Check>,
    pub(super) log: Option<Arc<dyn RequestLog>>,
    pub(super) shutdown: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// State of the handlers. Its drop ends the tasks.
struct Page {
    title: String,
    definition: Bytes,
    feed: Arc<Feed>,
    controls: Arc<[Control]>,
    log: Option<Arc<dyn RequestLog>>,
    _tasks: JoinSet<()>,
}

/// State that the tasks write and the handlers read.
struct Feed {
    sampler: Mutex<Sampler>,
    checks: Mutex<Vec<CheckStatus>>,
    /// The first event of new streams, serialized at most once per sample.
    history_event: Mutex<Option<Bytes>>,
    /// `None` after shutdown.
    updates: Mutex<Option<broadcast::Sender<Bytes>>>,
}

type Shared = State<Arc<Page>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn start(parts: Parts, runtime: &Handle) -> Router {
    let checks = parts.checks.iter();
    let feed = Arc::new(Feed {
        sampler: Mutex::new(parts.sampler),
        checks: Mutex::new(checks.map(|check| check.unknown("not run yet")).collect()),
        history_event: Mutex::new(None),
        updates: Mutex::new(Some(broadcast::channel(MAX_LAG).0)),
    });
    let started = Instant::now();
    feed.sample(started);
    let mut tasks = JoinSet::new();
    let mut checks = JoinSet::new();
    for (index, check) in parts.checks.into_iter().enumerate() {
        checks.spawn_on(run_check(feed.clone(), index, check), runtime);
    }
    let streams = EndStreams(feed.clone());
    tasks.spawn_on(sample(streams, started, parts.shutdown, checks), runtime);
    let page = Page {
        title: parts.title,
        definition: parts.definition,
        feed,
        controls: parts.controls,
        log: parts.log,
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

/// Ends all event streams when the sampling task ends, for whatever reason: a
/// graceful shutdown of the server waits for them.
struct EndStreams(Arc<Feed>);

impl Drop for EndStreams {
    fn drop(&mut self) {
        lock(&self.0.updates).take();
    }
}

async fn sample(
    streams: EndStreams,
    started: Instant,
    shutdown: Pin<Box<dyn Future<Output = ()> + Send>>,
    checks: JoinSet<()>,
) {
    let second = Duration::from_secs(1);
    // `start` has taken the first sample.
    let mut ticks = interval_at((started + second).into(), second);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let sampling = async {
        loop {
            ticks.tick().await;
            streams.0.sample(started);
        }
    };
    tokio::select! {
        () = shutdown => {}
        () = sampling => {}
    }
    drop(checks);
}

async fn run_check(feed: Arc<Feed>, index: usize, check: Check) {
    let mut ticks = interval(check.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let status = check.run().await;
        lock(&feed.checks)[index] = status;
    }
}

impl Feed {
    fn sample(&self, started: Instant) {
        let checks = lock(&self.checks).clone();
        let mut sampler = lock(&self.sampler);
        let stepped = sampler.sample(Timestamp::now(started), checks);
        let mut history_event = lock(&self.history_event);
        history_event.take();
        if let Some(updates) = &*lock(&self.updates)
            && updates.receiver_count() > 0
        {
            let event = if stepped {
                history_event.insert(history_event_of(&sampler)).clone()
            } else {
                event("update", &sampler.now_json())
            };
            // The only error is that the last receiver has just been dropped.
            let _ = updates.send(event);
        }
    }

    /// Returns the history event and a receiver of all later events. Holds the
    /// sampler's lock so that no sample falls between the two.
    fn subscribe(&self) -> Option<(Bytes, broadcast::Receiver<Bytes>)> {
        let sampler = lock(&self.sampler);
        let updates = lock(&self.updates).as_ref()?.subscribe();
        let mut history_event = lock(&self.history_event);
        let history = history_event.get_or_insert_with(|| history_event_of(&sampler));
        Some((history.clone(), updates))
    }
}

fn history_event_of(sampler: &Sampler) -> Bytes {
    event("history", &sampler.history_json(None).unwrap_or_default())
}

fn event(name: &str, data: &[u8]) -> Bytes {
    [b"event: ", name.as_bytes(), b"\ndata: ", data, b"\n\n"]
        .concat()
        .into()
}

/// Sets headers on every response, unless the handler has.
async fn set_headers(mut response: Response) -> Response {
    let headers = [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-cache"),
    ];
    for (name, value) in headers {
        let (name, value) = (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

fn json_response(body: Bytes) -> Response {
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-store"),
    ];
    (headers, body).into_response()
}

fn problem(status: StatusCode, detail: impl Into<String>) -> Response {
    let body = json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": detail.into(),
    });
    let headers = [
        (CONTENT_TYPE, "application/problem+json"),
        (CACHE_CONTROL, "no-store"),
    ];
    (status, headers, body.to_string()).into_response()
}

async fn method_not_allowed(method: Method) -> Response {
    problem(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{method} is not allowed here: see the Allow header"),
    )
}

/// Serves the page, or with `?asset=NAME` a file that the page needs before its
/// script has determined the base URL.
///
/// The page refers to these files by a query alone: it resolves against whatever
/// path the browser sees, with or without a trailing slash, and behind a proxy
/// that maps another path to this one.
async fn html(State(page): Shared, Query(parameters): Query<HashMap<String, String>>) -> Response {
    if let Some(name) = parameters.get("asset") {
        return file(name);
    }
    let title = page
        .title
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;");
    let html = PAGE.replace("{{title}}", &title);
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response()
}

async fn asset(Path(name): Path<String>) -> Response {
    file(&name)
}

fn file(name: &str) -> Response {
    match FILES.iter().find(|(known, _)| *known == name) {
        Some((_, (kind, content))) => ([(CONTENT_TYPE, *kind)], *content).into_response(),
        None => problem(StatusCode::NOT_FOUND, format!("no file is named {name:?}")),
    }
}

async fn index() -> Response {
    let list = json!({
        "GET api/dashboard": "rows, panels, units, objectives, controls, checks",
        "GET api/now": "the latest figures of every panel, objectives, checks, controls, marks",
        "GET api/history": "every panel's figures, second by second, and now",
        "GET api/panels/{id}": "the same of one panel",
        "GET api/stream": "server-sent events: one history, then an update each second",
        "GET api/requests?from&to&at_least&at_most&method&route&id&limit": "recent requests, the latest first",
        "GET api/controls": "the switches and what is in force",
        "PUT api/controls/{id}": "{\"value\": \"...\"}",
    });
    json_response(list.to_string().into())
}

async fn dashboard(State(page): Shared) -> Response {
    json_response(page.definition.clone())
}

async fn now(State(page): Shared) -> Response {
    let body = lock(&page.feed.sampler).now_json();
    json_response(body)
}

async fn history(State(page): Shared) -> Response {
    let body = lock(&page.feed.sampler).history_json(None);
    json_response(body.unwrap_or_default())
}

async fn panel(State(page): Shared, Path(id): Path<String>) -> Response {
    let body = lock(&page.feed.sampler).history_json(Some(&id));
    match body {
        Some(body) => json_response(body),
        None => problem(StatusCode::NOT_FOUND, format!("no panel has the id {id:?}")),
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
    let list = page.controls.iter().map(|control| {
        json!({"id": control.id, "title": control.title, "help": control.help,
            "choices": control.choices, "rest": control.rest, "value": control.current().ok()})
    });
    json_response(Value::from_iter(list).to_string().into())
}

async fn set_control(State(page): Shared, Path(id): Path<String>, body: Bytes) -> Response {
    let Some(control) = page.controls.iter().find(|control| control.id == id) else {
        return problem(
            StatusCode::NOT_FOUND,
            format!("no control has the id {id:?}"),
        );
    };
    let asked: Option<Value> = serde_json::from_slice(&body).ok();
    let Some(value) = asked.as_ref().and_then(|asked| asked["value"].as_str()) else {
        return problem(
            StatusCode::BAD_REQUEST,
            "the body must be {\"value\": \"...\"}",
        );
    };
    match control.set(value) {
        Ok(()) => json_response(json!({"value": control.current().ok()}).to_string().into()),
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
    let Some(log) = &page.log else {
        return problem(StatusCode::NOT_FOUND, "this page keeps no requests");
    };
    match request_query(&parameters) {
        Ok(query) => match hook::call(|| log.find(&query)) {
            Ok(found) => {
                let found: Vec<Value> = found.iter().map(request).collect();
                json_response(json!({"requests": found}).to_string().into())
            }
            Err(error) => problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("the request log {error}"),
            ),
        },
        Err(why) => problem(StatusCode::BAD_REQUEST, why),
    }
}

fn request_query(parameters: &HashMap<String, String>) -> Result<RequestQuery, String> {
    let mut query = RequestQuery::default();
    for (name, value) in parameters {
        let seconds = || {
            let number: Option<f64> = value.parse().ok();
            let duration = number.and_then(|n| Duration::try_from_secs_f64(n).ok());
            duration.ok_or_else(|| format!("{name}: {value:?} is not a number of seconds"))
        };
        let time = || {
            let time = UNIX_EPOCH.checked_add(seconds()?);
            time.ok_or_else(|| format!("{name}: {value:?} is not a time"))
        };
        match name.as_str() {
            "from" => query.from = time()?,
            "to" => query.to = time()?,
            "at_least" => query.at_least = seconds()?,
            "at_most" => query.at_most = seconds()?,
            "method" => query.method = Some(value.clone()),
            "route" => query.route = Some(value.clone()),
            "id" => query.id = Some(value.clone()),
            "limit" => match value.parse() {
                Ok(limit @ 1..=1000) => query.limit = limit,
                _ => return Err(format!("limit: {value:?} is not within 1 to 1000")),
            },
            _ => return Err(format!("{name:?} is no parameter; see api/")),
        }
    }
    Ok(query)
}

fn request(request: &LoggedRequest) -> Value {
    let at = request.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    json!({
        "at": at.as_millis() as f64 / 1000.0,
        "duration_s": request.duration.as_secs_f64(),
        "id": request.id,
        "method": request.method,
        "route": request.route,
        "status": request.status,
        "error_type": request.error_type,
        "failed": request.failed,
        "line": request.line,
    })
}
