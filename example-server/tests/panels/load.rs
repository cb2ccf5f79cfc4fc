//! Generates traffic for every panel, and counts the responses.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use http::{HeaderName, Method};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use crate::client::{self, Client, Response};
use crate::process::{Server, new_concert, order, text, until, value};

pub(crate) const LIST: &str = "/concerts";
pub(crate) const CONCERT: &str = "/concerts/{concert_id}";
pub(crate) const PURCHASES: &str = "/concerts/{concert_id}/purchases";
pub(crate) const PURCHASE: &str = "/purchases/{purchase_id}";

/// Labels of a request in the server's metrics: method, route, status, error type.
pub(crate) type Kind = (String, String, String, String);

/// Outcomes of purchases and refunds.
const OUTCOMES: [&str; 7] = [
    "sold", "declined", "sold_out", "rejected", "failed", "replayed", "refunded",
];

/// Counts of requests and responses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) requests: BTreeMap<Kind, u64>,
    /// Bytes of request and response bodies.
    pub(crate) bytes: (u64, u64),
    /// Purchases and refunds by outcome.
    pub(crate) outcomes: BTreeMap<&'static str, u64>,
    /// Sales by the slug of the concert.
    pub(crate) concerts: BTreeMap<String, Sales>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sales {
    pub(crate) currency: String,
    pub(crate) capacity: u64,
    pub(crate) sold: u64,
    pub(crate) refunded: u64,
    pub(crate) cents: u64,
    pub(crate) refunded_cents: u64,
}

impl Counts {
    pub(crate) fn count(&self, wanted: impl Fn(&Kind) -> bool) -> u64 {
        let found = self.requests.iter().filter(|(kind, _)| wanted(kind));
        found.map(|(_, count)| count).sum()
    }

    pub(crate) fn outcome(&self, name: &str) -> u64 {
        self.outcomes.get(name).copied().unwrap_or(0)
    }

    /// Counts requests with this method and this error type.
    pub(crate) fn errors(&self, method: &str, error: &str) -> u64 {
        self.count(|kind| kind.0 == method && kind.3 == error)
    }
}

#[derive(Clone)]
pub(crate) struct Load {
    api: Client,
    counts: Arc<Mutex<Counts>>,
    sent: Arc<AtomicU64>,
    /// IDs of concerts with their slugs: two large ones, a small one, and one with a purchase limit.
    concerts: Vec<(String, String)>,
}

impl Load {
    pub(crate) async fn start(server: &Server) -> Self {
        let mut load = Self {
            api: server.api.clone(),
            counts: Arc::default(),
            sent: Arc::default(),
            concerts: Vec::new(),
        };
        for (title, capacity, currency, max_per_buyer) in [
            ("Nina Simone", 1_000_000, "EUR", None),
            ("Aretha Franklin", 500_000, "GBP", None),
            ("A very small club", 5, "EUR", None),
            ("One ticket each", 5, "JPY", Some(1)),
        ] {
            let mut concert = new_concert(capacity);
            concert["title"] = json!(title);
            concert["price"]["currency"] = json!(currency);
            concert["max_per_buyer"] = json!(max_per_buyer);
            let answer = load.ask("POST", LIST, LIST, &[], Some(&concert)).await;
            let concert = value(&answer);
            let slug = text(&concert["slug"]);
            load.concerts.push((text(&concert["id"]), slug.clone()));
            let sales = Sales {
                currency: currency.to_owned(),
                capacity: capacity.into(),
                ..Sales::default()
            };
            load.counts.lock().unwrap().concerts.insert(slug, sales);
        }
        load
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts.lock().unwrap().clone()
    }

    /// Sends a request and counts its response.
    async fn ask(
        &self,
        method: &str,
        route: &str,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Option<&Value>,
    ) -> Response {
        let number = self.sent.fetch_add(1, Relaxed) + 1;
        let trace = format!("00-{number:032x}-{number:016x}-01");
        let headers = [&[("traceparent", &*trace)], headers].concat();
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        let body = body.map(client::json).unwrap_or_default();
        let length = body.len() as u64;
        let sent = (length > 0).then_some(body);
        let verb = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = self.api.send(verb, path, &headers, sent).await.unwrap();

        let method = if method == "BREW" { "_OTHER" } else { method };
        let kind = (
            method.to_owned(),
            route.to_owned(),
            answer.status.as_str().to_owned(),
            error_type(&answer),
        );
        let mut counts = self.counts.lock().unwrap();
        *counts.requests.entry(kind).or_default() += 1;
        counts.bytes.0 += length;
        counts.bytes.1 += answer.body.len() as u64;
        drop(counts);
        answer
    }

    /// Attempts a purchase. Returns it if tickets were sold, which excludes replays.
    async fn buy(&self, (id, slug): &(String, String), key: &str, quantity: u32) -> Option<Value> {
        let path = format!("/concerts/{id}/purchases");
        let order = order("Ada", quantity);
        let headers = [("idempotency-key", key)];
        let answer = self.ask("POST", PURCHASES, &path, &headers, Some(&order));
        let answer = answer.await;
        let said = value(&answer);
        let replayed = answer.headers.contains_key("idempotency-replayed");
        let outcome = match (answer.status.as_u16(), said["type"].as_str()) {
            (201, _) if replayed => "replayed",
            (201, _) => "sold",
            (402, _) => "declined",
            (409, Some("/docs#sold-out")) => "sold_out",
            (409, Some("/docs#buyer-limit")) => "rejected",
            (503, Some("/docs#unavailable" | "/docs#database-busy")) => "failed",
            // Shed before the attempt.
            (503, Some("/docs#overloaded")) => return None,
            _ => panic!("a purchase is answered {answer:?}"),
        };
        let mut counts = self.counts.lock().unwrap();
        *counts.outcomes.entry(outcome).or_default() += 1;
        if outcome != "sold" {
            return None;
        }
        let sales = counts.concerts.get_mut(slug).unwrap();
        assert_eq!(said["total"]["currency"], sales.currency);
        sales.sold += said["quantity"].as_u64().unwrap();
        sales.cents += said["total"]["amount"].as_u64().unwrap();
        Some(said)
    }

    async fn refund(&self, slug: &str, purchase: &Value) {
        let path = format!("/purchases/{}", text(&purchase["id"]));
        let answer = self.ask("DELETE", PURCHASE, &path, &[], None).await;
        if answer.status == 200 {
            let mut counts = self.counts.lock().unwrap();
            *counts.outcomes.entry("refunded").or_default() += 1;
            let sales = counts.concerts.get_mut(slug).unwrap();
            sales.refunded += purchase["quantity"].as_u64().unwrap();
            sales.refunded_cents += purchase["total"]["amount"].as_u64().unwrap();
        }
    }

    /// Simulates a visitor until `stop` is set.
    pub(crate) async fn visit(&self, visitor: usize, stop: &AtomicBool) {
        let mut tick = interval(Duration::from_millis(400));
        // Slow responses delay the visits that follow, which must not catch up after the faults.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (big, small) = self.concerts.split_at(2);
        for visit in 0.. {
            tick.tick().await;
            if stop.load(Relaxed) {
                return;
            }
            let concert = &big[visit % 2];
            let path = format!("/concerts/{}", concert.0);
            self.ask("GET", LIST, "/concerts?limit=2", &[], None).await;
            self.ask("GET", CONCERT, &path, &[], None).await;
            let key = format!("{visitor}-{visit}");
            let quantity = 1 + (visit % 3) as u32;
            if let Some(purchase) = self.buy(concert, &key, quantity).await {
                let path = format!("/purchases/{}", text(&purchase["id"]));
                self.ask("GET", PURCHASE, &path, &[], None).await;
                match visit % 4 {
                    1 => drop(self.buy(concert, &key, quantity).await),
                    3 => self.refund(&concert.1, &purchase).await,
                    _ => {}
                }
            }
            match visit % 5 {
                0 => {
                    self.buy(&small[0], &format!("{key}-small"), 2).await;
                    self.buy(&small[1], &format!("{key}-limit"), 2).await;
                }
                1 => drop(self.ask("GET", "", "/robots.txt", &[], None).await),
                2 => {
                    let none = format!("/concerts/{}/purchases", concert.0);
                    let order = order("Ada", 0);
                    drop(self.ask("POST", PURCHASES, &none, &[], Some(&order)).await);
                }
                3 => drop(self.ask("DELETE", LIST, LIST, &[], None).await),
                _ => drop(self.ask("BREW", LIST, LIST, &[], None).await),
            }
        }
    }

    /// Sends this many concurrent requests for a concert at a time, which exceeds the concurrency
    /// limit, until one of them is shed.
    pub(crate) async fn overload(&self, visitors: usize) {
        let path = format!("/concerts/{}", self.concerts[0].0);
        let ask = || self.ask("GET", CONCERT, &path, &[], None);
        until("a request has been shed", async || {
            let answers = join_all((0..visitors).map(|_| ask())).await;
            answers.iter().any(|answer| answer.status == 503)
        })
        .await;
    }

    /// Waits until visitors have had every outcome again, and an injected failure of a read.
    pub(crate) async fn every_outcome(&self) {
        let before = self.counts();
        until("every outcome has occurred", async || {
            let now = self.counts();
            let occurred = |name: &&str| now.outcome(name) > before.outcome(name);
            OUTCOMES.iter().all(occurred)
                && now.errors("GET", "injected") > before.errors("GET", "injected")
        })
        .await;
    }

    /// Waits until payments have failed again, in both ways.
    pub(crate) async fn failed_payments(&self) {
        let before = self.counts();
        until("payments have failed", async || {
            let now = self.counts();
            ["failed", "declined"]
                .iter()
                .all(|name| now.outcome(name) > before.outcome(name))
        })
        .await;
    }

    /// Sends requests until one of them is admitted and times out.
    pub(crate) async fn time_out(&self) {
        let concert = new_concert(1);
        until("a request has timed out", async || {
            let answer = self.ask("POST", LIST, LIST, &[], Some(&concert)).await;
            answer.status == 504
        })
        .await;
    }

    /// Sends requests that do not complete, and disconnects.
    pub(crate) async fn disconnect(&self, server: &Server, clients: u64) {
        let body = client::json(&new_concert(1));
        let length = body.len() as u64;
        let ask = || self.api.send(Method::POST, LIST, &[], Some(body.clone()));
        let active = ["\"POST\"", "http_route=\"/concerts\""];
        let waiting = async || server.metric("http_server_active_requests", &active).await;
        tokio::select! {
            _ = join_all((0..clients).map(|_| ask())) => panic!("a response within 60 s"),
            () = until("every request is in flight", async || waiting().await == clients as f64) => {}
        }
        until("no request is in flight", async || waiting().await == 0.0).await;
        let mut counts = self.counts.lock().unwrap();
        let kind = ["POST", LIST, "", "cancelled"].map(str::to_owned).into();
        *counts.requests.entry(kind).or_default() += clients;
        counts.bytes.0 += clients * length;
    }
}

/// Derives the error type in the server's metrics from the response.
fn error_type(answer: &Response) -> String {
    if !answer.status.is_server_error() {
        return String::new();
    }
    let said = value(answer);
    let detail = said["detail"].as_str().unwrap();
    match said["type"].as_str().unwrap() {
        "/docs#overloaded" => "shed".to_owned(),
        "/docs#timeout" => "timeout".to_owned(),
        "/docs#database-busy" => "database_busy".to_owned(),
        "/docs#unavailable" if detail.contains("injected") => "injected".to_owned(),
        _ => answer.status.as_str().to_owned(),
    }
}
