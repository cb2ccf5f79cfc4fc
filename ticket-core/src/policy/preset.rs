use super::Document;

pub(super) const PRESETS: &[(&str, &str)] = &[
    ("calm", "No faults."),
    (
        "everyday",
        "One payment in twenty is declined, and latency varies as it does on any day.",
    ),
    (
        "black-friday",
        "The rush: payments slow, more of them declined, the provider giving way in bursts.",
    ),
    (
        "payment-outage",
        "The payment provider answers late, and that it is unavailable.",
    ),
    (
        "slow-database",
        "Every transaction on the database takes long.",
    ),
    (
        "brown-out",
        "Everything grows slower over two minutes, and some of it fails in waves.",
    ),
];

pub(super) fn document(name: &str) -> Option<Document> {
    let text = match name {
        "calm" => include_str!("presets/calm.toml"),
        "everyday" => include_str!("presets/everyday.toml"),
        "black-friday" => include_str!("presets/black-friday.toml"),
        "payment-outage" => include_str!("presets/payment-outage.toml"),
        "slow-database" => include_str!("presets/slow-database.toml"),
        "brown-out" => include_str!("presets/brown-out.toml"),
        _ => return None,
    };
    Some(Document::from_toml(text).expect("a test reads every preset"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_can_be_read_and_no_two_are_the_same() {
        for (name, _) in PRESETS {
            let document = document(name).unwrap();
            assert_eq!(document.name(), Some(*name));
            assert_eq!(document.is_calm(), *name == "calm");
        }
    }
}
