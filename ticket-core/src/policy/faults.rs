use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::changes::{Change, Changes, Source};
use super::{Document, Fail, FailurePolicy, LatencyPolicy, Operation, Random};

/// What to inject into one call: wait, and then fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// How long to wait first; at most [`MAX_DELAY`](super::MAX_DELAY).
    pub delay: Duration,
    /// How to fail then, instead of doing the work; `None`: do it.
    pub fail: Option<Fail>,
}

impl Decision {
    /// Nothing.
    pub const NONE: Self = Self {
        delay: Duration::ZERO,
        fail: None,
    };
}

/// The faults in force: a handle that is cloned, asked, and turned while the program runs.
///
/// There is a ground, laid at the start and again by [`reload`](Self::reload), and above it at most
/// one override, set by [`replace`](Self::replace). What expires gives way to what lies below it:
/// an override to the ground, the ground to calm.
///
/// A decision reads one whole document, before or after a change and never between, and takes no
/// lock. Time is tokio's, so that tests can pause it.
#[derive(Clone)]
pub struct Faults {
    shared: Arc<Shared>,
}

struct Shared {
    /// False where no decision can inject anything: all that a calm decision reads. It may lag
    /// behind `in_force` for a moment, which only moves the moment of the change.
    active: AtomicBool,
    in_force: ArcSwap<InForce>,
    layers: Mutex<Layers>,
    changes: broadcast::Sender<Change>,
}

struct InForce {
    change: Change,
    running: Arc<Running>,
}

/// What a change works on, behind the lock that decisions do not take.
struct Layers {
    ground: Arc<Running>,
    overridden: bool,
    next_number: u64,
}

/// A document with its clock and its counters. They run on while an override is in force.
struct Running {
    document: Arc<Document>,
    since: Instant,
    expires: Option<Instant>,
    expires_at: Option<Timestamp>,
    seed: u64,
    touched: [bool; Operation::COUNT],
    decided: [AtomicU64; Operation::COUNT],
}

/// How many changes a subscriber may lie behind before it misses the oldest.
const CHANGES: usize = 64;

impl Faults {
    /// No faults, until some are set.
    pub fn calm() -> Self {
        Self::new(Document::calm())
    }

    /// The faults of `document`, whose clock starts now.
    pub fn new(document: Document) -> Self {
        let at = Timestamp::now();
        let ground = Arc::new(Running::start(document, at));
        let change = ground.change(0, Source::Start, at);
        let in_force = InForce {
            change,
            running: Arc::clone(&ground),
        };
        Self {
            shared: Arc::new(Shared {
                active: AtomicBool::new(ground.is_active()),
                in_force: ArcSwap::from_pointee(in_force),
                layers: Mutex::new(Layers {
                    ground,
                    overridden: false,
                    next_number: 1,
                }),
                changes: broadcast::Sender::new(CHANGES),
            }),
        }
    }

    /// What to inject into this call of `operation`.
    ///
    /// Where no faults are in force it costs one load and one branch. It never allocates, except
    /// for the one decision that meets an expiry.
    #[inline]
    pub fn decide(&self, operation: Operation) -> Decision {
        if self.shared.active.load(Relaxed) {
            self.shared.decide(operation)
        } else {
            Decision::NONE
        }
    }

    /// What is in force now: the ground, or calm, once an expiry has passed.
    pub fn document(&self) -> Arc<Document> {
        self.current().document
    }

    /// The last change: what is in force now, since when, from where, and until when.
    pub fn current(&self) -> Change {
        self.shared.settle();
        self.shared.in_force.load().change.clone()
    }

    /// Overrides what is in force with `document`, until it expires or the next change.
    ///
    /// Its clock starts now and its sequence from the beginning.
    pub fn replace(&self, document: Document) {
        let mut layers = self.shared.lock();
        let at = Timestamp::now();
        let running = Arc::new(Running::start(document, at));
        layers.overridden = true;
        self.shared.put(&mut layers, running, Source::Http, at);
    }

    /// Lays `document` as the new ground: what a file says that was read again.
    ///
    /// Its clock starts now and its sequence from the beginning. It comes in force at once and
    /// ends an override that has no expiry. An override that has one stays until then; the answer
    /// is then `false`.
    pub fn reload(&self, document: Document) -> bool {
        let mut layers = self.shared.lock();
        let at = Timestamp::now();
        layers.ground = Arc::new(Running::start(document, at));
        let held = self.shared.in_force.load().running.expires.is_some();
        if layers.overridden && held {
            return false;
        }
        layers.overridden = false;
        let ground = Arc::clone(&layers.ground);
        self.shared.put(&mut layers, ground, Source::File, at);
        true
    }

    /// The changes from now on.
    pub fn subscribe(&self) -> Changes {
        Changes::new(self.clone(), self.shared.changes.subscribe())
    }

    pub(super) fn expires(&self) -> Option<Instant> {
        self.shared.in_force.load().running.expires
    }

    pub(super) fn settle(&self) {
        self.shared.settle();
    }
}

impl Shared {
    #[inline(never)]
    fn decide(&self, operation: Operation) -> Decision {
        let in_force = self.in_force.load();
        let running = &in_force.running;
        if running.expires.is_none() && !running.touches(operation) {
            return Decision::NONE;
        }
        let now = Instant::now();
        if !running.expired(now) {
            return running.decide(operation, now);
        }
        drop(in_force);
        self.settle();
        self.in_force.load().running.decide(operation, now)
    }

    /// Lets what has expired give way.
    fn settle(&self) {
        if self.in_force.load().running.expired(Instant::now()) {
            drop(self.lock());
        }
    }

    /// The right to change, with everything that has expired by now given way.
    fn lock(&self) -> MutexGuard<'_, Layers> {
        // Nothing panics while it is held; were it so, the layers would still be whole.
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        loop {
            let expired = Arc::clone(&self.in_force.load().running);
            if !expired.expired(now) {
                return layers;
            }
            let at = expired.expires_at.unwrap_or_else(Timestamp::now);
            let below_is_over = layers
                .ground
                .expires
                .is_some_and(|end| Some(end) <= expired.expires);
            if !layers.overridden || below_is_over {
                layers.ground = Arc::new(Running::start(Document::calm(), at));
            }
            layers.overridden = false;
            let ground = Arc::clone(&layers.ground);
            self.put(&mut layers, ground, Source::Expiry, at);
        }
    }

    fn put(&self, layers: &mut Layers, running: Arc<Running>, source: Source, at: Timestamp) {
        let change = running.change(layers.next_number, source, at);
        layers.next_number += 1;
        let active = running.is_active();
        self.in_force.store(Arc::new(InForce {
            change: change.clone(),
            running,
        }));
        self.active.store(active, Relaxed);
        // That nobody listens is no error.
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
            touched: Operation::ALL
                .map(|it| document.faults().iter().any(|fault| fault.touches(it))),
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

    /// Whether a decision has to look at it: it holds faults, or gives way to what may hold some.
    fn is_active(&self) -> bool {
        !self.document.is_calm() || self.expires.is_some()
    }

    fn touches(&self, operation: Operation) -> bool {
        self.touched[operation.index()]
    }

    fn expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    fn decide(&self, operation: Operation, now: Instant) -> Decision {
        if !self.touches(operation) {
            return Decision::NONE;
        }
        let number = self.decided[operation.index()].fetch_add(1, Relaxed);
        let random = Random::new(self.seed, operation, number);
        let at = now.saturating_duration_since(self.since);
        Decision {
            delay: self.document.latency(operation, at, random),
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
            .field(&self.shared.in_force.load().change)
            .finish()
    }
}
