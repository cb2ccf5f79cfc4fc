//! Random sequences of operations, compared with a simple model.

use std::collections::{HashMap, HashSet};

use futures_util::future::join_all;
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};
use ticket_core::{Concert, Error, Purchase, PurchaseId, Purchased, Status};

use crate::{Platform, new_concert, platforms};

#[derive(Clone, Debug)]
struct Buy {
    concert: usize,
    buyer: usize,
    quantity: u32,
    key: Option<usize>,
}

#[derive(Clone, Debug)]
enum Step {
    Buy(Buy),
    /// Concurrent purchases.
    Rush(Vec<Buy>),
    Refund(usize),
    Restock(usize, u32),
}

fn buys() -> impl Strategy<Value = Buy> {
    (
        0..2_usize,
        0..3_usize,
        1..=4_u32,
        prop::option::of(0..4_usize),
    )
        .prop_map(|(concert, buyer, quantity, key)| Buy {
            concert,
            buyer,
            quantity,
            key,
        })
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => buys().prop_map(Step::Buy),
        3 => vec(buys(), 2..10).prop_map(Step::Rush),
        3 => (0..20_usize).prop_map(Step::Refund),
        1 => (0..2_usize, 1..5_u32).prop_map(|(concert, tickets)| Step::Restock(concert, tickets)),
    ]
}

/// The expected state.
#[derive(Clone, Default)]
struct Model {
    concerts: Vec<Concert>,
    purchases: Vec<Purchase>,
    keys: HashMap<(usize, usize), (PurchaseId, Buy)>,
}

/// The expected result.
#[derive(Debug, PartialEq)]
enum Expected {
    Sold,
    Replayed(PurchaseId),
    Reused,
    SoldOut(u32),
    Limit(u32),
}

impl Model {
    fn held(&self, concert: usize, buyer: Option<usize>) -> u32 {
        let id = self.concerts[concert].id;
        self.purchases
            .iter()
            .filter(|p| p.concert_id == id && p.status == Status::Paid)
            .filter(|p| buyer.is_none_or(|buyer| p.buyer == name(buyer)))
            .map(|p| p.quantity)
            .sum()
    }

    fn available(&self, concert: usize) -> u32 {
        self.concerts[concert].capacity - self.held(concert, None)
    }

    fn expect(&self, buy: &Buy) -> Expected {
        if let Some(key) = buy.key
            && let Some((id, first)) = self.keys.get(&(buy.concert, key))
        {
            let same = first.buyer == buy.buyer && first.quantity == buy.quantity;
            return if same {
                Expected::Replayed(*id)
            } else {
                Expected::Reused
            };
        }
        let held = self.held(buy.concert, Some(buy.buyer));
        match self.concerts[buy.concert].max_per_buyer {
            Some(limit) if held + buy.quantity > limit => Expected::Limit(held),
            _ if buy.quantity > self.available(buy.concert) => {
                Expected::SoldOut(self.available(buy.concert))
            }
            _ => Expected::Sold,
        }
    }

    fn apply(&mut self, buy: &Buy, purchase: Purchase) {
        if let Some(key) = buy.key {
            self.keys
                .insert((buy.concert, key), (purchase.id, buy.clone()));
        }
        self.purchases.push(purchase);
    }

    /// Returns the state after `result`, or `None` if the result was not expected.
    fn after(&self, buy: &Buy, result: &Result<Purchased, Error>) -> Option<Self> {
        let expected = self.expect(buy);
        let mut after = self.clone();
        let right = match result {
            Ok(bought) if bought.replayed => expected == Expected::Replayed(bought.purchase.id),
            Ok(bought) => {
                after.apply(buy, bought.purchase.clone());
                expected == Expected::Sold
            }
            Err(Error::KeyReused) => expected == Expected::Reused,
            Err(Error::SoldOut { available }) => expected == Expected::SoldOut(*available),
            Err(Error::PerBuyerLimit { held, .. }) => expected == Expected::Limit(*held),
            Err(_) => false,
        };
        right.then_some(after)
    }
}

/// Searches for an order of the purchases whose bit is set in `left` that explains their results,
/// and returns the state after them.
fn explain(
    model: &Model,
    open: &[(&Buy, &Result<Purchased, Error>)],
    left: u32,
    tried: &mut HashSet<u32>,
) -> Option<Model> {
    if left == 0 {
        return Some(model.clone());
    }
    // The state does not depend on the order of earlier purchases.
    if !tried.insert(left) {
        return None;
    }
    (0..open.len())
        .filter(|n| left & (1 << n) != 0)
        .find_map(|n| {
            let after = model.after(open[n].0, open[n].1)?;
            explain(&after, open, left & !(1 << n), tried)
        })
}

fn name(buyer: usize) -> &'static str {
    ["ann", "bob", "cem"][buyer]
}

async fn buy(platform: &Platform, concert: &Concert, buy: &Buy) -> Result<Purchased, Error> {
    let key = buy.key.map(|key| format!("key-{key}"));
    platform
        .buy_as(name(buy.buyer), concert, buy.quantity, key.as_deref())
        .await
}

async fn run(platform: &Platform, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    for new in [new_concert(12), new_concert(12).max_per_buyer(5).unwrap()] {
        model
            .concerts
            .push(platform.tickets.create_concert(new).await.unwrap());
    }
    for step in steps {
        match step {
            Step::Buy(order) => {
                let result = buy(platform, &model.concerts[order.concert], order).await;
                match model.after(order, &result) {
                    Some(after) => model = after,
                    None => {
                        prop_assert_eq!(format!("{result:?}"), format!("{:?}", model.expect(order)))
                    }
                }
            }
            Step::Rush(orders) => {
                let results = join_all(
                    orders
                        .iter()
                        .map(|o| buy(platform, &model.concerts[o.concert], o)),
                );
                let results = results.await;
                // Concurrent purchases are decided in any order, but one order must explain all results.
                let open: Vec<_> = orders.iter().zip(&results).collect();
                let mut tried = HashSet::new();
                match explain(&model, &open, (1 << open.len()) - 1, &mut tried) {
                    Some(explained) => model = explained,
                    None => prop_assert!(false, "no order explains {open:#?}"),
                }
            }
            Step::Refund(index) => {
                if model.purchases.is_empty() {
                    continue;
                }
                let index = index % model.purchases.len();
                let expected = &mut model.purchases[index];
                expected.status = Status::Refunded;
                let refunded = platform.tickets.refund(expected.id).await.unwrap();
                prop_assert_eq!(&refunded, &*expected);
            }
            Step::Restock(concert, tickets) => {
                let concert = &mut model.concerts[*concert];
                concert.capacity += tickets;
                platform
                    .tickets
                    .restock(concert.id, *tickets)
                    .await
                    .unwrap();
            }
        }
        for (index, expected) in model.concerts.iter().enumerate() {
            let concert = platform.tickets.concert(expected.id).await.unwrap();
            prop_assert_eq!(concert.capacity, expected.capacity);
            prop_assert_eq!(concert.available(), model.available(index));
        }
    }
    for purchase in &model.purchases {
        let read = platform.tickets.read_purchase(purchase.id).await.unwrap();
        prop_assert_eq!(&read, purchase);
    }
    Ok(())
}

#[test]
fn any_sequence_of_operations_matches_the_model() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let platforms = runtime.block_on(platforms());
    let mut runner = TestRunner::new(Config {
        cases: 24,
        failure_persistence: None,
        ..Config::default()
    });
    let result = runner.run(&vec(steps(), 1..25), |steps| {
        runtime.block_on(async {
            for platform in &platforms {
                run(platform, &steps)
                    .await
                    .map_err(|error| TestCaseError::fail(format!("{}: {error}", platform.name)))?;
            }
            Ok(())
        })
    });
    runtime.block_on(async {
        for platform in &platforms {
            platform.check_books().await;
        }
    });
    result.unwrap();
}
