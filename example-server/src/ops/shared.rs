//! Sharing of expensive results between concurrent requests.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use crate::task;

/// Inverse of the maximum fraction of time spent on computing.
const INVERSE_SHARE: u32 = 4;

/// Maximum number of distinct results that requests wait for.
const MAX_KEYS: usize = 16;

/// Requests are already waiting for the maximum number of distinct results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// Computes a result once for all requests that wait for it.
///
/// One result is computed at a time, for at most a quarter of the time. A request that arrives
/// during a computation waits for the next one, so that a result is never older than the request.
///
/// # Bounds
/// Results that requests wait for: [`MAX_KEYS`]. Each request holds a key.
#[derive(Debug)]
pub(super) struct Shared<K, V> {
    waiting: Mutex<Vec<(K, Weak<OnceCell<V>>)>>,
    turn: Arc<Semaphore>,
}

impl<K: Eq + Clone, V: Clone> Shared<K, V> {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::default(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// Returns the result for `key`. `compute` is called by one of the requests that wait for it.
    ///
    /// # Errors
    ///
    /// Returns [`Full`] if [`MAX_KEYS`] other results have to be computed first.
    pub(super) async fn get<F: Future<Output = V>>(
        &self,
        key: K,
        compute: impl FnOnce() -> F,
    ) -> Result<V, Full> {
        let cell = self.join(&key)?;
        let result = cell.get_or_init(|| async {
            let turn = self.turn.clone().acquire_owned().await;
            let turn = turn.expect("the semaphore is never closed");
            self.leave(&cell);
            let begun = Instant::now();
            let result = compute().await;
            release(turn, begun.elapsed() * (INVERSE_SHARE - 1));
            result
        });
        Ok(result.await.clone())
    }

    fn join(&self, key: &K) -> Result<Arc<OnceCell<V>>, Full> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Requests that were cancelled while they waited.
        waiting.retain(|(_, cell)| cell.strong_count() > 0);
        let found = waiting.iter().find(|(known, _)| known == key);
        if let Some(cell) = found.and_then(|(_, cell)| cell.upgrade()) {
            return Ok(cell);
        }
        if waiting.len() == MAX_KEYS {
            return Err(Full);
        }
        let cell = Arc::new(OnceCell::new());
        waiting.push((key.clone(), Arc::downgrade(&cell)));
        Ok(cell)
    }

    /// Lets later requests wait for the next result.
    fn leave(&self, cell: &Arc<OnceCell<V>>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|(_, other)| other.as_ptr() != Arc::as_ptr(cell));
    }
}

/// Gives the turn to the next request after `pause`.
fn release(turn: OwnedSemaphorePermit, pause: Duration) {
    task::spawn(async move {
        tokio::time::sleep(pause).await;
        drop(turn);
    });
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn requests_that_arrive_during_a_computation_share_the_next_one() {
        let shared = Arc::new(Shared::new());
        let (computed, go_on) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let request = || {
            let (shared, computed) = (shared.clone(), computed.clone());
            let go_on = go_on.clone();
            tokio::spawn(async move {
                let compute = || async move {
                    let number = computed.fetch_add(1, Relaxed);
                    if number == 0 {
                        go_on.notified().await;
                    }
                    number
                };
                shared.get("key", compute).await
            })
        };
        let first = request();
        while computed.load(Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let others: Vec<_> = (0..100).map(|_| request()).collect();
        tokio::task::yield_now().await;
        go_on.notify_one();
        assert_eq!(first.await.unwrap(), Ok(0));
        for other in others {
            assert_eq!(other.await.unwrap(), Ok(1));
        }
        assert!(shared.waiting.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_cancelled_request_does_not_block_the_others_that_wait() {
        let shared = Arc::new(Shared::new());
        let cancelled = {
            let shared = shared.clone();
            tokio::spawn(async move { shared.get("key", std::future::pending::<u32>).await })
        };
        while shared.turn.available_permits() == 1 {
            tokio::task::yield_now().await;
        }
        cancelled.abort();
        assert_eq!(shared.get("key", || async { 7 }).await, Ok(7));
    }

    #[tokio::test]
    async fn requests_for_more_distinct_results_than_the_limit_are_rejected() {
        let shared = Arc::new(Shared::new());
        let turn = shared.turn.clone().acquire_owned().await.unwrap();
        let request = |key: usize| {
            let shared = shared.clone();
            tokio::spawn(async move { shared.get(key, async || key).await })
        };
        let waiting: Vec<_> = (0..MAX_KEYS).map(request).collect();
        while shared.waiting.lock().unwrap().len() < MAX_KEYS {
            tokio::task::yield_now().await;
        }
        assert_eq!(request(MAX_KEYS).await.unwrap(), Err(Full));
        let joined = request(0);
        drop(turn);
        for (key, waiting) in waiting.into_iter().enumerate() {
            assert_eq!(waiting.await.unwrap(), Ok(key));
        }
        assert_eq!(joined.await.unwrap(), Ok(0));
    }
}
