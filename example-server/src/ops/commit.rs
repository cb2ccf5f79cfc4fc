//! `/commit`: how purchases are committed, read and switched while running.

use axum::Json as Answer;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use ticket_core::{Commit, Tickets};

use super::Ops;
use crate::api::body::Json;
use crate::api::problem::Problem;
use crate::guard::Authorized;

#[derive(Serialize)]
pub(super) struct Document {
    commit: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Draft {
    commit: String,
}

fn in_force(tickets: &Tickets) -> Answer<Document> {
    Answer(Document {
        commit: tickets.commit().to_string(),
    })
}

/// `GET /commit`
pub(super) async fn read(State(ops): State<Ops>) -> Answer<Document> {
    in_force(&ops.tickets)
}

/// `PUT /commit`
pub(super) async fn switch(
    State(ops): State<Ops>,
    _: Authorized,
    Json(body): Json,
) -> Result<Answer<Document>, Problem> {
    let draft: Draft = serde_json::from_slice(&body).map_err(|error| {
        let detail =
            format!("{error}; {{\"commit\": \"group\"}} or {{\"commit\": \"each\"}} is allowed");
        if error.is_data() {
            Problem::invalid("body", detail)
        } else {
            Problem::malformed(detail)
        }
    })?;
    let commit: Commit = draft.commit.parse().map_err(|_| {
        Problem::invalid(
            "commit",
            format!(
                "{:?} is not allowed: \"group\" and \"each\" are",
                draft.commit
            ),
        )
    })?;
    ops.switch_commit(commit);
    Ok(in_force(&ops.tickets))
}
