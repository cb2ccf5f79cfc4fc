//! Simulated payments. They are delayed and declined by the faults on
//! [`Operation::Payment`](crate::policy::Operation::Payment).

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::{Currency, Money};

/// Payments of this process. While no purchase is pending, `authorized` is the sum of `captured` and
/// `voided`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Payments {
    /// Number of authorized payments.
    pub authorized: u64,
    /// Number of payments that were captured because the purchase was committed.
    pub captured: u64,
    /// Number of payments that were voided because the purchase was not committed.
    pub voided: u64,
    /// Minor units that were captured and not paid back, by currency.
    pub amounts: BTreeMap<Currency, i64>,
}

impl Payments {
    /// Returns the minor units of `currency` that were captured and not paid back.
    pub fn amount(&self, currency: Currency) -> i64 {
        self.amounts.get(&currency).copied().unwrap_or(0)
    }
}

#[derive(Debug, Default)]
struct Counters {
    authorized: AtomicU64,
    captured: AtomicU64,
    voided: AtomicU64,
    /// Has at most one entry per currency of ISO 4217.
    amounts: Mutex<BTreeMap<Currency, i64>>,
}

/// Simulated payment provider.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gateway(Arc<Counters>);

impl Gateway {
    pub(crate) fn authorize(&self, total: Money) -> Authorization {
        self.0.authorized.fetch_add(1, Relaxed);
        Authorization {
            gateway: self.clone(),
            total,
            captured: false,
        }
    }

    pub(crate) fn pay_back(&self, total: Money) {
        self.add(total.currency, -total.amount);
    }

    pub(crate) fn payments(&self) -> Payments {
        Payments {
            authorized: self.0.authorized.load(Relaxed),
            captured: self.0.captured.load(Relaxed),
            voided: self.0.voided.load(Relaxed),
            amounts: self
                .0
                .amounts
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }

    fn add(&self, currency: Currency, amount: i64) {
        let mut amounts = self
            .0
            .amounts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let sum = amounts.entry(currency).or_default();
        *sum = sum.saturating_add(amount);
    }
}

/// Authorized payment of a purchase. Dropping it without [`capture`](Self::capture) voids it, so that
/// no path can leave it open.
#[derive(Debug)]
pub(crate) struct Authorization {
    gateway: Gateway,
    total: Money,
    captured: bool,
}

impl Authorization {
    pub(crate) fn capture(mut self) {
        self.captured = true;
        self.gateway.add(self.total.currency, self.total.amount);
        self.gateway.0.captured.fetch_add(1, Relaxed);
    }
}

impl Drop for Authorization {
    fn drop(&mut self) {
        if !self.captured {
            self.gateway.0.voided.fetch_add(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_is_captured_or_voided_and_currencies_are_not_added_up() {
        let gateway = Gateway::default();
        let total = Money::new(6500, Currency::EUR);
        gateway.authorize(total).capture();
        gateway.authorize(Money::new(900, Currency::USD)).capture();
        drop(gateway.authorize(total));
        let payments = gateway.payments();
        assert_eq!(
            (payments.authorized, payments.captured, payments.voided),
            (3, 2, 1)
        );
        assert_eq!(payments.amount(Currency::EUR), 6500);
        assert_eq!(payments.amount(Currency::USD), 900);
        gateway.pay_back(total);
        assert_eq!(gateway.payments().amount(Currency::EUR), 0);
    }
}
