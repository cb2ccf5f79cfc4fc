//! Requests of simulated users, over real HTTP connections.

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

use client::{Client, RequestError, Response};

/// Maximum number of concerts that are requested.
const MAX_CONCERTS: usize = 1_000;
/// Maximum number of purchases that are kept to read, replay or refund them.
const MAX_PURCHASES: usize = 1_000;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

const BUYERS: [&str; 24] = [
    "Ada", "Bilal", "Chiara", "Daniel", "Esra", "Fatou", "Goran", "Hana", "Ivo", "Jun", "Kwame",
    "Lena", "Mateo", "Nadia", "Olu", "Priya", "Quentin", "Rosa", "Sami", "Tomo", "Uma", "Vera",
    "Wen", "Yusuf",
];

/// One request of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    List,
    Read,
    Buy,
    /// Repeats a purchase with its idempotency key, as a client does after a lost response.
    Replay,
    ReadPurchase,
    Refund,
    /// Reads a concert that does not exist.
    ReadUnknown,
    /// Requests a path that no route matches.
    Unmatched,
    /// Starts a purchase and disconnects before the response.
    Disconnect,
}

impl Action {
    /// Weight of each action, in thousandths. [`Disconnect`](Self::Disconnect) is the last one, so
    /// that [`pick`](Self::pick) can leave it out.
    const MIX: [(Self, u32); 9] = [
        (Self::List, 250),
        (Self::Read, 420),
        (Self::Buy, 230),
        (Self::Replay, 10),
        (Self::ReadPurchase, 60),
        (Self::Refund, 10),
        (Self::ReadUnknown, 10),
        (Self::Unmatched, 4),
        (Self::Disconnect, 6),
    ];

    /// Picks an action at random; [`Disconnect`](Self::Disconnect) only if `disconnects` is set.
    pub(crate) fn pick(random: &mut impl Rng, disconnects: bool) -> Self {
        let total = if disconnects { 1_000 } else { 994 };
        let mut at = random.random_range(0..total);
        for (action, weight) in Self::MIX {
            if at < weight {
                return action;
            }
            at -= weight;
        }
        Self::List
    }

    /// Returns the method and the route, as the server's metrics have them.
    pub(crate) fn route(self) -> (&'static str, &'static str) {
        match self {
            Self::List => ("GET", "/concerts"),
            Self::Read | Self::ReadUnknown => ("GET", "/concerts/{concert_id}"),
            Self::Buy | Self::Replay | Self::Disconnect => {
                ("POST", "/concerts/{concert_id}/purchases")
            }
            Self::ReadPurchase => ("GET", "/purchases/{purchase_id}"),
            Self::Refund => ("DELETE", "/purchases/{purchase_id}"),
            Self::Unmatched => ("GET", ""),
        }
    }
}

/// How an action ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Response(StatusCode),
    Disconnected,
    Failed(RequestError),
}

impl From<Result<Response, RequestError>> for Outcome {
    fn from(result: Result<Response, RequestError>) -> Self {
        match result {
            Ok(response) => Self::Response(response.status),
            Err(error) => Self::Failed(error),
        }
    }
}

/// A purchase of a simulated user.
#[derive(Clone, Debug)]
struct Purchase {
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

/// Result of [`Traffic::discover`].
#[derive(Debug)]
pub(crate) struct Discovery {
    /// Number of concerts, at most 1,000.
    pub(crate) concerts: usize,
    /// Number of requests that were sent to read them.
    pub(crate) requests: u64,
}

/// Simulated users of one server. Keeps the IDs of up to 1,000 concerts and 1,000 purchases.
#[derive(Debug)]
pub(crate) struct Traffic {
    client: Client,
    concerts: RwLock<Vec<String>>,
    purchases: Mutex<VecDeque<Purchase>>,
}

impl Traffic {
    /// Sends requests to the server at `url` and waits for each response up to `timeout`.
    pub(crate) fn new(url: Uri, timeout: Duration) -> Self {
        Self {
            client: Client::new(url).timeout(timeout),
            concerts: RwLock::default(),
            purchases: Mutex::default(),
        }
    }

    /// Reads the list of concerts, up to 1,000.
    ///
    /// # Errors
    ///
    /// Returns an error if the server does not respond with a page of concerts.
    pub(crate) async fn discover(&self) -> Result<Discovery, RequestError> {
        let mut found = Vec::new();
        let mut requests = 0;
        let mut path = "/concerts?limit=100".to_owned();
        while found.len() < MAX_CONCERTS {
            let page: Page = self.client.get(&path).await?.json()?;
            requests += 1;
            // A server may repeat an empty page endlessly.
            let is_last = page.items.is_empty();
            let room = MAX_CONCERTS - found.len();
            found.extend(page.items.into_iter().map(|concert| concert.id).take(room));
            match page.next_cursor {
                Some(cursor) if !is_last => path = format!("/concerts?limit=100&cursor={cursor}"),
                _ => break,
            }
        }
        let concerts = found.len();
        *self
            .concerts
            .write()
            .unwrap_or_else(PoisonError::into_inner) = found;
        Ok(Discovery { concerts, requests })
    }

    /// Performs `action`, or lists concerts if there is no concert or purchase for it yet. Returns
    /// the action that was performed.
    pub(crate) async fn perform(&self, action: Action, random: &mut impl Rng) -> (Action, Outcome) {
        let performed = match action {
            Action::List => None,
            Action::Read => match self.random_concert(random) {
                Some(concert) => Some(self.get(&format!("/concerts/{concert}"), random).await),
                None => None,
            },
            Action::ReadUnknown => {
                let path = format!("/concerts/{}", Uuid::from_u128(random.random()));
                Some(self.get(&path, random).await)
            }
            Action::Unmatched => Some(self.get("/favicon.ico", random).await),
            Action::Buy | Action::Disconnect => match self.random_concert(random) {
                Some(concert) => Some(self.buy(concert, action, random).await),
                None => None,
            },
            Action::Replay => match self.random_purchase(random) {
                Some(purchase) => Some(self.replay(purchase, random).await),
                None => None,
            },
            Action::ReadPurchase => match self.random_purchase(random) {
                Some(Purchase { id, .. }) => {
                    Some(self.get(&format!("/purchases/{id}"), random).await)
                }
                None => None,
            },
            Action::Refund => match self.take_purchase(random) {
                Some(purchase) => Some(self.refund(&purchase.id, random).await),
                None => None,
            },
        };
        match performed {
            Some(outcome) => (action, outcome),
            None => (Action::List, self.get("/concerts?limit=20", random).await),
        }
    }

    async fn get(&self, path: &str, random: &mut impl Rng) -> Outcome {
        let headers = [traceparent(random)];
        self.client
            .send(Method::GET, path, &headers, None)
            .await
            .into()
    }

    async fn buy(&self, concert: String, action: Action, random: &mut impl Rng) -> Outcome {
        let quantity = *[1, 1, 2, 2, 2, 2, 3, 4]
            .choose(random)
            .expect("the list has items");
        let name = BUYERS.choose(random).expect("the list has items");
        let buyer = format!("{name} {}", random.random_range(1..100_000));
        let body = client::json(&json!({ "buyer": buyer, "quantity": quantity }));
        let key = Uuid::from_u128(random.random()).to_string();
        let key = HeaderValue::try_from(key).expect("a UUID is a valid header value");
        let path = format!("/concerts/{concert}/purchases");
        let headers = [(IDEMPOTENCY_KEY, key.clone()), traceparent(random)];
        let response = self
            .client
            .send(Method::POST, &path, &headers, Some(body.clone()));
        if action == Action::Disconnect {
            let limit = Duration::from_millis(random.random_range(2..40));
            return match tokio::time::timeout(limit, response).await {
                Ok(response) => response.into(),
                Err(_) => Outcome::Disconnected,
            };
        }
        let response = response.await;
        if let Ok(response) = &response
            && response.status == StatusCode::CREATED
            && let Ok(Id { id }) = response.json()
        {
            self.keep(Purchase {
                id,
                concert,
                key,
                body,
            });
        }
        response.into()
    }

    async fn replay(&self, purchase: Purchase, random: &mut impl Rng) -> Outcome {
        let path = format!("/concerts/{}/purchases", purchase.concert);
        let headers = [(IDEMPOTENCY_KEY, purchase.key), traceparent(random)];
        self.client
            .send(Method::POST, &path, &headers, Some(purchase.body))
            .await
            .into()
    }

    async fn refund(&self, id: &str, random: &mut impl Rng) -> Outcome {
        let headers = [traceparent(random)];
        self.client
            .send(Method::DELETE, &format!("/purchases/{id}"), &headers, None)
            .await
            .into()
    }

    /// Returns a concert; those at the front of the list are more popular.
    fn random_concert(&self, random: &mut impl Rng) -> Option<String> {
        let concerts = self.concerts.read().unwrap_or_else(PoisonError::into_inner);
        let at = random.random::<f64>().powi(2) * concerts.len() as f64;
        concerts.get(at as usize).cloned()
    }

    /// Keeps a purchase in place of the oldest one.
    fn keep(&self, purchase: Purchase) {
        let mut purchases = self
            .purchases
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if purchases.len() == MAX_PURCHASES {
            purchases.pop_front();
        }
        purchases.push_back(purchase);
    }

    fn random_purchase(&self, random: &mut impl Rng) -> Option<Purchase> {
        let purchases = self
            .purchases
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        (!purchases.is_empty()).then(|| purchases[random.random_range(0..purchases.len())].clone())
    }

    fn take_purchase(&self, random: &mut impl Rng) -> Option<Purchase> {
        let mut purchases = self
            .purchases
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let len = purchases.len();
        (len > 0)
            .then(|| random.random_range(0..len))
            .and_then(|at| purchases.swap_remove_back(at))
    }
}

/// Returns a W3C `traceparent` header, as an instrumented client sends it.
fn traceparent(random: &mut impl Rng) -> (HeaderName, HeaderValue) {
    let value = format!(
        "00-{:032x}-{:016x}-01",
        random.random::<u128>() | 1,
        random.random::<u64>() | 1
    );
    let value = HeaderValue::try_from(value).expect("hexadecimal digits are a valid header value");
    (TRACEPARENT, value)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn the_shares_of_the_mix_add_up_to_1000_with_disconnects_last() {
        let total: u32 = Action::MIX.iter().map(|(_, weight)| weight).sum();
        assert_eq!(total, 1_000);
        assert_eq!(Action::MIX.last(), Some(&(Action::Disconnect, 6)));
    }

    #[test]
    fn disconnects_are_picked_only_on_request() {
        let mut random = StdRng::seed_from_u64(1);
        let mut disconnects = |allowed| {
            (0..20_000)
                .filter(|_| Action::pick(&mut random, allowed) == Action::Disconnect)
                .count()
        };
        assert_eq!(disconnects(false), 0);
        assert!((60..200).contains(&disconnects(true)));
    }
}
