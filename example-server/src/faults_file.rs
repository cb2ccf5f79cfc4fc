//! The file of `--faults`: read at the start, and again when it changes.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ticket_core::policy::{Document, Faults, Invalid};
use tokio::time::{MissedTickBehavior, interval};

/// How often the file is read. Its content is compared, not its time: a mounted ConfigMap is
/// swapped through symbolic links, and the times of its files tell little.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot read the faults file {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the faults file {} is refused", path.display())]
    Invalid { path: PathBuf, source: Invalid },
}

/// A faults file, and what it said when it was last read.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    text: String,
    document: Document,
}

impl File {
    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read or what it says is refused.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
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

    /// Brings in force what the file says whenever that changes. What cannot be read or is refused
    /// is logged once and leaves in force what was.
    pub(crate) async fn follow(mut self, faults: Faults) {
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unreadable = false;
        loop {
            tick.tick().await;
            let text = match std::fs::read_to_string(&self.path) {
                Ok(text) => text,
                Err(error) => {
                    if !unreadable {
                        tracing::warn!(path = %self.path.display(), %error, "the faults file cannot be read; what it said stays in force");
                    }
                    unreadable = true;
                    continue;
                }
            };
            unreadable = false;
            if text == self.text {
                continue;
            }
            self.text = text;
            match parse(&self.path, &self.text).map(|document| faults.reload(document)) {
                Ok(true) => {}
                Ok(false) => tracing::info!(
                    "the faults file changed; it comes in force when what was set over HTTP expires"
                ),
                Err(error) => {
                    tracing::warn!(error = %crate::chain(&error), "what was in force stays")
                }
            }
        }
    }
}

/// JSON where the name ends so, TOML otherwise.
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
