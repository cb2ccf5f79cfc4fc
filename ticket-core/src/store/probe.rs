//! Instrumentation of a store: metrics, injected faults, timeouts and logs.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Failure, health::Health};
use crate::{
    Observer,
    error::describe,
    observer::FaultKind,
    policy::{Fail, Faults, Operation},
};

/// Instrumentation that the parts of a store share.
#[derive(Clone)]
pub(crate) struct Probe {
    system: &'static str,
    faults: Faults,
    pub(crate) observer: Arc<dyn Observer>,
    pub(super) health: Arc<Health>,
    /// The longest wait for a response.
    timeout: Duration,
}

impl Probe {
    pub(crate) fn new(
        system: &'static str,
        faults: Faults,
        observer: Arc<dyn Observer>,
        timeout: Duration,
    ) -> Self {
        Self {
            system,
            faults,
            observer,
            health: Arc::default(),
            timeout,
        }
    }

    /// Waits for a response of the database, up to the timeout. A machine that is frozen or cut off
    /// does not close its connections.
    pub(super) async fn with_timeout<T>(
        &self,
        response: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        match tokio::time::timeout(self.timeout, response).await {
            Ok(response) => response,
            Err(_) => {
                let problem = format!("the database did not respond within {:?}", self.timeout);
                Err(io::Error::new(io::ErrorKind::TimedOut, problem).into())
            }
        }
    }

    /// Applies the faults on `database`, the only ones that apply within a transaction.
    pub(crate) async fn inject(&self) -> Result<(), Failure> {
        match inject(&self.faults, &*self.observer, Operation::Database).await {
            None => Ok(()),
            Some(_) => Err(Failure::Injected),
        }
    }

    /// Returns whether no fault can apply on `database`.
    pub(super) fn is_undisturbed(&self) -> bool {
        !self.faults.may_apply_to(Operation::Database)
    }

    /// Reports a read that succeeded.
    pub(super) fn has_read(&self, operation: &'static str, duration: Duration) {
        self.health.record(&Ok(()));
        self.observer
            .database_operation(self.system, operation, duration, true);
    }

    /// Runs and measures a read.
    pub(crate) async fn read<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let begun = Instant::now();
        let result = work.await;
        self.health.record(&result);
        if let Err(failure) = &result {
            self.log(operation, failure);
        }
        self.observer
            .database_operation(self.system, operation, begun.elapsed(), result.is_ok());
        result
    }

    /// Runs and measures a write.
    pub(crate) async fn write<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let result = self.read(operation, work).await;
        self.health.record_write(&result);
        result
    }

    /// Logs why no connection can be opened.
    pub(super) fn log_diagnosis(&self, error: &sqlx::Error) {
        tracing::error!(
            system = self.system,
            error = describe(error),
            "no connection can be opened"
        );
    }

    /// Logs a failure, rate-limited.
    pub(super) fn log(&self, operation: &'static str, failure: &Failure) {
        self.health.log(self.system, operation, failure);
    }
}

/// Waits for the injected delays of `operation` and returns the injected failure, if any.
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
    if !decision.block.is_zero() {
        observer.fault_injected(operation, FaultKind::Block);
        // Deliberately blocks the thread, which runs no other tasks until then.
        std::thread::sleep(decision.block);
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
