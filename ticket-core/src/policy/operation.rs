use std::fmt;

use serde::{Deserialize, Serialize};

/// What a fault can touch: the use cases, and two things that they rely on.
///
/// A purchase decides three times: once as [`Purchase`](Self::Purchase), once for its
/// [`Payment`](Self::Payment), and once for each transaction on the
/// [`Database`](Self::Database).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// A page of concerts.
    ListConcerts,
    /// A new concert.
    CreateConcert,
    /// One concert.
    ReadConcert,
    /// The purchase as a whole.
    Purchase,
    /// One purchase.
    ReadPurchase,
    /// The return of a purchase's tickets.
    Refund,
    /// The call to the payment provider, within a purchase.
    Payment,
    /// A statement or transaction on the database, within any of the others.
    Database,
}

impl Operation {
    /// How many there are.
    pub const COUNT: usize = 8;

    /// All of them, in the order of their declaration.
    pub const ALL: [Self; Self::COUNT] = [
        Self::ListConcerts,
        Self::CreateConcert,
        Self::ReadConcert,
        Self::Purchase,
        Self::ReadPurchase,
        Self::Refund,
        Self::Payment,
        Self::Database,
    ];

    /// Its name in a faults document, in logs and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ListConcerts => "list_concerts",
            Self::CreateConcert => "create_concert",
            Self::ReadConcert => "read_concert",
            Self::Purchase => "purchase",
            Self::ReadPurchase => "read_purchase",
            Self::Refund => "refund",
            Self::Payment => "payment",
            Self::Database => "database",
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
