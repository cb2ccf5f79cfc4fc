//! Documents in YAML, in block style.

use std::fmt::Write as _;

use crate::promql::must_be_escaped;

/// Value of a document. Mappings keep the order of their keys.
#[derive(Clone, Debug)]
pub(crate) enum Yaml {
    /// String without characters that YAML interprets, such as a name or a duration.
    Plain(String),
    /// Any string, in double quotes.
    Text(String),
    /// Lines of a query, as a literal block without the final line break.
    Lines(String),
    Number(f64),
    Bool(bool),
    List(Vec<Self>),
    Map(Vec<(&'static str, Self)>),
}

impl Yaml {
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self::Plain(text.into())
    }

    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A query, as a literal block, in which quotes need no escapes.
    pub(crate) fn query(query: impl Into<String>) -> Self {
        Self::Lines(query.into())
    }

    /// Renders the document, with a final line break.
    pub(crate) fn document(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, 0);
        out
    }

    /// Writes the value as the start of a line at `depth` spaces.
    fn write(&self, out: &mut String, depth: usize) {
        match self {
            Self::Map(entries) => {
                for (index, (key, value)) in entries.iter().enumerate() {
                    if index > 0 {
                        indent(out, depth);
                    }
                    out.push_str(key);
                    out.push(':');
                    value.write_after_key(out, depth);
                }
            }
            Self::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        indent(out, depth);
                    }
                    out.push_str("- ");
                    item.write(out, depth + 2);
                }
            }
            scalar => {
                scalar.write_scalar(out, depth);
                out.push('\n');
            }
        }
    }

    fn write_after_key(&self, out: &mut String, depth: usize) {
        match self {
            Self::Map(entries) if !entries.is_empty() => self.write_below(out, depth + 2),
            Self::List(items) if !items.is_empty() => self.write_below(out, depth + 2),
            scalar => {
                out.push(' ');
                scalar.write_scalar(out, depth);
                out.push('\n');
            }
        }
    }

    fn write_below(&self, out: &mut String, depth: usize) {
        out.push('\n');
        indent(out, depth);
        self.write(out, depth);
    }

    fn write_scalar(&self, out: &mut String, depth: usize) {
        match self {
            Self::Plain(text) => out.push_str(text),
            Self::Text(text) => write_quoted(out, text),
            Self::Lines(lines) => {
                out.push_str("|-");
                for line in lines.lines() {
                    out.push('\n');
                    indent(out, depth + 2);
                    out.push_str(line);
                }
            }
            Self::Number(number) => {
                let _ = write!(out, "{number}");
            }
            Self::Bool(value) => {
                let _ = write!(out, "{value}");
            }
            Self::List(_) => out.push_str("[]"),
            Self::Map(_) => out.push_str("{}"),
        }
    }
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n(' ', depth));
}

/// Writes text as a double-quoted YAML string.
fn write_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if must_be_escaped(c) => {
                let _ = write!(out, r"\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
