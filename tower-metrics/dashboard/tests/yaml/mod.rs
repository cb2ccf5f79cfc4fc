//! Reader of YAML documents.

use serde_json::{Map, Value, json};
use yaml_rust2::{Yaml, YamlLoader};

/// Reads the documents of a YAML stream.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    let documents = YamlLoader::load_from_str(text).unwrap();
    documents.iter().map(value).collect()
}

fn value(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::Real(_) => json!(yaml.as_f64().unwrap()),
        Yaml::Integer(number) => json!(number),
        Yaml::String(text) => json!(text),
        Yaml::Boolean(value) => json!(value),
        Yaml::Array(items) => items.iter().map(value).collect(),
        Yaml::Hash(entries) => {
            let entries = entries.iter();
            let entries = entries.map(|(k, v)| (k.as_str().unwrap().to_owned(), value(v)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
        Yaml::Null => Value::Null,
        other => panic!("{other:?}"),
    }
}
