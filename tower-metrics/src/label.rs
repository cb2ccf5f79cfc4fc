//! Custom labels, whose number of values is bounded.

use std::borrow::Cow;
use std::fmt;

use crate::head::{RequestHead, ResponseHead};
use crate::table::{MAX_KEY_LEN, Table};

/// Maximum number of custom labels of a layer.
pub const MAX_LABELS: usize = 4;

/// Value recorded for routes and label values beyond their limits, and for methods
/// that are not recorded individually.
pub(crate) const OTHER: &str = "_OTHER";

/// Maximum number of values of a label.
const MAX_VALUES: u16 = 65_000;

/// Type with a fixed set of label values, usually an enum.
///
/// The macro [`label_enum!`](crate::label_enum) declares such an enum.
///
/// # Examples
///
/// ```
/// # use tower_metrics::LabelValue;
/// #[derive(Clone, Copy)]
/// struct Internal(bool);
///
/// impl LabelValue for Internal {
///     const ALL: &'static [Self] = &[Internal(true), Internal(false)];
///
///     fn as_str(self) -> &'static str {
///         if self.0 { "true" } else { "false" }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no fixed set of label values",
    note = "declare an enum with `label_enum!`, or use `Label::from_request` with a limit"
)]
pub trait LabelValue: Copy + 'static {
    /// All values of the type.
    const ALL: &'static [Self];

    /// Returns the text of the label value, of at most 128 bytes.
    fn as_str(self) -> &'static str;
}

type FromRequest = dyn for<'a> Fn(&RequestHead<'a>) -> Option<Cow<'a, str>> + Send + Sync;
type FromResponse = dyn for<'a> Fn(&ResponseHead<'a>) -> Option<Cow<'a, str>> + Send + Sync;

enum Source {
    Request(Box<FromRequest>),
    Response(Box<FromResponse>),
}

/// Custom label, derived from the head of the request or of the response.
///
/// The number of values is bounded: by an enum, or by a limit. The first values
/// up to the limit are recorded; further values, and values longer than 128 bytes,
/// are recorded as `_OTHER` and counted in `tower_metrics_overflow_total`. Use a
/// limit for values that you control, such as tenants or regions, and an enum for
/// values that clients choose: with a limit, the first values to arrive use up the
/// slots.
///
/// `None` is the empty value, which Prometheus treats as a missing label. A label
/// from the response is empty if there was no response.
///
/// # Memory
///
/// Each value takes about 60 bytes and twice its length, for the life of the process.
pub struct Label {
    name: &'static str,
    source: Source,
    /// Number of values of an enum, or 0 for a label with a limit.
    enum_values: u16,
    /// Enum value that is longer than a label value may be.
    too_long: Option<&'static str>,
    values: Table<&'static str>,
}

/// Numbers of the empty value and of `_OTHER`. The numbers of other values are
/// their position in the table plus `FIRST`.
const EMPTY: u16 = 0;
const OVERFLOW: u16 = 1;
const FIRST: u16 = 2;

impl Label {
    /// Creates a label from the request with at most `max` values.
    ///
    /// `max` is at most 65,000; larger limits are clamped to it. `value` may borrow
    /// from the request; `into()` converts a `&str` or a `String` to a [`Cow`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_metrics::Label;
    /// let tenant = Label::from_request("tenant", 50, |head| {
    ///     Some(head.headers.get("x-tenant")?.to_str().ok()?.into())
    /// });
    /// ```
    pub fn from_request<F>(name: &'static str, max: u16, value: F) -> Self
    where
        F: for<'a> Fn(&RequestHead<'a>) -> Option<Cow<'a, str>> + Send + Sync + 'static,
    {
        Self::new(name, max, Source::Request(Box::new(value)))
    }

    /// Creates a label from the response with at most `max` values.
    ///
    /// `max` is at most 65,000; larger limits are clamped to it. `value` may borrow
    /// from the response; `into()` converts a `&str` or a `String` to a [`Cow`].
    pub fn from_response<F>(name: &'static str, max: u16, value: F) -> Self
    where
        F: for<'a> Fn(&ResponseHead<'a>) -> Option<Cow<'a, str>> + Send + Sync + 'static,
    {
        Self::new(name, max, Source::Response(Box::new(value)))
    }

    /// Creates a label from the request whose values are those of an enum.
    pub fn enum_from_request<V, F>(name: &'static str, value: F) -> Self
    where
        V: LabelValue,
        F: Fn(&RequestHead<'_>) -> Option<V> + Send + Sync + 'static,
    {
        let source = Source::Request(Box::new(move |head| {
            value(head).map(|value| Cow::Borrowed(value.as_str()))
        }));
        Self::with_values::<V>(name, source)
    }

    /// Creates a label from the response whose values are those of an enum.
    pub fn enum_from_response<V, F>(name: &'static str, value: F) -> Self
    where
        V: LabelValue,
        F: Fn(&ResponseHead<'_>) -> Option<V> + Send + Sync + 'static,
    {
        let source = Source::Response(Box::new(move |head| {
            value(head).map(|value| Cow::Borrowed(value.as_str()))
        }));
        Self::with_values::<V>(name, source)
    }

    fn new(name: &'static str, max: u16, source: Source) -> Self {
        Self {
            name,
            source,
            enum_values: 0,
            too_long: None,
            values: Table::new(max.min(MAX_VALUES).into()),
        }
    }

    fn with_values<V: LabelValue>(name: &'static str, source: Source) -> Self {
        let max = u16::try_from(V::ALL.len()).unwrap_or(u16::MAX);
        let mut label = Self::new(name, max, source);
        for value in V::ALL {
            let value = value.as_str();
            label.number(value);
            if value.len() > MAX_KEY_LEN {
                label.too_long = Some(value);
            }
        }
        // Values with the same text are one value.
        label.enum_values = label.values.len() as u16;
        label
    }

    /// Returns the name of the label.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns an enum value that cannot be recorded, if there is one.
    pub(crate) fn too_long(&self) -> Option<&'static str> {
        self.too_long
    }

    pub(crate) fn is_from_response(&self) -> bool {
        matches!(self.source, Source::Response(_))
    }

    /// Returns the number of enum values that a request may have.
    fn enum_values(&self, has_response: bool) -> u16 {
        match self.source {
            Source::Response(_) if !has_response => 0,
            _ => self.enum_values,
        }
    }

    #[inline]
    fn number(&self, value: &str) -> u16 {
        if value.is_empty() {
            return EMPTY;
        }
        match self
            .values
            .position_or_insert(value, || String::from(value).leak())
        {
            // A table of a label has at most `MAX_VALUES` keys.
            Some(at) => at as u16 + FIRST,
            None => OVERFLOW,
        }
    }

    fn text(&self, number: u16) -> &'static str {
        match number {
            EMPTY => "",
            OVERFLOW => OTHER,
            _ => self
                .values
                .value(usize::from(number - FIRST))
                .copied()
                .unwrap_or(""),
        }
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.source {
            Source::Request(_) => "request",
            Source::Response(_) => "response",
        };
        f.debug_struct("Label")
            .field("name", &self.name)
            .field("from", &source)
            .field("values", &self.values.len())
            .finish_non_exhaustive()
    }
}

/// Label values of a request, as numbers of 16 bits, the first label in the lowest bits.
///
/// One integer, because the processor forwards a store to a load of the same width, but delays
/// a load that covers several narrower stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LabelNumbers(u64);

impl LabelNumbers {
    /// Only empty values.
    pub(crate) const EMPTY: Self = Self(0);

    /// Returns the numbers of all labels that a layer can have.
    fn iter(self) -> impl Iterator<Item = u16> {
        (0..MAX_LABELS).map(move |index| (self.0 >> (16 * index)) as u16)
    }

    /// Sets the number of a label that is empty so far.
    #[inline]
    fn set(&mut self, index: usize, number: u16) {
        self.0 |= u64::from(number) << (16 * index);
    }

    /// Evaluates the labels from the request, and returns whether a value is beyond its
    /// limits.
    #[inline(always)]
    pub(crate) fn evaluate_request(&mut self, labels: &[Label], head: &RequestHead<'_>) -> bool {
        let mut has_overflow = false;
        for (index, label) in labels.iter().enumerate() {
            if let Source::Request(value) = &label.source {
                let number = value(head).map_or(EMPTY, |value| label.number(&value));
                self.set(index, number);
                has_overflow |= number == OVERFLOW;
            }
        }
        has_overflow
    }

    /// Evaluates the labels from the response, and returns whether a value is beyond its
    /// limits.
    pub(crate) fn evaluate_response(&mut self, labels: &[Label], head: &ResponseHead<'_>) -> bool {
        let mut has_overflow = false;
        for (index, label) in labels.iter().enumerate() {
            if let Source::Response(value) = &label.source {
                let number = value(head).map_or(EMPTY, |value| label.number(&value));
                self.set(index, number);
                has_overflow |= number == OVERFLOW;
            }
        }
        has_overflow
    }

    /// Returns the names of the labels whose value is beyond its limits.
    pub(crate) fn overflowed(self, labels: &[Label]) -> impl Iterator<Item = &'static str> {
        let numbers = labels.iter().zip(self.iter());
        numbers
            .filter(|(_, number)| *number == OVERFLOW)
            .map(|(label, _)| label.name)
    }

    /// Returns the number of combinations that
    /// [`combinations`](Self::combinations) returns.
    pub(crate) fn count_combinations(labels: &[Label], has_response: bool) -> usize {
        let values = labels.iter().map(|label| label.enum_values(has_response));
        values.fold(1, |count, values| {
            count.saturating_mul(usize::from(values) + 1)
        })
    }

    /// Returns every combination of the enum values that a request may have,
    /// including the empty ones.
    pub(crate) fn combinations(labels: &[Label], has_response: bool) -> Vec<Self> {
        let mut all = vec![Self::EMPTY];
        for (index, label) in labels.iter().enumerate() {
            let numbers = FIRST..FIRST + label.enum_values(has_response);
            let extended: Vec<_> = numbers
                .flat_map(|number| {
                    all.iter().map(move |combination| {
                        let mut combination: Self = *combination;
                        combination.set(index, number);
                        combination
                    })
                })
                .collect();
            all.extend(extended);
        }
        all
    }
}

/// Custom labels of a request and their values.
#[derive(Clone, Copy, Debug)]
pub struct LabelValues<'a> {
    pub(crate) labels: &'a [Label],
    pub(crate) numbers: LabelNumbers,
}

impl LabelValues<'_> {
    /// No labels.
    pub(crate) const NONE: Self = Self {
        labels: &[],
        numbers: LabelNumbers::EMPTY,
    };

    /// Returns the name and the value of every label, in the order in which they
    /// were added to the layer. Missing values are empty.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let labels = self.labels.iter().zip(self.numbers.iter());
        labels.map(|(label, number)| (label.name, label.text(number)))
    }

    /// Returns a key that is equal for equal values of the same layer's labels.
    ///
    /// Use it to look up what depends on the label values.
    #[inline]
    pub fn key(&self) -> LabelKey {
        LabelKey(self.labels.as_ptr().addr(), self.numbers)
    }
}

/// Key for the label values of a request. See [`LabelValues::key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LabelKey(usize, LabelNumbers);

#[cfg(test)]
mod tests {
    use super::*;

    fn label(max: u16) -> Label {
        Label::from_request("tenant", max, |_| None)
    }

    #[test]
    fn values_beyond_the_limit_are_other() {
        let label = label(2);
        let numbers = ["a", "b", "c", "a", ""].map(|value| label.number(value));
        let texts = numbers.map(|number| label.text(number));
        assert_eq!(texts, ["a", "b", "_OTHER", "a", ""]);
    }

    #[test]
    fn every_value_of_a_label_with_limit_zero_is_other() {
        assert_eq!(label(0).number("a"), OVERFLOW);
    }

    #[test]
    fn a_label_has_as_many_values_as_its_limit() {
        let label = label(u16::MAX);
        for value in 0..MAX_VALUES {
            let number = label.number(&value.to_string());
            assert_eq!(label.text(number), value.to_string());
        }
        assert_eq!(label.number("one more"), OVERFLOW);
    }
}
