//! Purchases and their validation.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

#[cfg(feature = "utoipa")]
use crate::schema;
use crate::{Concert, ConcertId, Error, Money, PurchaseId, json, text, time};

/// The maximum number of tickets in a purchase.
pub const MAX_QUANTITY: u32 = 10;

/// A valid request for tickets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Draft", try_from = "Draft")]
pub struct NewPurchase {
    buyer: String,
    quantity: u32,
}

impl NewPurchase {
    /// Returns a request for `quantity` tickets for `buyer`, an opaque name that is normalized like a
    /// title.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if `buyer` does not have 1 to 200 characters or has invisible ones, or if
    /// `quantity` is not from 1 to [`MAX_QUANTITY`].
    pub fn new(buyer: &str, quantity: u32) -> Result<Self, Error> {
        Draft {
            buyer: buyer.to_owned(),
            quantity: quantity.into(),
        }
        .try_into()
    }

    /// Parses JSON. Unlike [`Deserialize`], this returns typed errors.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if the text is not JSON, or [`Error::Invalid`] with the path of the field
    /// if a value is not allowed or a field is unknown.
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        json::from_slice::<Draft>(json)?.try_into()
    }

    /// Returns the buyer.
    pub fn buyer(&self) -> &str {
        &self.buyer
    }

    /// Returns the number of tickets.
    pub fn quantity(&self) -> u32 {
        self.quantity
    }

    /// Returns a digest that identifies the request.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(self.quantity.to_be_bytes());
        digest.update(self.buyer.as_bytes());
        digest.finalize().into()
    }
}

/// JSON of a new purchase, before validation.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "utoipa", schema(as = NewPurchase, description = "Tickets to buy."))]
#[cfg_attr(feature = "utoipa", schema(examples(schema::new_purchase)))]
#[serde(deny_unknown_fields)]
pub(crate) struct Draft {
    /// Name of the buyer, in Unicode normalization form C.
    #[cfg_attr(feature = "utoipa", schema(min_length = 1, max_length = 200))]
    buyer: String,
    /// Number of tickets.
    #[cfg_attr(feature = "utoipa", schema(minimum = 1, maximum = 10))]
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
                    "{} is not allowed: expected an integer from 1 to {MAX_QUANTITY}",
                    draft.quantity
                ),
            )),
        }
    }
}

/// Key chosen by the client, so that a repeated request buys once. Scoped to a concert: purchases for
/// different concerts may have the same key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Returns the key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = Error;

    /// # Errors
    ///
    /// [`Error::Invalid`] unless the text has 1 to 255 printable ASCII characters.
    fn from_str(text: &str) -> Result<Self, Error> {
        let length = text.chars().count();
        let problem = if !(1..=255).contains(&length) {
            format!("{length} characters are not allowed: expected 1 to 255")
        } else if let Some(other) = text.chars().find(|c| !matches!(c, ' '..='~')) {
            format!("the character {other:?} is not allowed: expected printable ASCII")
        } else {
            return Ok(Self(text.to_owned()));
        };
        Err(Error::invalid("idempotency-key", problem))
    }
}

/// Status of a purchase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Status {
    /// Paid; the buyer holds the tickets.
    Paid,
    /// Refunded; the tickets are available again.
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

/// A purchase as of the time it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[cfg_attr(
    feature = "utoipa",
    schema(description = "A purchase.", examples(schema::purchase))
)]
#[non_exhaustive]
pub struct Purchase {
    /// The id.
    #[cfg_attr(feature = "utoipa", schema(value_type = String, format = "uuid"))]
    pub id: PurchaseId,
    /// The concert.
    #[cfg_attr(feature = "utoipa", schema(value_type = String, format = "uuid"))]
    pub concert_id: ConcertId,
    /// The buyer.
    pub buyer: String,
    /// Number of tickets.
    pub quantity: u32,
    /// Price of all tickets together.
    pub total: Money,
    /// The status.
    pub status: Status,
    /// Time of the purchase.
    #[cfg_attr(feature = "utoipa", schema(value_type = String, format = DateTime))]
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

/// Result of [`Tickets::purchase`](crate::Tickets::purchase).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Purchased {
    /// The purchase.
    pub purchase: Purchase,
    /// Set if an earlier request with the same idempotency key made the purchase.
    pub replayed: bool,
}
