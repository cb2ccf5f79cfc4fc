//! Logging to standard output, which never blocks the caller.
//!
//! A dedicated thread writes the lines. When standard output stalls, for example on a full pipe, up
//! to [`MAX_LINES`] lines of at most [`MAX_LINE`] bytes are buffered; further lines are dropped and
//! counted.

mod writer;

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use indicatif::ProgressBar;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::filter::{LevelFilter, ParseError};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use self::writer::LogWriter;
use crate::config::{Log, LogFormat};

/// Maximum number of lines that wait to be written.
const MAX_LINES: usize = 4_096;
/// Maximum length of a line in bytes. Longer ones are dropped.
const MAX_LINE: usize = 16 * 1024;
/// Time that the writer has to write the remaining lines when the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How often dropped lines are reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Error when logging is started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "--log {filter:?} is not allowed: {problem} in {directive:?}; write a level (off, error, \
         warn, info, debug, trace) or TARGET=LEVEL, separated by commas, such as \
         `info,example_server=debug`"
    )]
    Filter {
        filter: String,
        directive: String,
        problem: String,
    },
    #[error("cannot start the thread that writes the log")]
    Thread(#[source] io::Error),
}

static WRITER: OnceLock<Arc<LogWriter>> = OnceLock::new();

/// Starts logging for the whole process. Panics are logged as well.
///
/// # Errors
/// Returns an error when the filter cannot be parsed, or the writer's thread cannot be started.
pub(crate) fn start(options: &Log) -> Result<(), Error> {
    let filter = filter(&options.log)?;
    let writer = Arc::new(LogWriter::start(Stdout, MAX_LINES, MAX_LINE).map_err(Error::Thread)?);
    let mut lines = fmt::layer().with_writer(writer.clone());
    WRITER.get_or_init(|| writer);
    // No escape sequences in files and pipes. On a terminal, `NO_COLOR` disables them too.
    if !io::stdout().is_terminal() {
        lines.set_ansi(false);
    }
    let layer = match options.log_format {
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(layer)
        .init();
    // The default hook writes to standard error, which may stall like standard output.
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::capture();
        let captured = backtrace.status() == std::backtrace::BacktraceStatus::Captured;
        tracing::error!(
            panic = panic.payload_as_str().unwrap_or("unknown payload"),
            location = panic.location().map(tracing::field::display),
            thread = thread::current().name(),
            backtrace = captured.then(|| tracing::field::display(&backtrace)),
            "panicked"
        );
    }));
    Ok(())
}

/// Parses a log filter: levels by target, separated by commas. Filters by span or field, which
/// `EnvFilter` supports, would compile a regular expression engine.
///
/// h2 logs protocol errors of clients at WARN, so that a client could write any number of lines: they
/// are off unless `text` names the target `h2`.
fn filter(text: &str) -> Result<Targets, Error> {
    let mut targets = Targets::new().with_target("h2", LevelFilter::ERROR);
    let directives = text.split(',').map(str::trim);
    for directive in directives.filter(|directive| !directive.is_empty()) {
        let error = |problem: String| Error::Filter {
            filter: text.to_owned(),
            directive: directive.to_owned(),
            problem,
        };
        if directive.contains(['[', '{']) {
            return Err(error("spans and fields are not supported".to_owned()));
        }
        let parsed: Targets = directive
            .parse()
            .map_err(|source: ParseError| error(source.to_string()))?;
        if let Some(level) = parsed.default_level() {
            targets = targets.with_default(level);
        }
        targets = targets.with_targets(parsed);
    }
    Ok(targets)
}

/// Writes the remaining lines, unless standard output stalls.
pub(crate) fn shut_down() {
    if let Some(writer) = WRITER.get() {
        writer.flush(FLUSH_TIMEOUT);
    }
}

/// Returns the number of log lines dropped since the start.
pub(crate) fn dropped() -> u64 {
    WRITER.get().map_or(0, |writer| writer.dropped())
}

/// Logs how many lines were dropped, for as long as lines are dropped.
pub(crate) async fn report_dropped() {
    let mut reported = 0;
    loop {
        tokio::time::sleep(REPORT_INTERVAL).await;
        let total = dropped();
        if total > reported {
            tracing::warn!(dropped = total - reported, total, "log lines dropped");
            reported = total;
        }
    }
}

/// Progress bar at the bottom of the terminal, above which log lines appear.
static PROGRESS_BAR: OnceLock<RwLock<Option<ProgressBar>>> = OnceLock::new();

/// Keeps `bar` below the log lines from now on.
pub(crate) fn keep_above(bar: ProgressBar) {
    let current = PROGRESS_BAR.get_or_init(RwLock::default);
    *current.write().unwrap_or_else(PoisonError::into_inner) = Some(bar);
}

/// Standard output, above the progress bar if there is one.
#[derive(Debug)]
struct Stdout;

impl Write for Stdout {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_all(line).map(|()| line.len())
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        let write = || io::stdout().lock().write_all(line);
        let bar = PROGRESS_BAR
            .get()
            .map(|bar| bar.read().unwrap_or_else(PoisonError::into_inner));
        match bar.as_ref().and_then(|bar| bar.as_ref()) {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocol_errors_of_clients_are_logged_only_on_demand() {
        for (text, h2, hyper) in [
            ("info", false, true),
            ("", false, false),
            ("info,h2=warn", true, true),
            ("trace", false, true),
            ("info,h2=debug", true, true),
            ("warn, hyper=error", false, false),
            ("off,hyper", false, true),
        ] {
            let subscriber = tracing_subscriber::registry().with(filter(text).unwrap());
            tracing::subscriber::with_default(subscriber, || {
                assert_eq!(
                    tracing::enabled!(target: "h2", tracing::Level::WARN),
                    h2,
                    "{text:?}"
                );
                let target = tracing::enabled!(target: "hyper", tracing::Level::WARN);
                assert_eq!(target, hyper, "{text:?}");
            });
        }
        for (text, directive) in [
            ("info,example_server=loud", "example_server=loud"),
            ("info, a=b=c", "a=b=c"),
            ("info,[request{id=1}]=debug", "[request{id=1}]=debug"),
        ] {
            let error = filter(text).unwrap_err().to_string();
            assert!(error.contains(&format!("in {directive:?}")), "{error}");
        }
    }
}
