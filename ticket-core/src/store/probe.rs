use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Failure, connections::Health};
use crate::{
    Observer,
    observer::FaultKind,
    policy::{Fail, Faults, Operation},
};

/// What a store shares with whoever watches it and whoever makes it fail.
#[derive(Clone)]
pub(crate) struct Probe {
    system: &'static str,
    faults: Faults,
    pub(crate) observer: Arc<dyn Observer>,
    pub(super) health: Arc<Health>,
    /// How long an answer is waited for.
    limit: Duration,
}

impl Probe {
    pub(crate) fn new(
        system: &'static str,
        faults: Faults,
        observer: Arc<dyn Observer>,
        limit: Duration,
    ) -> Self {
        Self {
            system,
            faults,
            observer,
            health: Arc::default(),
            limit,
        }
    }

    /// What the database says. One that says nothing within the limit counts as gone: a machine
    /// that stands still or is cut off closes no connection.
    pub(super) async fn answer<T>(
        &self,
        asked: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        match tokio::time::timeout(self.limit, asked).await {
            Ok(answer) => answer,
            Err(_) => {
                let silent = format!("the database said nothing for {:?}", self.limit);
                Err(io::Error::new(io::ErrorKind::TimedOut, silent).into())
            }
        }
    }

    /// Applies the faults on `database`, the only ones that stand inside transactions.
    pub(crate) async fn fault(&self) -> Result<(), Failure> {
        match inject(&self.faults, &*self.observer, Operation::Database).await {
            None => Ok(()),
            Some(_) => Err(Failure::Injected),
        }
    }

    /// Tells the observer how long `work` took and whether it succeeded.
    pub(crate) async fn timed<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let begun = Instant::now();
        let result = work.await;
        self.health.note(&result);
        self.observer
            .database_operation(self.system, operation, begun.elapsed(), result.is_ok());
        result
    }
}

/// Takes the time that the faults of `operation` want and says whether it is to fail.
pub(crate) async fn inject(
    faults: &Faults,
    observer: &dyn Observer,
    operation: Operation,
) -> Option<Fail> {
    let decision = faults.decide(operation);
    if !decision.delay.is_zero() {
        observer.fault_injected(operation, FaultKind::Delay);
        tokio::time::sleep(decision.delay).await;
    }
    if let Some(fail) = decision.fail {
        let kind = match fail {
            Fail::Declined => FaultKind::Declined,
            Fail::Unavailable => FaultKind::Unavailable,
        };
        observer.fault_injected(operation, kind);
    }
    decision.fail
}
