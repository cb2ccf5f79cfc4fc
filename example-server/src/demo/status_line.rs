//! Status line of the demo, computed from the server's own metrics.

use std::collections::{BTreeMap, VecDeque};
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use prometheus::Registry;
use prometheus::proto::{Metric, MetricFamily};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tower_metrics::prometheus::counter_value;

use crate::logging;

/// Window of rates and quantiles, in seconds.
const WINDOW: usize = 10;
/// Interval of log lines in seconds, if standard error is not a terminal.
const LOG_INTERVAL: u64 = 60;

/// Shows the status line until `stopping` is cancelled: updated in place on a terminal, otherwise
/// logged once a minute.
pub(super) async fn show(registry: Registry, stopping: CancellationToken) {
    let bar = std::io::stderr().is_terminal().then(|| {
        let style = ProgressStyle::with_template("{spinner} {msg}").expect("the template is valid");
        let bar = ProgressBar::new_spinner().with_style(style);
        logging::keep_above(bar.clone());
        bar
    });
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut past = VecDeque::with_capacity(WINDOW + 1);
    let mut ticks = 0;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stopping.cancelled() => break,
        }
        past.push_back(Snapshot::read(&registry.gather()));
        if past.len() > WINDOW + 1 {
            past.pop_front();
        }
        let (Some(first), Some(last)) = (past.front(), past.back()) else {
            continue;
        };
        let line = last.since(first);
        match &bar {
            Some(bar) => {
                bar.set_message(line);
                bar.tick();
            }
            None if ticks % LOG_INTERVAL == WINDOW as u64 => tracing::info!("{line}"),
            None => {}
        }
        ticks += 1;
    }
    if let Some(bar) = bar {
        bar.finish();
    }
}

/// Totals since the start of the server.
#[derive(Debug)]
struct Snapshot {
    at: Instant,
    requests: u64,
    errors: u64,
    /// Upper bounds of the histogram in seconds, with cumulative counts.
    buckets: Vec<(f64, u64)>,
    sold: f64,
    revenue: BTreeMap<String, f64>,
}

impl Snapshot {
    fn read(families: &[MetricFamily]) -> Self {
        let metrics = |name: &str| {
            let family = families.iter().find(|family| family.name() == name);
            family.map_or(&[][..], |family| family.get_metric())
        };
        let mut snapshot = Self {
            at: Instant::now(),
            requests: 0,
            errors: 0,
            buckets: Vec::new(),
            sold: metrics("tickets_sold_total")
                .iter()
                .map(counter_value)
                .sum(),
            revenue: BTreeMap::new(),
        };
        for metric in metrics("http_server_request_duration_seconds") {
            let histogram = metric.get_histogram();
            snapshot.requests += histogram.get_sample_count();
            if !["", "cancelled", "body_cancelled"].contains(&label(metric, "error_type")) {
                snapshot.errors += histogram.get_sample_count();
            }
            for (at, bucket) in histogram.get_bucket().iter().enumerate() {
                match snapshot.buckets.get_mut(at) {
                    Some((_, count)) => *count += bucket.cumulative_count(),
                    None => snapshot
                        .buckets
                        .push((bucket.upper_bound(), bucket.cumulative_count())),
                }
            }
        }
        for metric in metrics("ticket_sales_amount_total") {
            let currency = label(metric, "currency").to_owned();
            *snapshot.revenue.entry(currency).or_default() += counter_value(metric);
        }
        snapshot
    }

    /// Formats the line, with rates and quantiles since `before`.
    fn since(&self, before: &Self) -> String {
        let seconds = (self.at - before.at).as_secs_f64().max(0.001);
        let requests = self.requests - before.requests;
        let errors = self.errors - before.errors;
        let percent = 100.0 * errors as f64 / requests.max(1) as f64;
        let p95 = match self.quantile(before, 0.95) {
            Some(quantile) => format!("{:.0} ms", quantile * 1e3),
            None => "-".to_owned(),
        };
        let revenue: Vec<_> = self
            .revenue
            .iter()
            .map(|(currency, amount)| format!("{} {currency}", grouped(amount.round() as u64)))
            .collect();
        format!(
            "{:.1} req/s   errors {percent:.1}%   p95 {p95}   {} {} sold   {}",
            requests as f64 / seconds,
            grouped(self.sold as u64),
            if self.sold == 1.0 {
                "ticket"
            } else {
                "tickets"
            },
            revenue.join("   "),
        )
    }

    /// Estimates a quantile by linear interpolation within its bucket, as `histogram_quantile` does.
    fn quantile(&self, before: &Self, quantile: f64) -> Option<f64> {
        let requests = self.requests - before.requests;
        if requests == 0 {
            return None;
        }
        let rank = quantile * requests as f64;
        let (mut below, mut from) = (0.0, 0.0);
        for (at, &(bound, count)) in self.buckets.iter().enumerate() {
            let earlier = before.buckets.get(at).map_or(0, |(_, count)| *count);
            let count = (count - earlier) as f64;
            if count >= rank && bound.is_finite() {
                return Some(from + (bound - from) * (rank - below) / (count - below).max(1.0));
            }
            (below, from) = (count, if bound.is_finite() { bound } else { from });
        }
        Some(from)
    }
}

fn label<'a>(metric: &'a Metric, name: &str) -> &'a str {
    let pair = metric.get_label().iter().find(|pair| pair.name() == name);
    pair.map_or("", |pair| pair.value())
}

/// Formats `number` with commas between groups of digits, such as `12,345`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use prometheus::{CounterVec, HistogramOpts, HistogramVec, IntCounter, Opts};

    use super::*;

    #[test]
    fn the_line_shows_rates_errors_quantiles_and_sales_by_currency() {
        let registry = Registry::new();
        let duration = HistogramVec::new(
            HistogramOpts::new("http_server_request_duration_seconds", "-").buckets(vec![0.1, 0.2]),
            &["error_type"],
        )
        .unwrap();
        let sold = IntCounter::new("tickets_sold_total", "-").unwrap();
        let sales =
            CounterVec::new(Opts::new("ticket_sales_amount_total", "-"), &["currency"]).unwrap();
        registry.register(Box::new(duration.clone())).unwrap();
        registry.register(Box::new(sold.clone())).unwrap();
        registry.register(Box::new(sales.clone())).unwrap();
        duration.with_label_values(&["503"]).observe(5.0);
        let before = Snapshot::read(&registry.gather());
        for _ in 0..97 {
            duration.with_label_values(&[""]).observe(0.15);
        }
        duration.with_label_values(&["cancelled"]).observe(0.15);
        duration.with_label_values(&["503"]).observe(0.15);
        duration.with_label_values(&["500"]).observe(0.15);
        sold.inc_by(1234);
        sales.with_label_values(&["EUR"]).inc_by(98765.4);
        sales.with_label_values(&["JPY"]).inc_by(1_200_000.0);
        let mut after = Snapshot::read(&registry.gather());
        after.at = before.at + Duration::from_secs(10);
        assert_eq!(
            after.since(&before),
            "10.0 req/s   errors 2.0%   p95 195 ms   1,234 tickets sold   98,765 EUR   1,200,000 JPY"
        );
    }
}
