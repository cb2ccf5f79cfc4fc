//! Logging to standard output, which never blocks the caller.
//!
//! A dedicated thread writes the lines. When standard output stalls, for example on a full pipe, up
//! to [`MAX_LINES`] lines of at most [`MAX_LINE`] bytes are buffered; further lines are dropped and
//! counted.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock, mpsc};
use std::thread;
use std::time::Duration;

use indicatif::ProgressBar;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::filter::{LevelFilter, ParseError};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::config::{Log, LogFormat};

/// Maximum number of lines that wait to be written.
const MAX_LINES: usize = 4_096;
/// Maximum length of a line in bytes. Longer ones are dropped.
const MAX_LINE: usize = 16 * 1024;
/// Time that the writer has to write the remaining lines when the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How often dropped lines are reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Invalid log filter.
#[derive(Debug, thiserror::Error)]
#[error(
    "--log {filter:?} is not allowed: {problem} in {directive:?}; write a level (off, error, warn, \
     info, debug, trace) or TARGET=LEVEL, separated by commas, such as `info,example_server=debug`"
)]
pub(crate) struct Error {
    filter: String,
    directive: String,
    problem: String,
}

/// Lines dropped because the buffer was full.
static OVERFLOWED: OnceLock<ErrorCounter> = OnceLock::new();
/// Lines dropped because they were too long.
static TOO_LONG: AtomicU64 = AtomicU64::new(0);
/// Flushes the writer when dropped.
static WRITER: Mutex<Option<WorkerGuard>> = Mutex::new(None);

/// Starts logging for the whole process. Panics are logged as well.
///
/// # Errors
/// Returns an error when the filter cannot be parsed.
pub(crate) fn start(options: &Log) -> Result<(), Error> {
    let filter = filter(&options.log)?;
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(MAX_LINES)
        .thread_name("log")
        .finish(Stdout);
    OVERFLOWED.get_or_init(|| writer.error_counter());
    *WRITER.lock().unwrap_or_else(PoisonError::into_inner) = Some(guard);
    let mut lines = fmt::layer().with_writer(Lines(writer));
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
        let error = |problem: String| Error {
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

/// Writes the remaining lines, unless standard output stalls. Later lines are lost.
pub(crate) fn shut_down() {
    let guard = WRITER.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (done, wait) = mpsc::channel::<()>();
    // In a thread: with a full buffer the guard itself prints to standard output and blocks.
    let flushing = thread::Builder::new().spawn(move || {
        drop(guard);
        drop(done);
    });
    if flushing.is_ok() {
        _ = wait.recv_timeout(FLUSH_TIMEOUT);
    }
}

/// Returns the number of log lines dropped since the start.
pub(crate) fn dropped() -> u64 {
    let overflowed = OVERFLOWED.get().map_or(0, ErrorCounter::dropped_lines);
    overflowed as u64 + TOO_LONG.load(Relaxed)
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

/// Hands lines to the writer thread.
#[derive(Debug)]
struct Lines(NonBlocking);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if line.len() > MAX_LINE {
            TOO_LONG.fetch_add(1, Relaxed);
            return Ok(line.len());
        }
        self.0.clone().write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
