use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Concert, ConcertId, Error, Money, PurchaseId, json, text, time};

/// The most tickets that one purchase can have.
pub const MAX_QUANTITY: u32 = 10;

/// What a buyer asks for. It can only be built valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Draft", try_from = "Draft")]
pub struct NewPurchase {
    buyer: String,
    quantity: u32,
}

impl NewPurchase {
    /// `quantity` tickets for `buyer`, whoever that names.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a `buyer` that has not 1 to 200 characters and a `quantity` outside
    /// 1 to [`MAX_QUANTITY`].
    pub fn new(buyer: &str, quantity: u32) -> Result<Self, Error> {
        Draft {
            buyer: buyer.to_owned(),
            quantity: quantity.into(),
        }
        .try_into()
    }

    /// Reads a purchase from JSON, as [`Deserialize`] does, with typed errors.
    ///
    /// # Errors
    /// [`Error::Malformed`] for what is no JSON, [`Error::Invalid`] with the path of the field for
    /// a value that is not allowed and for a field that is not known.
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        json::from_slice::<Draft>(json)?.try_into()
    }

    /// Who buys.
    pub fn buyer(&self) -> &str {
        &self.buyer
    }

    /// How many tickets.
    pub fn quantity(&self) -> u32 {
        self.quantity
    }

    /// What tells this request from another one with the same idempotency key.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(self.quantity.to_be_bytes());
        digest.update(self.buyer.as_bytes());
        digest.finalize().into()
    }
}

/// The JSON of a new purchase, before its values are checked.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Draft {
    buyer: String,
    quantity: i64,
}

impl From<NewPurchase> for Draft {
    fn from(new: NewPurchase) -> Self {
        Self {
            buyer: new.buyer,
            quantity: new.quantity.into(),
        }
    }
}

impl TryFrom<Draft> for NewPurchase {
    type Error = Error;

    fn try_from(draft: Draft) -> Result<Self, Error> {
        let buyer = text::name("buyer", &draft.buyer, 200)?;
        match u32::try_from(draft.quantity) {
            Ok(quantity) if (1..=MAX_QUANTITY).contains(&quantity) => Ok(Self { buyer, quantity }),
            _ => Err(Error::invalid(
                "quantity",
                format!(
                    "{} is not allowed: an integer from 1 to {MAX_QUANTITY} is",
                    draft.quantity
                ),
            )),
        }
    }
}

/// What a client chooses so that a purchase repeated by chance buys once. It belongs to a
/// concert: two concerts may each have a purchase with the same key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The key's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = Error;

    /// # Errors
    /// [`Error::Invalid`] for a text that is not 1 to 255 printable ASCII characters.
    fn from_str(text: &str) -> Result<Self, Error> {
        let length = text.chars().count();
        let problem = if !(1..=255).contains(&length) {
            format!("{length} characters are not allowed: 1 to 255 are")
        } else if let Some(strange) = text.chars().find(|c| !matches!(c, ' '..='~')) {
            format!("the character {strange:?} is not allowed: printable ASCII is")
        } else {
            return Ok(Self(text.to_owned()));
        };
        Err(Error::invalid("idempotency-key", problem))
    }
}

/// Whether the tickets of a purchase are still the buyer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Status {
    /// Paid for.
    Paid,
    /// Given back; the tickets are on sale again.
    Refunded,
}

impl Status {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Paid => "paid",
            Self::Refunded => "refunded",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A purchase that stands in the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Purchase {
    /// Its id.
    pub id: PurchaseId,
    /// What it is for.
    pub concert_id: ConcertId,
    /// Who bought.
    pub buyer: String,
    /// How many tickets.
    pub quantity: u32,
    /// What was paid for all of them.
    pub total: Money,
    /// Whether the tickets are still the buyer's.
    pub status: Status,
    /// When it was bought.
    pub created_at: Timestamp,
}

impl Purchase {
    pub(crate) fn create(concert: &Concert, new: &NewPurchase) -> Self {
        Self {
            id: PurchaseId::new(),
            concert_id: concert.id,
            buyer: new.buyer.clone(),
            quantity: new.quantity,
            total: concert.price_of(new.quantity),
            status: Status::Paid,
            created_at: time::truncate_to_micros(Timestamp::now()),
        }
    }
}

/// The answer to a purchase.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Purchased {
    /// The purchase.
    pub purchase: Purchase,
    /// Whether an earlier request with the same idempotency key had bought it.
    pub replayed: bool,
}
