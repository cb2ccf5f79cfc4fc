//! Dashboards as data.
//!
//! A [`Dashboard`] is rows of panels; a [`Panel`] has a title, a unit, a sentence of help and what
//! it shows, written as an [`Expr`]: an expression with structure, not a query string. The same
//! value can therefore be written as PromQL for Grafana, and evaluated in the process itself.
//!
//! An expression carries no time window. Whoever evaluates it brings one: Grafana its
//! `$__rate_interval`, a recording rule its five minutes, a live page its few seconds.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod check;
mod error;
mod expr;
mod grafana;
#[cfg(feature = "live")]
pub mod live;
mod panel;
mod promql;
mod red;
mod rules;
mod slo;

pub use self::error::Error;
pub use self::expr::{Expr, Fold, Matcher, Part, Pattern, Selector};
pub use self::grafana::Flavour;
pub use self::panel::{
    Annotation, Column, Dashboard, Drill, Event, Link, Panel, Row, Series, Show, Threshold, Tone,
    Unit, Variable,
};
pub use self::red::{Red, red};
pub use self::rules::{Alert, Rules};
pub use self::slo::{BURNS, Burn, Floor, Indicator, PERIOD, Severity, Slo, Tally, objectives};

/// The README's example is compiled, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
