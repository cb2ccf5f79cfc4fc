//! Handlers of `/commit`, which read and change how purchases are committed.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use ticket_core::{Commit, Tickets};

use super::Ops;
use crate::body::JsonBody;
use crate::guard::Authorized;
use crate::problem::Problem;

/// Response body.
#[derive(Serialize)]
pub(super) struct CommitMode {
    commit: String,
}

/// Request body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewCommitMode {
    commit: String,
}

fn active(tickets: &Tickets) -> Json<CommitMode> {
    Json(CommitMode {
        commit: tickets.commit().to_string(),
    })
}

/// Parses an object. The derived implementation accepts a list of the fields' values too.
fn parse(body: &[u8]) -> serde_json::Result<NewCommitMode> {
    serde_json::from_slice::<Map<String, Value>>(body)?;
    serde_json::from_slice(body)
}

/// `GET /commit`
pub(super) async fn read(State(ops): State<Ops>) -> Json<CommitMode> {
    active(&ops.tickets)
}

/// `PUT /commit`
pub(super) async fn switch(
    State(ops): State<Ops>,
    _: Authorized,
    JsonBody(body): JsonBody,
) -> Result<Json<CommitMode>, Problem> {
    let new = parse(&body).map_err(|error| {
        let detail =
            format!("{error}, expected {{\"commit\": \"group\"}} or {{\"commit\": \"each\"}}");
        if error.is_data() {
            Problem::invalid("body", detail)
        } else {
            Problem::malformed(detail)
        }
    })?;
    let commit: Commit = new.commit.parse().map_err(|_| {
        Problem::invalid(
            "commit",
            format!(
                "{:?} is not a commit mode, expected \"group\" or \"each\"",
                new.commit
            ),
        )
    })?;
    ops.switch_commit(commit);
    Ok(active(&ops.tickets))
}
