//! Exact messages of every error.

use serde_json::Value;

use crate::policy::Document;

const OPERATIONS: &str = "list_concerts, create_concert, read_concert, purchase, read_purchase, \
                          refund, payment, database, *";
const DELAYS: &str = "fixed, uniform, normal, log_normal, exponential, pareto, replay";
const WHENS: &str = "probability, burst, ramp, sine, all";

/// Returns the error of a JSON document, after checking that TOML has the same error if it can express
/// the document.
fn refusal(json: &str) -> String {
    let refusal = Document::from_json(json).unwrap_err().to_string();
    if let Ok(value) = serde_json::from_str::<Value>(json)
        && let Ok(toml) = toml::to_string(&value)
    {
        assert_eq!(Document::from_toml(&toml).unwrap_err().to_string(), refusal);
    }
    refusal
}

#[track_caller]
fn assert_refused(json: &str, expected: &str) {
    assert_eq!(refusal(json), expected, "{json}");
}

/// Returns the error of a fault with this `delay`, without its path.
#[track_caller]
fn assert_delay_refused(delay: &str, expected: &str) {
    let json = format!(r#"{{"faults": [{{"operation": "payment", "delay": {delay}}}]}}"#);
    assert_refused(&json, &format!("faults[0].delay{expected}"));
}

#[track_caller]
fn assert_when_refused(when: &str, expected: &str) {
    let fault = format!(r#"{{"operation": "*", "fail": {{"as": "declined"}}, "when": {when}}}"#);
    let fine = r#"{"operation": "*", "fail": {"as": "declined"}}"#;
    assert_refused(
        &format!(r#"{{"faults": [{fine}, {fault}]}}"#),
        &format!("faults[1].when{expected}"),
    );
}

#[test]
fn the_document() {
    for (json, expected) in [
        ("{}", "has neither faults nor preset: expected one of them"),
        (
            r#"{"seed": 1}"#,
            "has neither faults nor preset: expected one of them",
        ),
        (
            r#"{"preset": "calm", "faults": []}"#,
            "has both preset and faults: expected one of them",
        ),
        (
            "[]",
            "sequence is not allowed: expected an object with faults or preset",
        ),
        (
            r#"{"fault": []}"#,
            "fault: `fault` is not allowed: expected one of `preset`, `seed`, `expires_after_s`, `faults`",
        ),
        (
            r#"{"faults": {}}"#,
            "faults: map is not allowed: expected a list of at most 100 faults",
        ),
        (
            r#"{"faults": null}"#,
            "faults: null is not allowed: expected a list of at most 100 faults",
        ),
        (
            r#"{"preset": "clam"}"#,
            "preset: \"clam\" is not allowed: expected one of calm, everyday, black-friday, payment-outage, slow-database, brown-out",
        ),
        (
            r#"{"preset": 1}"#,
            "preset: integer `1` is not allowed: expected a string",
        ),
        (
            r#"{"seed": -1, "faults": []}"#,
            "seed: -1 is not allowed: expected a whole number from 0 to 9007199254740991",
        ),
        (
            r#"{"seed": 9007199254740992, "faults": []}"#,
            "seed: 9007199254740992 is not allowed: expected a whole number from 0 to 9007199254740991",
        ),
        (
            r#"{"seed": 1.5, "faults": []}"#,
            "seed: floating point `1.5` is not allowed: expected a whole number from 0 to 9007199254740991",
        ),
        (
            r#"{"expires_after_s": 0, "faults": []}"#,
            "expires_after_s: 0 is not allowed: expected a whole number from 1 to 604800",
        ),
        (
            r#"{"expires_after_s": 604801, "faults": []}"#,
            "expires_after_s: 604801 is not allowed: expected a whole number from 1 to 604800",
        ),
        (
            r#"{"expires_after_s": "10m", "faults": []}"#,
            "expires_after_s: string \"10m\" is not allowed: expected a whole number from 1 to 604800",
        ),
    ] {
        assert_refused(json, expected);
    }
}

#[test]
fn more_than_a_hundred_faults() {
    let of = |length: usize| {
        let fault = r#"{"operation": "*", "fail": {"as": "declined"}}"#;
        format!(r#"{{"faults": [{}]}}"#, vec![fault; length].join(","))
    };
    assert!(Document::from_json(&of(100)).is_ok());
    assert_refused(
        &of(101),
        "faults: a longer list is not allowed: expected a list of at most 100 faults",
    );
}

#[test]
fn a_fault() {
    for (fault, expected) in [
        (
            "5",
            ": integer `5` is not allowed: expected an object with operation, and fail or delay or both"
                .into(),
        ),
        (
            r#"["payment"]"#,
            ": sequence is not allowed: expected an object with operation, and fail or delay or both".into(),
        ),
        (
            r#"{"fail": {"as": "declined"}}"#,
            ": missing field `operation`".into(),
        ),
        (
            r#"{"operation": "payment"}"#,
            ": has neither fail nor delay: expected at least one of them".into(),
        ),
        (
            r#"{"operation": "payments"}"#,
            format!(".operation: \"payments\" is not allowed: expected one of {OPERATIONS}"),
        ),
        (
            r#"{"operation": 5}"#,
            ".operation: integer `5` is not allowed: expected a string".into(),
        ),
        (
            r#"{"operation": "*", "fial": 1}"#,
            ".fial: `fial` is not allowed: expected one of `operation`, `fail`, `delay`, `blocks`, `when`".into(),
        ),
        (
            r#"{"operation": "*", "fail": "declined"}"#,
            ".fail: string \"declined\" is not allowed: expected an object with as".into(),
        ),
        (
            r#"{"operation": "*", "fail": {}}"#,
            ".fail: missing field `as`".into(),
        ),
        (
            r#"{"operation": "*", "fail": {"as": "broken"}}"#,
            ".fail.as: `broken` is not allowed: expected `declined` or `unavailable`".into(),
        ),
        (
            r#"{"operation": "*", "fail": {"as": "declined", "p": 1}}"#,
            ".fail.p: `p` is not allowed: expected `as`".into(),
        ),
    ] {
        assert_refused(
            &format!(r#"{{"faults": [{fault}]}}"#),
            &format!("faults[0]{expected}"),
        );
    }
}

#[test]
fn duplicate_fields() {
    let twice = r#"{"faults": [{"operation": "*", "delay": {"fixed": {"ms": 1}}, "delay": {"fixed": {"ms": 2}}}]}"#;
    let refusal = Document::from_json(twice).unwrap_err().to_string();
    assert_eq!(refusal, "faults[0]: duplicate field `delay`");
}

#[test]
fn a_delay() {
    for (delay, expected) in [
        (
            "5",
            format!(": integer `5` is not allowed: expected an object with one of {DELAYS}"),
        ),
        (
            "{}",
            format!(": an empty object is not allowed: expected one of {DELAYS}"),
        ),
        (
            r#"{"fixde": {"ms": 5}}"#,
            format!(": \"fixde\" is not allowed: expected one of {DELAYS}"),
        ),
        (
            r#"{"fixed": {"ms": 5}, "replay": {"ms": [5]}}"#,
            format!(": \"replay\" beside \"fixed\" is not allowed: expected one of {DELAYS}"),
        ),
    ] {
        assert_delay_refused(delay, &expected);
    }
    for (delay, expected) in [
        (
            r#"{"fixed": 5}"#,
            ".fixed: integer `5` is not allowed: expected an object with ms",
        ),
        (
            r#"{"fixed": [5]}"#,
            ".fixed: sequence is not allowed: expected an object with ms",
        ),
        (r#"{"fixed": {}}"#, ".fixed: missing field `ms`"),
        (
            r#"{"fixed": {"ms": 5, "s": 1}}"#,
            ".fixed.s: `s` is not allowed: expected `ms`",
        ),
        (
            r#"{"fixed": {"ms": "5"}}"#,
            ".fixed.ms: string \"5\" is not allowed: expected a number from 0 to 60000",
        ),
        (
            r#"{"fixed": {"ms": true}}"#,
            ".fixed.ms: boolean `true` is not allowed: expected a number from 0 to 60000",
        ),
        (
            r#"{"fixed": {"ms": 60000.5}}"#,
            ".fixed.ms: 60000.5 is not allowed: expected a number from 0 to 60000",
        ),
        (
            r#"{"fixed": {"ms": -0.1}}"#,
            ".fixed.ms: -0.1 is not allowed: expected a number from 0 to 60000",
        ),
        (
            r#"{"uniform": {"min_ms": 3, "max_ms": 2}}"#,
            ".uniform: min_ms 3 is not allowed: expected at most max_ms, 2",
        ),
        (
            r#"{"uniform": {"min_ms": 3}}"#,
            ".uniform: missing field `max_ms`",
        ),
        (
            r#"{"normal": {"mean_ms": -3, "std_dev_ms": 1}}"#,
            ".normal.mean_ms: -3 is not allowed: expected a number from 0 to 60000",
        ),
        (
            r#"{"normal": {"mean_ms": 3, "std_dev_ms": -1}}"#,
            ".normal.std_dev_ms: -1 is not allowed: expected a number from 0 to 60000",
        ),
        (
            r#"{"log_normal": {"median_ms": 0, "sigma": 1}}"#,
            ".log_normal.median_ms: 0 is not allowed: expected a number above 0, at most 60000",
        ),
        (
            r#"{"log_normal": {"median_ms": 1, "sigma": 5.1}}"#,
            ".log_normal.sigma: 5.1 is not allowed: expected a number from 0 to 5",
        ),
        (
            r#"{"exponential": {"mean_ms": 0}}"#,
            ".exponential.mean_ms: 0 is not allowed: expected a number above 0, at most 60000",
        ),
        (
            r#"{"pareto": {"scale_ms": 0, "shape": 1}}"#,
            ".pareto.scale_ms: 0 is not allowed: expected a number above 0, at most 60000",
        ),
        (
            r#"{"pareto": {"scale_ms": 1, "shape": 0}}"#,
            ".pareto.shape: 0 is not allowed: expected a number above 0, at most 100",
        ),
        (
            r#"{"pareto": {"scale_ms": 1, "shape": 101}}"#,
            ".pareto.shape: 101 is not allowed: expected a number above 0, at most 100",
        ),
        (
            r#"{"replay": [5]}"#,
            ".replay: sequence is not allowed: expected an object with ms, a list",
        ),
        (
            r#"{"replay": {"ms": 5}}"#,
            ".replay.ms: integer `5` is not allowed: expected a list of 1 to 10000 numbers",
        ),
        (
            r#"{"replay": {"ms": []}}"#,
            ".replay.ms: a list of 0 is not allowed: expected a list of 1 to 10000 numbers",
        ),
        (
            r#"{"replay": {"ms": [5, -2]}}"#,
            ".replay.ms[1]: -2 is not allowed: expected a number from 0 to 60000",
        ),
    ] {
        assert_delay_refused(delay, expected);
    }
}

#[test]
fn a_replay_that_is_too_long() {
    let of = |length: usize| {
        let list = vec!["1"; length].join(",");
        format!(
            r#"{{"faults": [{{"operation": "*", "delay": {{"replay": {{"ms": [{list}]}}}}}}]}}"#
        )
    };
    assert!(Document::from_json(&of(10_000)).is_ok());
    assert_refused(
        &of(10_001),
        "faults[0].delay.replay.ms: a longer list is not allowed: expected a list of 1 to 10000 numbers",
    );
}

#[test]
fn a_when() {
    for (when, expected) in [
        (
            "0.5",
            format!(
                ": floating point `0.5` is not allowed: expected an object with one of {WHENS}"
            ),
        ),
        (
            "{}",
            format!(": an empty object is not allowed: expected one of {WHENS}"),
        ),
        (
            r#"{"probablity": 1}"#,
            format!(": \"probablity\" is not allowed: expected one of {WHENS}"),
        ),
        (
            r#"{"burst": {"every_s": 5, "for_s": 1}, "probability": 0.5}"#,
            format!(": \"probability\" beside \"burst\" is not allowed: expected one of {WHENS}"),
        ),
    ] {
        assert_when_refused(when, &expected);
    }
    for (when, expected) in [
        (
            r#"{"probability": 1.5}"#,
            ".probability: 1.5 is not allowed: expected a number from 0 to 1",
        ),
        (
            r#"{"probability": -1}"#,
            ".probability: -1 is not allowed: expected a number from 0 to 1",
        ),
        (
            r#"{"probability": "5 %"}"#,
            ".probability: string \"5 %\" is not allowed: expected a number from 0 to 1",
        ),
        (
            r#"{"burst": {"every_s": 5, "for_s": 6}}"#,
            ".burst: for_s 6 is not allowed: expected at most every_s, 5",
        ),
        (
            r#"{"burst": {"every_s": 0, "for_s": 0}}"#,
            ".burst.every_s: 0 is not allowed: expected a number above 0, at most 86400",
        ),
        (
            r#"{"burst": {"every_s": 86401, "for_s": 1}}"#,
            ".burst.every_s: 86401 is not allowed: expected a number above 0, at most 86400",
        ),
        (
            r#"{"burst": {"every_s": 5}}"#,
            ".burst: missing field `for_s`",
        ),
        (
            r#"{"ramp": {"over_s": 0}}"#,
            ".ramp.over_s: 0 is not allowed: expected a number above 0, at most 86400",
        ),
        (
            r#"{"ramp": {"over_s": 9, "to": 1.1}}"#,
            ".ramp.to: 1.1 is not allowed: expected a number from 0 to 1",
        ),
        (
            r#"{"sine": {"every_s": -1}}"#,
            ".sine.every_s: -1 is not allowed: expected a number above 0, at most 86400",
        ),
        (
            r#"{"sine": {"every_s": 9, "min": 0}}"#,
            ".sine.min: `min` is not allowed: expected one of `every_s`, `from`, `to`",
        ),
        (
            r#"{"all": []}"#,
            ".all: a list of 0 is not allowed: expected a list of 1 to 16 conditions",
        ),
        (
            r#"{"all": {"probability": 1}}"#,
            ".all: map is not allowed: expected a list of 1 to 16 conditions",
        ),
        (
            r#"{"all": [{"probability": 1}, {"probability": 2}]}"#,
            ".all[1].probability: 2 is not allowed: expected a number from 0 to 1",
        ),
    ] {
        assert_when_refused(when, expected);
    }
}

#[test]
fn numbers_that_only_toml_can_write() {
    for (number, shown) in [("nan", "NaN"), ("inf", "inf"), ("-inf", "-inf")] {
        let toml = format!("[[faults]]\noperation = '*'\ndelay.fixed.ms = {number}");
        assert_eq!(
            Document::from_toml(&toml).unwrap_err().to_string(),
            format!(
                "faults[0].delay.fixed.ms: {shown} is not allowed: expected a number from 0 to 60000"
            )
        );
    }
}

#[test]
fn syntax_errors_have_a_position() {
    for (json, expected) in [
        ("", "not JSON: EOF while parsing a value at line 1 column 0"),
        (
            "{\n\"faults\" []}",
            "not JSON: expected `:` at line 2 column 10",
        ),
        (
            r#"{"faults": []} x"#,
            "not JSON: trailing characters at line 1 column 16",
        ),
        (
            r#"{"seed": 1e999}"#,
            "number out of range at line 1 column 14: the largest number is 1.8e308",
        ),
    ] {
        let invalid = Document::from_json(json).unwrap_err();
        assert_eq!(
            (invalid.path.as_str(), invalid.to_string().as_str()),
            ("", expected)
        );
    }
    let toml = Document::from_toml("seed = 7\nfaults = [")
        .unwrap_err()
        .to_string();
    assert!(
        toml.starts_with("not TOML: TOML parse error at line 2"),
        "{toml}"
    );
    let deep = format!(
        r#"{{"faults": [{{"operation": "*", "when": {}"#,
        r#"{"all": ["#.repeat(200)
    );
    let refusal = Document::from_json(&deep).unwrap_err().to_string();
    assert!(
        refusal.starts_with("nested too deeply at line 1 column "),
        "{refusal}"
    );
}
