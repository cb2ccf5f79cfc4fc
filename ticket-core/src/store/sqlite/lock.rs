//! Exclusive use of a database file by one process.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use crate::Error;

/// Advisory lock on a file next to the database. The operating system releases it when the process
/// ends, even if it is killed.
///
/// The lock is not on the database itself: closing any descriptor of that file would release the POSIX
/// locks of SQLite in this process.
#[derive(Debug)]
pub(super) struct FileLock(File);

impl FileLock {
    /// Locks the database at `path`, which must exist.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] if it is locked already, and [`Error::Setup`] if it cannot be locked.
    pub(super) fn acquire(path: &Path) -> Result<Self, Error> {
        let cannot_lock = |error| Error::Setup {
            problem: format!("{} cannot be locked: {error}", path.display()),
        };
        let lock_path = lock_path(path).map_err(cannot_lock)?;
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(lock_path)
            .map_err(cannot_lock)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(Error::InUse {
                path: path.to_owned(),
            }),
            Err(TryLockError::Error(error)) => Err(cannot_lock(error)),
        }
    }

    /// Releases the lock. Does not delete the file: a server that starts now may have opened it, and the
    /// next one would lock a new file.
    pub(super) fn release(&self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "the SQLite file was not unlocked");
        }
    }
}

/// Returns the path of the lock file. Like SQLite's own files, it is next to the target of a symbolic
/// link.
fn lock_path(path: &Path) -> std::io::Result<PathBuf> {
    let mut path = fs::canonicalize(path)?.into_os_string();
    path.push("-lock");
    Ok(path.into())
}
