//! Selection of families by the query of a scrape.

use std::collections::BTreeSet;

use super::family::Family;

/// Names of the families that a scrape asks for with `?name[]=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NameFilter {
    names: BTreeSet<String>,
}

impl NameFilter {
    pub(super) fn new(names: impl IntoIterator<Item = String>) -> Self {
        let names = names.into_iter().collect();
        Self { names }
    }

    /// Reads the filter from the query of a URI. Returns `None` if it contains
    /// no `name[]`.
    pub(super) fn of_query(query: Option<&str>) -> Option<Self> {
        let names: BTreeSet<_> = query?
            .split('&')
            .filter_map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decoded(key) == "name[]").then(|| decoded(value))
            })
            .collect();
        (!names.is_empty()).then_some(Self { names })
    }

    pub(super) fn selects(&self, family: &Family<'_>) -> bool {
        family.is_named(|name| self.names.contains(name))
    }
}

/// Decodes a component of a query: `+` is a space, and `%XX` a byte.
fn decoded(component: &str) -> String {
    let mut bytes = Vec::with_capacity(component.len());
    let mut rest = component.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        let byte = match (first, after) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    high << 4 | low
                }
                _ => b'%',
            },
            _ => first,
        };
        bytes.push(byte);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(query: &str) -> Option<Vec<String>> {
        NameFilter::of_query(Some(query)).map(|filter| filter.names.into_iter().collect())
    }

    #[test]
    fn names_are_read_from_the_query() {
        // As Prometheus and curl send them.
        assert_eq!(
            names("name%5B%5D=up&name%5B%5D=a_b").unwrap(),
            ["a_b", "up"]
        );
        assert_eq!(names("x=1&name[]=a%3Ab+c&y").unwrap(), ["a:b c"]);
        assert_eq!(names("name[]").unwrap(), [""]);
        assert_eq!(names("name[]=%zz%4").unwrap(), ["%zz%4"]);
        assert_eq!(names("name=up&names[]=up"), None);
        assert_eq!(names(""), None);
        assert_eq!(NameFilter::of_query(None), None);
    }
}
