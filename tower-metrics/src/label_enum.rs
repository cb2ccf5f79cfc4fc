//! Macro that declares an enum of label values.

/// Declares an enum and implements [`LabelValue`](crate::LabelValue) for it.
///
/// Each variant is followed by the text of its label value. Attributes, doc
/// comments and a visibility are passed on to the enum, which derives `Clone`,
/// `Copy`, `Debug`, `PartialEq` and `Eq`.
///
/// # Examples
///
/// ```
/// use tower_metrics::{Label, label_enum};
///
/// label_enum! {
///     /// Plan of a customer.
///     pub enum Plan {
///         Free = "free",
///         Paid = "paid",
///     }
/// }
///
/// let plan = Label::enum_from_request("plan", |head| {
///     Some(match head.headers.contains_key("x-paid") {
///         true => Plan::Paid,
///         false => Plan::Free,
///     })
/// });
/// ```
#[macro_export]
macro_rules! label_enum {
    (
        $(#[$attribute:meta])*
        $visibility:vis enum $name:ident {
            $($(#[$variant_attribute:meta])* $variant:ident = $text:literal),+ $(,)?
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $visibility enum $name {
            $($(#[$variant_attribute])* $variant,)+
        }

        impl $crate::LabelValue for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}
