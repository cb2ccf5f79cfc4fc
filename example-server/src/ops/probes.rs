//! `/livez` and `/readyz`.

use std::time::Duration;

use axum::extract::State;
use ticket_core::Tickets;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::api::problem::Problem;

/// Probes have little patience; the database should have answered long before.
const PATIENCE: Duration = Duration::from_secs(1);

/// What readiness depends on.
#[derive(Clone, Debug)]
pub(crate) struct Readiness {
    pub(crate) tickets: Tickets,
    /// The API's runtime: one that answers no more is not ready either.
    pub(crate) runtime: Handle,
    pub(crate) stopping: CancellationToken,
}

/// The process runs. A database that is away is no reason to start it again.
pub(super) async fn livez() -> &'static str {
    "live\n"
}

/// The server can serve: it is not shutting down, and the database answers.
pub(super) async fn readyz(State(readiness): State<Readiness>) -> Result<&'static str, Problem> {
    if readiness.stopping.is_cancelled() {
        return Err(Problem::not_ready("the server is shutting down"));
    }
    let tickets = readiness.tickets.clone();
    let ping = readiness.runtime.spawn(async move { tickets.ping().await });
    match tokio::time::timeout(PATIENCE, ping).await {
        Ok(Ok(Ok(()))) => Ok("ready\n"),
        Ok(Ok(Err(error))) => Err(Problem::not_ready(format!(
            "the database does not serve: {error}"
        ))),
        Ok(Err(_)) => Err(Problem::not_ready("the API's runtime is gone")),
        Err(_) => Err(Problem::not_ready(format!(
            "the database did not answer within {PATIENCE:?}"
        ))),
    }
}
