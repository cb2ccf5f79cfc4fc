//! Table panels.

use super::{Base, Color, Panel, PanelKind, Threshold, Unit, panel_settings};
use crate::expr::Expr;

/// Builder for a table with a row per label set and a column per query.
///
/// ```
/// use tower_metrics_dashboard::{Column, Selector, Table, Unit};
///
/// let requests = Selector::new("http_requests_total").rate().sum_by(["route"]);
/// let table = Table::new("Routes", ["route"])
///     .description("Requests per second, busiest route first.")
///     .column(Column::new("Requests", Unit::RequestsPerSecond, requests));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a panel has no effect until it is added to a row"]
pub struct Table {
    base: Base,
    by: Vec<String>,
    columns: Vec<Column>,
    data_link: Option<DataLink>,
}

/// Column of a [`Table`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Column {
    /// Heading.
    pub title: String,
    /// Query.
    pub expr: Expr,
    /// Unit of the values.
    pub unit: Unit,
    /// Thresholds in ascending order.
    pub thresholds: Vec<Threshold>,
}

/// Link from the rows of a table to another dashboard.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DataLink {
    /// Label whose value is passed to the other dashboard.
    pub label: String,
    /// [`uid`](crate::Dashboard::uid) of the other dashboard.
    pub dashboard: String,
    /// Variable of the other dashboard that receives the value.
    pub variable: String,
}

impl Table {
    /// Creates a table without columns, 24 columns wide and 9 units high. The labels `by` identify
    /// a row.
    pub fn new<L: Into<String>>(title: impl Into<String>, by: impl IntoIterator<Item = L>) -> Self {
        Self {
            base: Base::new(title, Unit::Count, (24, 9)),
            by: by.into_iter().map(Into::into).collect(),
            columns: Vec::new(),
            data_link: None,
        }
    }

    panel_settings!();

    /// Sets the number of decimals. Defaults to 2.
    pub fn decimals(mut self, decimals: u8) -> Self {
        self.base.decimals = Some(decimals);
        self
    }

    /// Adds a column. Its query must result in exactly the labels of the table. Rows are sorted by
    /// the first column.
    pub fn column(mut self, column: Column) -> Self {
        self.columns.push(column);
        self
    }

    /// Links the value of `label` in each row to another dashboard, given by its
    /// [`uid`](crate::Dashboard::uid), and passes the value to that dashboard's `variable`.
    pub fn data_link(
        mut self,
        label: impl Into<String>,
        dashboard: impl Into<String>,
        variable: impl Into<String>,
    ) -> Self {
        self.data_link = Some(DataLink {
            label: label.into(),
            dashboard: dashboard.into(),
            variable: variable.into(),
        });
        self
    }
}

impl Column {
    /// Creates a column.
    pub fn new(title: impl Into<String>, unit: Unit, expr: Expr) -> Self {
        Self {
            title: title.into(),
            expr,
            unit,
            thresholds: Vec::new(),
        }
    }

    /// Adds a threshold: values of at least `from` have this color. Add thresholds in ascending
    /// order.
    #[must_use]
    pub fn threshold(mut self, from: f64, color: Color) -> Self {
        self.thresholds.push(Threshold { from, color });
        self
    }
}

impl From<Table> for Panel {
    fn from(builder: Table) -> Self {
        let Table {
            base,
            by,
            columns,
            data_link,
        } = builder;
        base.into_panel(PanelKind::Table {
            by,
            columns,
            data_link,
        })
    }
}
