//! Units, colours and thresholds in Grafana's words.

use serde_json::{Value, json};

use crate::panel::{Threshold, Tone, Unit};

/// A colour that reads on light and dark, and stays quiet.
pub(super) fn colour(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "#56A64B",
        Tone::Warn => "#E0A030",
        Tone::Bad => "#D44A5A",
        Tone::Neutral => "#5B8FF9",
        Tone::Muted => "#8E98A8",
    }
}

/// The id of a unit in Grafana.
pub(super) fn unit(unit: &Unit) -> String {
    match unit {
        Unit::Count | Unit::PerSecond | Unit::PerMinute => "short".to_owned(),
        Unit::Seconds => "s".to_owned(),
        Unit::Bytes => "bytes".to_owned(),
        Unit::BytesPerSecond => "binBps".to_owned(),
        Unit::RequestsPerSecond => "reqps".to_owned(),
        Unit::Ratio => "percentunit".to_owned(),
        Unit::Currency(code) => currency(code),
    }
}

/// What stands beside the axis, where the unit's id does not say it.
pub(super) fn axis_label(unit: &Unit) -> String {
    match unit {
        Unit::PerSecond => "per second".to_owned(),
        Unit::PerMinute => "per minute".to_owned(),
        Unit::Currency(code) if !KNOWN_CURRENCIES.contains(&code.as_str()) => code.clone(),
        _ => String::new(),
    }
}

/// The currencies that Grafana has a symbol for.
const KNOWN_CURRENCIES: [&str; 21] = [
    "USD", "GBP", "EUR", "JPY", "RUB", "UAH", "BRL", "DKK", "ISK", "NOK", "SEK", "CZK", "CHF",
    "PLN", "ZAR", "INR", "KRW", "IDR", "PHP", "VND", "BTC",
];

fn currency(code: &str) -> String {
    if KNOWN_CURRENCIES.contains(&code) {
        format!("currency{code}")
    } else {
        "short".to_owned()
    }
}

/// Thresholds, from `base` below the first.
pub(super) fn thresholds(base: &str, thresholds: &[Threshold]) -> Value {
    let mut steps = vec![json!({ "color": base, "value": null })];
    steps.extend(
        thresholds
            .iter()
            .map(|t| json!({ "color": colour(t.tone), "value": t.from })),
    );
    json!({ "mode": "absolute", "steps": steps })
}

/// A legend, where `{label}` stands for a label's value, as Grafana's `{{label}}`.
pub(super) fn legend(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

/// The name of the query with this number: A, B, … Z, AA, …
pub(super) fn ref_id(index: usize) -> String {
    let letter = char::from(b'A' + u8::try_from(index % 26).unwrap_or_default());
    match index / 26 {
        0 => letter.to_string(),
        more => format!("{}{letter}", ref_id(more - 1)),
    }
}
