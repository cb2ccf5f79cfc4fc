//! The decision about purchases, the same for both databases.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::{ConcertId, IdempotencyKey, Purchase, PurchaseId};

/// A purchase with an authorized payment, to be committed.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) purchase: Purchase,
    /// The concert's limit per buyer.
    pub(crate) max_per_buyer: Option<u32>,
    pub(crate) key: Option<Key>,
}

impl Order {
    pub(crate) fn concert(&self) -> ConcertId {
        self.purchase.concert_id
    }
}

/// An idempotency key and the digest of its request.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) key: IdempotencyKey,
    pub(crate) digest: [u8; 32],
}

/// Result of an order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum OrderResult {
    Sold,
    Replayed(Purchase),
    KeyReused,
    SoldOut { available: u32 },
    PerBuyerLimit { limit: u32, held: u32 },
    NoConcert,
}

/// State that decides orders, read while their concerts are locked.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// Available tickets by concert.
    pub(crate) available: HashMap<ConcertId, u32>,
    /// Orders that are already committed.
    pub(crate) committed: HashSet<PurchaseId>,
    /// Purchases with one of the orders' keys, and the digests of their requests.
    pub(crate) by_key: HashMap<(ConcertId, String), (Purchase, Vec<u8>)>,
    /// Tickets that the orders' buyers hold.
    pub(crate) held: HashMap<(ConcertId, String), u32>,
}

/// Decides the orders one after the other, each as if the ones before it were committed.
pub(crate) fn decide(orders: &[Order], mut snapshot: Snapshot) -> Vec<OrderResult> {
    orders
        .iter()
        .map(|order| {
            let result = decide_one(order, &snapshot);
            if result == OrderResult::Sold && snapshot.committed.insert(order.purchase.id) {
                snapshot.sell(order);
            }
            result
        })
        .collect()
}

fn decide_one(order: &Order, snapshot: &Snapshot) -> OrderResult {
    let purchase = &order.purchase;
    if snapshot.committed.contains(&purchase.id) {
        return OrderResult::Sold;
    }
    if let Some(Key { key, digest }) = &order.key {
        let at = (purchase.concert_id, key.as_str().to_owned());
        if let Some((earlier, earlier_digest)) = snapshot.by_key.get(&at) {
            return if earlier_digest == digest {
                OrderResult::Replayed(earlier.clone())
            } else {
                OrderResult::KeyReused
            };
        }
    }
    let Some(&available) = snapshot.available.get(&purchase.concert_id) else {
        return OrderResult::NoConcert;
    };
    if let Some(limit) = order.max_per_buyer {
        let at = (purchase.concert_id, purchase.buyer.clone());
        let held = snapshot.held.get(&at).copied().unwrap_or(0);
        if held.saturating_add(purchase.quantity) > limit {
            return OrderResult::PerBuyerLimit { limit, held };
        }
    }
    if purchase.quantity > available {
        return OrderResult::SoldOut { available };
    }
    OrderResult::Sold
}

impl Snapshot {
    fn sell(&mut self, order: &Order) {
        let purchase = &order.purchase;
        if let Some(available) = self.available.get_mut(&purchase.concert_id) {
            *available -= purchase.quantity;
        }
        *self
            .held
            .entry((purchase.concert_id, purchase.buyer.clone()))
            .or_default() += purchase.quantity;
        if let Some(Key { key, digest }) = &order.key {
            self.by_key.insert(
                (purchase.concert_id, key.as_str().to_owned()),
                (purchase.clone(), digest.to_vec()),
            );
        }
    }
}

/// Sums the orders' quantities by concert, in the order in which every transaction locks concerts.
pub(crate) fn quantities<'a>(
    orders: impl IntoIterator<Item = &'a Order>,
) -> BTreeMap<ConcertId, i64> {
    let mut quantities = BTreeMap::new();
    for order in orders {
        *quantities.entry(order.purchase.concert_id).or_default() +=
            i64::from(order.purchase.quantity);
    }
    quantities
}

/// Returns the orders that are sold and were not committed before.
pub(crate) fn to_insert<'a>(
    orders: &'a [Order],
    results: &[OrderResult],
    committed: &HashSet<PurchaseId>,
) -> Vec<&'a Order> {
    orders
        .iter()
        .zip(results)
        .filter(|(order, result)| {
            **result == OrderResult::Sold && !committed.contains(&order.purchase.id)
        })
        .map(|(order, _)| order)
        .collect()
}
