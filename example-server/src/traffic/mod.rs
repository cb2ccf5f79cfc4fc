//! What visitors of the platform do, over real HTTP connections.

pub(crate) mod client;

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use client::{Answer, Client, Failure};

/// Purchases that visitors remember, to read, repeat or refund them.
const REMEMBERED: usize = 1_000;

const BUYERS: [&str; 24] = [
    "Ada", "Bilal", "Chiara", "Daniel", "Esra", "Fatou", "Goran", "Hana", "Ivo", "Jun", "Kwame",
    "Lena", "Mateo", "Nadia", "Olu", "Priya", "Quentin", "Rosa", "Sami", "Tomo", "Uma", "Vera",
    "Wen", "Yusuf",
];

/// One thing that a visitor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    List,
    Read,
    Buy,
    /// The same purchase again, under its key: a retry after a lost answer.
    BuyAgain,
    ReadPurchase,
    Refund,
    /// A concert that does not exist.
    Miss,
    /// A path that does not exist.
    Stray,
    /// Asks to buy, and is gone before the answer.
    HangUp,
}

impl Action {
    /// What is done how often, in thousandths.
    const MIX: [(Self, u32); 9] = [
        (Self::List, 250),
        (Self::Read, 420),
        (Self::Buy, 230),
        (Self::BuyAgain, 10),
        (Self::ReadPurchase, 60),
        (Self::Refund, 10),
        (Self::Miss, 10),
        (Self::Stray, 4),
        (Self::HangUp, 6),
    ];

    /// The next action of a visitor; `hang_up` lets some leave before the answer.
    pub(crate) fn pick(random: &mut impl Rng, hang_up: bool) -> Self {
        let of = if hang_up { 1_000 } else { 994 };
        let mut at = random.random_range(0..of);
        for (action, weight) in Self::MIX {
            if at < weight {
                return action;
            }
            at -= weight;
        }
        Self::List
    }

    /// Method and route, as the server's metrics name them.
    pub(crate) fn route(self) -> (&'static str, &'static str) {
        match self {
            Self::List => ("GET", "/concerts"),
            Self::Read | Self::Miss => ("GET", "/concerts/{concert_id}"),
            Self::Buy | Self::BuyAgain | Self::HangUp => {
                ("POST", "/concerts/{concert_id}/purchases")
            }
            Self::ReadPurchase => ("GET", "/purchases/{purchase_id}"),
            Self::Refund => ("DELETE", "/purchases/{purchase_id}"),
            Self::Stray => ("GET", ""),
        }
    }
}

/// How an action ended: an answer's status, or none.
#[derive(Debug)]
pub(crate) enum End {
    Answered(StatusCode),
    HungUp,
    Failed(Failure),
}

#[derive(Clone, Debug)]
struct Bought {
    id: String,
    concert: String,
    key: HeaderValue,
    body: Vec<u8>,
}

#[derive(Deserialize)]
struct Id {
    id: String,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Id>,
    next_cursor: Option<String>,
}

/// What [`Traffic::discover`] found.
#[derive(Debug)]
pub(crate) struct Discovered {
    pub(crate) concerts: usize,
    /// How many requests that took.
    pub(crate) pages: u64,
}

/// The visitors of one server: they know its concerts and what they bought.
#[derive(Debug)]
pub(crate) struct Traffic {
    client: Client,
    concerts: RwLock<Vec<String>>,
    bought: Mutex<VecDeque<Bought>>,
}

impl Traffic {
    /// Sends requests to the server at `url` and waits for each response up to `timeout`.
    pub(crate) fn new(url: Uri, timeout: Duration) -> Self {
        Self {
            client: Client::new(url).timeout(timeout),
            concerts: RwLock::default(),
            bought: Mutex::default(),
        }
    }

    /// Learns which concerts there are, up to 1,000.
    ///
    /// # Errors
    /// When the server does not answer, or not with a page of concerts.
    pub(crate) async fn discover(&self) -> Result<Discovered, Failure> {
        let mut found = Vec::new();
        let mut pages = 0;
        let mut path = "/concerts?limit=100".to_owned();
        while found.len() < 1_000 {
            let page: Page = self.client.get(&path).await?.json()?;
            pages += 1;
            found.extend(page.items.into_iter().map(|concert| concert.id));
            match page.next_cursor {
                Some(cursor) => path = format!("/concerts?limit=100&cursor={cursor}"),
                None => break,
            }
        }
        let concerts = found.len();
        *self
            .concerts
            .write()
            .unwrap_or_else(PoisonError::into_inner) = found;
        Ok(Discovered { concerts, pages })
    }

    /// Does `action`, or browses where it cannot be done yet. Returns what was done after all.
    pub(crate) async fn perform(&self, action: Action, random: &mut impl Rng) -> (Action, End) {
        let (action, end) = match action {
            Action::Read => match self.concert(random) {
                Some(concert) => (
                    action,
                    self.get(&format!("/concerts/{concert}"), random).await,
                ),
                None => return self.browse(random).await,
            },
            Action::Miss => {
                let path = format!("/concerts/{}", Uuid::from_u128(random.random()));
                (action, self.get(&path, random).await)
            }
            Action::Stray => (action, self.get("/favicon.ico", random).await),
            Action::Buy | Action::HangUp => match self.concert(random) {
                Some(concert) => return (action, self.buy(concert, action, random).await),
                None => return self.browse(random).await,
            },
            Action::BuyAgain => match self.remembered(random) {
                Some(bought) => {
                    let path = format!("/concerts/{}/purchases", bought.concert);
                    let headers = [(IDEMPOTENCY_KEY, bought.key), trace(random)];
                    let answer = self
                        .client
                        .send(Method::POST, &path, &headers, Some(bought.body))
                        .await;
                    (action, answer)
                }
                None => return self.browse(random).await,
            },
            Action::ReadPurchase => match self.remembered(random) {
                Some(bought) => (
                    action,
                    self.get(&format!("/purchases/{}", bought.id), random).await,
                ),
                None => return self.browse(random).await,
            },
            Action::Refund => match self.forget(random) {
                Some(bought) => {
                    let path = format!("/purchases/{}", bought.id);
                    let headers = [trace(random)];
                    (
                        action,
                        self.client
                            .send(Method::DELETE, &path, &headers, None)
                            .await,
                    )
                }
                None => return self.browse(random).await,
            },
            Action::List => return self.browse(random).await,
        };
        (action, ended(end))
    }

    async fn browse(&self, random: &mut impl Rng) -> (Action, End) {
        (
            Action::List,
            ended(self.get("/concerts?limit=20", random).await),
        )
    }

    async fn get(&self, path: &str, random: &mut impl Rng) -> Result<Answer, Failure> {
        self.client
            .send(Method::GET, path, &[trace(random)], None)
            .await
    }

    async fn buy(&self, concert: String, action: Action, random: &mut impl Rng) -> End {
        let quantity = *[1, 1, 2, 2, 2, 2, 3, 4]
            .choose(random)
            .expect("the list has items");
        let name = BUYERS.choose(random).expect("the list has items");
        let buyer = format!("{name} {}", random.random_range(1..100_000));
        let body = client::json(&json!({ "buyer": buyer, "quantity": quantity }));
        let key = Uuid::from_u128(random.random()).to_string();
        let key = HeaderValue::try_from(key).expect("a UUID is a valid header value");
        let path = format!("/concerts/{concert}/purchases");
        let headers = [(IDEMPOTENCY_KEY, key.clone()), trace(random)];
        let answer = self
            .client
            .send(Method::POST, &path, &headers, Some(body.clone()));
        if action == Action::HangUp {
            let patience = Duration::from_millis(random.random_range(2..40));
            return match tokio::time::timeout(patience, answer).await {
                Ok(answer) => ended(answer),
                Err(_) => End::HungUp,
            };
        }
        let answer = answer.await;
        if let Ok(answer) = &answer
            && answer.status == StatusCode::CREATED
            && let Ok(Id { id }) = answer.json()
        {
            self.remember(Bought {
                id,
                concert,
                key,
                body,
            });
        }
        ended(answer)
    }

    /// A concert, the first ones more often than the last: some shows are hot.
    fn concert(&self, random: &mut impl Rng) -> Option<String> {
        let concerts = self.concerts.read().unwrap_or_else(PoisonError::into_inner);
        let at = random.random::<f64>().powi(2) * concerts.len() as f64;
        concerts.get(at as usize).cloned()
    }

    fn remember(&self, purchase: Bought) {
        let mut bought = self.bought.lock().unwrap_or_else(PoisonError::into_inner);
        if bought.len() == REMEMBERED {
            bought.pop_front();
        }
        bought.push_back(purchase);
    }

    fn remembered(&self, random: &mut impl Rng) -> Option<Bought> {
        let bought = self.bought.lock().unwrap_or_else(PoisonError::into_inner);
        (!bought.is_empty()).then(|| bought[random.random_range(0..bought.len())].clone())
    }

    fn forget(&self, random: &mut impl Rng) -> Option<Bought> {
        let mut bought = self.bought.lock().unwrap_or_else(PoisonError::into_inner);
        let len = bought.len();
        (len > 0)
            .then(|| random.random_range(0..len))
            .and_then(|at| bought.swap_remove_back(at))
    }
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A W3C `traceparent`, as an instrumented client sends it.
fn trace(random: &mut impl Rng) -> (HeaderName, HeaderValue) {
    let value = format!(
        "00-{:032x}-{:016x}-01",
        random.random::<u128>() | 1,
        random.random::<u64>() | 1
    );
    (
        HeaderName::from_static("traceparent"),
        HeaderValue::try_from(value).expect("hexadecimal digits are a valid header value"),
    )
}

fn ended(answer: Result<Answer, Failure>) -> End {
    match answer {
        Ok(answer) => End::Answered(answer.status),
        Err(failure) => End::Failed(failure),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn the_mix_adds_up_to_a_thousand_with_those_who_hang_up_last() {
        assert_eq!(
            Action::MIX.iter().map(|(_, weight)| weight).sum::<u32>(),
            1_000
        );
        assert_eq!(Action::MIX.last(), Some(&(Action::HangUp, 6)));
    }

    #[test]
    fn nobody_hangs_up_unless_asked_to() {
        let mut random = StdRng::seed_from_u64(1);
        let mut picks = |hang_up| {
            (0..20_000)
                .filter(|_| Action::pick(&mut random, hang_up) == Action::HangUp)
                .count()
        };
        assert_eq!(picks(false), 0);
        assert!((60..200).contains(&picks(true)));
    }
}
