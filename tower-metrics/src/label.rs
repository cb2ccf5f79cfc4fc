//! Custom labels, bounded by construction or by a cap.

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;

use crate::head::{RequestHead, ResponseHead};
use crate::recorder::{Limit, Recorder};
use crate::route::OTHER;
use crate::table::Table;

/// How many custom labels a layer can have.
pub const MAX_LABELS: usize = 4;

/// The values of a label that is bounded by construction.
///
/// ```
/// # use tower_metrics::LabelValue;
/// #[derive(Clone, Copy)]
/// enum Plan { Free, Paid }
///
/// impl LabelValue for Plan {
///     const ALL: &'static [Self] = &[Plan::Free, Plan::Paid];
///     fn as_str(self) -> &'static str {
///         match self {
///             Plan::Free => "free",
///             Plan::Paid => "paid",
///         }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which values a label of it can have",
    note = "implement `LabelValue` for an enum of your own, or take `Label::from_request` with a cap"
)]
pub trait LabelValue: Copy + 'static {
    /// Every value.
    const ALL: &'static [Self];

    /// The value's text.
    fn as_str(self) -> &'static str;
}

type FromRequest = dyn for<'a> Fn(&RequestHead<'a>) -> Option<Cow<'a, str>> + Send + Sync;
type FromResponse = dyn for<'a> Fn(&ResponseHead<'a>) -> Option<Cow<'a, str>> + Send + Sync;

enum Source {
    Request(Box<FromRequest>),
    Response(Box<FromResponse>),
}

/// A label of your own, from the request or from the response (their
/// extensions included).
///
/// It has a bounded number of values: those of an enum, or the first `max`
/// that are seen. Whatever comes after is counted under `_OTHER`. `None` is
/// the empty value, which Prometheus treats as an absent label; so is a label
/// from the response where there was none.
///
/// Its name is checked when the layer is built: for Prometheus it matches
/// `[a-zA-Z_][a-zA-Z0-9_]*` and is not one that the metrics have anyway. At
/// most [`MAX_LABELS`] go into a layer.
pub struct Label {
    name: &'static str,
    source: Source,
    /// How many values an enum has; 0 where requests bring them.
    known: u16,
    /// From a value to its number, and back.
    numbers: Table<u16>,
    texts: Box<[OnceLock<&'static str>]>,
}

/// The numbers of the empty value and of `_OTHER`; the others follow.
const EMPTY: u16 = 0;
const OVERFLOW: u16 = 1;
const FIRST: u16 = 2;

impl Label {
    /// A label from the request with at most `max` values (up to 65,000).
    pub fn from_request<F>(name: &'static str, max: u16, value: F) -> Self
    where
        F: for<'a> Fn(&RequestHead<'a>) -> Option<Cow<'a, str>> + Send + Sync + 'static,
    {
        Self::new(name, max, Source::Request(Box::new(value)))
    }

    /// A label from the response with at most `max` values (up to 65,000).
    pub fn from_response<F>(name: &'static str, max: u16, value: F) -> Self
    where
        F: for<'a> Fn(&ResponseHead<'a>) -> Option<Cow<'a, str>> + Send + Sync + 'static,
    {
        Self::new(name, max, Source::Response(Box::new(value)))
    }

    /// A label from the request whose values are those of an enum.
    pub fn enum_from_request<V, F>(name: &'static str, value: F) -> Self
    where
        V: LabelValue,
        F: Fn(&RequestHead<'_>) -> Option<V> + Send + Sync + 'static,
    {
        let source = Source::Request(Box::new(move |head| {
            value(head).map(|v| Cow::Borrowed(v.as_str()))
        }));
        Self::with_values::<V>(name, source)
    }

    /// A label from the response whose values are those of an enum.
    pub fn enum_from_response<V, F>(name: &'static str, value: F) -> Self
    where
        V: LabelValue,
        F: Fn(&ResponseHead<'_>) -> Option<V> + Send + Sync + 'static,
    {
        let source = Source::Response(Box::new(move |head| {
            value(head).map(|v| Cow::Borrowed(v.as_str()))
        }));
        Self::with_values::<V>(name, source)
    }

    fn new(name: &'static str, max: u16, source: Source) -> Self {
        let max = usize::from(max.min(65_000));
        Self {
            name,
            source,
            known: 0,
            numbers: Table::new(max),
            texts: (0..max).map(|_| OnceLock::new()).collect(),
        }
    }

    fn with_values<V: LabelValue>(name: &'static str, source: Source) -> Self {
        let max = u16::try_from(V::ALL.len()).unwrap_or(u16::MAX);
        let mut label = Self::new(name, max, source);
        for value in V::ALL {
            label.number(value.as_str());
        }
        // Values with the same text are one, and at most 65,000 have a place.
        label.known = label.numbers.len() as u16;
        label
    }

    /// The label's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How many values of an enum a request may have.
    fn known_to(&self, has_response: bool) -> u16 {
        match self.source {
            Source::Response(_) if !has_response => 0,
            _ => self.known,
        }
    }

    fn number(&self, value: &str) -> u16 {
        if value.is_empty() {
            return EMPTY;
        }
        let added = self.numbers.get_or_add(value, || {
            // Adding happens one at a time, so the length is the next number.
            let index = self.numbers.len();
            self.texts[index].get_or_init(|| String::from(value).leak());
            // At most 65,000 values: see `new`.
            index as u16 + FIRST
        });
        added.copied().unwrap_or(OVERFLOW)
    }

    fn text(&self, number: u16) -> &'static str {
        match number {
            EMPTY => "",
            OVERFLOW => OTHER,
            _ => self.texts[usize::from(number - FIRST)]
                .get()
                .copied()
                .unwrap_or(""),
        }
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Label")
            .field("name", &self.name)
            .field(
                "from",
                match self.source {
                    Source::Request(_) => &"request",
                    Source::Response(_) => &"response",
                },
            )
            .field("values", &self.numbers.len())
            .finish_non_exhaustive()
    }
}

/// The values of one request's labels, as numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct LabelNumbers([u16; MAX_LABELS]);

impl LabelNumbers {
    pub(crate) fn of_request<R: Recorder>(
        labels: &[Label],
        head: &RequestHead<'_>,
        recorder: &R,
    ) -> Self {
        let mut numbers = Self::default();
        for (label, number) in labels.iter().zip(&mut numbers.0) {
            if let Source::Request(value) = &label.source {
                *number = value(head).map_or(EMPTY, |value| label.number(&value));
                if *number == OVERFLOW {
                    recorder.overflowed(Limit::Label(label.name));
                }
            }
        }
        numbers
    }

    /// How many combinations [`known`](Self::known) gives.
    pub(crate) fn count_known(labels: &[Label], has_response: bool) -> usize {
        let values = labels.iter().map(|label| label.known_to(has_response));
        values.fold(1, |all, known| all.saturating_mul(usize::from(known) + 1))
    }

    /// Every combination of the values of enums that a request may have; it
    /// may have none of them, too.
    pub(crate) fn known(labels: &[Label], has_response: bool) -> Vec<Self> {
        let mut all = vec![Self::default()];
        for (index, label) in labels.iter().enumerate() {
            let numbers = FIRST..FIRST + label.known_to(has_response);
            let more: Vec<_> = numbers
                .flat_map(|number| {
                    all.iter().map(move |one| {
                        let mut one: Self = *one;
                        one.0[index] = number;
                        one
                    })
                })
                .collect();
            all.extend(more);
        }
        all
    }

    pub(crate) fn add_response<R: Recorder>(
        &mut self,
        labels: &[Label],
        head: &ResponseHead<'_>,
        recorder: &R,
    ) {
        for (label, number) in labels.iter().zip(&mut self.0) {
            if let Source::Response(value) = &label.source {
                *number = value(head).map_or(EMPTY, |value| label.number(&value));
                if *number == OVERFLOW {
                    recorder.overflowed(Limit::Label(label.name));
                }
            }
        }
    }
}

/// The custom labels of a request and their values.
#[derive(Clone, Copy, Debug)]
pub struct LabelValues<'a> {
    pub(crate) labels: &'a [Label],
    pub(crate) numbers: LabelNumbers,
}

impl LabelValues<'_> {
    /// No labels.
    #[cfg(all(test, loom))]
    pub(crate) const NONE: Self = Self {
        labels: &[],
        numbers: LabelNumbers([EMPTY; MAX_LABELS]),
    };

    /// Every label's name and value, in the order of the layer's builder.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.labels
            .iter()
            .zip(self.numbers.0)
            .map(|(label, number)| (label.name, label.text(number)))
    }

    /// A key that is equal exactly for equal values of the same layer's labels.
    #[inline]
    pub fn key(&self) -> LabelKey {
        LabelKey(self.labels.as_ptr().addr(), self.numbers)
    }
}

/// Stands for the values of a request's labels; see [`LabelValues::key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LabelKey(usize, LabelNumbers);

#[cfg(test)]
mod tests {
    use super::*;

    fn label(max: u16) -> Label {
        Label::from_request("tenant", max, |_| None)
    }

    #[test]
    fn values_beyond_the_cap_are_other() {
        let label = label(2);
        let numbers: Vec<_> = ["a", "b", "c", "a", ""]
            .map(|value| label.number(value))
            .into();
        let texts: Vec<_> = numbers.iter().map(|number| label.text(*number)).collect();
        assert_eq!(texts, ["a", "b", "_OTHER", "a", ""]);
    }

    #[test]
    fn a_label_without_places_is_always_other() {
        assert_eq!(label(0).number("a"), OVERFLOW);
    }
}
