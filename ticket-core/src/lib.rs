//! Concerts, purchases and refunds on SQLite and PostgreSQL.
//!
//! [`Tickets`] sells a limited number of tickets to concurrent buyers. Tickets are never oversold, an
//! acknowledged purchase is on disk, and a repeated request with the same [`IdempotencyKey`] buys
//! once. [`policy`] injects failures and latency at run time.
//!
//! ```
//! use ticket_core::{Currency, Money, NewConcert, NewPurchase, Options, Tickets};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("tickets.db");
//! let tickets = Tickets::open(&format!("sqlite://{}", path.display()), Options::default()).await?;
//!
//! let starts_at = "2100-01-01T20:00:00Z".parse()?;
//! let price = Money::new(6_500, Currency::EUR);
//! let new = NewConcert::new("Nina Simone", "Tempodrom", starts_at, 20_000, price)?;
//! let concert = tickets.create_concert(new).await?;
//!
//! let bought = tickets
//!     .purchase(concert.id, NewPurchase::new("Ada", 2)?, Some("order-1".parse()?))
//!     .await?;
//! assert_eq!(bought.purchase.total, Money::new(13_000, Currency::EUR));
//!
//! tickets.refund(bought.purchase.id).await?;
//! tickets.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Feature flags
//!
//! - `postgres-tls`: TLS to PostgreSQL. Off by default, because it takes about 10% of the time to
//!   compile the server.
//! - `utoipa`: implements `utoipa::ToSchema` for what requests and responses contain. Off by default.
//!
//! # Memory
//!
//! Pending writes are bounded by [`Options::queue`], about 4 kB each. The terms of up to 10,000
//! concerts are cached, about 1 kB each. Everything else is per request or per connection.

pub mod policy;

mod attempt;
mod commit;
mod committer;
mod concert;
mod database_url;
mod error;
mod id;
mod json;
mod money;
mod observer;
mod page;
mod payment;
mod purchase;
mod retry;
#[cfg(feature = "utoipa")]
mod schema;
mod store;
mod text;
mod tickets;
mod time;

pub use self::{
    commit::Commit,
    concert::{Concert, MAX_CAPACITY, MAX_PRICE, NewConcert},
    error::Error,
    id::{ConcertId, PurchaseId},
    money::{Currency, Money},
    observer::{FaultKind, Observer, Outcome, PurchaseEvent},
    page::{Cursor, MAX_PAGE, Page},
    payment::Payments,
    purchase::{IdempotencyKey, MAX_QUANTITY, NewPurchase, Purchase, Purchased, Status},
    store::{Audit, Line, PoolState, Stock, StockSums, Totals},
    tickets::{Options, Tickets, TicketsFuture},
};
