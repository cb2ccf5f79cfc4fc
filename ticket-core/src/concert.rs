//! Concerts and their validation.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[cfg(feature = "utoipa")]
use crate::schema;
use crate::{ConcertId, Error, Money, json, text, time, time::RequestTime};

/// The maximum capacity of a concert.
pub const MAX_CAPACITY: u32 = 10_000_000;
/// The maximum price of a ticket, in minor units. With [`MAX_CAPACITY`] it keeps the sum of a
/// concert's sales within 64 bits.
pub const MAX_PRICE: i64 = 100_000_000;

/// A valid concert for [`Tickets::create_concert`].
///
/// [`Tickets::create_concert`]: crate::Tickets::create_concert
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
    /// Returns a concert that is on sale immediately and until it starts, without a limit per buyer.
    ///
    /// `title` and `venue` are normalized: Unicode normalization form C, and single spaces instead
    /// of runs of white space. Times are truncated to microseconds.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if `title` or `venue` does not have 1 to 200 characters or has invisible
    /// ones, if `starts_at` is before the year 2000 or after the year 9998, if `capacity` is not
    /// from 1 to [`MAX_CAPACITY`], or if the amount of `price` is not from 0 to [`MAX_PRICE`].
    ///
    /// # Examples
    ///
    /// ```
    /// use ticket_core::{Currency, Money, NewConcert};
    ///
    /// let starts_at = "2030-01-01T20:00:00Z".parse()?;
    /// let price = Money::new(6_500, Currency::EUR);
    /// let concert = NewConcert::new("Nina Simone", "Tempodrom", starts_at, 20_000, price)?
    ///     .max_per_buyer(4)?;
    /// assert_eq!(concert.title(), "Nina Simone");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
                format!("{} is not allowed: expected 0 to {MAX_PRICE}", price.amount),
            ));
        }
        Ok(Self {
            title: text::name("title", title, 200)?,
            venue: text::name("venue", venue, 200)?,
            starts_at: time::validate("starts_at", starts_at)?,
            on_sale_from: None,
            on_sale_until: None,
            capacity: check_range("capacity", capacity.into(), MAX_CAPACITY)?,
            price,
            max_per_buyer: None,
        })
    }

    /// Limits the sale window. It begins immediately without `from`, and ends when the concert
    /// starts without `until`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the sale does not begin before it ends, or if a time is before the
    /// year 2000 or after the year 9998.
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
                format!(
                    "{begin} is not allowed: expected a time before the end of the sale, {end}"
                ),
            )),
            _ => Ok(self),
        }
    }

    /// Limits the number of tickets that one buyer may hold.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if `limit` is not from 1 to [`MAX_CAPACITY`].
    pub fn max_per_buyer(mut self, limit: u32) -> Result<Self, Error> {
        self.max_per_buyer = Some(check_range("max_per_buyer", limit.into(), MAX_CAPACITY)?);
        Ok(self)
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

    /// Returns the title.
    pub fn title(&self) -> &str {
        &self.title
    }
}

fn check_range(field: &str, value: i64, max: u32) -> Result<u32, Error> {
    u32::try_from(value)
        .ok()
        .filter(|value| (1..=max).contains(value))
        .ok_or_else(|| {
            Error::invalid(
                field,
                format!("{value} is not allowed: expected an integer from 1 to {max}"),
            )
        })
}

/// JSON of a new concert, before validation.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "utoipa", schema(as = NewConcert, description = "A concert to create."))]
#[cfg_attr(feature = "utoipa", schema(examples(schema::new_concert)))]
#[serde(deny_unknown_fields)]
pub(crate) struct Draft {
    /// Title, in Unicode normalization form C.
    #[cfg_attr(feature = "utoipa", schema(min_length = 1, max_length = 200))]
    title: String,
    /// Venue, in Unicode normalization form C.
    #[cfg_attr(feature = "utoipa", schema(min_length = 1, max_length = 200))]
    venue: String,
    /// Start of the concert, from 2000-01-01T00:00:00Z to 9998-12-31T23:59:59.999999Z, with
    /// microsecond precision.
    #[cfg_attr(feature = "utoipa", schema(value_type = String, format = DateTime))]
    starts_at: RequestTime,
    /// Start of the sale. Defaults to the creation of the concert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(value_type = Option<String>, format = DateTime))]
    on_sale_from: Option<RequestTime>,
    /// End of the sale. Defaults to `starts_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(value_type = Option<String>, format = DateTime))]
    on_sale_until: Option<RequestTime>,
    /// Number of tickets.
    #[cfg_attr(feature = "utoipa", schema(minimum = 1, maximum = 10_000_000))]
    capacity: i64,
    /// Price of a ticket, at most 100,000,000 minor units.
    #[serde(deserialize_with = "json::object")]
    #[cfg_attr(feature = "utoipa", schema(schema_with = schema::price))]
    price: Money,
    /// Maximum number of tickets that one buyer may hold. Defaults to no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(minimum = 1, maximum = 10_000_000))]
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
        let capacity = check_range("capacity", draft.capacity, MAX_CAPACITY)?;
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
            Some(limit) => new.max_per_buyer(check_range("max_per_buyer", limit, MAX_CAPACITY)?),
            None => Ok(new),
        }
    }
}

/// A concert as of the time it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "ConcertJson", from = "ConcertJson")]
#[non_exhaustive]
pub struct Concert {
    /// The id.
    pub id: ConcertId,
    /// The unique name for URLs and labels, derived from the title.
    pub slug: String,
    /// The title.
    pub title: String,
    /// The venue.
    pub venue: String,
    /// The start of the concert.
    pub starts_at: Timestamp,
    /// The start of the sale, if it is limited.
    pub on_sale_from: Option<Timestamp>,
    /// The end of the sale, if it is not the start of the concert.
    pub on_sale_until: Option<Timestamp>,
    /// Number of tickets.
    pub capacity: u32,
    /// Price of a ticket.
    pub price: Money,
    /// Maximum number of tickets that one buyer may hold, if it is limited.
    pub max_per_buyer: Option<u32>,
    /// Tickets that are sold and not refunded.
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

    /// Returns the number of tickets that can still be bought.
    pub fn available(&self) -> u32 {
        self.capacity.saturating_sub(self.sold)
    }

    /// Returns the price of `quantity` tickets.
    pub fn price_of(&self, quantity: u32) -> Money {
        Money::new(self.price.amount * i64::from(quantity), self.price.currency)
    }

    /// Checks that tickets are on sale at `now`.
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

/// JSON of a concert.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "utoipa", schema(as = Concert, description = "A concert."))]
#[cfg_attr(feature = "utoipa", schema(examples(schema::concert)))]
pub(crate) struct ConcertJson {
    #[cfg_attr(feature = "utoipa", schema(value_type = String, format = "uuid"))]
    id: ConcertId,
    /// Unique name for URLs and metric labels, derived from the title.
    slug: String,
    title: String,
    venue: String,
    #[cfg_attr(feature = "utoipa", schema(value_type = String, format = DateTime))]
    starts_at: Timestamp,
    /// Start of the sale, if it is limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(value_type = String, format = DateTime))]
    on_sale_from: Option<Timestamp>,
    /// End of the sale, if it is not the start of the concert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(value_type = String, format = DateTime))]
    on_sale_until: Option<Timestamp>,
    /// Number of tickets.
    capacity: u32,
    /// Price of a ticket.
    price: Money,
    /// Maximum number of tickets that one buyer may hold, or null without a limit.
    #[cfg_attr(feature = "utoipa", schema(required = true))]
    max_per_buyer: Option<u32>,
    /// Tickets that are sold and not refunded.
    sold: u32,
    /// Tickets that can still be bought.
    available: u32,
}

impl From<Concert> for ConcertJson {
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

impl From<ConcertJson> for Concert {
    fn from(json: ConcertJson) -> Self {
        Self {
            id: json.id,
            slug: json.slug,
            title: json.title,
            venue: json.venue,
            starts_at: json.starts_at,
            on_sale_from: json.on_sale_from,
            on_sale_until: json.on_sale_until,
            capacity: json.capacity,
            price: json.price,
            max_per_buyer: json.max_per_buyer,
            sold: json.sold,
        }
    }
}
