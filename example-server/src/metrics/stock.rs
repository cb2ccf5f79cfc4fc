//! Available tickets, as a metric.

use std::sync::Arc;
use std::time::Duration;

use ticket_core::{Error, Tickets};
use tokio::time::{MissedTickBehavior, interval};

use super::PlatformMetrics;
use super::concert_labels::MAX_CONCERTS;

/// Interval between reads.
const INTERVAL: Duration = Duration::from_secs(2);

/// Updates `tickets_available` every two seconds, so that a scrape does not wait for the database.
/// The values are not updated while the database is unavailable.
pub(crate) async fn refresh(tickets: Tickets, metrics: Arc<PlatformMetrics>) {
    let mut tick = interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if let Err(error) = update(&tickets, &metrics).await {
            tracing::debug!(%error, "cannot read the stock");
        }
    }
}

/// Reads the stock of the labeled concerts, and the sum of all concerts for the label that the
/// other concerts share.
async fn update(tickets: &Tickets, metrics: &PlatformMetrics) -> Result<(), Error> {
    if !metrics.has_all_labels() {
        let best_sellers = tickets.best_sellers(MAX_CONCERTS as u32).await?;
        metrics.admit(&best_sellers);
    }
    let labeled = tickets.stock_of(&metrics.labeled_concerts()).await?;
    let all = tickets.stock_sums().await?;
    metrics.set_available(&labeled, all);
    Ok(())
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;
    use ticket_core::{Currency, Money, NewConcert, NewPurchase, Options};
    use tower_metrics::prometheus::gauge_value;

    use super::*;

    #[tokio::test]
    async fn the_best_sellers_are_labeled_and_the_rest_is_added_up() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("tickets.db").display());
        let tickets = Tickets::open(&url, Options::default()).await.unwrap();
        let begins = "2199-01-01T20:00:00Z".parse().unwrap();
        let price = Money::new(6_500, Currency::EUR);
        let mut last = None;
        for number in 0..105 {
            let title = format!("Concert {number}");
            let new = NewConcert::new(&title, "Tempodrom", begins, 10, price).unwrap();
            last = Some(tickets.create_concert(new).await.unwrap().id);
        }
        let buy = async || {
            let new = NewPurchase::new("Ada", 2).unwrap();
            tickets.purchase(last.unwrap(), new, None).await.unwrap();
        };
        buy().await;

        let registry = Registry::new();
        let metrics = PlatformMetrics::register(&registry).unwrap();
        update(&tickets, &metrics).await.unwrap();
        let available = |concert: &str| {
            let families = registry.gather();
            let mut families = families.iter();
            let family = families.find(|family| family.name() == "tickets_available");
            let mut metrics = family.unwrap().get_metric().iter();
            let metric = metrics.find(|metric| metric.get_label()[0].value() == concert);
            metric.map(gauge_value)
        };
        assert_eq!(available("concert-104"), Some(8.0));
        assert_eq!(available("concert-0"), Some(10.0));
        assert_eq!(available("concert-103"), None);
        assert_eq!(available("_OTHER"), Some(50.0));
        buy().await;
        update(&tickets, &metrics).await.unwrap();
        assert_eq!(available("concert-104"), Some(6.0));
        assert_eq!(available("_OTHER"), Some(50.0));
        tickets.close().await;
    }
}
