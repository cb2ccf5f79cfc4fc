//! The dashboard *Ticket sales*: revenue, purchase outcomes and available tickets.

use tower_metrics_dashboard::{
    BarGauge, Color, Column, Dashboard, Expr, Row, Selector, Stat, Table, TimeSeries, Unit,
};

use super::{OVERVIEW, PLATFORM, SALES, purchases};

/// Outcomes of a purchase attempt, with their legends and colors. Replays and refunds are not
/// attempts.
const OUTCOMES: [(&str, &str, Color); 5] = [
    ("sold", "sold", Color::Green),
    ("declined", "payment declined", Color::Yellow),
    ("sold_out", "sold out", Color::Gray),
    ("rejected", "rejected", Color::Blue),
    ("failed", "failed", Color::Red),
];

pub(super) fn dashboard() -> Dashboard {
    let description = "Revenue, tickets and availability by concert, and purchase outcomes.";
    Dashboard::new(SALES, "Ticket sales", description)
        .tag("tickets")
        .link("HTTP overview", OVERVIEW)
        .link("Platform", PLATFORM)
        .variable(
            "concert",
            "Concert",
            "concert",
            Selector::new("tickets_sold_total"),
        )
        .row(at_a_glance())
        .row(sales())
        .row(outcomes())
        .row(concerts())
}

/// Selects the series of the concerts that are selected in the dashboard.
fn of_concerts(metric: &str) -> Selector {
    Selector::new(metric).with_variable("concert", "concert")
}

fn sold() -> Selector {
    of_concerts("tickets_sold_total")
}

fn revenue() -> Selector {
    of_concerts("ticket_sales_amount_total")
}

/// The ratio of purchase attempts with this outcome.
fn ratio(outcome: &str) -> Expr {
    let attempts = purchases(&OUTCOMES.map(|(outcome, ..)| outcome))
        .rate()
        .sum();
    purchases(&[outcome]).rate().sum().ratio(attempts)
}

fn at_a_glance() -> Row {
    Row::new("At a glance")
        .panel(
            Stat::new("Revenue in range", Unit::Count)
                .description(
                    "Payments, in the major unit of each currency. Includes refunded ones.",
                )
                .decimals(1)
                .series("{currency}", revenue().increase().sum_by(["currency"])),
        )
        .panel(
            Stat::new("Tickets in range", Unit::Count)
                .description("Tickets sold. Includes refunded ones.")
                .decimals(1)
                .series("tickets", sold().increase().sum()),
        )
        .panel(
            Stat::new("Tickets per minute", Unit::PerMinute)
                .description("Tickets sold per minute.")
                .decimals(1)
                .series("tickets", sold().rate().sum().per_minute()),
        )
        .panel(
            Stat::new("Conversion rate", Unit::Ratio)
                .description("Ratio of purchase attempts that sold tickets.")
                .decimals(1)
                .series("sold", ratio("sold")),
        )
        .panel(
            Stat::new("Payments declined", Unit::Ratio)
                .description(
                    "Ratio of purchase attempts whose payment was declined. The everyday faults \
                     decline 5%.",
                )
                .decimals(1)
                .threshold(0.1, Color::Yellow)
                .threshold(0.3, Color::Red)
                .series("declined", ratio("declined")),
        )
        .panel(
            Stat::new("Sold out", Unit::Ratio)
                .description(
                    "Ratio of purchase attempts that asked for more tickets than were left.",
                )
                .decimals(1)
                .series("sold out", ratio("sold_out")),
        )
}

fn sales() -> Row {
    let revenue = revenue().rate().sum_by(["concert", "currency"]);
    Row::new("Sales")
        .panel(
            TimeSeries::new("Tickets per minute by concert", Unit::PerMinute)
                .description("Tickets sold per minute, by concert.")
                .size(12, 9)
                .decimals(1)
                .stacked(true)
                .series("{concert}", sold().rate().sum_by(["concert"]).per_minute()),
        )
        .panel(
            // Not stacked: a stack would add up amounts in different currencies.
            TimeSeries::new("Revenue per minute by concert", Unit::PerMinute)
                .description("Payments per minute, by concert and currency.")
                .size(12, 9)
                .decimals(1)
                .series("{concert} {currency}", revenue.per_minute()),
        )
}

fn outcomes() -> Row {
    let per_minute = |outcome: &str| {
        let all = Selector::new("ticket_purchases_total").rate().sum();
        purchases(&[outcome]).rate().sum().or_zero(all).per_minute()
    };
    let refunded = of_concerts("tickets_refunded_total").rate().sum();
    let ratios = TimeSeries::new("Outcome ratios", Unit::Ratio)
        .description(
            "Ratio of purchase attempts by outcome. Rejected attempts violate a purchase limit or \
             another rule for buyers. Failed ones end with an error of the platform, an injected \
             fault or a timeout, or because the client disconnects.",
        )
        .size(8, 9)
        .decimals(1);
    let attempts = TimeSeries::new("Purchase attempts per minute", Unit::PerMinute)
        .description("Purchase attempts per minute, by outcome.")
        .size(8, 9)
        .decimals(1)
        .stacked(true);
    Row::new("Purchase outcomes")
        .panel(
            OUTCOMES
                .iter()
                .fold(ratios, |panel, (outcome, legend, color)| {
                    panel.colored_series(*color, *legend, ratio(outcome))
                }),
        )
        .panel(
            OUTCOMES
                .iter()
                .fold(attempts, |panel, (outcome, legend, color)| {
                    panel.colored_series(*color, *legend, per_minute(outcome))
                }),
        )
        .panel(
            TimeSeries::new("Refunds and replays", Unit::PerMinute)
                .description(
                    "Tickets refunded, and purchase requests that repeated an idempotency key and \
                     received the original response.",
                )
                .size(8, 9)
                .decimals(1)
                .colored_series(Color::Yellow, "tickets refunded", refunded.per_minute())
                .colored_series(Color::Blue, "purchases replayed", per_minute("replayed")),
        )
}

fn concerts() -> Row {
    // Every server reports the same stock, so the maximum is exact.
    let available = || of_concerts("tickets_available").value().max_by(["concert"]);
    let by = ["concert", "currency"];
    let paid = || revenue().increase().sum_by(by);
    let refunded = of_concerts("ticket_refunds_amount_total");
    let refunded = refunded.increase().sum_by(by);
    Row::new("Concerts")
        .panel(
            BarGauge::new("Available tickets", Unit::Count, "{concert}", available())
                .description("Unsold tickets of each concert.")
                .size(12, 11)
                .decimals(0),
        )
        .panel(
            Table::new("Top concerts", ["concert"])
                .description("Concerts by tickets sold over the displayed time range.")
                .size(12, 11)
                .column(Column::new(
                    "Tickets",
                    Unit::Count,
                    sold().increase().sum_by(["concert"]),
                ))
                .column(Column::new(
                    "Per minute",
                    Unit::PerMinute,
                    sold().rate().sum_by(["concert"]).per_minute(),
                ))
                .column(Column::new("Available", Unit::Count, available())),
        )
        .panel(
            // A row per currency: concerts that share the label `_OTHER` may differ in it.
            Table::new("Revenue by concert", by)
                .description(
                    "Payments and refunds over the displayed time range, in the major unit of each \
                     currency.",
                )
                .size(12, 9)
                .column(Column::new("Revenue", Unit::Count, paid()))
                .column(Column::new(
                    "Per minute",
                    Unit::PerMinute,
                    revenue().rate().sum_by(by).per_minute(),
                ))
                .column(Column::new(
                    "Refunds",
                    Unit::Count,
                    refunded.or_zero(paid()),
                )),
        )
        .panel(
            TimeSeries::new("Available tickets over time", Unit::Count)
                .description("Decreases are sales; increases are refunds and new capacity.")
                .size(12, 9)
                .decimals(0)
                .series("{concert}", available()),
        )
}
