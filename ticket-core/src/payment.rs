//! The payment that every purchase needs. It is simulated: it takes the time and declines as the
//! faults of [`Operation::Payment`](crate::policy::Operation::Payment) say, and keeps books.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
};

use crate::Money;

/// What became of the payments of this process. At rest, `authorised` is `captured` plus `voided`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Payments {
    /// Payments that were authorised.
    pub authorised: u64,
    /// Authorised payments that were taken, because the purchase stands.
    pub captured: u64,
    /// Authorised payments that were given up, because it does not.
    pub voided: u64,
    /// Minor units captured, less those paid back, whatever the currency.
    pub amount: i64,
}

#[derive(Debug, Default)]
struct Books {
    authorised: AtomicU64,
    captured: AtomicU64,
    voided: AtomicU64,
    amount: AtomicI64,
}

/// Whoever takes the money.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gateway(Arc<Books>);

impl Gateway {
    pub(crate) fn authorise(&self, total: Money) -> Authorisation {
        self.0.authorised.fetch_add(1, Relaxed);
        Authorisation {
            gateway: self.clone(),
            total,
            captured: false,
        }
    }

    pub(crate) fn pay_back(&self, total: Money) {
        self.0.amount.fetch_sub(total.amount, Relaxed);
    }

    pub(crate) fn books(&self) -> Payments {
        Payments {
            authorised: self.0.authorised.load(Relaxed),
            captured: self.0.captured.load(Relaxed),
            voided: self.0.voided.load(Relaxed),
            amount: self.0.amount.load(Relaxed),
        }
    }
}

/// Money set aside for a purchase. Dropped without having been captured, it is voided: no way out
/// of a purchase can leave it open.
#[derive(Debug)]
pub(crate) struct Authorisation {
    gateway: Gateway,
    total: Money,
    captured: bool,
}

impl Authorisation {
    pub(crate) fn capture(mut self) {
        self.captured = true;
        let books = &self.gateway.0;
        books.captured.fetch_add(1, Relaxed);
        books.amount.fetch_add(self.total.amount, Relaxed);
    }
}

impl Drop for Authorisation {
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
        gateway.authorise(total).capture();
        drop(gateway.authorise(total));
        let books = gateway.books();
        assert_eq!((books.authorised, books.captured, books.voided), (2, 1, 1));
        assert_eq!(books.amount, 6500);
    }
}
