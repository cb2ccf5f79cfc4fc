//! The active faults, which can be replaced at run time.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use tokio::{sync::broadcast, time::Instant};

use super::{
    Document, Fail, FailurePolicy, LatencyPolicy, Operation, Random,
    changes::{Change, Changes, Source},
};

/// Faults to inject into one call: delays, then a failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The delay, at most [`MAX_DELAY`](super::MAX_DELAY).
    pub delay: Duration,
    /// How long the thread is blocked, at most [`MAX_DELAY`](super::MAX_DELAY).
    pub block: Duration,
    /// The failure after the delay; `None` if the operation is executed.
    pub fail: Option<Fail>,
}

impl Decision {
    /// No delay and no failure.
    pub const NONE: Self = Self {
        delay: Duration::ZERO,
        block: Duration::ZERO,
        fail: None,
    };
}

/// The active faults. Clones share them.
///
/// There are two levels: the base document, which is set at the start and by
/// [`reload`](Self::reload), and at most one override, which is set by [`replace`](Self::replace). An
/// override that expires gives way to the base; a base that expires gives way to no faults. A
/// [`Playback`](super::Playback) displaces the base while a scenario plays.
///
/// Decisions are lock-free. Time is measured with [`tokio::time::Instant`], so that tests can pause
/// it.
#[derive(Clone)]
pub struct Faults {
    shared: Arc<Shared>,
}

struct Shared {
    /// Set if decisions have to load the active document. Relaxed: a decision that reads a stale value
    /// is ordered before the change.
    enabled: AtomicBool,
    active_document: ArcSwap<Active>,
    levels: Mutex<Levels>,
    changes: broadcast::Sender<Change>,
}

struct Active {
    change: Change,
    running: Arc<Running>,
}

/// The levels, behind a lock that only changes take.
struct Levels {
    base: Arc<Running>,
    /// The base from before the scenario that plays, or the one that was set since.
    displaced: Option<Arc<Running>>,
    overridden: bool,
    next_number: u64,
}

/// A document with its clock and counters, which continue while it is overridden.
struct Running {
    document: Arc<Document>,
    since: Instant,
    expires: Option<Instant>,
    expires_at: Option<Timestamp>,
    seed: u64,
    applicable: [bool; Operation::COUNT],
    decided: [AtomicU64; Operation::COUNT],
}

/// The number of changes that are kept for a slow subscriber.
const CHANGES: usize = 64;

impl Faults {
    /// Returns a handle without faults.
    pub fn calm() -> Self {
        Self::new(Document::calm())
    }

    /// Returns a handle with `document` as the base. Its clock starts now.
    pub fn new(document: Document) -> Self {
        let at = Timestamp::now();
        let base = Arc::new(Running::start(document, at));
        let change = base.change(0, Source::Start, at);
        let active = Active {
            change,
            running: Arc::clone(&base),
        };
        Self {
            shared: Arc::new(Shared {
                enabled: AtomicBool::new(base.is_relevant()),
                active_document: ArcSwap::from_pointee(active),
                levels: Mutex::new(Levels {
                    base,
                    displaced: None,
                    overridden: false,
                    next_number: 1,
                }),
                changes: broadcast::Sender::new(CHANGES),
            }),
        }
    }

    /// Decides what to inject into one call of `operation`.
    ///
    /// Without active faults this costs one load and one branch. It does not allocate, unless it
    /// applies an expiration.
    #[inline]
    pub fn decide(&self, operation: Operation) -> Decision {
        if self.shared.enabled.load(Relaxed) {
            self.shared.decide(operation)
        } else {
            Decision::NONE
        }
    }

    /// Returns whether the active document can affect `operation`, or expires, after which another
    /// document may.
    pub(crate) fn may_apply_to(&self, operation: Operation) -> bool {
        if !self.shared.enabled.load(Relaxed) {
            return false;
        }
        let active = self.shared.active_document.load();
        active.running.expires.is_some() || active.running.applies_to(operation)
    }

    /// Returns the active document.
    pub fn document(&self) -> Arc<Document> {
        self.current().document
    }

    /// Returns the latest change: the active document, its origin, its activation and expiration.
    pub fn current(&self) -> Change {
        self.shared.settle();
        self.shared.active_document.load().change.clone()
    }

    /// Sets `document` as the override, until it expires or is replaced.
    ///
    /// Its clock and its random sequences start over.
    pub fn replace(&self, document: Document) {
        let mut levels = self.shared.lock();
        let at = Timestamp::now();
        let running = Arc::new(Running::start(document, at));
        levels.overridden = true;
        self.shared.activate(&mut levels, running, Source::Http, at);
    }

    /// Sets `document` as the base, such as after a file has changed.
    ///
    /// Its clock and its random sequences start over. Returns `true` if it is active: it ends an
    /// override without expiration. Returns `false` if an override with an expiration stays active
    /// until then, or a scenario until it ends.
    pub fn reload(&self, document: Document) -> bool {
        let mut levels = self.shared.lock();
        let at = Timestamp::now();
        let base = Arc::new(Running::start(document, at));
        if let Some(displaced) = &mut levels.displaced {
            *displaced = base;
            return false;
        }
        self.shared.rebase(&mut levels, base, Source::File, at)
    }

    /// Displaces the base by a step of a scenario, which ends an override without expiration.
    pub(super) fn play(&self, step: Document) {
        let mut levels = self.shared.lock();
        let at = Timestamp::now();
        let step = Arc::new(Running::start(step, at));
        if levels.displaced.is_none() {
            levels.displaced = Some(Arc::clone(&levels.base));
        }
        self.shared.rebase(&mut levels, step, Source::Scenario, at);
    }

    /// Restores the base that a scenario has displaced, unless it has expired since.
    pub(super) fn end_scenario(&self) {
        let mut levels = self.shared.lock();
        let Some(base) = levels.displaced.take() else {
            return;
        };
        let at = Timestamp::now();
        let base = if base.expired(Instant::now()) {
            Arc::new(Running::start(Document::calm(), at))
        } else {
            base
        };
        self.shared.rebase(&mut levels, base, Source::Scenario, at);
    }

    /// Subscribes to changes from now on.
    pub fn subscribe(&self) -> Changes {
        Changes::new(self.clone(), self.shared.changes.subscribe())
    }

    pub(super) fn expires(&self) -> Option<Instant> {
        self.shared.active_document.load().running.expires
    }

    pub(super) fn settle(&self) {
        self.shared.settle();
    }
}

impl Shared {
    #[inline(never)]
    fn decide(&self, operation: Operation) -> Decision {
        let active = self.active_document.load();
        let running = &active.running;
        if running.expires.is_none() && !running.applies_to(operation) {
            return Decision::NONE;
        }
        let now = Instant::now();
        if !running.expired(now) {
            return running.decide(operation, now);
        }
        drop(active);
        self.settle();
        self.active_document.load().running.decide(operation, now)
    }

    /// Applies an expiration that is due.
    fn settle(&self) {
        if self.active_document.load().running.expired(Instant::now()) {
            drop(self.lock());
        }
    }

    /// Locks the levels and applies expirations that are due.
    fn lock(&self) -> MutexGuard<'_, Levels> {
        // The levels stay consistent if a panic poisons the lock.
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        loop {
            let expired = Arc::clone(&self.active_document.load().running);
            if !expired.expired(now) {
                return levels;
            }
            let at = expired.expires_at.unwrap_or_else(Timestamp::now);
            let base_expired = levels
                .base
                .expires
                .is_some_and(|end| Some(end) <= expired.expires);
            if !levels.overridden || base_expired {
                levels.base = Arc::new(Running::start(Document::calm(), at));
            }
            levels.overridden = false;
            let base = Arc::clone(&levels.base);
            self.activate(&mut levels, base, Source::Expiry, at);
        }
    }

    /// Sets the base. Returns whether it is active.
    fn rebase(
        &self,
        levels: &mut Levels,
        base: Arc<Running>,
        source: Source,
        at: Timestamp,
    ) -> bool {
        levels.base = Arc::clone(&base);
        let override_expires = self.active_document.load().running.expires.is_some();
        if levels.overridden && override_expires {
            return false;
        }
        levels.overridden = false;
        self.activate(levels, base, source, at);
        true
    }

    fn activate(&self, levels: &mut Levels, running: Arc<Running>, source: Source, at: Timestamp) {
        let change = running.change(levels.next_number, source, at);
        levels.next_number += 1;
        let enabled = running.is_relevant();
        self.active_document.store(Arc::new(Active {
            change: change.clone(),
            running,
        }));
        self.enabled.store(enabled, Relaxed);
        // Fails if there are no subscribers.
        let _ = self.changes.send(change);
    }
}

impl Running {
    fn start(document: Document, at: Timestamp) -> Self {
        let since = Instant::now();
        let life = document.expires_after();
        Self {
            since,
            expires: life.map(|life| since + life),
            expires_at: life.map(|life| later(at, life)),
            seed: document.seed().unwrap_or_else(rand::random),
            applicable: Operation::ALL
                .map(|it| document.faults().iter().any(|fault| fault.applies_to(it))),
            decided: [const { AtomicU64::new(0) }; Operation::COUNT],
            document: Arc::new(document),
        }
    }

    fn change(&self, number: u64, source: Source, at: Timestamp) -> Change {
        let document = Arc::clone(&self.document);
        Change {
            number,
            document,
            source,
            at,
            expires_at: self.expires_at,
        }
    }

    /// Returns whether a decision has to look at the document: it has faults, or expires to one that
    /// may have some.
    fn is_relevant(&self) -> bool {
        !self.document.is_calm() || self.expires.is_some()
    }

    fn applies_to(&self, operation: Operation) -> bool {
        self.applicable[operation.index()]
    }

    fn expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    fn decide(&self, operation: Operation, now: Instant) -> Decision {
        if !self.applies_to(operation) {
            return Decision::NONE;
        }
        let number = self.decided[operation.index()].fetch_add(1, Relaxed);
        let random = Random::new(self.seed, operation, number);
        let at = now.saturating_duration_since(self.since);
        Decision {
            delay: self.document.latency(operation, at, random),
            block: self.document.block(operation, at, random),
            fail: self.document.failure(operation, at, random),
        }
    }
}

fn later(at: Timestamp, life: Duration) -> Timestamp {
    let life = SignedDuration::try_from(life).unwrap_or(SignedDuration::MAX);
    at.checked_add(life).unwrap_or(Timestamp::MAX)
}

impl Default for Faults {
    fn default() -> Self {
        Self::calm()
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Faults")
            .field(&self.shared.active_document.load().change)
            .finish()
    }
}
