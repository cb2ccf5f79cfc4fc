//! Presets: documents with a name.

use std::sync::LazyLock;

use super::Document;

pub(super) const PRESETS: &[(&str, &str)] = &[
    ("calm", "No faults."),
    (
        "everyday",
        "An ordinary day: 5% of payments are declined, and latency is log-normal.",
    ),
    (
        "black-friday",
        "A rush: slow payments, more declines, and bursts of provider failures.",
    ),
    ("payment-outage", "Every payment is slow and fails."),
    ("slow-database", "Every database operation is slow."),
    (
        "brown-out",
        "All operations slow down over two minutes, and up to 10% fail, in waves.",
    ),
];

const TEXTS: &[(&str, &str)] = &[
    ("calm", include_str!("presets/calm.toml")),
    ("everyday", include_str!("presets/everyday.toml")),
    ("black-friday", include_str!("presets/black-friday.toml")),
    (
        "payment-outage",
        include_str!("presets/payment-outage.toml"),
    ),
    ("slow-database", include_str!("presets/slow-database.toml")),
    ("brown-out", include_str!("presets/brown-out.toml")),
];

static DOCUMENTS: LazyLock<Vec<(&str, Document)>> = LazyLock::new(|| {
    let read = |text| Document::from_toml(text).expect("presets are valid, as a test checks");
    TEXTS
        .iter()
        .map(|(name, text)| (*name, read(text)))
        .collect()
});

pub(super) fn documents() -> impl Iterator<Item = (&'static str, &'static Document)> {
    DOCUMENTS.iter().map(|(name, document)| (*name, document))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_valid_and_unique() {
        let names: Vec<_> = documents().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            PRESETS.iter().map(|(name, _)| *name).collect::<Vec<_>>()
        );
        for (name, document) in documents() {
            assert_eq!(document.name(), Some(name));
            assert_eq!(document.is_calm(), name == "calm");
            assert_eq!(document.seed(), None);
            assert_eq!(document.expires_after(), None);
        }
    }
}
