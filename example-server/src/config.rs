//! Flags, environment variables and commands.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ticket_core::Commit;

/// A ticket platform that shows tower-metrics at work.
///
/// Without a command it runs `demo`.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    demo: Demo,
}

impl Cli {
    pub(crate) fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Demo(self.demo))
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the API and the ops port, calm and without traffic
    Serve(Serve),
    /// Serve with sample concerts, `everyday` faults and traffic (the default)
    Demo(Demo),
    /// Send traffic to a server, open loop, and report what came back
    Load(Load),
    /// Show a server's faults, or change them
    Faults(Faults),
    /// Write the Grafana dashboards, the Prometheus rules and the runbook
    Dashboards(Dashboards),
    /// Print the OpenAPI document
    Openapi,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where the API listens
    #[arg(long, env = "LISTEN", value_name = "IP:PORT", value_parser = address, default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// Where metrics, probes, faults and the live page listen
    #[arg(long, env = "OPS_LISTEN", value_name = "IP:PORT", value_parser = address, default_value = "127.0.0.1:9464")]
    pub(crate) ops_listen: SocketAddr,
    /// sqlite://FILE (created when missing) or postgres://USER@HOST/DATABASE
    #[arg(
        long,
        env = "DATABASE_URL",
        value_name = "URL",
        default_value = "sqlite://tickets.db",
        hide_env_values = true
    )]
    pub(crate) database_url: String,
    /// How purchases are committed: `group` takes those that wait together, `each` one by one
    #[arg(
        long,
        env = "COMMIT",
        value_name = "group|each",
        default_value = "group"
    )]
    pub(crate) commit: Commit,
    /// A faults document in TOML or JSON, read again whenever it changes
    #[arg(long, env = "FAULTS", value_name = "FILE")]
    pub(crate) faults: Option<PathBuf>,
    /// The bearer token that POST /concerts and changes on the ops port then need
    #[arg(
        long,
        env = "ADMIN_TOKEN",
        value_name = "TOKEN",
        value_parser = token,
        hide_env_values = true
    )]
    pub(crate) admin_token: Option<String>,
    /// How long to go on serving after SIGTERM while /readyz already says no
    #[arg(long, env = "DRAIN", value_name = "DURATION", value_parser = duration, default_value = "0s")]
    pub(crate) drain: Duration,
    /// When a request is given up and answered with 504
    #[arg(long, env = "REQUEST_TIMEOUT", value_name = "DURATION", value_parser = positive_duration, default_value = "10s")]
    pub(crate) request_timeout: Duration,
    /// How many requests may be worked on at once; the rest are shed with 503
    #[arg(long, env = "MAX_CONCURRENCY", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000), default_value = "1024")]
    pub(crate) max_concurrency: u32,
    #[command(flatten)]
    pub(crate) log: Log,
}

#[derive(Debug, Args)]
pub(crate) struct Log {
    /// How log lines are written
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// What is logged, as in `info` or `info,example_server=debug` (a line for each request)
    #[arg(long, env = "RUST_LOG", value_name = "FILTER", default_value = "info")]
    pub(crate) log: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    #[command(flatten)]
    pub(crate) serve: Serve,
    /// Requests a second, on average; the traffic swings around it
    #[arg(long, env = "DEMO_RATE", value_name = "PER_SECOND", value_parser = rate, default_value = "40")]
    pub(crate) rate: f64,
}

#[derive(Debug, Args)]
pub(crate) struct Load {
    /// The API to send traffic to
    #[arg(long, env = "LOAD_URL", default_value = "http://127.0.0.1:8080", value_parser = url)]
    pub(crate) url: http::Uri,
    /// Requests a second, whatever the server makes of them
    #[arg(long, env = "LOAD_RATE", value_name = "PER_SECOND", value_parser = rate, default_value = "200")]
    pub(crate) rate: f64,
    /// For how long
    #[arg(long, env = "LOAD_DURATION", value_name = "DURATION", value_parser = positive_duration, default_value = "30s")]
    pub(crate) duration: Duration,
    /// How many requests may be under way at once; a request that finds no free user waits, and
    /// its wait counts
    #[arg(long, env = "LOAD_USERS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000), default_value = "64")]
    pub(crate) users: u32,
    /// The seed of the mix of requests, to send the same one again
    #[arg(long, env = "LOAD_SEED", value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Print the report as JSON, and no progress bar
    #[arg(long, env = "LOAD_JSON")]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Dashboards {
    /// The folder that they are written to
    #[arg(
        long,
        env = "DASHBOARDS_OUT",
        value_name = "DIRECTORY",
        default_value = "k8s"
    )]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Faults {
    /// The server's ops port
    #[arg(long, env = "OPS_URL", default_value = "http://127.0.0.1:9464", value_parser = url, global = true)]
    pub(crate) url: http::Uri,
    /// The server's token, where it has one
    #[arg(
        long,
        env = "ADMIN_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true,
        global = true
    )]
    pub(crate) admin_token: Option<String>,
    #[command(subcommand)]
    pub(crate) action: Option<FaultsAction>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FaultsAction {
    /// Print the document in force (the default)
    Get,
    /// Put a preset in force, or the document in a file
    Set {
        /// A preset's name, or a file in TOML or JSON
        source: String,
    },
    /// List the presets
    Presets,
    /// Check a file without touching a server
    Check {
        /// The file, in TOML or JSON
        file: PathBuf,
    },
}

/// Why a flag's value is refused.
#[derive(Debug)]
struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

fn address(text: &str) -> Result<SocketAddr, Refused> {
    text.parse().map_err(|_| {
        Refused("an IP address and a port are allowed, as in 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:8080; port 0 takes a free one".into())
    })
}

fn token(text: &str) -> Result<String, Refused> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Refused(
            "visible ASCII characters without spaces are allowed, at least one".into(),
        ));
    }
    Ok(text.to_owned())
}

fn duration(text: &str) -> Result<Duration, Refused> {
    let parsed = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => text
            .parse::<jiff::SignedDuration>()
            .ok()
            .and_then(|duration| Duration::try_from(duration).ok()),
    };
    parsed
        .filter(|duration| *duration <= Duration::from_secs(7 * 24 * 3600))
        .ok_or_else(|| {
            Refused("a time from 0 to 7 days is allowed, as in 500ms, 30s, 2m or 1h 30m; a bare number counts seconds".into())
        })
}

fn positive_duration(text: &str) -> Result<Duration, Refused> {
    let duration = duration(text)?;
    if duration.is_zero() {
        return Err(Refused("it must be longer than nothing".into()));
    }
    Ok(duration)
}

fn rate(text: &str) -> Result<f64, Refused> {
    text.parse()
        .ok()
        .filter(|rate: &f64| (0.1..=1_000_000.0).contains(rate))
        .ok_or_else(|| Refused("a number from 0.1 to 1000000 is allowed".into()))
}

fn url(text: &str) -> Result<http::Uri, Refused> {
    let refused = || {
        Refused(
            "a base address is allowed, as in http://127.0.0.1:8080 (plain HTTP, no path)".into(),
        )
    };
    let uri: http::Uri = text.parse().map_err(|_| refused())?;
    let plain = uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty());
    match uri.path_and_query().map_or("/", |path| path.as_str()) {
        "/" if plain => Ok(uri),
        _ => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Command, String> {
        Cli::try_parse_from([&["example-server"], arguments].concat())
            .map(Cli::into_command)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_command_it_is_the_demo_with_its_flags() {
        let Ok(Command::Demo(demo)) = parse(&["--listen", "127.0.0.1:0", "--rate", "5"]) else {
            panic!("no demo");
        };
        assert_eq!(demo.serve.listen, "127.0.0.1:0".parse().unwrap());
        assert_eq!(demo.rate, 5.0);
    }

    #[test]
    fn every_flag_is_an_environment_variable_too() {
        fn check(command: &clap::Command) {
            for argument in command.get_arguments() {
                let id = argument.get_id().as_str();
                if argument.is_positional() || ["help", "version"].contains(&id) {
                    continue;
                }
                assert!(argument.get_env().is_some(), "--{id} of {command}");
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn a_refused_value_is_named_with_what_is_allowed() {
        for (arguments, says) in [
            (["serve", "--listen", "localhost"], "127.0.0.1:8080"),
            (["serve", "--commit", "some"], "group"),
            (["serve", "--drain", "soon"], "500ms"),
            (["serve", "--drain", "8 days"], "from 0 to 7 days"),
            (["serve", "--request-timeout", "0s"], "longer than nothing"),
            (["serve", "--max-concurrency", "0"], "1..=1000000"),
            (["serve", "--admin-token", ""], "at least one"),
            (["serve", "--log-format", "xml"], "text, json"),
            (["load", "--rate", "0"], "0.1 to 1000000"),
            (["load", "--url", "https://example.com"], "plain HTTP"),
            (["load", "--url", "127.0.0.1:8080"], "http://"),
        ] {
            let error = parse(&arguments).unwrap_err();
            assert!(error.contains(says), "{arguments:?}: {error}");
            assert!(error.contains(arguments[1]), "{error}");
        }
    }

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, expected) in [
            ("0", Duration::ZERO),
            ("1.5", Duration::from_millis(1500)),
            ("500ms", Duration::from_millis(500)),
            ("2m", Duration::from_secs(120)),
            ("1h 30m", Duration::from_secs(5400)),
        ] {
            assert_eq!(duration(text).unwrap(), expected, "{text}");
        }
    }
}
