//! Units, colors, thresholds and legends in Grafana's model.

use serde_json::{Value, json};

use crate::panel::{Color, Threshold, Unit};

/// A color with enough contrast on light and dark backgrounds.
pub(super) fn color(color: Color) -> &'static str {
    match color {
        Color::Green => "#56A64B",
        Color::Yellow => "#E0A030",
        Color::Red => "#D44A5A",
        Color::Blue => "#5B8FF9",
        Color::Gray => "#8E98A8",
    }
}

/// Grafana's identifier of a unit.
pub(super) fn unit(unit: &Unit) -> String {
    match unit {
        Unit::Count | Unit::PerSecond | Unit::PerMinute => "short".to_owned(),
        Unit::Seconds => "s".to_owned(),
        Unit::Bytes => "bytes".to_owned(),
        Unit::BytesPerSecond => "binBps".to_owned(),
        Unit::RequestsPerSecond => "reqps".to_owned(),
        Unit::Ratio => "percentunit".to_owned(),
        Unit::Currency(code) if has_symbol(code) => format!("currency{code}"),
        Unit::Currency(_) => "short".to_owned(),
    }
}

/// The label of an axis whose unit Grafana does not display.
pub(super) fn axis_label(unit: &Unit) -> String {
    match unit {
        Unit::PerSecond => "per second".to_owned(),
        Unit::PerMinute => "per minute".to_owned(),
        Unit::Currency(code) if !has_symbol(code) => code.clone(),
        _ => String::new(),
    }
}

/// Returns `true` if Grafana has a unit for the currency.
fn has_symbol(code: &str) -> bool {
    const KNOWN: [&str; 21] = [
        "USD", "GBP", "EUR", "JPY", "RUB", "UAH", "BRL", "DKK", "ISK", "NOK", "SEK", "CZK", "CHF",
        "PLN", "ZAR", "INR", "KRW", "IDR", "PHP", "VND", "BTC",
    ];
    KNOWN.contains(&code)
}

/// Thresholds, with the color `base` below the first.
pub(super) fn thresholds(base: &str, thresholds: &[Threshold]) -> Value {
    let mut steps = vec![json!({ "color": base, "value": null })];
    steps.extend(
        thresholds
            .iter()
            .map(|t| json!({ "color": color(t.color), "value": t.from })),
    );
    json!({ "mode": "absolute", "steps": steps })
}

/// A legend, in which Grafana writes labels as `{{label}}`.
pub(super) fn legend(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

/// The identifier of the query with this index: A, B, … Z, AA, …
pub(super) fn ref_id(index: usize) -> String {
    let letter = char::from(b'A' + u8::try_from(index % 26).unwrap_or_default());
    match index / 26 {
        0 => letter.to_string(),
        more => format!("{}{letter}", ref_id(more - 1)),
    }
}
