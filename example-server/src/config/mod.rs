//! Command line: commands, flags and their environment variables.

mod secret;
mod value;

use std::env;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use ticket_core::Commit;

use secret::SecretParser;
pub(crate) use secret::{AdminToken, DatabaseUrl};
use value::{PathParser, address, duration, percent, positive_duration, rate};

/// Ticket platform that demonstrates tower-metrics
///
/// Runs `demo` if no command is given.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    demo: Demo,
}

impl Cli {
    /// Parses the command line of this process. Exits after an error, the help or the version.
    pub(crate) fn parse_command() -> Command {
        Self::try_parse_command(env::args_os().collect()).unwrap_or_else(|error| error.exit())
    }

    fn try_parse_command(arguments: Vec<OsString>) -> Result<Command, clap::Error> {
        let mut parser = Self::command();
        let name = arguments.get(1);
        if name.is_some_and(|name| parser.find_subcommand(name).is_some()) {
            // Flags without a command are those of `demo`. Other commands must not fail because of
            // their variables.
            parser = parser.mut_args(|argument| argument.env(None));
        }
        let cli = Self::from_arg_matches(&parser.try_get_matches_from(arguments)?)?;
        Ok(cli.command.unwrap_or(Command::Demo(cli.demo)))
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the API and the ops port, without faults or generated traffic
    Serve(Serve),
    /// Run the server with sample concerts, the `everyday` faults and generated traffic (default)
    Demo(Demo),
    /// Send requests to a server at a fixed rate and report status codes and latencies
    ///
    /// The load is open loop: requests start on schedule, no matter how fast the server responds, and
    /// latencies are measured from the scheduled start. SIGINT or SIGTERM ends the run early and prints
    /// the report; a second signal does not wait for outstanding responses.
    ///
    /// Exits with status 1 if more requests failed than --max-failures allows. A request has failed if
    /// the response is a 5xx, if there is no complete response, or if it could not be sent in time.
    Load(Load),
    /// Measure how many purchases a server completes under overload
    ///
    /// Starts a server and measures its maximum number of purchases per second with few clients, and
    /// then its purchases per second with many clients that send the next request as soon as the
    /// previous one has ended, refused or not. On Linux with at least two processors, the server and
    /// the clients run on different ones.
    Overload(Overload),
    /// Show or change the injected faults of a running server
    Faults(Faults),
    /// List, show and check scenarios, or play them on a running server
    Scenarios(Scenarios),
    /// Generate the Grafana dashboards, the Prometheus rules and the runbook
    Dashboards(Dashboards),
    /// Print the OpenAPI document
    Openapi,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Address of the API
    #[arg(long, env = "LISTEN", value_name = "IP:PORT", value_parser = address, default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// Address of the ops port: metrics, probes, faults and the live page
    #[arg(long, env = "OPS_LISTEN", value_name = "IP:PORT", value_parser = address, default_value = "127.0.0.1:9464")]
    pub(crate) ops_listen: SocketAddr,
    /// Database: sqlite://FILE (created if missing) or postgres://USER:PASSWORD@HOST/DATABASE
    ///
    /// Reserved characters in the user name and the password must be percent-encoded, for example
    /// `@` as `%40`.
    #[arg(
        long,
        env = "DATABASE_URL",
        value_name = "URL",
        value_parser = SecretParser(DatabaseUrl::parse),
        default_value = "sqlite://tickets.db",
        hide_env_values = true
    )]
    pub(crate) database_url: DatabaseUrl,
    /// How to commit purchases: waiting purchases together (`group`) or one at a time (`each`)
    #[arg(
        long,
        env = "COMMIT",
        value_name = "group|each",
        value_parser = value::commit,
        default_value = "group"
    )]
    pub(crate) commit: Commit,
    /// Faults to inject: a TOML or JSON file of at most 1 MiB, reloaded when it changes
    #[arg(long, env = "FAULTS", value_name = "FILE", value_parser = PathParser)]
    pub(crate) faults: Option<PathBuf>,
    /// Scenario to play, a timeline of faults: a name that `scenarios` lists, or a TOML file
    #[arg(long, env = "SCENARIO", value_name = "NAME|FILE", value_parser = PathParser, conflicts_with = "faults")]
    pub(crate) scenario: Option<PathBuf>,
    /// Bearer token required by POST /concerts and by changes on the ops port
    ///
    /// Without a token, these are allowed only if both addresses are loopback addresses.
    #[arg(
        long,
        env = "ADMIN_TOKEN",
        value_name = "TOKEN",
        value_parser = SecretParser(AdminToken::parse),
        hide_env_values = true
    )]
    pub(crate) admin_token: Option<AdminToken>,
    /// Time after SIGTERM during which the API accepts requests while /readyz already fails
    #[arg(long, env = "DRAIN", value_name = "DURATION", value_parser = duration, default_value = "0s")]
    pub(crate) drain: Duration,
    /// Maximum duration of a request that is admitted, after which the server responds with 504
    #[arg(long, env = "REQUEST_TIMEOUT", value_name = "DURATION", value_parser = positive_duration, default_value = "10s")]
    pub(crate) request_timeout: Duration,
    /// Maximum number of concurrent requests; further requests wait for up to --queue-timeout
    #[arg(long, env = "MAX_CONCURRENCY", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000), default_value = "1024")]
    pub(crate) max_concurrency: u32,
    #[command(flatten)]
    pub(crate) connections: Connections,
    #[command(flatten)]
    pub(crate) log: Log,
}

/// Limits of connections. They protect the API and the ops port against slow clients.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connections")]
pub(crate) struct Connections {
    /// Maximum number of open connections to the API
    ///
    /// Further ones wait while idle connections are closed to make room, and are rejected if none
    /// closes within three seconds. The server lowers the limit to fit the open file limit (`ulimit -n`).
    #[arg(long, env = "MAX_CONNECTIONS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000), default_value = "8192")]
    pub(crate) max_connections: u32,
    /// Time that a request may wait to be admitted before it is shed with 503
    ///
    /// Requests wait while --max-concurrency requests are in progress. At most 1,000 requests per
    /// second are shed, because shedding takes processor time as well; others wait longer.
    #[arg(long, env = "QUEUE_TIMEOUT", value_name = "DURATION", value_parser = duration, default_value = "1s")]
    pub(crate) queue_timeout: Duration,
    /// Time for a request head to arrive, after which the connection is closed
    #[arg(long, env = "HEADER_TIMEOUT", value_name = "DURATION", value_parser = positive_duration, default_value = "10s")]
    pub(crate) header_timeout: Duration,
    /// Time for a request body to arrive, after which the server responds with 408
    #[arg(long, env = "BODY_TIMEOUT", value_name = "DURATION", value_parser = positive_duration, default_value = "10s")]
    pub(crate) body_timeout: Duration,
    /// Time that a connection may be idle between requests
    ///
    /// The default is longer than the 600 s of Google's load balancers, which would otherwise reuse
    /// connections that the server is closing.
    #[arg(long, env = "KEEP_ALIVE", value_name = "DURATION", value_parser = positive_duration, default_value = "620s")]
    pub(crate) keep_alive: Duration,
    /// Time that a client may leave a response unread, after which the connection is closed
    #[arg(long, env = "WRITE_TIMEOUT", value_name = "DURATION", value_parser = positive_duration, default_value = "30s")]
    pub(crate) write_timeout: Duration,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Logging")]
pub(crate) struct Log {
    /// Format of log lines
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// Log filter, such as `info` or `info,example_server=debug` (which logs every request)
    #[arg(long, env = "RUST_LOG", value_name = "FILTER", value_parser = value::log_filter, default_value = value::DEFAULT_LOG_FILTER)]
    pub(crate) log: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Human-readable lines
    Text,
    /// One JSON object per line
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    #[command(flatten)]
    pub(crate) serve: Serve,
    /// Average request rate of the generated traffic, which varies over time
    #[arg(long, help_heading = "Traffic", env = "DEMO_RATE", value_name = "PER_SECOND", value_parser = rate, default_value = "40")]
    pub(crate) rate: f64,
}

#[derive(Debug, Args)]
pub(crate) struct Load {
    /// Base URL of the API
    #[arg(long, env = "LOAD_URL", default_value = "http://127.0.0.1:8080", value_parser = SecretParser(value::url), hide_env_values = true)]
    pub(crate) url: http::Uri,
    /// Request rate
    #[arg(long, env = "LOAD_RATE", value_name = "PER_SECOND", value_parser = rate, default_value = "200")]
    pub(crate) rate: f64,
    /// Duration of the run
    #[arg(long, env = "LOAD_DURATION", value_name = "DURATION", value_parser = positive_duration, default_value = "30s")]
    pub(crate) duration: Duration,
    /// Maximum number of concurrent requests
    ///
    /// A request that is due while this many are in flight waits, and the wait counts as latency.
    #[arg(long, env = "LOAD_USERS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000), default_value = "64")]
    pub(crate) users: u32,
    /// Time limit for a response
    #[arg(long, env = "LOAD_TIMEOUT", value_name = "DURATION", value_parser = positive_duration, default_value = "15s")]
    pub(crate) timeout: Duration,
    /// Percentage of requests that may fail before the exit status is 1
    #[arg(long, env = "LOAD_MAX_FAILURES", value_name = "PERCENT", value_parser = percent, default_value = "0")]
    pub(crate) max_failures: f64,
    /// Seed of the request mix; the same seed sends the same requests
    #[arg(long, env = "LOAD_SEED", value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Print the report as JSON, without a progress bar
    #[arg(long, env = "LOAD_JSON")]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Overload {
    /// Number of clients
    #[arg(long, env = "OVERLOAD_CLIENTS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000), default_value = "2000")]
    pub(crate) clients: u32,
    /// Duration of each measurement
    #[arg(long, env = "OVERLOAD_DURATION", value_name = "DURATION", value_parser = positive_duration, default_value = "5s")]
    pub(crate) duration: Duration,
    /// Number of rounds
    #[arg(long, env = "OVERLOAD_ROUNDS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100), default_value = "3")]
    pub(crate) rounds: u32,
    /// Database of the server [default: a temporary SQLite file]
    #[arg(
        long,
        env = "OVERLOAD_DATABASE_URL",
        value_name = "URL",
        value_parser = SecretParser(DatabaseUrl::parse),
        hide_env_values = true
    )]
    pub(crate) database_url: Option<DatabaseUrl>,
    /// Print the report as JSON
    #[arg(long, env = "OVERLOAD_JSON")]
    pub(crate) json: bool,
    /// Further flags of `serve`, such as `-- --max-concurrency 128`
    #[arg(last = true, value_name = "FLAG")]
    pub(crate) serve: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Dashboards {
    /// Output directory
    #[arg(
        long,
        env = "DASHBOARDS_OUT",
        value_name = "DIRECTORY",
        value_parser = PathParser,
        default_value = "k8s"
    )]
    pub(crate) out: PathBuf,
    /// Read the native histogram of the request duration, for Prometheus 3 with
    /// `scrape_native_histograms: true`
    ///
    /// Grafana dashboards and rules then have no result where Prometheus scrapes classic histograms only. Files for
    /// Google Cloud keep to the classic histogram.
    #[arg(long, env = "DASHBOARDS_NATIVE_HISTOGRAMS")]
    pub(crate) native_histograms: bool,
}

/// The ops port of a running server.
#[derive(Debug, Args)]
pub(crate) struct OpsTarget {
    /// Base URL of the ops port
    #[arg(long, env = "OPS_URL", default_value = "http://127.0.0.1:9464", value_parser = SecretParser(value::url), hide_env_values = true, global = true)]
    pub(crate) url: http::Uri,
    /// Admin token of the server
    #[arg(
        long,
        env = "ADMIN_TOKEN",
        value_name = "TOKEN",
        value_parser = SecretParser(AdminToken::parse),
        hide_env_values = true,
        global = true
    )]
    pub(crate) admin_token: Option<AdminToken>,
}

#[derive(Debug, Args)]
pub(crate) struct Faults {
    #[command(flatten)]
    pub(crate) target: OpsTarget,
    #[command(subcommand)]
    pub(crate) action: Option<FaultsAction>,
}

#[derive(Debug, Args)]
pub(crate) struct Scenarios {
    #[command(flatten)]
    pub(crate) target: OpsTarget,
    #[command(subcommand)]
    pub(crate) action: Option<ScenariosAction>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ScenariosAction {
    /// List the scenarios that need no file (default)
    List,
    /// Print a scenario
    Show {
        /// Name of a scenario, or path of a TOML file
        #[arg(value_name = "NAME|FILE", value_parser = PathParser)]
        source: PathBuf,
    },
    /// Validate a file and print its timeline, without contacting a server
    Check {
        /// Path of a TOML file
        #[arg(value_parser = PathParser)]
        file: PathBuf,
    },
    /// Print the step in force on a running server
    Status,
    /// Start a scenario on a running server
    Play {
        /// Name of a scenario
        name: String,
    },
    /// End the scenario on a running server and restore the faults from before it
    Stop,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FaultsAction {
    /// Print the active faults document (default)
    Get,
    /// Activate a preset or the document in a file
    Set {
        /// Name of a preset, or path of a TOML or JSON file
        source: String,
    },
    /// List the presets
    Presets,
    /// Validate a file without contacting a server
    Check {
        /// Path of a TOML or JSON file
        file: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Command, String> {
        let arguments = [&["example-server"], arguments].concat();
        Cli::try_parse_command(arguments.iter().map(OsString::from).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_demo_is_the_default_command_and_accepts_its_flags() {
        let Ok(Command::Demo(demo)) = parse(&["--listen", "127.0.0.1:0", "--rate", "5"]) else {
            panic!("no demo");
        };
        assert_eq!(demo.serve.listen, "127.0.0.1:0".parse().unwrap());
        assert_eq!(demo.rate, 5.0);
    }

    #[test]
    fn every_flag_has_an_environment_variable() {
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
    fn an_invalid_value_is_reported_with_the_allowed_values() {
        for (arguments, says) in [
            (["serve", "--listen", "localhost"], "127.0.0.1:8080"),
            (["serve", "--commit", "some"], "group"),
            (["serve", "--drain", "soon"], "500ms"),
            (["serve", "--drain", "7d"], "from 0 to 168h"),
            (["serve", "--request-timeout", "0s"], "longer than 0"),
            (["serve", "--max-concurrency", "0"], "1..=1000000"),
            (["serve", "--admin-token", ""], "empty"),
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
}
