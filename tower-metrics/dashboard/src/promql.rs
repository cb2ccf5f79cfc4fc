//! Expressions as PromQL.

use std::fmt::Write as _;

use crate::expr::{Expr, Fold, Matcher, Part, Pattern, Selector};
use crate::panel::Event;

/// What an expression leaves open, and a query must say.
#[derive(Clone, Debug)]
pub(super) struct Promql<'a> {
    /// The window of `rate`.
    pub(super) window: &'a str,
    /// The window of `increase`.
    pub(super) range: &'a str,
    /// Matchers that every selector gets, as text.
    pub(super) everywhere: &'a [&'a str],
    /// Whether matchers on dashboard variables are written; else they match everything.
    pub(super) variables: bool,
    /// Labels that every aggregation keeps beside its own.
    pub(super) keep: &'a [String],
}

impl Promql<'_> {
    /// The expression as a query.
    pub(super) fn expr(&self, expr: &Expr) -> String {
        match expr {
            Expr::Value(of) => self.selector(of),
            Expr::Rate(of) => format!("rate({}[{}])", self.selector(of), self.window),
            Expr::Increase(of) => format!("increase({}[{}])", self.selector(of), self.range),
            Expr::Fold { fold, by, of } => {
                let fold = match fold {
                    Fold::Sum => "sum",
                    Fold::Max => "max",
                    Fold::Min => "min",
                    Fold::Mean => "avg",
                };
                format!("{}({})", self.aggregation(fold, &[], by), self.expr(of))
            }
            // Without observations the quantile is NaN, which compares false and so drops out.
            Expr::Quantile { q, of, by } => {
                format!("histogram_quantile({q}, {}) >= 0", self.buckets(of, by))
            }
            Expr::Ratio { part, whole } => {
                let whole = self.operand(whole);
                format!("({} or 0 * {whole}) / ({whole} > 0)", self.operand(part))
            }
            Expr::OrZero { of, like } => {
                format!("{} or 0 * {}", self.operand(of), self.operand(like))
            }
            Expr::Minus { left, right } => {
                format!("{} - {}", self.operand(left), self.operand(right))
            }
            Expr::Times { of, factor } => format!("{factor} * {}", self.operand(of)),
            Expr::Top { n, of } => format!("topk({n}, {})", self.expr(of)),
            Expr::Since(of) => format!("time() - {}", self.operand(of)),
        }
    }

    /// Observations per second and bucket, in groups that share `by`.
    pub(super) fn buckets(&self, histogram: &Selector, by: &[String]) -> String {
        let sum = self.aggregation("sum", &["le"], by);
        let series = self.matched(&format!("{}_bucket", histogram.metric), histogram);
        format!("{sum}(rate({series}[{}]))", self.window)
    }

    /// A value where an event begins, and for one window after it.
    pub(super) fn beginning(&self, event: &Event, by: &[String]) -> String {
        let window = self.window;
        let series = self.selector(event.selector());
        let (now, before) = match event {
            Event::Moves(_) => {
                let by = self.aggregation("sum", &[], by);
                (
                    format!("{by}(increase({series}[{window}]))"),
                    format!("{by}(increase({series}[{window}] offset {window}))"),
                )
            }
            Event::Rises(_) => {
                let by = self.aggregation("max", &[], by);
                (
                    format!("{by}({series})"),
                    format!("{by}({series} offset {window})"),
                )
            }
        };
        format!("{now} > 0 unless {before} > 0")
    }

    /// The series a selector takes.
    pub(super) fn selector(&self, selector: &Selector) -> String {
        self.matched(&selector.series_name(), selector)
    }

    fn matched(&self, name: &str, selector: &Selector) -> String {
        let mut matchers: Vec<String> = self.everywhere.iter().map(ToString::to_string).collect();
        if let Part::UpTo(bound) = selector.part {
            matchers.push(bucket(bound));
        }
        matchers.extend(selector.matchers.iter().filter_map(|m| self.matcher(m)));
        if matchers.is_empty() {
            return name.to_owned();
        }
        format!("{name}{{{}}}", matchers.join(","))
    }

    fn matcher(&self, matcher: &Matcher) -> Option<String> {
        let label = &matcher.label;
        Some(match &matcher.pattern {
            Pattern::AnyOf(values) => {
                let operator = match (values.as_slice(), matcher.negated) {
                    ([_], false) => "=",
                    ([_], true) => "!=",
                    (_, false) => "=~",
                    (_, true) => "!~",
                };
                let value = match values.as_slice() {
                    [one] => one.clone(),
                    many => many
                        .iter()
                        .map(|v| literal(v))
                        .collect::<Vec<_>>()
                        .join("|"),
                };
                format!("{label}{operator}{}", quoted(&value))
            }
            Pattern::StartsWith(prefix) => {
                let operator = if matcher.negated { "!~" } else { "=~" };
                format!(
                    "{label}{operator}{}",
                    quoted(&format!("{}.*", literal(prefix)))
                )
            }
            Pattern::Variable(name) if self.variables => {
                let operator = if matcher.negated { "!~" } else { "=~" };
                format!("{label}{operator}\"${name}\"")
            }
            Pattern::Variable(_) => return None,
        })
    }

    /// An aggregation up to its parenthesis.
    fn aggregation(&self, fold: &str, first: &[&str], by: &[String]) -> String {
        let kept: Vec<&str> = (first.iter().copied())
            .chain(self.keep.iter().map(String::as_str))
            .chain(by.iter().map(String::as_str))
            .collect();
        if kept.is_empty() {
            return fold.to_owned();
        }
        format!("{fold} by ({}) ", kept.join(", "))
    }

    /// The expression, in parentheses where an operator beside it could take it apart.
    fn operand(&self, expr: &Expr) -> String {
        let text = self.expr(expr);
        match expr {
            Expr::Value(_)
            | Expr::Rate(_)
            | Expr::Increase(_)
            | Expr::Fold { .. }
            | Expr::Top { .. } => text,
            Expr::Quantile { .. }
            | Expr::Ratio { .. }
            | Expr::OrZero { .. }
            | Expr::Minus { .. }
            | Expr::Times { .. }
            | Expr::Since(_) => format!("({text})"),
        }
    }
}

/// The matcher for a bucket bound. Whole numbers are written `1` by some encoders and `1.0` by
/// others.
fn bucket(bound: f64) -> String {
    if bound.fract() == 0.0 {
        format!("le=~\"{bound}|{bound:.1}\"")
    } else {
        format!("le=\"{bound}\"")
    }
}

/// A text as a double-quoted PromQL string.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A text as a regular expression that matches it alone.
fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        let _ = write!(out, "{c}");
    }
    out
}
