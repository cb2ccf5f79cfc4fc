//! Identifiers made from titles.

/// Returns the letters and digits of `title` in lowercase, everything else
/// replaced by single hyphens.
pub(super) fn slug(title: &str) -> String {
    let lower = title.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric());
    words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}
