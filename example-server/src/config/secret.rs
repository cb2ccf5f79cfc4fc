//! Values that may contain a secret, which errors and `Debug` output do not show.

use std::ffi::OsStr;
use std::fmt;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};

use super::value::{InvalidValue, check_controls, without_line_break};

/// Parses a value that may contain a secret.
///
/// The errors of clap's own parsers quote the rejected value; the errors of this one do not. One
/// trailing line break is removed first, because secrets that come from files usually end with one.
pub(super) struct SecretParser<T>(pub(super) fn(&str) -> Result<T, InvalidValue>);

impl<T> Clone for SecretParser<T> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for SecretParser<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<T, Error> {
        let parsed = match value.to_str() {
            Some(text) => (self.0)(without_line_break(text)),
            None => Err(InvalidValue::new("the value is not valid UTF-8")),
        };
        parsed.map_err(|reason| {
            let argument = argument.map_or_else(String::new, ToString::to_string);
            let message = format!("invalid value for '{argument}': {reason}\n");
            Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        })
    }
}

/// Bearer token that authorizes changes. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct AdminToken(String);

impl AdminToken {
    /// # Errors
    ///
    /// Returns an error if `text` is empty or contains anything but visible ASCII characters, which
    /// is all that an `Authorization` header can carry.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidValue> {
        check_controls(text)?;
        if text.is_empty() {
            return Err(InvalidValue::new("the token is empty"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidValue::new(
                "the token must consist of visible ASCII characters without spaces",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(..)")
    }
}

/// URL of a database, with the password that it may contain. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct DatabaseUrl(String);

impl DatabaseUrl {
    /// Checks the characters only; [`Tickets::open`](ticket_core::Tickets::open) parses the URL.
    ///
    /// # Errors
    ///
    /// Returns an error if `text` contains a control character.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidValue> {
        check_controls(text)?;
        Ok(Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_secret_is_not_part_of_the_error() {
        for token in ["", "hunter2 hunter2", "hunter2\n", "hünter2", "hunter2\0"] {
            let error = AdminToken::parse(token).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        for url in [
            "postgres://ada:hunter2@db/tickets\n",
            "sqlite://hunter2\n.db",
        ] {
            let error = DatabaseUrl::parse(url).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{url}: {error}");
            assert!(!error.contains('\n'), "{error:?}");
        }
    }

    #[test]
    fn debug_output_does_not_show_a_secret() {
        let token = AdminToken::parse("hunter2").unwrap();
        let url = DatabaseUrl::parse("postgres://ada:hunter2@db/tickets").unwrap();
        assert!(!format!("{token:?} {url:?}").contains("hunter2"));
    }
}
