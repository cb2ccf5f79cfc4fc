//! Tests of the public API.

mod distributions;
mod documents;
mod errors;
mod scenarios;
mod schedules;
mod sequences;
mod swaps;

use super::{Document, Faults};

/// Parses a JSON document.
fn document(json: &str) -> Document {
    Document::from_json(json).unwrap()
}

fn faults(json: &str) -> Faults {
    Faults::new(document(json))
}
