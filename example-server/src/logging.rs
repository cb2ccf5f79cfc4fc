//! Log lines, on standard output.

use std::io::{self, IsTerminal, Write};
use std::sync::{OnceLock, PoisonError, RwLock};

use indicatif::ProgressBar;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::config::{Log, LogFormat};

#[derive(Debug, thiserror::Error)]
#[error(
    "--log {filter:?} is not allowed: write levels as in `info` or `info,example_server=debug`"
)]
pub(crate) struct Error {
    filter: String,
    source: ParseError,
}

/// Starts logging for the whole process.
///
/// # Errors
/// When the filter cannot be parsed.
pub(crate) fn start(options: &Log) -> Result<(), Error> {
    let filter = EnvFilter::builder()
        .parse(&options.log)
        .map_err(|source| Error {
            filter: options.log.clone(),
            source,
        })?;
    let mut lines = fmt::layer().with_writer(Output);
    // Colours are for a terminal: in a file they are noise. On one, NO_COLOR still says no.
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
    Ok(())
}

/// A line that stands still at the foot of the terminal, which log lines must not break.
static FOOT: OnceLock<RwLock<Option<ProgressBar>>> = OnceLock::new();

/// Lets log lines appear above `bar` from now on.
pub(crate) fn keep_above(bar: ProgressBar) {
    let foot = FOOT.get_or_init(RwLock::default);
    *foot.write().unwrap_or_else(PoisonError::into_inner) = Some(bar);
}

/// Standard output, above the foot where there is one.
#[derive(Debug)]
struct Output;

impl<'a> MakeWriter<'a> for Output {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_all(line).map(|()| line.len())
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        let write = || {
            let mut out = io::stdout().lock();
            out.write_all(line)?;
            out.flush()
        };
        let foot = FOOT
            .get()
            .map(|foot| foot.read().unwrap_or_else(PoisonError::into_inner));
        match foot.as_ref().and_then(|foot| foot.as_ref()) {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}
