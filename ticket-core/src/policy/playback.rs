//! Plays scenarios.

use std::{fmt, sync::Arc};

use jiff::Timestamp;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{Faults, Scenario, Step};

/// Plays a [`Scenario`] on [`Faults`]: each step displaces the base.
///
/// A document that is set with [`Faults::replace`] overrides the step in force: until it
/// expires, or, without an expiration, until the next step. At the end the last step lasts, unless the
/// scenario repeats. [`stop`](Self::stop) restores the base: the one from before the scenario, or the
/// one that [`Faults::reload`] has set since.
///
/// Time is measured with [`tokio::time::Instant`], so that tests can pause it.
#[derive(Clone)]
pub struct Playback(Arc<Shared>);

struct Shared {
    faults: Faults,
    current: watch::Sender<Option<Playing>>,
}

/// The scenario that plays and its step in force.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Playing {
    /// The scenario.
    pub scenario: Arc<Scenario>,
    /// Index of the step in force.
    pub step: usize,
    /// Start of the step, by the wall clock.
    pub since: Timestamp,
    /// Time until which the step lasts, by the wall clock; none for the last one.
    pub until: Option<Timestamp>,
    start: Instant,
    next: Option<Instant>,
}

impl Playing {
    fn at(scenario: Arc<Scenario>, start: Instant) -> Self {
        let now = Instant::now();
        let (step, next) = scenario.at(now.saturating_duration_since(start));
        let next = next.map(|next| start + next);
        let since = Timestamp::now();
        Self {
            scenario,
            step,
            since,
            until: next.map(|next| since + next.saturating_duration_since(now)),
            start,
            next,
        }
    }

    fn enter(self, faults: &Faults) -> Self {
        faults.play(self.step().document.clone());
        self
    }

    /// Returns the step in force.
    pub fn step(&self) -> &Step {
        &self.scenario.steps()[self.step]
    }
}

impl Playback {
    /// Returns a playback without a scenario. [`run`](Self::run) has to be polled for one to advance.
    pub fn new(faults: Faults) -> Self {
        Self(Arc::new(Shared {
            faults,
            current: watch::Sender::new(None),
        }))
    }

    /// Starts a scenario from its first step, instead of the one that plays.
    pub fn start(&self, scenario: Scenario) {
        let Shared { faults, current } = &*self.0;
        current.send_modify(|current| {
            let playing = Playing::at(Arc::new(scenario), Instant::now());
            *current = Some(playing.enter(faults));
        });
    }

    /// Ends the scenario and restores the base. Does nothing if no scenario plays.
    pub fn stop(&self) {
        let Shared { faults, current } = &*self.0;
        current.send_if_modified(|current| {
            let plays = current.take().is_some();
            if plays {
                faults.end_scenario();
            }
            plays
        });
    }

    /// Returns the scenario that plays and its step in force.
    pub fn current(&self) -> Option<Playing> {
        self.0.current.borrow().clone()
    }

    /// Returns the factor of the rate of generated traffic; none if no scenario plays.
    pub fn traffic(&self) -> Option<f64> {
        self.0.current.borrow().as_ref().map(|it| it.step().traffic)
    }

    /// Subscribes to changes of [`current`](Self::current).
    pub fn subscribe(&self) -> watch::Receiver<Option<Playing>> {
        self.0.current.subscribe()
    }

    /// Advances scenarios to their next steps when these are due. Never returns.
    pub async fn run(self) {
        let mut changes = self.subscribe();
        loop {
            let playing = changes.borrow_and_update().clone();
            let due = playing.as_ref().and_then(|playing| playing.next);
            tokio::select! {
                biased;
                changed = changes.changed() => changed.expect("`self` has the sender"),
                () = until(due) => if let Some(playing) = playing {
                    self.advance(playing);
                },
            }
        }
    }

    /// Enters the step of `before` that is due now, unless another scenario has started.
    fn advance(&self, before: Playing) {
        let Shared { faults, current } = &*self.0;
        current.send_if_modified(|current| {
            let is_same = |it: &Playing| {
                Arc::ptr_eq(&it.scenario, &before.scenario) && it.start == before.start
            };
            let plays = current.as_ref().is_some_and(is_same);
            if plays {
                let playing = Playing::at(before.scenario, before.start);
                *current = Some(playing.enter(faults));
            }
            plays
        });
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl fmt::Debug for Playback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Playback").field(&self.current()).finish()
    }
}
