//! Operations that faults can be declared for.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Operation that a fault can be declared for.
///
/// A purchase takes several decisions: one as [`Purchase`](Self::Purchase), one for its
/// [`Payment`](Self::Payment), and one for each query and transaction on the
/// [`Database`](Self::Database).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Listing concerts.
    ListConcerts,
    /// Creating a concert.
    CreateConcert,
    /// Reading a concert.
    ReadConcert,
    /// A purchase as a whole.
    Purchase,
    /// Reading a purchase.
    ReadPurchase,
    /// Refunding a purchase.
    Refund,
    /// The payment of a purchase.
    Payment,
    /// A query or transaction of any operation.
    Database,
}

impl Operation {
    /// Number of operations.
    pub const COUNT: usize = 8;

    /// Every operation, in the order of declaration.
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

    /// Returns the name in documents, logs and metrics.
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
