use std::collections::{BTreeMap, HashMap, HashSet};

use crate::{ConcertId, IdempotencyKey, Purchase, PurchaseId};

/// A purchase that has been paid for and is to be committed.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) purchase: Purchase,
    /// The concert's limit for one buyer.
    pub(crate) max_per_buyer: Option<u32>,
    pub(crate) key: Option<Key>,
}

impl Order {
    pub(crate) fn concert(&self) -> ConcertId {
        self.purchase.concert_id
    }
}

/// An idempotency key and what it was used for.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) key: IdempotencyKey,
    pub(crate) digest: [u8; 32],
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Sold,
    Replayed(Purchase),
    KeyReused,
    SoldOut { available: u32 },
    PerBuyerLimit { limit: u32, held: u32 },
    NoConcert,
}

/// What has to be known, under the concerts' locks, to decide orders.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Tickets left, by concert.
    pub(crate) available: HashMap<ConcertId, u32>,
    /// Those of the orders that stand already.
    pub(crate) standing: HashSet<PurchaseId>,
    /// Purchases with one of the orders' keys, and the digests of their requests.
    pub(crate) by_key: HashMap<(ConcertId, String), (Purchase, Vec<u8>)>,
    /// Tickets held by the orders' buyers.
    pub(crate) held: HashMap<(ConcertId, String), u32>,
}

/// Decides each order in its turn, as if those before it had been committed.
pub(crate) fn decide(orders: &[Order], mut facts: Facts) -> Vec<Verdict> {
    orders
        .iter()
        .map(|order| {
            let verdict = decide_one(order, &facts);
            if verdict == Verdict::Sold && facts.standing.insert(order.purchase.id) {
                facts.take(order);
            }
            verdict
        })
        .collect()
}

fn decide_one(order: &Order, facts: &Facts) -> Verdict {
    let purchase = &order.purchase;
    if facts.standing.contains(&purchase.id) {
        return Verdict::Sold;
    }
    if let Some(Key { key, digest }) = &order.key {
        let at = (purchase.concert_id, key.as_str().to_owned());
        if let Some((earlier, of)) = facts.by_key.get(&at) {
            return if of == digest {
                Verdict::Replayed(earlier.clone())
            } else {
                Verdict::KeyReused
            };
        }
    }
    let Some(&available) = facts.available.get(&purchase.concert_id) else {
        return Verdict::NoConcert;
    };
    if let Some(limit) = order.max_per_buyer {
        let at = (purchase.concert_id, purchase.buyer.clone());
        let held = facts.held.get(&at).copied().unwrap_or(0);
        if held.saturating_add(purchase.quantity) > limit {
            return Verdict::PerBuyerLimit { limit, held };
        }
    }
    if purchase.quantity > available {
        return Verdict::SoldOut { available };
    }
    Verdict::Sold
}

impl Facts {
    fn take(&mut self, order: &Order) {
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

/// How many tickets the orders take from each concert, in the order in which every transaction
/// locks concerts.
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

/// Those of the orders that are sold and did not stand before.
pub(crate) fn to_insert<'a>(
    orders: &'a [Order],
    verdicts: &[Verdict],
    standing: &HashSet<PurchaseId>,
) -> Vec<&'a Order> {
    orders
        .iter()
        .zip(verdicts)
        .filter(|(order, verdict)| {
            **verdict == Verdict::Sold && !standing.contains(&order.purchase.id)
        })
        .map(|(order, _)| order)
        .collect()
}
