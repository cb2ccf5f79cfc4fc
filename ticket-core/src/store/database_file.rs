//! Detection of a SQLite file that was deleted or replaced while it is open.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::Failure;

/// A database file and its write-ahead log, identified by device and inode.
///
/// An open file survives its deletion without an error: transactions are committed and are lost when
/// the file is closed.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    path: PathBuf,
    wal_path: PathBuf,
    id: FileId,
    /// The write-ahead log; none while no writer is open, when SQLite may delete the log.
    wal: Mutex<Option<FileId>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

impl DatabaseFile {
    /// Identifies the file at `path`.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        // SQLite follows symbolic links and keeps the log next to the target.
        let mut wal_path = fs::canonicalize(path)?.into_os_string();
        wal_path.push("-wal");
        Ok(Self {
            path: std::path::absolute(path)?,
            wal_path: wal_path.into(),
            id: FileId::of(path)?,
            wal: Mutex::new(None),
        })
    }

    /// Identifies the write-ahead log after a writer was opened.
    pub(super) fn writer_opened(&self) {
        *self.wal() = FileId::of(&self.wal_path).ok();
    }

    /// Forgets the write-ahead log before the writer is closed.
    pub(super) fn writer_closed(&self) {
        *self.wal() = None;
    }

    /// Checks that the file and its log are still the ones that are open. Costs two `stat` calls.
    ///
    /// # Errors
    /// [`Failure::FileReplaced`] if they are not.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let unchanged = |path: &Path, id: FileId| FileId::of(path).is_ok_and(|now| now == id);
        let changed = if !unchanged(&self.path, self.id) {
            &self.path
        } else if (*self.wal()).is_some_and(|wal| !unchanged(&self.wal_path, wal)) {
            &self.wal_path
        } else {
            return Ok(());
        };
        Err(Failure::file_replaced(format!(
            "{} was deleted or replaced while the database was open; restore it and restart the \
             server",
            changed.display()
        )))
    }

    fn wal(&self) -> std::sync::MutexGuard<'_, Option<FileId>> {
        self.wal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
