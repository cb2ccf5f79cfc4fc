//! Handlers of `/scenario`, which read, start and end the scenario that plays.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use ticket_core::policy::{self, Playback, Playing, Scenario, Source};

use super::Ops;
use crate::body::JsonBody;
use crate::guard::Authorized;
use crate::metrics::PlatformMetrics;
use crate::problem::Problem;
use crate::scenarios;

/// The scenario that plays and its step in force.
#[derive(Serialize)]
pub(super) struct Status {
    scenario: Option<String>,
    #[serde(flatten)]
    step: Option<StepStatus>,
}

#[derive(Serialize)]
struct StepStatus {
    /// Number of the step in force, from 1.
    step: usize,
    steps: usize,
    note: String,
    traffic: f64,
    since: String,
    /// When the next step starts.
    until: Option<String>,
}

impl Status {
    fn of(playback: &Playback) -> Json<Self> {
        let Some(playing) = playback.current() else {
            return Json(Self {
                scenario: None,
                step: None,
            });
        };
        let step = playing.step();
        Json(Self {
            scenario: Some(playing.scenario.name().to_owned()),
            step: Some(StepStatus {
                step: playing.step + 1,
                steps: playing.scenario.steps().len(),
                note: step.note.clone(),
                traffic: step.traffic,
                since: playing.since.to_string(),
                until: playing.until.map(|until| until.to_string()),
            }),
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    /// Required, so that an empty object does not end a scenario.
    #[serde(deserialize_with = "name_or_null")]
    scenario: Option<String>,
}

fn name_or_null<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(from)
}

/// Parses an object. The derived implementation accepts a list of the fields' values too.
fn parse(body: &[u8]) -> serde_json::Result<Change> {
    serde_json::from_slice::<Map<String, Value>>(body)?;
    serde_json::from_slice(body)
}

/// `GET /scenario`
pub(super) async fn read(State(ops): State<Ops>) -> Json<Status> {
    Status::of(&ops.playback)
}

/// `PUT /scenario`: starts a scenario, or ends it with `{"scenario": null}`.
pub(super) async fn replace(
    State(ops): State<Ops>,
    _: Authorized,
    JsonBody(body): JsonBody,
) -> Result<Json<Status>, Problem> {
    let change = parse(&body).map_err(|error| {
        let detail = format!("{error}; expected {{\"scenario\": NAME or null}}");
        if error.is_data() {
            Problem::invalid("body", detail)
        } else {
            Problem::malformed(detail)
        }
    })?;
    match change.scenario {
        None => ops.playback.stop(),
        Some(name) => {
            let scenario = Scenario::named(&name).ok_or_else(|| {
                let names = scenarios::names();
                let detail = format!("{name:?} is not allowed: expected one of {names}, or null");
                Problem::invalid("scenario", detail)
            })?;
            ops.playback.start(scenario);
        }
    }
    Ok(Status::of(&ops.playback))
}

/// Returns the step in force as text, such as `2/7: The sale opens`.
pub(super) fn describe(playing: &Playing) -> String {
    format!("{}: {}", number(playing), playing.step().note)
}

/// Returns the scenario and the position of the step in force, such as `black-friday 2/7`.
pub(super) fn position(playing: &Playing) -> String {
    format!("{} {}", playing.scenario.name(), number(playing))
}

/// Returns the number of the step in force and of all steps, such as `2/7`.
fn number(playing: &Playing) -> String {
    format!("{}/{}", playing.step + 1, playing.scenario.steps().len())
}

/// Returns the step in force if it, and not an override, has set the active faults.
pub(super) fn step_of(faults: &policy::Change, playback: &Playback) -> Option<Playing> {
    let playing = playback.current();
    playing.filter(|_| faults.source != Source::Http)
}

/// Logs every step and exports the one in force.
pub(crate) async fn watch(playback: Playback, metrics: Arc<PlatformMetrics>) {
    let mut changes = playback.subscribe();
    loop {
        let playing = changes.borrow_and_update().clone();
        metrics.set_scenario(playing.as_ref());
        if let Some(playing) = playing {
            tracing::info!(
                scenario = playing.scenario.name(),
                step = playing.step + 1,
                steps = playing.scenario.steps().len(),
                note = playing.step().note,
                traffic = playing.step().traffic,
                until = playing.until.map(|until| format!("{until:.0}")),
                "scenario step"
            );
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}
