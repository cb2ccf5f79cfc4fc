//! Simulated payments. They are delayed and declined by the faults on
//! [`Operation::Payment`](crate::policy::Operation::Payment).

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
};

use crate::Money;

/// Payments of this process. While no purchase is pending, `authorized` is the sum of `captured` and
/// `voided`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Payments {
    /// Number of authorized payments.
    pub authorized: u64,
    /// Authorised payments that were taken, because the purchase stands.
    pub captured: u64,
    /// Authorised payments that were given up, because it does not.
    pub voided: u64,
    /// Minor units that were captured and not paid back, of all currencies together.
    pub amount: i64,
}

#[derive(Debug, Default)]
struct Counters {
    authorized: AtomicU64,
    captured: AtomicU64,
    voided: AtomicU64,
    amount: AtomicI64,
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
        self.0.amount.fetch_sub(total.amount, Relaxed);
    }

    pub(crate) fn payments(&self) -> Payments {
        Payments {
            authorized: self.0.authorized.load(Relaxed),
            captured: self.0.captured.load(Relaxed),
            voided: self.0.voided.load(Relaxed),
            amount: self.0.amount.load(Relaxed),
        }
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
        let counters = &self.gateway.0;
        counters.captured.fetch_add(1, Relaxed);
        counters.amount.fetch_add(self.total.amount, Relaxed);
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
    use crate::Currency;

    #[test]
    fn a_payment_is_captured_or_voided() {
        let gateway = Gateway::default();
        let total = Money::new(6500, Currency::EUR);
        gateway.authorize(total).capture();
        drop(gateway.authorize(total));
        let payments = gateway.payments();
        assert_eq!(
            (payments.authorized, payments.captured, payments.voided),
            (2, 1, 1)
        );
        assert_eq!(payments.amount, 6500);
    }
}
