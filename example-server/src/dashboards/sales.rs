//! *Ticket sales*: what is sold, what is tried, what is left.

use tower_metrics_dashboard::{Column, Dashboard, Expr, Panel, Row, Selector, Tone, Unit};

use super::{OVERVIEW, PLATFORM, SALES, purchases};

/// How a try to buy ends; a replay and a refund are none.
const TRIES: [&str; 4] = ["sold", "declined", "sold_out", "failed"];

pub(super) fn dashboard() -> Dashboard {
    let description = "Revenue, tickets and stock by concert, and what became of the tries to buy.";
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
        .row(now())
        .row(sales())
        .row(outcomes())
        .row(concerts())
}

fn of_concert(metric: &str) -> Selector {
    Selector::new(metric).picked("concert", "concert")
}

fn sold() -> Selector {
    of_concert("tickets_sold_total")
}

fn revenue() -> Selector {
    of_concert("ticket_sales_amount_total")
}

/// The share of the tries that end so.
fn share(outcome: &str) -> Expr {
    let tries = purchases(&TRIES).rate().sum();
    purchases(&[outcome]).rate().sum().ratio(tries)
}

fn now() -> Row {
    Row::new("At a glance")
        .panel(
            Panel::stat("Revenue in this range", Unit::Count)
                .help("What was paid, in each currency's main unit. Refunds are not taken off.")
                .decimals(1)
                .series("{currency}", revenue().increase().sum_by(["currency"])),
        )
        .panel(
            Panel::stat("Tickets in this range", Unit::Count)
                .help("Tickets sold. Refunds are not taken off.")
                .decimals(1)
                .series("tickets", sold().increase().sum()),
        )
        .panel(
            Panel::stat("Tickets per minute", Unit::PerMinute)
                .help("How fast tickets are being sold.")
                .decimals(1)
                .series("tickets", sold().rate().sum().per_minute()),
        )
        .panel(
            Panel::stat("Conversion", Unit::Ratio)
                .help("Share of the tries to buy that ended with tickets.")
                .decimals(1)
                .series("sold", share("sold")),
        )
        .panel(
            Panel::stat("Declined", Unit::Ratio)
                .help("Share of the tries whose payment was declined. The everyday faults decline 5 %.")
                .decimals(1)
                .threshold(0.1, Tone::Warn)
                .threshold(0.3, Tone::Bad)
                .series("declined", share("declined")),
        )
        .panel(
            Panel::stat("Sold out", Unit::Ratio)
                .help("Share of the tries that found too few tickets left.")
                .decimals(1)
                .series("sold out", share("sold_out")),
        )
}

fn sales() -> Row {
    Row::new("Sales")
        .panel(
            Panel::lines("Tickets per minute by concert", Unit::PerMinute)
                .help("Tickets sold per minute, stacked.")
                .size(12, 9)
                .decimals(1)
                .stacked()
                .series("{concert}", sold().rate().sum_by(["concert"]).per_minute()),
        )
        .panel(
            // Not stacked: a stack adds up what may be in different currencies.
            Panel::lines("Revenue per minute by concert", Unit::PerMinute)
                .help("What is paid per minute, in the concert's currency.")
                .size(12, 9)
                .decimals(1)
                .series(
                    "{concert} {currency}",
                    revenue()
                        .rate()
                        .sum_by(["concert", "currency"])
                        .per_minute(),
                ),
        )
}

fn outcomes() -> Row {
    let per_minute = |outcome: &str| {
        let all = Selector::new("ticket_purchases_total").rate().sum();
        purchases(&[outcome]).rate().sum().or_zero(all).per_minute()
    };
    let refunded = of_concert("tickets_refunded_total").rate().sum();
    Row::new("What became of the tries")
        .panel(
            Panel::lines("Conversion", Unit::Ratio)
                .help("Shares of the tries to buy: sold, declined, sold out, and failed for any other reason: the platform's, a buyer's limit.")
                .size(8, 9)
                .decimals(1)
                .series_in(Tone::Good, "sold", share("sold"))
                .series_in(Tone::Warn, "declined", share("declined"))
                .series_in(Tone::Muted, "sold out", share("sold_out"))
                .series_in(Tone::Bad, "failed", share("failed")),
        )
        .panel(
            Panel::lines("Tries per minute", Unit::PerMinute)
                .help("Tries to buy, stacked by how they ended.")
                .size(8, 9)
                .decimals(1)
                .stacked()
                .series_in(Tone::Good, "sold", per_minute("sold"))
                .series_in(Tone::Warn, "declined", per_minute("declined"))
                .series_in(Tone::Muted, "sold out", per_minute("sold_out"))
                .series_in(Tone::Bad, "failed", per_minute("failed")),
        )
        .panel(
            Panel::lines("Given back and repeated", Unit::PerMinute)
                .help("Tickets refunded, and purchases that were sent again with the same key and answered with the first.")
                .size(8, 9)
                .decimals(1)
                .series_in(Tone::Warn, "tickets refunded", refunded.per_minute())
                .series_in(Tone::Neutral, "purchases replayed", per_minute("replayed")),
        )
}

fn concerts() -> Row {
    let left = || of_concert("tickets_available").value().max_by(["concert"]);
    let by = ["concert", "currency"];
    let paid = || revenue().increase().sum_by(by);
    let refunded = of_concert("ticket_refunds_amount_total")
        .increase()
        .sum_by(by);
    Row::new("Concerts")
        .panel(
            Panel::bars("Tickets left", Unit::Count, "{concert}", left())
                .help("The stock of each concert. Every server tells the same, so the largest is taken.")
                .size(12, 11)
                .decimals(0),
        )
        .panel(
            Panel::table("Top concerts", ["concert"])
                .help("Concerts by the tickets that they sold in the range shown.")
                .size(12, 11)
                .column(Column::new("Tickets", Unit::Count, sold().increase().sum_by(["concert"])))
                .column(Column::new(
                    "Per minute",
                    Unit::PerMinute,
                    sold().rate().sum_by(["concert"]).per_minute(),
                ))
                .column(Column::new("Left", Unit::Count, left())),
        )
        .panel(
            // A line for each currency: those concerts that share a label may differ in it.
            Panel::table("Revenue by concert", by)
                .help("Payments and refunds in the range shown, in each currency's main unit.")
                .size(12, 9)
                .column(Column::new("Revenue", Unit::Count, paid()))
                .column(Column::new(
                    "Per minute",
                    Unit::PerMinute,
                    revenue().rate().sum_by(by).per_minute(),
                ))
                .column(Column::new("Refunded", Unit::Count, refunded.or_zero(paid()))),
        )
        .panel(
            Panel::lines("Stock", Unit::Count)
                .help("Tickets left over time: steps down are sales, steps up are refunds and new capacity.")
                .size(12, 9)
                .decimals(0)
                .series("{concert}", left()),
        )
}
