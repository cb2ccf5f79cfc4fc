//! Validator for the part of JSON Schema that the fixtures use.

use std::path::Path;

use regex_lite::Regex;
use serde_json::Value;

/// Schema in `tests/fixtures`.
pub(crate) struct Schema(Value);

impl Schema {
    pub(crate) fn load(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        // The tests of the example server share this module.
        let folder = folder.ancestors().find(|f| f.join("CHANGELOG.md").exists());
        let path = folder
            .unwrap()
            .join("tower-metrics/dashboard/tests/fixtures")
            .join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        Self(serde_json::from_str(&text).unwrap())
    }

    /// Returns every violation, with the path of the value.
    pub(crate) fn problems(&self, value: &Value) -> Vec<String> {
        let mut problems = Vec::new();
        self.check(&self.0, value, "", &mut problems);
        problems
    }

    fn check(&self, schema: &Value, value: &Value, path: &str, problems: &mut Vec<String>) {
        let mut complain = |what: String| problems.push(format!("{path}: {what}: {value}"));
        for (keyword, rule) in schema.as_object().unwrap() {
            let number = |test: fn(f64, f64) -> bool| {
                value
                    .as_f64()
                    .is_none_or(|v| test(v, rule.as_f64().unwrap()))
            };
            let text = |test: &dyn Fn(&str) -> bool| value.as_str().is_none_or(test);
            let limit = rule.as_u64().map_or(0, |limit| limit as usize);
            let valid = match keyword.as_str() {
                "type" => match rule.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "number" => value.is_number(),
                    other => panic!("unknown type {other}"),
                },
                "const" => value == rule,
                "enum" => rule.as_array().unwrap().contains(value),
                "minimum" => number(|v, limit| v >= limit),
                "maximum" => number(|v, limit| v <= limit),
                "exclusiveMinimum" => number(|v, limit| v > limit),
                "exclusiveMaximum" => number(|v, limit| v < limit),
                "minLength" => text(&|v| v.chars().count() >= limit),
                "maxLength" => text(&|v| v.chars().count() <= limit),
                "pattern" => {
                    let pattern = Regex::new(rule.as_str().unwrap()).unwrap();
                    text(&|v| pattern.is_match(v))
                }
                "minItems" => value.as_array().is_none_or(|v| v.len() >= limit),
                "maxItems" => value.as_array().is_none_or(|v| v.len() <= limit),
                "required" => {
                    let names = rule.as_array().unwrap();
                    names
                        .iter()
                        .all(|name| value.get(name.as_str().unwrap()).is_some())
                }
                "oneOf" => {
                    let matching = rule.as_array().unwrap().iter().filter(|schema| {
                        let mut problems = Vec::new();
                        self.check(schema, value, path, &mut problems);
                        problems.is_empty()
                    });
                    matching.count() == 1
                }
                "additionalProperties" if *rule == false => {
                    let known = schema["properties"].as_object().unwrap();
                    let unknown: Vec<_> = (value.as_object().into_iter().flatten())
                        .filter(|(name, _)| !known.contains_key(*name))
                        .map(|(name, _)| name)
                        .collect();
                    unknown.is_empty()
                }
                "$ref"
                | "properties"
                | "items"
                | "additionalProperties"
                | "definitions"
                | "$comment" => true,
                other => panic!("unknown keyword {other}"),
            };
            if !valid {
                complain(format!("{keyword} {rule}"));
            }
        }
        if let Some(name) = schema["$ref"].as_str() {
            self.check(&self.0["definitions"][name], value, path, problems);
        }
        for (name, part) in value.as_object().into_iter().flatten() {
            let property = schema.get("properties").and_then(|all| all.get(name));
            let other = schema.get("additionalProperties").filter(|s| s.is_object());
            if let Some(schema) = property.or(other) {
                self.check(schema, part, &format!("{path}/{name}"), problems);
            }
        }
        if let Some(items) = schema.get("items") {
            for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                self.check(items, item, &format!("{path}/{index}"), problems);
            }
        }
    }
}
