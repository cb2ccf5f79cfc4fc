//! `/livez` and `/readyz`.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use ticket_core::Tickets;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::shared::Shared;
use crate::problem::Problem;
use crate::task;

/// Time that the database has to respond. Kubernetes gives probes a second by default.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(1);
/// Time that a probe waits for a new result before it uses the latest one: under overload, a ping waits
/// for a processor and for a connection like every request.
const PATIENCE: Duration = Duration::from_millis(50);
/// Interval in which the result is renewed while probes arrive.
const RENEWAL: Duration = Duration::from_secs(1);
/// Age from which a result is not used any more: a ping takes up to a second, and pings take at most a
/// quarter of the time.
const MAX_AGE: Duration = Duration::from_secs(5);
/// Time after the latest probe for which the result is renewed. Kubernetes probes every ten seconds by
/// default.
const PROBED: Duration = Duration::from_secs(30);

/// Result of a ping; an error says why the server is not ready.
type Pinged = Result<(), String>;
type Ping = dyn Fn() -> Pin<Box<dyn Future<Output = Pinged> + Send>> + Send + Sync;

/// Dependencies of readiness.
#[derive(Clone)]
pub(crate) struct Readiness {
    ping: Arc<Ping>,
    stopping: CancellationToken,
    /// Probes share a ping, so that any number of them costs the database one at a time.
    shared: Arc<Shared<(), Pinged>>,
    latest: Arc<Mutex<Latest>>,
}

#[derive(Debug, Default)]
struct Latest {
    result: Option<(Pinged, Instant)>,
    probed_at: Option<Instant>,
    is_renewed: bool,
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness")
            .field("latest", &self.latest)
            .finish_non_exhaustive()
    }
}

impl Readiness {
    /// Readiness of a server that uses `tickets` on `runtime`, until `stopping` is cancelled. A server
    /// whose runtime is blocked is not ready.
    pub(crate) fn new(tickets: Tickets, runtime: Handle, stopping: CancellationToken) -> Self {
        Self::with_ping(stopping, move || {
            let tickets = tickets.clone();
            let ping = runtime.spawn(async move { tickets.ping().await });
            async {
                match ping.await {
                    Ok(pinged) => pinged.map_err(|error| error.report()),
                    Err(_) => Err("the API's runtime has shut down".to_owned()),
                }
            }
        })
    }

    fn with_ping<F>(
        stopping: CancellationToken,
        ping: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Pinged> + Send + 'static,
    {
        Self {
            ping: Arc::new(move || Box::pin(ping())),
            stopping,
            shared: Arc::new(Shared::new()),
            latest: Arc::default(),
        }
    }

    /// Returns whether the database responds: a new result, or after [`PATIENCE`] the latest one if it is
    /// younger than [`MAX_AGE`].
    async fn check(&self) -> Pinged {
        self.keep_renewing();
        let readiness = self.clone();
        // Completes even if the probe does not wait for it.
        let mut renewing = tokio::spawn(async move { readiness.renew().await });
        if let Ok(Ok(result)) = tokio::time::timeout(PATIENCE, &mut renewing).await {
            return result;
        }
        if let Some((result, at)) = &self.latest().result
            && at.elapsed() < MAX_AGE
        {
            return result.clone();
        }
        renewing
            .await
            .unwrap_or_else(|_| Err("the server is shutting down".to_owned()))
    }

    async fn renew(&self) -> Pinged {
        let pinged = self.shared.get((), || async {
            let ping = tokio::time::timeout(DATABASE_TIMEOUT, (self.ping)()).await;
            ping.unwrap_or_else(|_| {
                Err(format!(
                    "the database did not respond within {DATABASE_TIMEOUT:?}"
                ))
            })
        });
        let result = pinged.await.expect("all probes have the same key");
        self.latest().result = Some((result.clone(), Instant::now()));
        result
    }

    /// Renews the result every [`RENEWAL`] until no probe has arrived for [`PROBED`].
    fn keep_renewing(&self) {
        let mut latest = self.latest();
        latest.probed_at = Some(Instant::now());
        if std::mem::replace(&mut latest.is_renewed, true) {
            return;
        }
        let readiness = self.clone();
        task::spawn(async move {
            loop {
                tokio::time::sleep(RENEWAL).await;
                {
                    let mut latest = readiness.latest();
                    if latest.probed_at.is_none_or(|at| at.elapsed() >= PROBED) {
                        latest.is_renewed = false;
                        return;
                    }
                }
                _ = readiness.renew().await;
            }
        });
    }

    fn latest(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
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
    readiness.check().await.map_err(Problem::not_ready)?;
    Ok("ready\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the readiness of a server whose database takes as long as the returned value says.
    fn slow() -> (Readiness, Arc<Mutex<Duration>>) {
        let delay = Arc::new(Mutex::new(Duration::ZERO));
        let current = delay.clone();
        let readiness = Readiness::with_ping(CancellationToken::new(), move || {
            let delay = *current.lock().unwrap();
            async move {
                tokio::time::sleep(delay).await;
                Ok(())
            }
        });
        (readiness, delay)
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_of_a_busy_server_gets_the_latest_result_promptly() {
        let (readiness, delay) = slow();
        assert_eq!(readiness.check().await, Ok(()));
        *delay.lock().unwrap() = Duration::from_millis(400);
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let start = Instant::now();
            assert_eq!(readiness.check().await, Ok(()));
            assert!(start.elapsed() <= PATIENCE + Duration::from_millis(1));
        }
        // Longer than the interval of the renewal: the result is still recent.
        tokio::time::sleep(PROBED / 3).await;
        let start = Instant::now();
        assert_eq!(readiness.check().await, Ok(()));
        assert!(start.elapsed() <= PATIENCE + Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_database_that_hangs_is_noticed_after_two_timeouts() {
        let (readiness, delay) = slow();
        assert_eq!(readiness.check().await, Ok(()));
        *delay.lock().unwrap() = Duration::from_secs(3_600);
        tokio::time::sleep(RENEWAL + DATABASE_TIMEOUT + PATIENCE).await;
        let hung = readiness.check().await.unwrap_err();
        assert!(hung.contains("did not respond within 1s"), "{hung}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_result_is_renewed_only_while_probes_arrive() {
        let (readiness, _) = slow();
        assert_eq!(readiness.check().await, Ok(()));
        tokio::time::sleep(PROBED + 2 * RENEWAL).await;
        let renewed_at = readiness.latest().result.as_ref().map(|(_, at)| *at);
        tokio::time::sleep(PROBED).await;
        let latest = readiness.latest();
        assert_eq!(latest.result.as_ref().map(|(_, at)| *at), renewed_at);
        assert!(!latest.is_renewed);
    }
}
