//! Sample concerts, which are put on sale again after they have sold out.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use ticket_core::{ConcertId, Currency, Error, Money, NewConcert, Stock, Tickets};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How long a concert stays sold out before its sales are reset.
const SOLD_OUT_FOR: Duration = Duration::from_secs(60);

struct Sample {
    slug: &'static str,
    title: &'static str,
    venue: &'static str,
    capacity: u32,
    /// In euro cents.
    price: i64,
    max_per_buyer: Option<u32>,
}

const fn sample(
    slug: &'static str,
    title: &'static str,
    venue: &'static str,
    capacity: u32,
    price: i64,
    max_per_buyer: Option<u32>,
) -> Sample {
    Sample {
        slug,
        title,
        venue,
        capacity,
        price,
        max_per_buyer,
    }
}

/// The generated traffic prefers the first ones. Some are small enough to sell out within minutes.
const SAMPLES: [Sample; 12] = [
    sample(
        "radiohead-berlin",
        "Radiohead, Berlin",
        "Uber Arena",
        17_000,
        8_950,
        Some(6),
    ),
    sample(
        "bjoerk-cornucopia",
        "Björk: Cornucopia",
        "Accor Arena, Paris",
        14_500,
        11_500,
        Some(4),
    ),
    sample(
        "kraftwerk-3-d",
        "Kraftwerk 3-D",
        "Tempodrom, Berlin",
        3_500,
        7_900,
        None,
    ),
    sample(
        "massive-attack",
        "Massive Attack",
        "O2 Academy, Bristol",
        1_600,
        6_500,
        None,
    ),
    sample(
        "fela-the-afrobeat-night",
        "Fela! The Afrobeat Night",
        "New Afrika Shrine, Lagos",
        2_000,
        2_500,
        None,
    ),
    sample(
        "mahler-symphony-no-2",
        "Mahler: Symphony No. 2",
        "Elbphilharmonie, Hamburg",
        2_100,
        9_800,
        Some(4),
    ),
    sample(
        "nils-frahm-solo",
        "Nils Frahm, solo",
        "Funkhaus, Berlin",
        900,
        5_200,
        Some(4),
    ),
    sample(
        "khruangbin",
        "Khruangbin",
        "AFAS Live, Amsterdam",
        6_000,
        5_650,
        None,
    ),
    sample(
        "rosalia-motomami-tour",
        "Rosalía: Motomami Tour",
        "Palau Sant Jordi, Barcelona",
        15_500,
        7_400,
        Some(6),
    ),
    sample(
        "tinariwen-desert-blues",
        "Tinariwen: Desert Blues",
        "Paradiso, Amsterdam",
        1_500,
        3_850,
        None,
    ),
    sample(
        "an-evening-of-bill-evans",
        "An Evening of Bill Evans",
        "Bimhuis, Amsterdam",
        350,
        2_800,
        Some(2),
    ),
    sample(
        "fado-em-alfama",
        "Fado em Alfama",
        "Clube de Fado, Lisbon",
        120,
        3_500,
        Some(2),
    ),
];

/// Creates the sample concerts that do not exist yet, and returns the IDs of all of them.
///
/// # Errors
///
/// Returns an error if the database fails.
pub(super) async fn create_missing(tickets: &Tickets) -> Result<Vec<ConcertId>, Error> {
    let stock = tickets.stock().await?;
    let is_sample = |stock: &&Stock| SAMPLES.iter().any(|sample| sample.slug == stock.slug);
    let mut samples: HashMap<_, _> = stock
        .iter()
        .filter(is_sample)
        .map(|stock| (stock.slug.as_str(), stock.concert_id))
        .collect();
    for (week, sample) in SAMPLES.iter().enumerate() {
        if samples.contains_key(sample.slug) {
            continue;
        }
        match tickets.create_concert(sample.concert(week)?).await {
            Ok(concert) => {
                tracing::debug!(concert.slug, "created sample concert");
                samples.insert(sample.slug, concert.id);
            }
            // A fault on `create_concert` must not prevent the demo from starting.
            Err(error @ Error::Injected { .. }) => {
                tracing::warn!(%error, concert = sample.slug, "cannot create sample concert");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(samples.into_values().collect())
}

impl Sample {
    fn concert(&self, week: usize) -> Result<NewConcert, Error> {
        let price = Money::new(self.price, Currency::EUR);
        let new = NewConcert::new(
            self.title,
            self.venue,
            in_a_year(week),
            self.capacity,
            price,
        )?;
        match self.max_per_buyer {
            Some(limit) => new.max_per_buyer(limit),
            None => Ok(new),
        }
    }
}

/// Returns 20:00 UTC on the day in a year and `weeks` weeks.
fn in_a_year(weeks: usize) -> Timestamp {
    const DAY: i64 = 24 * 3600;
    let today = Timestamp::now().as_second() / DAY * DAY;
    let evening = today + (365 + 7 * weeks as i64) * DAY + 20 * 3600;
    Timestamp::from_second(evening).expect("next year is within the range of timestamps")
}

/// Resets the sales of each sample concert that has been sold out for a while. This deletes its
/// purchases, which bounds the size of the database.
pub(super) async fn reset_sold_out(tickets: Tickets, samples: Vec<ConcertId>) {
    let mut tick = interval(Duration::from_secs(10));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sold_out = HashMap::new();
    loop {
        tick.tick().await;
        let Ok(stock) = tickets.stock_of(&samples).await else {
            continue;
        };
        for stock in stock {
            // Most buyers want more tickets than these.
            if stock.available() > 3 {
                sold_out.remove(&stock.concert_id);
                continue;
            }
            let since = *sold_out
                .entry(stock.concert_id)
                .or_insert_with(Instant::now);
            if since.elapsed() < SOLD_OUT_FOR {
                continue;
            }
            match tickets.reset_sales(stock.concert_id).await {
                Ok(_) => tracing::info!(
                    concert = stock.slug,
                    "reset the sales of a sold-out concert"
                ),
                Err(error) => {
                    tracing::warn!(%error, concert = stock.slug, "cannot reset the sales of a sold-out concert")
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ticket_core::Options;

    use super::*;

    #[tokio::test]
    async fn sample_concerts_are_created_only_once() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("tickets.db").display());
        for _ in 0..2 {
            let tickets = Tickets::open(&url, Options::default()).await.unwrap();
            let ids = create_missing(&tickets).await.unwrap();
            assert_eq!(ids.len(), SAMPLES.len());
            let stock = tickets.stock().await.unwrap();
            let slugs: Vec<_> = stock.iter().map(|stock| stock.slug.as_str()).collect();
            assert_eq!(slugs, SAMPLES.map(|sample| sample.slug));
            tickets.close().await;
        }
    }
}
