use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;

const SHORTEST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_secs(1);

/// Pauses between tries: each up to twice as long as the one before, at random so that those who
/// collided do not meet again, until patience ends.
#[derive(Debug)]
pub(crate) struct Backoff {
    until: Instant,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            until: Instant::now() + patience,
            next: SHORTEST,
        }
    }

    /// Waits before the next try; says `false` at once where there is to be none.
    pub(crate) async fn pause(&mut self) -> bool {
        let pause = self.next.mul_f64(rand::rng().random_range(0.5..1.0));
        if Instant::now() + pause > self.until {
            return false;
        }
        tokio::time::sleep(pause).await;
        self.next = (self.next * 2).min(LONGEST);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let begun = Instant::now();
        let mut backoff = Backoff::new(Duration::from_secs(10));
        let mut tries = 0;
        while backoff.pause().await {
            tries += 1;
        }
        assert!((14..=30).contains(&tries), "{tries} tries");
        assert!(begun.elapsed() <= Duration::from_secs(10));
    }
}
