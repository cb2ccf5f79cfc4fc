use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{ConcertId, Error, Money, json, text, time, time::RequestTime};

/// The most tickets that a concert can have.
pub const MAX_CAPACITY: u32 = 10_000_000;
/// The highest price of a ticket, in minor units. With [`MAX_CAPACITY`] it keeps every sum of a
/// concert's sales within 64 bits.
pub const MAX_PRICE: i64 = 100_000_000;

/// A concert to be put on sale. It can only be built valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Draft", try_from = "Draft")]
pub struct NewConcert {
    title: String,
    venue: String,
    starts_at: Timestamp,
    on_sale_from: Option<Timestamp>,
    on_sale_until: Option<Timestamp>,
    capacity: u32,
    price: Money,
    max_per_buyer: Option<u32>,
}

impl NewConcert {
    /// A concert that is on sale at once and until it starts, without a limit for each buyer.
    /// Times are kept to the microsecond.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a `title` or `venue` that has not 1 to 200 characters, a `capacity`
    /// outside 1 to [`MAX_CAPACITY`], a `price` outside 0 to [`MAX_PRICE`].
    pub fn new(
        title: &str,
        venue: &str,
        starts_at: Timestamp,
        capacity: u32,
        price: Money,
    ) -> Result<Self, Error> {
        if !(0..=MAX_PRICE).contains(&price.amount) {
            return Err(Error::invalid(
                "price.amount",
                format!("{} is not allowed: 0 to {MAX_PRICE} is", price.amount),
            ));
        }
        Ok(Self {
            title: text::name("title", title, 200)?,
            venue: text::name("venue", venue, 200)?,
            starts_at: time::validate("starts_at", starts_at)?,
            on_sale_from: None,
            on_sale_until: None,
            capacity: within("capacity", capacity.into(), MAX_CAPACITY)?,
            price,
            max_per_buyer: None,
        })
    }

    /// Sells only from `from` (none: at once) until `until` (none: until the concert starts).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a sale that ends before it begins.
    pub fn on_sale(
        mut self,
        from: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Self, Error> {
        let validate = |field: &str, time: Option<Timestamp>| {
            time.map(|time| time::validate(field, time)).transpose()
        };
        self.on_sale_from = validate("on_sale_from", from)?;
        self.on_sale_until = validate("on_sale_until", until)?;
        let end = self.on_sale_until.unwrap_or(self.starts_at);
        match self.on_sale_from {
            Some(begin) if begin >= end => Err(Error::invalid(
                "on_sale_from",
                format!("{begin} is not allowed: a time before the end of the sale, {end}, is"),
            )),
            _ => Ok(self),
        }
    }

    /// Limits how many tickets one buyer may hold.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a limit outside 1 to [`MAX_CAPACITY`].
    pub fn max_per_buyer(mut self, limit: u32) -> Result<Self, Error> {
        self.max_per_buyer = Some(within("max_per_buyer", limit.into(), MAX_CAPACITY)?);
        Ok(self)
    }

    /// Reads a concert from JSON, as [`Deserialize`] does, with typed errors.
    ///
    /// # Errors
    /// [`Error::Malformed`] for what is no JSON, [`Error::Invalid`] with the path of the field for
    /// a value that is not allowed and for a field that is not known.
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        json::from_slice::<Draft>(json)?.try_into()
    }

    /// What it is called.
    pub fn title(&self) -> &str {
        &self.title
    }
}

fn within(field: &str, value: i64, most: u32) -> Result<u32, Error> {
    u32::try_from(value)
        .ok()
        .filter(|value| (1..=most).contains(value))
        .ok_or_else(|| {
            Error::invalid(
                field,
                format!("{value} is not allowed: an integer from 1 to {most} is"),
            )
        })
}

/// The JSON of a new concert, before its values are checked.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Draft {
    title: String,
    venue: String,
    starts_at: RequestTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on_sale_from: Option<RequestTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on_sale_until: Option<RequestTime>,
    capacity: i64,
    #[serde(deserialize_with = "json::object")]
    price: Money,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_per_buyer: Option<i64>,
}

impl From<NewConcert> for Draft {
    fn from(new: NewConcert) -> Self {
        Self {
            title: new.title,
            venue: new.venue,
            starts_at: RequestTime(new.starts_at),
            on_sale_from: new.on_sale_from.map(RequestTime),
            on_sale_until: new.on_sale_until.map(RequestTime),
            capacity: new.capacity.into(),
            price: new.price,
            max_per_buyer: new.max_per_buyer.map(Into::into),
        }
    }
}

impl TryFrom<Draft> for NewConcert {
    type Error = Error;

    fn try_from(draft: Draft) -> Result<Self, Error> {
        let capacity = within("capacity", draft.capacity, MAX_CAPACITY)?;
        let new = Self::new(
            &draft.title,
            &draft.venue,
            draft.starts_at.0,
            capacity,
            draft.price,
        )?
        .on_sale(
            draft.on_sale_from.map(|time| time.0),
            draft.on_sale_until.map(|time| time.0),
        )?;
        match draft.max_per_buyer {
            Some(limit) => new.max_per_buyer(within("max_per_buyer", limit, MAX_CAPACITY)?),
            None => Ok(new),
        }
    }
}

/// A concert on sale, as it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Wire", from = "Wire")]
#[non_exhaustive]
pub struct Concert {
    /// Its id.
    pub id: ConcertId,
    /// Its unique name for URLs and labels, made from the title.
    pub slug: String,
    /// What it is called.
    pub title: String,
    /// Where it takes place.
    pub venue: String,
    /// When it starts.
    pub starts_at: Timestamp,
    /// When the sale begins; none: it has begun.
    pub on_sale_from: Option<Timestamp>,
    /// When the sale ends; none: when the concert starts.
    pub on_sale_until: Option<Timestamp>,
    /// How many tickets there are.
    pub capacity: u32,
    /// What one ticket costs.
    pub price: Money,
    /// How many tickets one buyer may hold; none: any number.
    pub max_per_buyer: Option<u32>,
    /// How many tickets are sold and not refunded.
    pub sold: u32,
}

impl Concert {
    pub(crate) fn create(new: NewConcert) -> Self {
        Self {
            id: ConcertId::new(),
            slug: text::slug(&new.title),
            title: new.title,
            venue: new.venue,
            starts_at: new.starts_at,
            on_sale_from: new.on_sale_from,
            on_sale_until: new.on_sale_until,
            capacity: new.capacity,
            price: new.price,
            max_per_buyer: new.max_per_buyer,
            sold: 0,
        }
    }

    /// How many tickets can still be bought.
    pub fn available(&self) -> u32 {
        self.capacity.saturating_sub(self.sold)
    }

    /// What `quantity` tickets cost.
    pub fn price_of(&self, quantity: u32) -> Money {
        Money::new(self.price.amount * i64::from(quantity), self.price.currency)
    }

    /// Whether tickets are sold at `now`.
    ///
    /// # Errors
    /// [`Error::NotOnSale`] before the sale begins and once it has ended.
    pub(crate) fn check_on_sale(&self, now: Timestamp) -> Result<(), Error> {
        let from = self.on_sale_from;
        let until = self.on_sale_until.unwrap_or(self.starts_at);
        if from.is_none_or(|from| from <= now) && now < until {
            Ok(())
        } else {
            Err(Error::NotOnSale { from, until })
        }
    }
}

/// The JSON of a concert.
#[derive(Serialize, Deserialize)]
struct Wire {
    id: ConcertId,
    slug: String,
    title: String,
    venue: String,
    starts_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on_sale_from: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on_sale_until: Option<Timestamp>,
    capacity: u32,
    price: Money,
    max_per_buyer: Option<u32>,
    sold: u32,
    available: u32,
}

impl From<Concert> for Wire {
    fn from(concert: Concert) -> Self {
        Self {
            available: concert.available(),
            id: concert.id,
            slug: concert.slug,
            title: concert.title,
            venue: concert.venue,
            starts_at: concert.starts_at,
            on_sale_from: concert.on_sale_from,
            on_sale_until: concert.on_sale_until,
            capacity: concert.capacity,
            price: concert.price,
            max_per_buyer: concert.max_per_buyer,
            sold: concert.sold,
        }
    }
}

impl From<Wire> for Concert {
    fn from(wire: Wire) -> Self {
        Self {
            id: wire.id,
            slug: wire.slug,
            title: wire.title,
            venue: wire.venue,
            starts_at: wire.starts_at,
            on_sale_from: wire.on_sale_from,
            on_sale_until: wire.on_sale_until,
            capacity: wire.capacity,
            price: wire.price,
            max_per_buyer: wire.max_per_buyer,
            sold: wire.sold,
        }
    }
}
