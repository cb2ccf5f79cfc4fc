//! The rules that a dashboard must keep to be rendered.

use std::collections::HashSet;

use crate::error::Error;
use crate::expr::{Expr, Part, Pattern, Selector};
use crate::panel::{Annotation, Dashboard, Drill, Panel, Series, Show, Threshold, Unit};

const UID: &str = "1 to 40 letters, digits, '-' or '_'";
const METRIC: &str = "a letter, '_' or ':', then letters, digits, '_' or ':'";
const LABEL: &str = "a letter or '_', then letters, digits or '_', and not '__' at the start";

/// Names that every rendering gives its own variables.
const RESERVED: [&str; 3] = ["datasource", "job", "instance"];

impl Dashboard {
    /// Checks the whole dashboard, as each rendering does first.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn check(&self) -> Result<(), Error> {
        let place = format!("dashboard {:?}", self.uid);
        uid(&place, &self.uid)?;
        filled(&place, "title", &self.title)?;
        for link in &self.links {
            filled(&place, "title of a link", &link.title)?;
            uid(&place, &link.dashboard)?;
        }
        let mut names = HashSet::from(RESERVED);
        for variable in &self.variables {
            label(&place, &variable.name)?;
            label(&place, &variable.label)?;
            filled(&place, "title of a variable", &variable.title)?;
            if !names.insert(&variable.name) {
                return Err(twice(&place, "variables", &variable.name));
            }
        }
        let scope = Scope {
            variables: names,
            place: place.clone(),
        };
        for variable in &self.variables {
            scope.selector(&variable.of)?;
        }
        for annotation in &self.annotations {
            scope.annotation(annotation)?;
        }
        for row in &self.rows {
            filled(&place, "title of a row", &row.title)?;
            let mut titles = HashSet::new();
            for panel in &row.panels {
                if !titles.insert(&panel.title) {
                    let place = format!("{place}, row {:?}", row.title);
                    return Err(twice(&place, "panels", &panel.title));
                }
                scope
                    .at(format!("{place}, panel {:?}", panel.title))
                    .panel(panel)?;
            }
        }
        Ok(())
    }
}

/// Where we are, and which variables there are.
struct Scope<'a> {
    variables: HashSet<&'a str>,
    place: String,
}

impl<'a> Scope<'a> {
    fn at(&self, place: String) -> Self {
        Scope {
            variables: self.variables.clone(),
            place,
        }
    }

    fn panel(&self, panel: &Panel) -> Result<(), Error> {
        filled(&self.place, "title", &panel.title)?;
        filled(&self.place, "help", &panel.help)?;
        size(&self.place, "width", panel.width, 24, "1 to 24 columns")?;
        size(&self.place, "height", panel.height, 40, "1 to 40")?;
        unit(&self.place, &panel.unit)?;
        thresholds(&self.place, &panel.thresholds)?;
        match &panel.show {
            Show::Lines { series, .. } | Show::Stat(series) => self.series(series),
            Show::Bars(series) => self.series(std::slice::from_ref(series)),
            Show::Heatmap(histogram) => self.histogram(histogram),
            Show::Table { by, columns, drill } => {
                if columns.is_empty() {
                    return Err(empty(&self.place, "list of columns"));
                }
                let mut titles = HashSet::new();
                for column in columns {
                    filled(&self.place, "title of a column", &column.title)?;
                    if !titles.insert(&column.title) {
                        return Err(twice(&self.place, "columns", &column.title));
                    }
                    unit(&self.place, &column.unit)?;
                    thresholds(&self.place, &column.thresholds)?;
                    self.expr(&column.expr)?;
                    self.keeps_exactly(&column.expr, by)?;
                }
                match drill {
                    Some(drill) => self.drill(drill, by),
                    None => Ok(()),
                }
            }
        }
    }

    fn series(&self, series: &[Series]) -> Result<(), Error> {
        if series.is_empty() {
            return Err(empty(&self.place, "list of series"));
        }
        for series in series {
            filled(&self.place, "legend", &series.legend)?;
            self.expr(&series.expr)?;
            for name in legend_labels(&series.legend) {
                if let Some(kept) = series.expr.labels()
                    && !kept.iter().any(|k| k == name)
                {
                    return Err(self.lost(name, kept));
                }
            }
        }
        Ok(())
    }

    fn keeps_exactly(&self, expr: &Expr, by: &[String]) -> Result<(), Error> {
        let kept = expr.labels().unwrap_or_default();
        match by.iter().find(|b| !kept.contains(b)) {
            Some(lost) => Err(self.lost(lost, kept)),
            None => match kept.iter().find(|k| !by.contains(k)) {
                Some(extra) => Err(self.lost(extra, by)),
                None => Ok(()),
            },
        }
    }

    fn drill(&self, drill: &Drill, by: &[String]) -> Result<(), Error> {
        uid(&self.place, &drill.dashboard)?;
        label(&self.place, &drill.variable)?;
        if by.contains(&drill.label) {
            Ok(())
        } else {
            Err(self.lost(&drill.label, by))
        }
    }

    fn annotation(&self, annotation: &Annotation) -> Result<(), Error> {
        filled(&self.place, "title of an annotation", &annotation.title)?;
        for name in &annotation.by {
            label(&self.place, name)?;
        }
        self.selector(annotation.event.selector())
    }

    fn histogram(&self, selector: &Selector) -> Result<(), Error> {
        if selector.part == Part::Value {
            return self.selector(selector);
        }
        Err(Error::Invalid {
            place: self.place.clone(),
            what: "histogram",
            value: selector.series_name(),
            allowed: "the family itself, not a part of it",
        })
    }

    fn expr(&self, expr: &Expr) -> Result<(), Error> {
        match expr {
            Expr::Value(of) | Expr::Rate(of) | Expr::Increase(of) => self.selector(of),
            Expr::Fold { by, of, .. } => {
                by.iter().try_for_each(|l| label(&self.place, l))?;
                match of.labels() {
                    Some(kept) => match by.iter().find(|b| !kept.contains(b)) {
                        Some(lost) => Err(self.lost(lost, kept)),
                        None => self.expr(of),
                    },
                    None => self.expr(of),
                }
            }
            Expr::Quantile { q, of, by } => {
                by.iter().try_for_each(|l| label(&self.place, l))?;
                if !(*q > 0.0 && *q < 1.0) {
                    return Err(self.number("quantile", *q, "above 0 and below 1"));
                }
                self.histogram(of)
            }
            Expr::Ratio { part: a, whole: b }
            | Expr::OrZero { of: a, like: b }
            | Expr::Minus { left: a, right: b } => {
                self.expr(a)?;
                self.expr(b)?;
                match (a.labels(), b.labels()) {
                    (Some(a), Some(b)) => match a.iter().find(|l| !b.contains(l)) {
                        Some(lost) => Err(self.lost(lost, b)),
                        None => match b.iter().find(|l| !a.contains(l)) {
                            Some(lost) => Err(self.lost(lost, a)),
                            None => Ok(()),
                        },
                    },
                    _ => Ok(()),
                }
            }
            Expr::Times { of, factor } => {
                if !factor.is_finite() {
                    return Err(self.number("factor", *factor, "a finite number"));
                }
                self.expr(of)
            }
            Expr::Top { n, of } => {
                if *n == 0 {
                    return Err(self.number("number of largest values", 0.0, "at least 1"));
                }
                self.expr(of)
            }
            Expr::Since(of) => self.expr(of),
        }
    }

    fn selector(&self, selector: &Selector) -> Result<(), Error> {
        metric(&self.place, &selector.metric)?;
        if let Part::UpTo(bound) = selector.part
            && !bound.is_finite()
        {
            return Err(self.number("bucket bound", bound, "a finite number"));
        }
        for matcher in &selector.matchers {
            label(&self.place, &matcher.label)?;
            match &matcher.pattern {
                Pattern::AnyOf(values) if values.is_empty() => {
                    return Err(empty(&self.place, "list of values of a matcher"));
                }
                Pattern::StartsWith(prefix) => filled(&self.place, "prefix of a matcher", prefix)?,
                Pattern::Variable(name) if !self.variables.contains(name.as_str()) => {
                    return Err(Error::Unknown {
                        place: self.place.clone(),
                        what: "variable",
                        name: name.clone(),
                    });
                }
                Pattern::AnyOf(_) | Pattern::Variable(_) => {}
            }
        }
        Ok(())
    }

    fn lost(&self, label: &str, kept: &[String]) -> Error {
        Error::LabelLost {
            place: self.place.clone(),
            label: label.to_owned(),
            kept: kept.to_vec(),
        }
    }

    fn number(&self, what: &'static str, value: f64, allowed: &'static str) -> Error {
        Error::Invalid {
            place: self.place.clone(),
            what,
            value: value.to_string(),
            allowed,
        }
    }
}

/// Checks an expression that belongs to no dashboard, and so can name no variable.
pub(super) fn free_expr(place: &str, expr: &Expr) -> Result<(), Error> {
    let scope = Scope {
        variables: HashSet::new(),
        place: place.to_owned(),
    };
    scope.expr(expr)
}

/// The labels that a legend names in braces.
pub(super) fn legend_labels(legend: &str) -> impl Iterator<Item = &str> {
    legend
        .split('{')
        .skip(1)
        .filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
}

fn size(
    place: &str,
    what: &'static str,
    size: u8,
    most: u8,
    allowed: &'static str,
) -> Result<(), Error> {
    rule(
        place,
        what,
        &size.to_string(),
        (1..=most).contains(&size),
        allowed,
    )
}

fn thresholds(place: &str, thresholds: &[Threshold]) -> Result<(), Error> {
    let rising = thresholds.windows(2).all(|w| w[0].from < w[1].from);
    let finite = thresholds.iter().all(|t| t.from.is_finite());
    let values: Vec<f64> = thresholds.iter().map(|t| t.from).collect();
    let allowed = "finite and rising";
    rule(
        place,
        "thresholds",
        &format!("{values:?}"),
        rising && finite,
        allowed,
    )
}

fn unit(place: &str, unit: &Unit) -> Result<(), Error> {
    let Unit::Currency(code) = unit else {
        return Ok(());
    };
    let ok = code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase());
    rule(place, "currency", code, ok, "an ISO 4217 code, as EUR")
}

fn uid(place: &str, uid: &str) -> Result<(), Error> {
    let ok = (1..=40).contains(&uid.len())
        && uid
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    rule(place, "uid", uid, ok, UID)
}

fn metric(place: &str, name: &str) -> Result<(), Error> {
    let ok = name.starts_with(|c: char| !c.is_ascii_digit())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':');
    rule(place, "metric name", name, ok, METRIC)
}

pub(super) fn label(place: &str, name: &str) -> Result<(), Error> {
    let ok = name.starts_with(|c: char| !c.is_ascii_digit())
        && !name.starts_with("__")
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    rule(place, "label name", name, ok, LABEL)
}

pub(super) fn filled(place: &str, what: &'static str, text: &str) -> Result<(), Error> {
    if text.trim().is_empty() {
        return Err(empty(place, what));
    }
    Ok(())
}

pub(super) fn rule(
    place: &str,
    what: &'static str,
    value: &str,
    holds: bool,
    allowed: &'static str,
) -> Result<(), Error> {
    if holds {
        return Ok(());
    }
    Err(Error::Invalid {
        place: place.to_owned(),
        what,
        value: value.to_owned(),
        allowed,
    })
}

fn empty(place: &str, what: &'static str) -> Error {
    Error::Empty {
        place: place.to_owned(),
        what,
    }
}

pub(super) fn twice(place: &str, what: &'static str, name: &str) -> Error {
    Error::Twice {
        place: place.to_owned(),
        what,
        name: name.to_owned(),
    }
}
