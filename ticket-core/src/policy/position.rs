//! Positions of values in a TOML text, for error messages.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Invalid;

impl Invalid {
    /// Adds the position of the value at the path of the error, or of its closest parent.
    pub(super) fn locate(self, text: &str) -> Self {
        let position = find(text, &self.path).map(|offset| position(text, offset));
        Self { position, ..self }
    }
}

/// Returns the offset of the value at `path`, such as `steps[2].at`.
fn find(text: &str, path: &str) -> Option<usize> {
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => return error.span().map(|span| span.start),
    };
    let mut offset = None;
    let mut value: Option<&DeValue<'_>> = None;
    let segments = path.split(['.', '[', ']']).filter(|it| !it.is_empty());
    for segment in segments {
        let child: Option<&Spanned<DeValue<'_>>> = match value {
            None => table.get_ref().get(segment),
            Some(DeValue::Table(table)) => table.get(segment),
            Some(DeValue::Array(array)) => segment.parse().ok().and_then(|at: usize| array.get(at)),
            Some(_) => None,
        };
        let Some(child) = child else {
            break;
        };
        offset = Some(child.span().start);
        value = Some(child.get_ref());
    }
    offset
}

/// Returns the line and the column, in characters, both counted from 1.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (line, before[start..].chars().count() + 1)
}
