//! Backoff between retries.

use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;

const MIN_DELAY: Duration = Duration::from_millis(5);
const MAX_DELAY: Duration = Duration::from_secs(1);

/// Exponential backoff with jitter, until a timeout.
#[derive(Debug)]
pub(crate) struct Backoff {
    deadline: Instant,
    delay: Duration,
}

impl Backoff {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            deadline: Instant::now() + timeout,
            delay: MIN_DELAY,
        }
    }

    /// Waits before the next attempt. Returns `false` immediately if the timeout would
    /// elapse before then.
    pub(crate) async fn wait(&mut self) -> bool {
        let delay = self.delay.mul_f64(rand::rng().random_range(0.5..1.0));
        if Instant::now() + delay > self.deadline {
            return false;
        }
        tokio::time::sleep(delay).await;
        self.delay = (self.delay * 2).min(MAX_DELAY);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn retries_end_before_the_timeout() {
        let begun = Instant::now();
        let mut backoff = Backoff::new(Duration::from_secs(10));
        let mut attempts = 0;
        while backoff.wait().await {
            attempts += 1;
        }
        assert!((14..=30).contains(&attempts), "{attempts} attempts");
        assert!(begun.elapsed() <= Duration::from_secs(10));
    }
}
