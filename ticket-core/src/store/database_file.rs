//! Detection of a SQLite file that was deleted, replaced or damaged while it is open.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::Failure;
use crate::error::describe;

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
    /// Size of the write-ahead log in bytes at the latest check.
    wal_size: AtomicU64,
    /// The damage that was found first.
    damage: OnceLock<Failure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::from(&fs::metadata(path)?))
    }
}

impl From<&fs::Metadata> for FileId {
    fn from(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
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
            wal_size: AtomicU64::new(0),
            damage: OnceLock::new(),
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

    /// Returns the size of the write-ahead log in bytes at the latest [`check`](Self::check).
    pub(super) fn wal_size(&self) -> u64 {
        self.wal_size.load(Relaxed)
    }

    /// Keeps the damage that a failed operation has found. From then on, [`check`](Self::check)
    /// fails: a write could destroy what is intact, and a read could return wrong data.
    pub(super) fn record<T>(&self, result: &Result<T, Failure>) {
        let Err(Failure::Sql { error, .. }) = result else {
            return;
        };
        if result.as_ref().is_err_and(Failure::is_damage) {
            self.damage.get_or_init(|| {
                let (path, cause) = (self.path.display(), describe(error));
                tracing::error!(
                    system = "sqlite",
                    %path,
                    error = cause,
                    "the database file is damaged: restore it from a backup and restart the server"
                );
                Failure::file_unusable(format!(
                    "{path} is damaged: {cause}; restore it from a backup and restart the server"
                ))
            });
        }
    }

    /// Checks that the file and its log are still the ones that are open and that no damage has been
    /// found. Costs two `stat` calls.
    ///
    /// # Errors
    /// [`Failure::FileUnusable`] otherwise.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if let Some(damage) = self.damage.get() {
            return Err(damage.clone());
        }
        let wal = *self.wal();
        let changed = if !FileId::of(&self.path).is_ok_and(|id| id == self.id) {
            &self.path
        } else if let Some(id) = wal {
            match fs::metadata(&self.wal_path) {
                Ok(metadata) if FileId::from(&metadata) == id => {
                    self.wal_size.store(metadata.len(), Relaxed);
                    return Ok(());
                }
                _ => &self.wal_path,
            }
        } else {
            return Ok(());
        };
        Err(Failure::file_unusable(format!(
            "{} was deleted or replaced while the database was open; restore it and restart the \
             server",
            changed.display()
        )))
    }

    fn wal(&self) -> std::sync::MutexGuard<'_, Option<FileId>> {
        self.wal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
