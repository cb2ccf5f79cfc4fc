//! Faults documents in files: the file of `--faults`, and those that the `faults` command reads.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ticket_core::policy::{Document, Faults, Invalid};
use tokio::time::{MissedTickBehavior, interval};

use crate::body::MAX_DOCUMENT;

/// How often the file is read. Contents are compared instead of modification times, because a
/// mounted ConfigMap is replaced through symbolic links.
const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot read the faults file {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the faults file {} is invalid", path.display())]
    Invalid { path: PathBuf, source: Invalid },
}

/// A faults file with the contents that were read last.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    /// At most [`MAX_DOCUMENT`] bytes.
    text: String,
    document: Document,
}

impl File {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read, is not a regular file, is longer than
    /// [`MAX_DOCUMENT`], or does not contain a valid document.
    pub(crate) async fn open(path: &Path) -> Result<Self, Error> {
        let text = read_watched(path).await.map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        let document = parse(path, &text)?;
        Ok(Self {
            path: path.to_owned(),
            text,
            document,
        })
    }

    pub(crate) fn document(&self) -> Document {
        self.document.clone()
    }

    /// Activates the file's document whenever it changes. A file that cannot be read or is invalid
    /// is logged once and changes nothing.
    pub(crate) async fn follow(mut self, faults: Faults) {
        let mut tick = interval(INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_readable = true;
        loop {
            tick.tick().await;
            let text = match read_watched(&self.path).await {
                Ok(text) => text,
                Err(error) => {
                    if is_readable {
                        tracing::warn!(path = %self.path.display(), %error, "cannot read the faults file, faults are unchanged");
                    }
                    is_readable = false;
                    continue;
                }
            };
            is_readable = true;
            if text == self.text {
                continue;
            }
            self.text = text;
            match parse(&self.path, &self.text).map(|document| faults.reload(document)) {
                Ok(true) => {}
                Ok(false) => tracing::info!(
                    "faults file changed; it becomes active when the document set over HTTP expires or the scenario ends"
                ),
                Err(error) => {
                    tracing::warn!(error = %crate::chain(&error), "faults file is invalid, faults are unchanged");
                }
            }
        }
    }
}

/// Reads a regular file on the blocking thread pool. A FIFO or a device could block a read forever.
async fn read_watched(path: &Path) -> io::Result<String> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let mut options = OpenOptions::new();
        options.read(true);
        // Opening a FIFO blocks until it has a writer.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::custom_flags(
            &mut options,
            rustix::fs::OFlags::NONBLOCK.bits().cast_signed(),
        );
        let file = options.open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        read_bounded(file)
    });
    read.await.map_err(io::Error::other)?
}

/// Reads `path`, which may be a FIFO or a terminal, for a command that a user can interrupt.
///
/// # Errors
///
/// Returns an error if the file cannot be read or is longer than [`MAX_DOCUMENT`].
pub(crate) fn read(path: &Path) -> io::Result<String> {
    read_bounded(std::fs::File::open(path)?)
}

fn read_bounded(file: std::fs::File) -> io::Result<String> {
    let size = file.metadata()?.len();
    let limit = MAX_DOCUMENT as u64;
    let too_large = |size: &dyn std::fmt::Display| {
        let message = format!("the file has {size} bytes, the limit is {limit}");
        Err(io::Error::new(io::ErrorKind::FileTooLarge, message))
    };
    if size > limit {
        return too_large(&size);
    }
    let mut text = String::new();
    // The size of a FIFO or a device is unknown, and a file may grow.
    file.take(limit + 1).read_to_string(&mut text)?;
    if text.len() as u64 > limit {
        return too_large(&format_args!("more than {limit}"));
    }
    Ok(text)
}

/// Parses a document: JSON if the file name ends in `.json`, TOML otherwise.
///
/// # Errors
///
/// Returns an error if the document is invalid.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Document, Error> {
    let is_json = path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let document = if is_json {
        Document::from_json(text)
    } else {
        Document::from_toml(text)
    };
    document.map_err(|source| Error::Invalid {
        path: path.to_owned(),
        source,
    })
}
