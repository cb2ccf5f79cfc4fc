//! Output of the commands.

use std::io::{self, ErrorKind, Write};

/// Error of a write to standard output.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub(crate) struct Error(#[source] io::Error);

/// Writes `text` to standard output.
///
/// Succeeds if the reader has closed the pipe: `example-server faults presets | head -1` is not an
/// error, and `print!` would panic.
///
/// # Errors
///
/// Returns an error if the write fails for any other reason, for example because a disk is full.
pub(crate) fn write(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error(error)),
        _ => Ok(()),
    }
}

/// Writes a line to standard error, where one can be written; `eprintln!` would panic otherwise.
pub(crate) fn write_diagnostic(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
