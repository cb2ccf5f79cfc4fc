//! The clock of the hot path.
//!
//! Two readings are about half of what a request costs. With the feature
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

    /// A reading of a clock of our own: `quanta::Instant` looks for an override
    /// in a thread's local storage, which is gone for a request that ends while
    /// its thread does.
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
