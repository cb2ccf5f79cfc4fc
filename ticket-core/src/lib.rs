//! Concerts, purchases and refunds on SQLite and PostgreSQL: never oversold, never lost, never
//! twice, with failures and latency that can be turned up while it runs.

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
    tickets::{Options, Tickets},
};
