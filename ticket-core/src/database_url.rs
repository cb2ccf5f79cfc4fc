//! Database URLs, validated so that no part of a password can reach a log.

use std::{fs::File, str::FromStr};

use sqlx::{
    postgres::{PgConnectOptions, PgSslMode},
    sqlite::SqliteConnectOptions,
};

use crate::Error;

/// Parameters of a PostgreSQL URL. sqlx logs the name and the value of any other.
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

/// Whether connections to PostgreSQL can use TLS.
pub(crate) const TLS: bool = cfg!(feature = "postgres-tls");
/// Completes an error if it is not [`TLS`].
pub(crate) const WITHOUT_TLS: &str =
    "this program was built without TLS: build it with `--features postgres-tls`";

/// The URL of a database.
pub(crate) enum DatabaseUrl {
    Sqlite(SqliteUrl),
    Postgres(PostgresUrl),
}

/// The URL of a SQLite file, `sqlite://PATH`.
pub(crate) struct SqliteUrl(String);

/// The URL of a PostgreSQL database, `postgres://USER:PASSWORD@HOST:PORT/DATABASE`.
pub(crate) struct PostgresUrl(String);

impl FromStr for DatabaseUrl {
    type Err = Error;

    /// Ignores one line break at the end, which secrets that are read from files often have.
    fn from_str(text: &str) -> Result<Self, Error> {
        let url = text.strip_suffix('\n').unwrap_or(text);
        let url = url.strip_suffix('\r').unwrap_or(url);
        check_control_characters(url)?;
        match url.split_once(':') {
            Some(("sqlite", _)) => Ok(Self::Sqlite(SqliteUrl(url.to_owned()))),
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres(PostgresUrl(url.to_owned()))),
            _ => Err(setup(
                "its URL must begin with sqlite: or postgres:".to_owned(),
            )),
        }
    }
}

impl SqliteUrl {
    pub(crate) fn options(&self) -> Result<SqliteConnectOptions, Error> {
        let Self(url) = self;
        let options = SqliteConnectOptions::from_str(url)
            .map_err(|error| setup(format!("its URL is not a valid SQLite URL: {error}")))?;
        let path = options.get_filename().to_string_lossy();
        if path.is_empty() {
            return Err(setup("its URL has no path".to_owned()));
        }
        check_control_characters(&path)?;
        if url.contains(":memory:") || url.contains("mode=memory") {
            return Err(setup(
                "its URL names a database in memory, but purchases must be on disk: use the path \
                 of a file"
                    .to_owned(),
            ));
        }
        Ok(options)
    }

    /// Returns whether the URL selects how SQLite accesses the file.
    pub(crate) fn has_file_options(&self) -> bool {
        let parameters = self.0.split_once('?').map_or("", |(_, query)| query);
        let mut names = parameters
            .split('&')
            .filter_map(|text| text.split('=').next());
        names.any(|name| matches!(name, "cache" | "immutable" | "vfs"))
    }
}

impl PostgresUrl {
    pub(crate) fn options(&self) -> Result<PgConnectOptions, Error> {
        let Self(url) = self;
        let rest = url.split_once("://").map_or("", |(_, rest)| rest);
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        // The user and password end at the last `@` of the authority.
        if rest.contains('@') || rest.contains('#') {
            return Err(setup(
                "its URL has an `@` or a `#` after the host: percent-encode special characters of \
                 the user and the password (`/` as %2F, `?` as %3F, `#` as %23, `@` as %40, `:` as \
                 %3A, `%` as %25)"
                    .to_owned(),
            ));
        }
        let parameters = rest.split_once('?').map_or("", |(_, query)| query);
        let mut root_certificate = false;
        for parameter in parameters.split('&').filter(|text| !text.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let is_root = matches!(name, "ssl-ca" | "ssl-root-cert" | "sslrootcert");
            let is_file = is_root || matches!(name, "ssl-cert" | "ssl-key" | "sslcert" | "sslkey");
            root_certificate |= is_root;
            // sqlx would report a missing file only when it connects, and without its name.
            if is_file && !value.contains('%') {
                File::open(value).map_err(|error| {
                    setup(format!(
                        "the file {value:?} of {name} cannot be read: {error}"
                    ))
                })?;
            }
            if !PARAMETERS.contains(&name) && !name.starts_with("options[") {
                return Err(setup(format!(
                    "its URL has an unknown parameter; these are allowed: {}",
                    PARAMETERS.join(", ")
                )));
            }
        }
        let options = PgConnectOptions::from_str(url).map_err(|error| {
            let hint = match authority.contains('@') {
                true => "; percent-encode special characters of the user and the password",
                false => "",
            };
            setup(format!("its URL is invalid: {error}{hint}"))
        })?;
        // libpq verifies with `require` if a certificate authority is named. sqlx does not.
        let options = match options.get_ssl_mode() {
            PgSslMode::Require | PgSslMode::Prefer if root_certificate => {
                options.ssl_mode(PgSslMode::VerifyCa)
            }
            _ => options,
        };
        check_tls(options.get_ssl_mode(), TLS)?;
        Ok(options)
    }
}

/// Rejects a mode that requires TLS in a program without it.
fn check_tls(mode: PgSslMode, available: bool) -> Result<(), Error> {
    match mode {
        PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull if !available => {
            Err(setup(format!("its URL requires TLS, but {WITHOUT_TLS}")))
        }
        _ => Ok(()),
    }
}

fn check_control_characters(text: &str) -> Result<(), Error> {
    match text.chars().find(|c| c.is_control()) {
        Some(control) => Err(setup(format!(
            "its URL contains the control character U+{:04X}",
            u32::from(control)
        ))),
        None => Ok(()),
    }
}

fn setup(problem: String) -> Error {
    Error::Setup { problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(url: &str) -> String {
        let parsed = url.parse::<DatabaseUrl>().and_then(|url| match url {
            DatabaseUrl::Sqlite(url) => url.options().map(drop),
            DatabaseUrl::Postgres(url) => url.options().map(drop),
        });
        parsed
            .err()
            .map_or(String::new(), |error| error.to_string())
    }

    #[test]
    fn an_error_does_not_contain_any_part_of_the_password() {
        for password in [
            "hunter2/x",
            "hunter2?x",
            "hunter2#x",
            "hunter2@x",
            "12/hunter2",
            "1?hunter2=x",
            "1#hunter2",
            "hunter2\n",
            "hunter2%",
            "hun ter2",
            "a:hunter2",
        ] {
            for url in [
                format!("postgres://ann:{password}@localhost/tickets"),
                format!("postgres://ann:{password}@localhost/tickets?sslmode=never"),
                format!("postgres://ann@localhost/tickets?passwd={password}"),
                format!("mysql://ann:{password}@localhost/tickets"),
            ] {
                let problem = problem(&url);
                assert!(!problem.contains("unter2"), "{url}: {problem}");
            }
        }
        let problem = problem("postgres://ann:12/34@localhost/tickets");
        assert!(problem.contains("percent-encode"), "{problem}");
    }

    #[test]
    fn one_trailing_line_break_is_ignored_and_other_control_characters_are_rejected() {
        for url in ["sqlite://t.db\n", "sqlite://t.db\r\n"] {
            let Ok(DatabaseUrl::Sqlite(url)) = url.parse() else {
                panic!("{url:?}")
            };
            assert_eq!(url.options().unwrap().get_filename().to_str(), Some("t.db"));
        }
        for url in [
            "sqlite://t.db\n\n",
            "sqlite://t\0.db",
            "postgres://a\tb@localhost/x",
            "sqlite://t%0A.db",
        ] {
            assert!(problem(url).contains("control character"), "{url:?}");
        }
    }

    #[test]
    fn a_database_without_a_file_is_rejected() {
        for url in ["sqlite:", "sqlite://", "sqlite://?mode=rwc"] {
            assert!(problem(url).contains("no path"), "{url}");
        }
        for url in ["sqlite::memory:", "sqlite://x.db?mode=memory"] {
            assert!(problem(url).contains("in memory"), "{url}");
        }
    }

    #[test]
    fn a_named_certificate_authority_is_used() {
        let authority = tempfile::NamedTempFile::new().unwrap();
        let authority = authority.path().display().to_string();
        for (parameters, mode) in [
            ("?sslmode=require", "Require"),
            ("?sslmode=require&sslrootcert=ca.pem", "VerifyCa"),
            ("?sslrootcert=ca.pem", "VerifyCa"),
            ("?sslmode=verify-full&sslrootcert=ca.pem", "VerifyFull"),
            ("?sslmode=disable&sslrootcert=ca.pem", "Disable"),
        ] {
            let url = PostgresUrl(format!(
                "postgres://localhost/x{}",
                parameters.replace("ca.pem", &authority)
            ));
            let options = url.options().unwrap();
            assert_eq!(
                format!("{:?}", options.get_ssl_mode()),
                mode,
                "{parameters}"
            );
        }
    }

    #[test]
    fn a_program_without_tls_rejects_the_modes_that_require_it() {
        use PgSslMode::{Allow, Disable, Prefer, Require, VerifyCa, VerifyFull};
        for mode in [Disable, Allow, Prefer] {
            check_tls(mode, false).unwrap();
        }
        for mode in [Require, VerifyCa, VerifyFull] {
            check_tls(mode, true).unwrap();
            let problem = check_tls(mode, false).unwrap_err().to_string();
            assert!(problem.contains("--features postgres-tls"), "{problem}");
        }
    }
}
