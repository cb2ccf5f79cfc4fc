//! Handlers of `/faults`, which read and replace the active faults document.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{AppendHeaders, IntoResponse};
use http::{HeaderName, header};
use serde::Serialize;
use serde::de::IgnoredAny;
use ticket_core::policy::{Changes, Document, Faults, Playback};

use super::Ops;
use super::scenario::step_of;
use crate::body::JsonBody;
use crate::guard::Authorized;
use crate::metrics::PlatformMetrics;
use crate::problem::Problem;

#[derive(Serialize)]
pub(super) struct Preset {
    name: &'static str,
    help: &'static str,
}

/// `GET /faults`: the active document. Headers contain the name of its preset, its source, and the
/// time when it expires.
pub(super) async fn read(State(ops): State<Ops>) -> impl IntoResponse {
    active(ops.tickets.faults())
}

/// `PUT /faults`: activates a document until it expires.
///
/// The response is 400 if the body is not JSON or is nested too deeply, and 422 if a value is not
/// allowed. A number such as `1e400` is valid JSON but too large.
pub(super) async fn replace(
    State(ops): State<Ops>,
    _: Authorized,
    JsonBody(body): JsonBody,
) -> Result<impl IntoResponse, Problem> {
    let text =
        str::from_utf8(&body).map_err(|_| Problem::malformed("the body is not valid UTF-8"))?;
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        return Err(Problem::malformed(format!(
            "the body is not valid JSON: {error}"
        )));
    }
    let document = Document::from_json(text).map_err(|invalid| {
        if invalid.malformed {
            return Problem::malformed(format!("the body is {}", invalid.problem));
        }
        let path = if invalid.path.is_empty() {
            "body"
        } else {
            &invalid.path
        };
        Problem::invalid(path, invalid.problem)
    })?;
    let faults = ops.tickets.faults();
    faults.replace(document);
    Ok(active(faults))
}

/// `GET /faults/presets`
pub(super) async fn presets() -> Json<Vec<Preset>> {
    let presets = Document::PRESETS.iter();
    Json(presets.map(|&(name, help)| Preset { name, help }).collect())
}

fn active(faults: &Faults) -> impl IntoResponse + use<> {
    let change = faults.current();
    let name = change.document.name().unwrap_or("custom");
    let expires = change.expires_at.map(|at| (EXPIRES_AT, at.to_string()));
    (
        [
            (header::CONTENT_TYPE, "application/json"),
            (NAME, name),
            (SOURCE, change.source.as_str()),
        ],
        AppendHeaders(expires),
        change.document.to_json(),
    )
}

const NAME: HeaderName = HeaderName::from_static("faults-name");
const SOURCE: HeaderName = HeaderName::from_static("faults-source");
const EXPIRES_AT: HeaderName = HeaderName::from_static("faults-expires-at");

/// Logs and counts every change of the active document, including expiries.
pub(crate) async fn watch(mut changes: Changes, playback: Playback, metrics: Arc<PlatformMetrics>) {
    loop {
        let change = changes.next().await;
        let by_scenario = step_of(&change, &playback).is_some();
        metrics.faults_changed(&change, by_scenario);
        let other = if by_scenario { "scenario" } else { "custom" };
        tracing::info!(
            faults = change.document.name().unwrap_or(other),
            count = change.document.faults().len(),
            source = change.source.as_str(),
            expires_at = change.expires_at.map(|at| at.to_string()),
            "faults changed"
        );
    }
}
