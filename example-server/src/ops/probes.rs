//! `/livez` and `/readyz`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use ticket_core::Tickets;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::shared::Shared;
use crate::problem::Problem;

/// Time that the database has to respond. Kubernetes gives probes a second by default.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(1);

/// Dependencies of readiness.
#[derive(Clone, Debug)]
pub(crate) struct Readiness {
    tickets: Tickets,
    /// The API's runtime: a server whose runtime is blocked is not ready.
    runtime: Handle,
    stopping: CancellationToken,
    /// Probes share a ping, so that any number of them costs the database one at a time.
    ping: Arc<Shared<(), Result<(), String>>>,
}

impl Readiness {
    /// Readiness of a server that uses `tickets` on `runtime`, until `stopping` is cancelled.
    pub(crate) fn new(tickets: Tickets, runtime: Handle, stopping: CancellationToken) -> Self {
        Self {
            tickets,
            runtime,
            stopping,
            ping: Arc::new(Shared::new()),
        }
    }

    async fn ping(&self) -> Result<(), String> {
        let tickets = self.tickets.clone();
        let ping = self.runtime.spawn(async move { tickets.ping().await });
        match tokio::time::timeout(DATABASE_TIMEOUT, ping).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(error.report()),
            Ok(Err(_)) => Err("the API's runtime has shut down".to_owned()),
            Err(_) => Err(format!(
                "the database did not respond within {DATABASE_TIMEOUT:?}"
            )),
        }
    }
}

/// `GET /livez`: the process is running. It does not check the database, because restarting the
/// process would not repair that.
pub(super) async fn livez() -> &'static str {
    "live\n"
}

/// `GET /readyz`: the server is not shutting down and the database responds.
pub(super) async fn readyz(State(readiness): State<Readiness>) -> Result<&'static str, Problem> {
    if readiness.stopping.is_cancelled() {
        return Err(Problem::not_ready("the server is shutting down"));
    }
    let ping = readiness.ping.get((), || readiness.ping());
    ping.await
        .expect("all probes have the same key")
        .map_err(Problem::not_ready)?;
    Ok("ready\n")
}
