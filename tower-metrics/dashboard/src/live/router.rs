//! The routes, the task that feeds them, and the stream to the viewers.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::{OriginalUri, Path, Query, State};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, interval_at};

use super::assets::{FILES, PAGE};
use super::check::Check;
use super::control::{Control, Refused};
use super::recent::{LoggedRequest, RequestLog, RequestQuery};
use super::sampler::Sampler;
use super::wire::{Checked, Figure};

/// Updates that a slow viewer may fall behind before its stream is ended; it then comes back and
/// starts from the history.
const BEHIND: usize = 8;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'";

/// What the builder hands over.
pub(super) struct Parts {
    pub(super) title: String,
    pub(super) definition: Bytes,
    pub(super) sampler: Sampler,
    pub(super) controls: Arc<[Control]>,
    pub(super) checks: Vec<Check>,
    pub(super) log: Option<Arc<dyn RequestLog>>,
    pub(super) until: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// What the handlers share. Dropping it ends the task that feeds it.
struct Live {
    title: String,
    definition: Bytes,
    feed: Arc<Feed>,
    controls: Arc<[Control]>,
    log: Option<Arc<dyn RequestLog>>,
    _tasks: JoinSet<()>,
}

/// What the task writes and the handlers read.
struct Feed {
    sampler: Mutex<Sampler>,
    checks: Mutex<Vec<Checked>>,
    /// The history as the stream sends it first, made once a second at most.
    opening: Mutex<Option<Bytes>>,
    /// `None` once it has ended.
    updates: Mutex<Option<broadcast::Sender<Bytes>>>,
}

type Shared = State<Arc<Live>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic in a hook must not take the page down with it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn start(parts: Parts, runtime: &Handle) -> Router {
    let feed = Arc::new(Feed {
        sampler: Mutex::new(parts.sampler),
        checks: Mutex::new(
            parts
                .checks
                .iter()
                .map(|check| unknown(check, "not yet known"))
                .collect(),
        ),
        opening: Mutex::new(None),
        updates: Mutex::new(Some(broadcast::channel(BEHIND).0)),
    });
    let started = Instant::now();
    feed.tick(started);
    let mut tasks = JoinSet::new();
    let mut checks = JoinSet::new();
    for (index, check) in parts.checks.into_iter().enumerate() {
        checks.spawn_on(keep_checking(feed.clone(), index, check), runtime);
    }
    tasks.spawn_on(
        keep_reading(feed.clone(), started, parts.until, checks),
        runtime,
    );
    let live = Live {
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
        .layer(map_response(guarded))
        .with_state(Arc::new(live))
}

async fn keep_reading(
    feed: Arc<Feed>,
    started: Instant,
    until: Pin<Box<dyn Future<Output = ()> + Send>>,
    checks: JoinSet<()>,
) {
    let second = Duration::from_secs(1);
    // The first reading has been taken: a rate over less than a second would be a spike.
    let mut ticks = interval_at((started + second).into(), second);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let reading = async {
        loop {
            ticks.tick().await;
            feed.tick(started);
        }
    };
    tokio::select! {
        () = until => {}
        () = reading => {}
    }
    drop(checks);
    lock(&feed.updates).take();
}

async fn keep_checking(feed: Arc<Feed>, index: usize, check: Check) {
    let mut ticks = interval(check.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let checked = match check.run().await {
            Ok(equations) => {
                let apart = equations.iter().map(|equation| equation.difference());
                let difference = apart.fold(0.0, f64::max);
                Checked {
                    id: check.id.clone(),
                    holds: difference == 0.0,
                    difference: Figure(difference),
                    equations,
                    error: None,
                }
            }
            Err(error) => unknown(&check, error),
        };
        lock(&feed.checks)[index] = checked;
    }
}

fn unknown(check: &Check, why: impl Into<String>) -> Checked {
    Checked {
        id: check.id.clone(),
        holds: false,
        difference: Figure(f64::NAN),
        equations: Vec::new(),
        error: Some(why.into()),
    }
}

impl Feed {
    fn tick(&self, started: Instant) {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let wall = wall.as_millis() as f64 / 1000.0;
        let checks = lock(&self.checks).clone();
        let mut sampler = lock(&self.sampler);
        sampler.tick(wall, started.elapsed().as_secs_f64(), checks);
        lock(&self.opening).take();
        if let Some(updates) = &*lock(&self.updates)
            && updates.receiver_count() > 0
        {
            // An error says that the last viewer has just left.
            let _ = updates.send(event("update", &sampler.now_json()));
        }
    }

    /// A viewer's stream: the history first. Both are taken under the sampler's lock, so that no
    /// update falls between them.
    fn subscribe(&self) -> Option<(Bytes, broadcast::Receiver<Bytes>)> {
        let sampler = lock(&self.sampler);
        let updates = lock(&self.updates).as_ref()?.subscribe();
        let mut opening = lock(&self.opening);
        let history = opening.get_or_insert_with(|| {
            event("history", &sampler.history_json(None).unwrap_or_default())
        });
        Some((history.clone(), updates))
    }
}

fn event(name: &str, data: &[u8]) -> Bytes {
    [b"event: ", name.as_bytes(), b"\ndata: ", data, b"\n\n"]
        .concat()
        .into()
}

/// Headers for every answer. Nothing here is to be cached without asking again.
async fn guarded(mut response: Response) -> Response {
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

fn json_answer(body: Bytes) -> Response {
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

async fn html(State(live): Shared, OriginalUri(uri): OriginalUri) -> Response {
    let title = live
        .title
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;");
    let page = PAGE
        .replace("{{base}}", &base(&uri))
        .replace("{{title}}", &title);
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}

/// What the page's relative addresses start from. It is relative itself, so that it also holds
/// behind a proxy that takes a prefix away.
fn base(uri: &Uri) -> String {
    match uri.path().rsplit('/').next() {
        None | Some("") => "./".to_owned(),
        // Its quotes and brackets are percent-encoded, for it is part of a valid path.
        Some(last) => format!("./{}/", last.replace('&', "&amp;").replace('"', "%22")),
    }
}

async fn asset(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|(known, _)| *known == name) {
        Some((_, (kind, content))) => ([(CONTENT_TYPE, *kind)], *content).into_response(),
        None => problem(StatusCode::NOT_FOUND, format!("no file is called {name:?}")),
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
    json_answer(list.to_string().into())
}

async fn dashboard(State(live): Shared) -> Response {
    json_answer(live.definition.clone())
}

async fn now(State(live): Shared) -> Response {
    let body = lock(&live.feed.sampler).now_json();
    json_answer(body)
}

async fn history(State(live): Shared) -> Response {
    let body = lock(&live.feed.sampler).history_json(None);
    json_answer(body.unwrap_or_default())
}

async fn panel(State(live): Shared, Path(id): Path<String>) -> Response {
    let body = lock(&live.feed.sampler).history_json(Some(&id));
    match body {
        Some(body) => json_answer(body),
        None => problem(StatusCode::NOT_FOUND, format!("no panel has the id {id:?}")),
    }
}

async fn stream(State(live): Shared) -> Response {
    let Some((history, updates)) = live.feed.subscribe() else {
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
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
    ];
    (headers, Body::from_stream(events)).into_response()
}

async fn controls(State(live): Shared) -> Response {
    let list = live.controls.iter().map(|control| {
        json!({"id": control.id, "title": control.title, "help": control.help,
            "choices": control.choices, "rest": control.rest, "value": control.current()})
    });
    json_answer(Value::from_iter(list).to_string().into())
}

async fn set_control(State(live): Shared, Path(id): Path<String>, body: Bytes) -> Response {
    let Some(control) = live.controls.iter().find(|control| control.id == id) else {
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
        Ok(()) => json_answer(json!({"value": control.current()}).to_string().into()),
        Err(Refused::Unknown(why)) => problem(StatusCode::UNPROCESSABLE_ENTITY, why),
        Err(Refused::Failed(why)) => problem(StatusCode::CONFLICT, why),
    }
}

async fn requests(
    State(live): Shared,
    Query(parameters): Query<HashMap<String, String>>,
) -> Response {
    let Some(log) = &live.log else {
        return problem(StatusCode::NOT_FOUND, "this page keeps no requests");
    };
    match request_query(&parameters) {
        Ok(query) => {
            let found: Vec<Value> = log.find(&query).iter().map(request).collect();
            json_answer(json!({"requests": found}).to_string().into())
        }
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
