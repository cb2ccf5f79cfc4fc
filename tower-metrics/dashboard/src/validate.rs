//! Validation of dashboards and expressions.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::dashboard::{Annotation, Dashboard};
use crate::error::Error;
use crate::expr::Expr;
use crate::panel::{DataLink, Panel, PanelKind, Series, Threshold, Unit};
use crate::selector::{Part, Pattern, Selector};

const UID: &str = "1 to 40 letters, digits, '-' or '_'";
const METRIC: &str = "a letter, '_' or ':', followed by letters, digits, '_' or ':'";
const LABEL: &str =
    "a letter or '_', followed by letters, digits or '_', and must not start with '__'";

/// Variables that every rendered dashboard has.
const RESERVED: [&str; 3] = ["datasource", "job", "instance"];

impl Dashboard {
    /// Validates the dashboard. Rendering does so first.
    ///
    /// # Errors
    ///
    /// Returns the first problem: an empty title or description, a name with invalid characters,
    /// a duplicate panel in a row, a size or threshold out of range, a legend or table that uses a
    /// label which its expression does not have, or an unknown variable.
    pub fn validate(&self) -> Result<(), Error> {
        let context = format!("dashboard {:?}", self.uid);
        check_uid(&context, &self.uid)?;
        check_filled(&context, "title", &self.title)?;
        for link in &self.links {
            check_filled(&context, "title of a link", &link.title)?;
            check_uid(&context, &link.dashboard)?;
        }
        let mut variables = HashSet::from(RESERVED);
        for variable in &self.variables {
            check_label(&context, &variable.name)?;
            check_label(&context, &variable.label)?;
            check_filled(&context, "title of a variable", &variable.title)?;
            if !variables.insert(&variable.name) {
                return Err(duplicate(&context, "variable", &variable.name));
            }
        }
        let scope = Scope {
            variables: &variables,
            context: context.clone(),
        };
        for variable in &self.variables {
            scope.selector(&variable.series)?;
        }
        for annotation in &self.annotations {
            scope.annotation(annotation)?;
        }
        for row in &self.rows {
            check_filled(&context, "title of a row", &row.title)?;
            let mut titles = HashSet::new();
            for panel in &row.panels {
                if !titles.insert(&panel.title) {
                    let context = format!("{context}, row {:?}", row.title);
                    return Err(duplicate(&context, "panel", &panel.title));
                }
                let scope = Scope {
                    variables: &variables,
                    context: format!("{context}, panel {:?}", panel.title),
                };
                scope.panel(panel)?;
            }
        }
        Ok(())
    }
}

/// Validates an expression outside of a dashboard, where variables do not exist.
pub(crate) fn check_expr(context: &str, expr: &Expr) -> Result<(), Error> {
    let scope = Scope {
        variables: &HashSet::new(),
        context: context.to_owned(),
    };
    scope.expr(expr)
}

/// Validates a selector outside of a dashboard, where variables do not exist.
pub(crate) fn check_selector(context: &str, selector: &Selector) -> Result<(), Error> {
    let scope = Scope {
        variables: &HashSet::new(),
        context: context.to_owned(),
    };
    scope.selector(selector)
}

/// The variables in scope, and the context for errors.
struct Scope<'a> {
    variables: &'a HashSet<&'a str>,
    context: String,
}

impl Scope<'_> {
    fn panel(&self, panel: &Panel) -> Result<(), Error> {
        check_filled(&self.context, "title", &panel.title)?;
        check_filled(&self.context, "description", &panel.description)?;
        check_size(&self.context, "width", panel.width, 24, "1 to 24 columns")?;
        check_size(&self.context, "height", panel.height, 40, "1 to 40 units")?;
        check_unit(&self.context, &panel.unit)?;
        check_thresholds(&self.context, &panel.thresholds)?;
        match &panel.kind {
            PanelKind::TimeSeries { series, .. } | PanelKind::Stat(series) => self.series(series),
            PanelKind::BarGauge(series) => self.series(std::slice::from_ref(series)),
            PanelKind::Heatmap(histogram) => self.histogram(histogram),
            PanelKind::Table {
                by,
                columns,
                data_link,
            } => {
                if columns.is_empty() {
                    return Err(empty(&self.context, "list of columns"));
                }
                let mut titles = HashSet::new();
                for column in columns {
                    check_filled(&self.context, "title of a column", &column.title)?;
                    if !titles.insert(&column.title) {
                        return Err(duplicate(&self.context, "column", &column.title));
                    }
                    check_unit(&self.context, &column.unit)?;
                    check_thresholds(&self.context, &column.thresholds)?;
                    self.expr(&column.expr)?;
                    self.same_labels(column.expr.labels().unwrap_or_default(), by)?;
                }
                match data_link {
                    Some(link) => self.data_link(link, by),
                    None => Ok(()),
                }
            }
        }
    }

    fn series(&self, series: &[Series]) -> Result<(), Error> {
        if series.is_empty() {
            return Err(empty(&self.context, "list of series"));
        }
        for series in series {
            check_filled(&self.context, "legend", &series.legend)?;
            self.expr(&series.expr)?;
            if let Some(labels) = series.expr.labels() {
                for label in legend_labels(&series.legend) {
                    self.has_label(labels, label)?;
                }
            }
        }
        Ok(())
    }

    fn data_link(&self, link: &DataLink, by: &[String]) -> Result<(), Error> {
        check_uid(&self.context, &link.dashboard)?;
        check_label(&self.context, &link.variable)?;
        self.has_label(by, &link.label)
    }

    fn annotation(&self, annotation: &Annotation) -> Result<(), Error> {
        check_filled(&self.context, "title of an annotation", &annotation.title)?;
        for label in &annotation.by {
            check_label(&self.context, label)?;
        }
        self.selector(annotation.event.selector())
    }

    fn histogram(&self, selector: &Selector) -> Result<(), Error> {
        check(
            &self.context,
            "histogram",
            &selector.series_name(),
            selector.part == Part::Value,
            "the metric family, not its count, sum or a bucket",
        )?;
        self.selector(selector)
    }

    fn expr(&self, expr: &Expr) -> Result<(), Error> {
        match expr {
            Expr::Value(of) | Expr::Rate(of) | Expr::Increase(of) => self.selector(of),
            Expr::Aggregate { by, of, .. } => {
                for label in by {
                    check_label(&self.context, label)?;
                    if let Some(labels) = of.labels() {
                        self.has_label(labels, label)?;
                    }
                }
                self.expr(of)
            }
            Expr::Quantile { q, of, by } => {
                by.iter().try_for_each(|l| check_label(&self.context, l))?;
                let valid = *q > 0.0 && *q < 1.0;
                self.number("quantile", *q, valid, "above 0 and below 1")?;
                self.histogram(of)
            }
            Expr::Ratio {
                numerator: a,
                denominator: b,
            }
            | Expr::OrZero { of: a, like: b }
            | Expr::Minus { left: a, right: b } => {
                self.expr(a)?;
                self.expr(b)?;
                match (a.labels(), b.labels()) {
                    (Some(a), Some(b)) => self.same_labels(a, b),
                    _ => Ok(()),
                }
            }
            Expr::Times { of, factor } => {
                self.number("factor", *factor, factor.is_finite(), "finite")?;
                self.expr(of)
            }
            Expr::TopK { k, of } => {
                self.number("number of largest values", *k as f64, *k > 0, "at least 1")?;
                self.expr(of)
            }
            Expr::Since(of) => self.expr(of),
        }
    }

    fn selector(&self, selector: &Selector) -> Result<(), Error> {
        check_metric(&self.context, &selector.metric)?;
        if let Part::Bucket(bound) = selector.part {
            self.number("bucket bound", bound, bound.is_finite(), "finite")?;
        }
        for matcher in &selector.matchers {
            check_label(&self.context, &matcher.label)?;
            match &matcher.pattern {
                Pattern::AnyOf(values) if values.is_empty() => {
                    return Err(empty(&self.context, "list of values of a matcher"));
                }
                Pattern::Prefix(prefix) => {
                    check_filled(&self.context, "prefix of a matcher", prefix)?;
                }
                Pattern::Variable(name) if !self.variables.contains(name.as_str()) => {
                    let mut known: Vec<_> = self.variables.iter().map(|&v| v.to_owned()).collect();
                    known.sort_unstable();
                    return Err(Error::Unknown {
                        context: self.context.clone(),
                        what: "variable",
                        name: name.clone(),
                        known,
                    });
                }
                Pattern::AnyOf(_) | Pattern::Variable(_) => {}
            }
        }
        Ok(())
    }

    fn same_labels(&self, a: &[String], b: &[String]) -> Result<(), Error> {
        b.iter().try_for_each(|label| self.has_label(a, label))?;
        a.iter().try_for_each(|label| self.has_label(b, label))
    }

    fn has_label(&self, labels: &[String], label: &str) -> Result<(), Error> {
        if labels.iter().any(|l| l == label) {
            return Ok(());
        }
        Err(Error::MissingLabel {
            context: self.context.clone(),
            label: label.to_owned(),
            available: labels.to_vec(),
        })
    }

    fn number(
        &self,
        what: &'static str,
        value: f64,
        valid: bool,
        allowed: &'static str,
    ) -> Result<(), Error> {
        check(&self.context, what, &value.to_string(), valid, allowed)
    }
}

/// The labels in braces in a legend.
fn legend_labels(legend: &str) -> impl Iterator<Item = &str> {
    legend
        .split('{')
        .skip(1)
        .filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
}

fn check_size(
    context: &str,
    what: &'static str,
    size: u8,
    max: u8,
    allowed: &'static str,
) -> Result<(), Error> {
    let valid = (1..=max).contains(&size);
    check(context, what, &size.to_string(), valid, allowed)
}

fn check_thresholds(context: &str, thresholds: &[Threshold]) -> Result<(), Error> {
    let values: Vec<f64> = thresholds.iter().map(|t| t.from).collect();
    let ascending = values.windows(2).all(|pair| pair[0] < pair[1]);
    let valid = ascending && values.iter().all(|value| value.is_finite());
    let values = format!("{values:?}");
    check(
        context,
        "thresholds",
        &values,
        valid,
        "finite and ascending",
    )
}

fn check_unit(context: &str, unit: &Unit) -> Result<(), Error> {
    let Unit::Currency(code) = unit else {
        return Ok(());
    };
    let valid = code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase());
    check(
        context,
        "currency",
        code,
        valid,
        "an ISO 4217 code such as EUR",
    )
}

fn check_uid(context: &str, uid: &str) -> Result<(), Error> {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let valid = (1..=40).contains(&uid.len()) && uid.bytes().all(is_allowed);
    check(context, "uid", uid, valid, UID)
}

fn check_metric(context: &str, name: &str) -> Result<(), Error> {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b':';
    let valid = name.starts_with(|c: char| !c.is_ascii_digit()) && name.bytes().all(is_allowed);
    check(context, "metric name", name, valid, METRIC)
}

pub(crate) fn check_label(context: &str, name: &str) -> Result<(), Error> {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let valid = name.starts_with(|c: char| !c.is_ascii_digit())
        && !name.starts_with("__")
        && name.bytes().all(is_allowed);
    check(context, "label name", name, valid, LABEL)
}

pub(crate) fn check_filled(context: &str, what: &'static str, text: &str) -> Result<(), Error> {
    if text.trim().is_empty() {
        return Err(empty(context, what));
    }
    Ok(())
}

pub(crate) fn check(
    context: &str,
    what: &'static str,
    value: &str,
    valid: bool,
    allowed: impl Into<Cow<'static, str>>,
) -> Result<(), Error> {
    if valid {
        return Ok(());
    }
    Err(Error::Invalid {
        context: context.to_owned(),
        what,
        value: value.to_owned(),
        allowed: allowed.into(),
    })
}

fn empty(context: &str, what: &'static str) -> Error {
    Error::Empty {
        context: context.to_owned(),
        what,
    }
}

pub(crate) fn duplicate(context: &str, what: &'static str, name: &str) -> Error {
    Error::Duplicate {
        context: context.to_owned(),
        what,
        name: name.to_owned(),
    }
}
