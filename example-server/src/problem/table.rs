//! The catalog of problem types as an HTML table.

use std::fmt::Write;

use super::types::{self, ProblemType};

/// Renders a heading, an introduction and a table with a row per type. The ID of a row is the type, so
/// that the `type` of a problem links to it.
pub(crate) fn html() -> String {
    let mut rows = String::new();
    for (types, port) in [(types::API, ""), (types::OPS, " On the ops port.")] {
        for it in types {
            push_row(&mut rows, it, port);
        }
    }
    include_str!("table.html").replace("{{rows}}", &rows)
}

fn push_row(rows: &mut String, it: &ProblemType, port: &str) {
    let (id, status, title) = (it.id, it.status.as_u16(), it.title);
    let help = code_spans(it.help);
    write!(
        rows,
        "\n<tr id=\"{id}\"><td><a href=\"#{id}\">{id}</a></td><td>{status}</td><td><b>{title}.</b> {help}{port}</td></tr>"
    )
    .expect("a string can be written to");
}

/// Renders text between backticks as code. The texts of the catalog have no other markup.
fn code_spans(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts
        .map(|(index, part)| match index % 2 {
            0 => part.to_owned(),
            _ => format!("<code>{part}</code>"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_the_catalog_need_no_escaping() {
        for it in types::API.iter().chain(types::OPS) {
            for text in [it.id, it.title, it.help] {
                assert!(!text.contains(['<', '>', '&', '"']), "{text}");
            }
        }
    }
}
