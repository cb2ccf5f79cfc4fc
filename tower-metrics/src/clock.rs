//! Clock of the hot path.
//!
//! The two clock reads are about half of the cost of a request. With the feature
//! `quanta` they come from the processor's time stamp counter.

#[cfg(feature = "quanta")]
pub(crate) use self::counter::Instant;
#[cfg(not(feature = "quanta"))]
pub(crate) use std::time::Instant;

#[cfg(feature = "quanta")]
mod counter {
    use std::sync::OnceLock;
    use std::time::Duration;

    use quanta::Clock;

    /// Reading of a process-wide clock.
    ///
    /// `quanta::Instant::now` looks up an override in thread-local storage, which is
    /// already destroyed when a request ends during thread shutdown.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Instant(quanta::Instant);

    impl Instant {
        #[inline]
        pub(crate) fn now() -> Self {
            static CLOCK: OnceLock<Clock> = OnceLock::new();
            Self(CLOCK.get_or_init(Clock::new).now())
        }

        #[inline]
        pub(crate) fn elapsed(self) -> Duration {
            Self::now().0.saturating_duration_since(self.0)
        }
    }
}
