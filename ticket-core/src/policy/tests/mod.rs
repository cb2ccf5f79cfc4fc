//! What the module promises, by its public face.

mod distributions;
mod documents;
mod errors;
mod schedules;
mod sequences;
mod swaps;

use super::{Document, Faults};

/// A document from JSON.
fn document(json: &str) -> Document {
    Document::from_json(json).unwrap()
}

fn faults(json: &str) -> Faults {
    Faults::new(document(json))
}
