//! Ids of concerts and purchases.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Error, text};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            pub(crate) fn new() -> Self {
                Self(Uuid::now_v7())
            }

            pub(crate) const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            /// Returns the UUID.
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Uuid::try_parse(text).map(Self).map_err(|_| {
                    let detail = format!("{} is not allowed: expected a UUID", text::quote(text));
                    Error::invalid($what, detail)
                })
            }
        }
    };
}

id! {
    /// Id of a concert, a UUIDv7: later ids sort after earlier ones.
    ConcertId, "concert_id"
}
id! {
    /// Id of a purchase, a UUIDv7 that is generated before the purchase is committed.
    PurchaseId, "purchase_id"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_not_a_uuid_is_rejected_with_what_is_expected() {
        let error = "nope".parse::<ConcertId>().unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"concert_id: "nope" is not allowed: expected a UUID"#
        );
    }
}
