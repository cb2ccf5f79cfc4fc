//! Rendering of expressions as PromQL.

use std::fmt::Write as _;

use tower_metrics::prometheus::format_bound;

use crate::dashboard::Event;
use crate::expr::{Aggregation, Expr};
use crate::selector::{Matcher, Part, Pattern, Selector};

/// Settings that an expression leaves to the query.
#[derive(Clone, Debug)]
pub(crate) struct Promql<'a> {
    /// Window of `rate`.
    pub(crate) window: &'a str,
    /// Window of `increase`.
    pub(crate) range: &'a str,
    /// Matchers to add to every selector.
    pub(crate) matchers: &'a [&'a str],
    /// How matchers refer to dashboard variables.
    pub(crate) variables: Variables,
    /// If `false`, native histograms are queried by their classic series, for services that have no
    /// others.
    pub(crate) native: bool,
    /// Labels that every aggregation keeps in addition to its own.
    pub(crate) keep: &'a [String],
}

/// How matchers refer to dashboard variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variables {
    /// Not at all, so that they match everything.
    Omitted,
    /// `$name`
    Grafana,
    /// `${name.value}`
    CloudMonitoring,
}

impl Promql<'_> {
    pub(crate) fn expr(&self, expr: &Expr) -> String {
        match expr {
            Expr::Value(of) | Expr::Rate(of) | Expr::Increase(of) => {
                self.part(of, &self.series(expr, of))
            }
            Expr::Aggregate { op, by, of } => {
                // Adding up native histograms before taking their parts has fewer operations, and a
                // fraction of no observations at all does not spoil the sum of the others.
                if *op == Aggregation::Sum
                    && let Some(histogram) = self.native_of(of)
                {
                    let sum = self.aggregation("sum", &[], by);
                    return self.part(histogram, &format!("{sum}({})", self.series(of, histogram)));
                }
                let op = match op {
                    Aggregation::Sum => "sum",
                    Aggregation::Max => "max",
                    Aggregation::Min => "min",
                    Aggregation::Mean => "avg",
                };
                format!("{}({})", self.aggregation(op, &[], by), self.expr(of))
            }
            // Without observations the quantile is NaN. The comparison removes it.
            Expr::Quantile { q, of, by } => {
                format!("histogram_quantile({q}, {}) >= 0", self.buckets(of, by))
            }
            Expr::Ratio {
                numerator,
                denominator,
            } => {
                let denominator = self.operand(denominator);
                let numerator = self.operand(numerator);
                format!("({numerator} or 0 * {denominator}) / ({denominator} > 0)")
            }
            Expr::OrZero { of, like } => {
                format!("{} or 0 * {}", self.operand(of), self.operand(like))
            }
            Expr::Minus { left, right } => {
                format!("{} - {}", self.operand(left), self.operand(right))
            }
            Expr::Times { of, factor } => format!("{factor} * {}", self.operand(of)),
            Expr::TopK { k, of } => format!("topk({k}, {})", self.expr(of)),
            Expr::Since(of) => format!("time() - {}", self.operand(of)),
        }
    }

    fn is_native(&self, selector: &Selector) -> bool {
        self.native && selector.native
    }

    /// The native histogram whose part an expression is.
    fn native_of<'e>(&self, expr: &'e Expr) -> Option<&'e Selector> {
        match expr {
            Expr::Value(of) | Expr::Rate(of) | Expr::Increase(of) if self.is_native(of) => Some(of),
            _ => None,
        }
    }

    /// The series of a selector, or their rate or increase.
    fn series(&self, expr: &Expr, of: &Selector) -> String {
        let selector = self.selector(of);
        match expr {
            Expr::Rate(_) => format!("rate({selector}[{}])", self.window),
            Expr::Increase(_) => format!("increase({selector}[{}])", self.range),
            _ => selector,
        }
    }

    /// The part of a native histogram that a selector selects. Other series are their own part.
    fn part(&self, of: &Selector, series: &str) -> String {
        match of.part {
            _ if !self.is_native(of) => series.to_owned(),
            Part::Value => series.to_owned(),
            Part::Count => format!("histogram_count({series})"),
            Part::Sum => format!("histogram_sum({series})"),
            // The fraction of no observations is NaN. The comparison removes it.
            Part::Bucket(bound) => format!(
                "(histogram_fraction(0, {bound}, {series}) * histogram_count({series}) >= 0)"
            ),
        }
    }

    /// Observations per second in each bucket, for each value of the labels `by`: a series per
    /// bucket, or a native histogram.
    pub(crate) fn buckets(&self, histogram: &Selector, by: &[String]) -> String {
        if self.is_native(histogram) {
            let sum = self.aggregation("sum", &[], by);
            return format!("{sum}(rate({}[{}]))", self.selector(histogram), self.window);
        }
        let sum = self.aggregation("sum", &["le"], by);
        let series = self.matched(&format!("{}_bucket", histogram.metric), histogram);
        format!("{sum}(rate({series}[{}]))", self.window)
    }

    /// Query with a value for one window after each start of the event.
    pub(crate) fn event(&self, event: &Event, by: &[String]) -> String {
        let window = self.window;
        let series = self.selector(event.selector());
        let (now, before) = match event {
            Event::CounterStarts(_) => {
                let by = self.aggregation("sum", &[], by);
                (
                    format!("{by}(increase({series}[{window}]))"),
                    format!("{by}(increase({series}[{window}] offset {window}))"),
                )
            }
            Event::GaugeBecomesPositive(_) => {
                let by = self.aggregation("max", &[], by);
                (
                    format!("{by}({series})"),
                    format!("{by}({series} offset {window})"),
                )
            }
        };
        format!("{now} > 0 unless {before} > 0")
    }

    pub(crate) fn selector(&self, selector: &Selector) -> String {
        match self.is_native(selector) {
            true => self.matched(&selector.metric, selector),
            false => self.matched(&selector.series_name(), selector),
        }
    }

    fn matched(&self, name: &str, selector: &Selector) -> String {
        let mut matchers: Vec<String> = self.matchers.iter().map(ToString::to_string).collect();
        if let Part::Bucket(bound) = selector.part
            && !self.is_native(selector)
        {
            matchers.push(le_matcher(bound));
        }
        matchers.extend(selector.matchers.iter().filter_map(|m| self.matcher(m)));
        if matchers.is_empty() {
            return name.to_owned();
        }
        format!("{name}{{{}}}", matchers.join(","))
    }

    fn matcher(&self, matcher: &Matcher) -> Option<String> {
        let regex = if matcher.negated { "!~" } else { "=~" };
        let (operator, value) = match &matcher.pattern {
            Pattern::AnyOf(values) => match values.as_slice() {
                [value] if matcher.negated => ("!=", value.clone()),
                [value] => ("=", value.clone()),
                values => (regex, alternatives(values)),
            },
            Pattern::Prefix(prefix) => (regex, format!("{}.*", escaped(prefix))),
            // The viewer escapes the values that it inserts.
            Pattern::Variable(name) => {
                let value = match self.variables {
                    Variables::Omitted => return None,
                    Variables::Grafana => format!("${name}"),
                    Variables::CloudMonitoring => format!("${{{name}.value}}"),
                };
                return Some(format!("{}{regex}\"{value}\"", matcher.label));
            }
        };
        Some(format!("{}{operator}{}", matcher.label, quoted(&value)))
    }

    /// An aggregation operator with its grouping.
    fn aggregation(&self, op: &str, first: &[&str], by: &[String]) -> String {
        let labels: Vec<&str> = (first.iter().copied())
            .chain(self.keep.iter().map(String::as_str))
            .chain(by.iter().map(String::as_str))
            .collect();
        if labels.is_empty() {
            return op.to_owned();
        }
        format!("{op} by ({}) ", labels.join(", "))
    }

    /// The expression as an operand, in parentheses if its operator could bind less tightly.
    fn operand(&self, expr: &Expr) -> String {
        let text = self.expr(expr);
        match expr {
            Expr::Value(_)
            | Expr::Rate(_)
            | Expr::Increase(_)
            | Expr::Aggregate { .. }
            | Expr::TopK { .. } => text,
            Expr::Quantile { .. }
            | Expr::Ratio { .. }
            | Expr::OrZero { .. }
            | Expr::Minus { .. }
            | Expr::Times { .. }
            | Expr::Since(_) => format!("({text})"),
        }
    }
}

/// The matcher for a bucket bound.
///
/// The exposition of tower-metrics and Prometheus 3 agree on one text. Prometheus 2 stores the
/// label as scraped, so the text of `prometheus::TextEncoder` is matched too where it differs:
/// `1` for `1.0`, `0.00005` for `5e-05`.
fn le_matcher(bound: f64) -> String {
    let text = format_bound(bound).to_string();
    let display = bound.to_string();
    if text == display {
        return format!("le={}", quoted(&text));
    }
    format!("le=~{}", quoted(&alternatives(&[text, display])))
}

/// Formats text as a double-quoted PromQL string.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            // Grafana would expand `$name` as a variable.
            '$' => out.push_str(r"\u0024"),
            c if must_be_escaped(c) => {
                let _ = write!(out, r"\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Returns `true` for control characters, line separators and byte order marks, which YAML does not
/// preserve or does not allow.
pub(crate) fn must_be_escaped(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
}

/// A regular expression that matches any of the values literally.
fn alternatives(values: &[String]) -> String {
    let escaped: Vec<String> = values.iter().map(|value| escaped(value)).collect();
    escaped.join("|")
}

/// A regular expression that matches the text literally.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_for_promql_grafana_and_yaml() {
        assert_eq!(quoted("a\"b\\c"), r#""a\"b\\c""#);
        assert_eq!(
            quoted("$job\r\n\u{2028}"),
            r#""\u0024job\u000d\u000a\u2028""#
        );
    }

    #[test]
    fn a_bucket_bound_is_matched_in_every_text_that_an_encoder_writes() {
        assert_eq!(le_matcher(0.3), r#"le="0.3""#);
        assert_eq!(le_matcher(1.0), r#"le=~"1\\.0|1""#);
        assert_eq!(le_matcher(5e-5), r#"le=~"5e-05|0\\.00005""#);
    }
}
