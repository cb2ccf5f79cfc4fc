//! The sample concerts, and how they stay on sale for days.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use ticket_core::{Currency, Error, Money, NewConcert, Tickets};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How long a concert stays sold out before its next night goes on sale.
const SOLD_OUT_FOR: Duration = Duration::from_secs(60);

/// A concert of the sample.
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

/// The first are asked for most. Some are small enough to sell out while one watches.
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

/// Puts those of the sample on sale that are not there yet.
///
/// # Errors
/// When the database does not serve.
pub(super) async fn put_on_sale(tickets: &Tickets) -> Result<(), Error> {
    let there: HashSet<_> = tickets
        .stock()
        .await?
        .into_iter()
        .map(|stock| stock.slug)
        .collect();
    for (week, sample) in SAMPLES.iter().enumerate() {
        if there.contains(sample.slug) {
            continue;
        }
        match tickets.create_concert(sample.concert(week)?).await {
            Ok(concert) => tracing::debug!(concert.slug, "on sale"),
            // With such faults in force the demo has one concert less.
            Err(error @ Error::Injected { .. }) => {
                tracing::warn!(%error, concert = sample.slug, "not put on sale");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
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

/// An evening at eight, in a year and some weeks.
fn in_a_year(weeks: usize) -> Timestamp {
    const DAY: i64 = 24 * 3600;
    let today = Timestamp::now().as_second() / DAY * DAY;
    let evening = today + (365 + 7 * weeks as i64) * DAY + 20 * 3600;
    Timestamp::from_second(evening).expect("a year from now is a time")
}

/// Puts the next night of a sold-out concert of the sample on sale once it was sold out for a
/// while. The past night's purchases leave the database, which so stays as large as the concerts.
pub(super) async fn keep_on_sale(tickets: Tickets) {
    let mut tick = interval(Duration::from_secs(10));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sold_out = HashMap::new();
    loop {
        tick.tick().await;
        let Ok(stock) = tickets.stock().await else {
            continue;
        };
        for stock in stock {
            let is_sample = SAMPLES.iter().any(|sample| sample.slug == stock.slug);
            // What is left is less than most buyers want.
            if !is_sample || stock.available() > 3 {
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
                Ok(_) => tracing::info!(concert = stock.slug, "the next night is on sale"),
                Err(error) => tracing::warn!(%error, concert = stock.slug, "no next night"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ticket_core::Options;

    use super::*;

    #[tokio::test]
    async fn the_sample_goes_on_sale_once_however_often_the_demo_starts() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("tickets.db").display());
        for _ in 0..2 {
            let tickets = Tickets::open(&url, Options::default()).await.unwrap();
            put_on_sale(&tickets).await.unwrap();
            let stock = tickets.stock().await.unwrap();
            let slugs: Vec<_> = stock.iter().map(|stock| stock.slug.as_str()).collect();
            assert_eq!(slugs, SAMPLES.map(|sample| sample.slug));
            tickets.close().await;
        }
    }
}
