//! Values that may contain a secret. Neither an error nor `Debug` output shows them.

use std::ffi::OsStr;
use std::fmt;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};

use super::value::InvalidValue;

/// Parses a value that may contain a secret.
///
/// The errors of clap's own parsers quote the refused value; the errors of this one do not. One
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

fn without_line_break(text: &str) -> &str {
    let line = text.strip_suffix('\n').unwrap_or(text);
    line.strip_suffix('\r').unwrap_or(line)
}

/// Returns an error that names the position of the first control character, if there is one.
pub(super) fn check_controls(text: &str) -> Result<(), InvalidValue> {
    match text.chars().position(char::is_control) {
        None => Ok(()),
        Some(at) => Err(InvalidValue::new(format!(
            "character {} is a control character such as a line break",
            at + 1
        ))),
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

/// Query parameters of a PostgreSQL URL. The driver logs all others with their values, and what
/// follows an unescaped `?` or `&` in a password would be among them.
const PARAMETERS: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

const ENCODE: &str = "percent-encode reserved characters in the user name, the password and \
    parameters: `%` as `%25`, `@` as `%40`, `:` as `%3A`, `/` as `%2F`, `?` as `%3F`, `#` as `%23`, \
    `&` as `%26`";

impl DatabaseUrl {
    /// # Errors
    ///
    /// Returns an error if `text` contains control characters, has another scheme than `sqlite` or
    /// `postgres`, or is a PostgreSQL URL whose parts cannot be separated reliably because a
    /// reserved character is not percent-encoded.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidValue> {
        check_controls(text)?;
        let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
        match scheme {
            "sqlite" => {}
            "postgres" | "postgresql" => check_postgres(&text[scheme.len() + 1..])?,
            _ => {
                return Err(InvalidValue::new(
                    "the URL must start with `sqlite:` or `postgres:`",
                ));
            }
        }
        Ok(Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Checks what follows `postgres:`.
fn check_postgres(rest: &str) -> Result<(), InvalidValue> {
    let invalid = |problem: &str| Err(InvalidValue::new(format!("{problem}; {ENCODE}")));
    let Some(rest) = rest.strip_prefix("//") else {
        return invalid("a PostgreSQL URL starts with `postgres://`");
    };
    if rest.contains('#') {
        return invalid("a PostgreSQL URL has no fragment, but this one contains `#`");
    }
    if rest.contains(char::is_whitespace) {
        return invalid("the URL contains a space");
    }
    let (location, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = location.split_once('/').unwrap_or((location, ""));
    if authority.matches('@').count() > 1 || database.contains('@') {
        return invalid("the host cannot be determined, because `@` occurs more than once or late");
    }
    let is_escaped = |text: &str| {
        text.split('%').skip(1).all(|rest| {
            let digits = rest.as_bytes().get(..2);
            digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        })
    };
    if !is_escaped(rest) {
        return invalid("a `%` is not followed by two hexadecimal digits");
    }
    let names = query.split('&').filter(|parameter| !parameter.is_empty());
    let mut names = names.map(|parameter| parameter.split_once('=').map_or("", |(name, _)| name));
    if names.any(|name| !PARAMETERS.contains(&name) && !name.starts_with("options[")) {
        return invalid(&format!(
            "a query parameter is not one of {}",
            PARAMETERS.join(", ")
        ));
    }
    Ok(())
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
    fn one_trailing_line_break_is_removed_and_no_more() {
        for (text, expected) in [
            ("s3cret", "s3cret"),
            ("s3cret\n", "s3cret"),
            ("s3cret\r\n", "s3cret"),
            ("s3cret\n\n", "s3cret\n"),
            (" s3cret", " s3cret"),
        ] {
            assert_eq!(without_line_break(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_refused_secret_is_not_part_of_the_error() {
        for token in ["", "hunter2 hunter2", "hunter2\n", "hünter2", "hunter2\0"] {
            let error = AdminToken::parse(token).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        for url in [
            "hunter2",
            "mysql://ada:hunter2@db/tickets",
            "postgres:ada:hunter2@db",
            "postgres://ada:hunter2#@db/tickets",
            "postgres://ada:hunter2?@db/tickets",
            "postgres://ada:hunter2?x=1@db/tickets",
            "postgres://ada:hunter2/@db/tickets",
            "postgres://ada:hunter2@@db/tickets",
            "postgres://ada:hunter2%@db/tickets",
            "postgres://ada:hunter2%zz@db/tickets",
            "postgres://ada:hunter2 x@db/tickets",
            "postgres://ada@db/tickets?password=x&hunter2",
            "postgres://ada@db/tickets?password=x&hunter2=1",
            "postgres://ada:hunter2@db/tickets\n",
            "sqlite://hunter2\n.db",
        ] {
            let error = DatabaseUrl::parse(url).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{url}: {error}");
            assert!(!error.contains('\n'), "{error:?}");
        }
    }

    #[test]
    fn usual_database_urls_are_accepted() {
        for url in [
            "sqlite://tickets.db",
            "sqlite:///var/lib/my tickets.db?mode=rwc",
            "postgres://ada@db/tickets",
            "postgresql://ada:p%40ss%23@[::1]:5432/tickets?sslmode=require",
            "postgres://ada@/tickets?host=/var/run/postgresql&options[jit]=off",
            "postgres://db",
        ] {
            assert_eq!(DatabaseUrl::parse(url).unwrap().as_str(), url);
        }
    }

    #[test]
    fn debug_output_does_not_show_a_secret() {
        let token = AdminToken::parse("hunter2").unwrap();
        let url = DatabaseUrl::parse("postgres://ada:hunter2@db/tickets").unwrap();
        assert!(!format!("{token:?} {url:?}").contains("hunter2"));
    }
}
