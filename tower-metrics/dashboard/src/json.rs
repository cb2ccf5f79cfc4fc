//! JSON whose text does not depend on the features of `serde_json`.

use serde_json::{Map, Value};

/// Sorts the keys of every object.
pub(crate) fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().collect();
            entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            let entries = entries.into_iter().map(|(k, v)| (k, sorted(v)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
        other => other,
    }
}
