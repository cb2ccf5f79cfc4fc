//! Documents survive formatting and parsing, in JSON and TOML.

use std::time::Duration;

use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::document;
use crate::policy::{Document, Faults, Operation};

/// A number from `low` to `high`, half of the time an integer.
fn number(low: f64, high: f64) -> BoxedStrategy<f64> {
    prop_oneof![
        low..=high,
        (low.ceil() as i64..=high as i64).prop_map(|it| it as f64)
    ]
    .boxed()
}

fn delay() -> BoxedStrategy<Value> {
    let ms = || number(0.0, 60_000.0);
    let positive = || number(0.001, 60_000.0);
    prop_oneof![
        ms().prop_map(|ms| json!({"fixed": {"ms": ms}})),
        (ms(), ms())
            .prop_map(|(a, b)| { json!({"uniform": {"min_ms": a.min(b), "max_ms": a.max(b)}}) }),
        (ms(), ms()).prop_map(|(a, b)| json!({"normal": {"mean_ms": a, "std_dev_ms": b}})),
        (positive(), number(0.0, 5.0)).prop_map(|(median, sigma)| {
            json!({"log_normal": {"median_ms": median, "sigma": sigma}})
        }),
        positive().prop_map(|mean| json!({"exponential": {"mean_ms": mean}})),
        (positive(), number(0.001, 100.0))
            .prop_map(|(scale, shape)| { json!({"pareto": {"scale_ms": scale, "shape": shape}}) }),
        prop::collection::vec(ms(), 1..6).prop_map(|ms| json!({"replay": {"ms": ms}})),
    ]
    .boxed()
}

fn when() -> BoxedStrategy<Value> {
    let seconds = || number(0.001, 86_400.0);
    let chance = || number(0.0, 1.0);
    let leaf = prop_oneof![
        chance().prop_map(|chance| json!({"probability": chance})),
        (seconds(), seconds())
            .prop_map(|(a, b)| { json!({"burst": {"every_s": a.max(b), "for_s": a.min(b)}}) }),
        (seconds(), chance(), chance()).prop_map(|(over, from, to)| {
            json!({"ramp": {"over_s": over, "from": from, "to": to}})
        }),
        (seconds(), chance(), chance()).prop_map(|(every, from, to)| {
            json!({"sine": {"every_s": every, "from": from, "to": to}})
        }),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop::collection::vec(inner, 1..4).prop_map(|all| json!({"all": all}))
    })
    .boxed()
}

fn fault() -> BoxedStrategy<Value> {
    let operation = prop::sample::select(
        Operation::ALL
            .map(Operation::as_str)
            .into_iter()
            .chain(["*"])
            .collect::<Vec<_>>(),
    );
    let fail = prop::sample::select(vec!["declined", "unavailable"]);
    (
        operation,
        option::of(fail),
        option::of(delay()),
        option::of(when()),
    )
        .prop_filter("does something", |(_, fail, delay, _)| {
            fail.is_some() || delay.is_some()
        })
        .prop_map(|(operation, fail, delay, when)| {
            let mut fault = json!({"operation": operation});
            let parts = [
                ("fail", fail.map(|fail| json!({"as": fail}))),
                ("delay", delay),
                ("when", when),
            ];
            for (name, part) in parts {
                if let Some(part) = part {
                    fault[name] = part;
                }
            }
            fault
        })
        .boxed()
}

fn any_document() -> BoxedStrategy<Value> {
    let faults = prop::collection::vec(fault(), 0..6);
    (
        faults,
        option::of(0_u64..1 << 53),
        option::of(1_u64..=604_800),
    )
        .prop_map(|(faults, seed, expires)| {
            let mut document = json!({"faults": faults});
            if let Some(seed) = seed {
                document["seed"] = json!(seed);
            }
            if let Some(expires) = expires {
                document["expires_after_s"] = json!(expires);
            }
            document
        })
        .boxed()
}

/// Converts every number to a float, so that 1 and 1.0 are equal.
fn floats(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.iter().map(floats).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), floats(value)))
            .collect(),
        other => other.clone(),
    }
}

proptest! {
    #[test]
    fn documents_round_trip_in_json_and_toml(value in any_document()) {
        let document = document(&value.to_string());
        let written: Value = serde_json::from_str(&document.to_json()).unwrap();
        prop_assert_eq!(floats(&written), floats(&value));
        prop_assert_eq!(&Document::from_json(&document.to_json()).unwrap(), &document);
        prop_assert_eq!(&Document::from_toml(&document.to_toml()).unwrap(), &document);
        let as_toml = toml::to_string(&value).unwrap();
        prop_assert_eq!(&Document::from_toml(&as_toml).unwrap(), &document);
    }

    #[test]
    fn parsing_never_panics(text in "\\PC{0,60}") {
        let _ = Document::from_json(&text);
        let _ = Document::from_toml(&text);
    }

    /// A document with known words in arbitrary positions.
    #[test]
    fn a_document_with_one_mutated_field_is_rejected_or_parsed(
        value in any_document(),
        place in any::<prop::sample::Index>(),
        with in prop::sample::select(vec![json!(-1), json!("x"), json!([]), json!({}), json!(1e18), json!(null)]),
    ) {
        let mut value = value;
        let count = count(&value);
        replace(&mut value, &mut place.index(count), &with);
        match Document::from_json(&value.to_string()) {
            Ok(document) => prop_assert_eq!(&Document::from_json(&document.to_json()).unwrap(), &document),
            Err(invalid) => prop_assert!(!invalid.to_string().is_empty()),
        }
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum::<usize>(),
        _ => 0,
    }
}

/// Replaces the value with the number `place` in depth-first order by `with`.
fn replace(value: &mut Value, place: &mut usize, with: &Value) -> bool {
    if *place == 0 {
        *value = with.clone();
        return true;
    }
    *place -= 1;
    match value {
        Value::Array(items) => items.iter_mut().any(|item| replace(item, place, with)),
        Value::Object(fields) => fields.values_mut().any(|field| replace(field, place, with)),
        _ => false,
    }
}

#[test]
fn the_documented_example_is_equal_in_json_and_toml() {
    let json = document(
        r#"{"seed": 7, "expires_after_s": 600, "faults": [
            {"operation": "payment",  "fail":  {"as": "declined"}, "when": {"probability": 0.05}},
            {"operation": "payment",  "delay": {"log_normal": {"median_ms": 40, "sigma": 0.6}}},
            {"operation": "purchase", "delay": {"fixed": {"ms": 1000}}, "when": {"burst": {"every_s": 60, "for_s": 5}}}]}"#,
    );
    let toml = Document::from_toml(
        r#"
        seed = 7
        expires_after_s = 600

        [[faults]]
        operation = "payment"
        fail.as = "declined"
        when.probability = 0.05

        [[faults]]
        operation = "payment"
        delay.log_normal = { median_ms = 40, sigma = 0.6 }

        [[faults]]
        operation = "purchase"
        delay.fixed.ms = 1000
        when.burst = { every_s = 60, for_s = 5 }
        "#,
    )
    .unwrap();
    assert_eq!(toml, json);
    assert_eq!(json.seed(), Some(7));
    assert_eq!(json.expires_after(), Some(Duration::from_secs(600)));
    assert_eq!(json.faults().len(), 3);
    assert_eq!(json.name(), None);
}

#[test]
fn a_preset_may_have_a_seed_and_an_expiration() {
    for (name, sentence) in Document::PRESETS {
        let preset = document(&format!(r#"{{"preset": "{name}"}}"#));
        assert_eq!(Some(&preset), Document::preset(name).as_ref());
        assert!(sentence.ends_with('.'));
        let with = document(&format!(
            r#"{{"preset": "{name}", "seed": 3, "expires_after_s": 60}}"#
        ));
        assert_eq!(
            (with.seed(), with.expires_after()),
            (Some(3), Some(Duration::from_secs(60)))
        );
        assert_eq!((with.faults(), with.name()), (preset.faults(), Some(*name)));
        let toml = Document::from_toml(&format!(
            "preset = '{name}'\nseed = 3\nexpires_after_s = 60"
        ));
        assert_eq!(toml.unwrap(), with);
    }
    assert_eq!(Document::preset("Calm"), None);
}

#[test]
fn the_everyday_preset_declines_five_percent_and_delays_log_normally() {
    let everyday = Document::preset("everyday").unwrap().to_json();
    let everyday: Value = serde_json::from_str(&everyday).unwrap();
    let payments: Vec<_> = everyday["faults"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|fault| fault["operation"] == "payment")
        .collect();
    assert_eq!(payments[0]["fail"], json!({"as": "declined"}));
    assert_eq!(payments[0]["when"], json!({"probability": 0.05}));
    assert!(payments[1]["delay"]["log_normal"].is_object());
}

#[test]
fn integers_are_formatted_without_a_fraction() {
    let text = document(r#"{"faults": [{"operation": "*", "delay": {"fixed": {"ms": 12.0}}}]}"#);
    assert!(text.to_json().contains(r#""ms": 12"#) && !text.to_json().contains("12.0"));
    assert!(text.to_toml().contains("ms = 12\n"));
}

#[test]
fn a_delay_that_blocks_is_not_added_to_the_others() {
    let document = Document::from_toml(
        r#"
        [[faults]]
        operation = "read_concert"
        delay.fixed = { ms = 30 }
        blocks = true

        [[faults]]
        operation = "read_concert"
        delay.fixed = { ms = 5 }
        "#,
    )
    .unwrap();
    let decision = Faults::new(document.clone()).decide(Operation::ReadConcert);
    assert_eq!(decision.block, Duration::from_millis(30));
    assert_eq!(decision.delay, Duration::from_millis(5));
    assert_eq!(Document::from_toml(&document.to_toml()).unwrap(), document);
    let invalid =
        r#"{"faults": [{"operation": "payment", "fail": {"as": "declined"}, "blocks": true}]}"#;
    let error = Document::from_json(invalid).unwrap_err().to_string();
    assert_eq!(error, "faults[0]: has blocks without delay: expected both");
}
