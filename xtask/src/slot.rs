//! The folder that one boot's files are in: `1`, or the next number while another run of this checkout has that one.
//!
//! A folder is taken by a lock on a file in it, which its process's end, however it comes, gives back. So there are no
//! more folders than there were runs at the same time, and a log stays until the next run in its folder.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A folder that is this process's until dropped.
pub(crate) struct Slot {
    folder: PathBuf,
    number: u32,
    _lock: File,
}

impl Slot {
    /// Takes the first folder below `parent` that is free, and makes it if need be.
    pub(crate) fn take(parent: &Path) -> Result<Slot> {
        let mut number = 1;
        loop {
            let folder = parent.join(number.to_string());
            let cannot = || format!("cannot lock {}", folder.display());
            if let Some(lock) = try_lock(&folder).with_context(cannot)? {
                return Ok(Slot { folder, number, _lock: lock });
            }
            number += 1;
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// From 1 on; more than 1 tells that somebody else is running.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }
}

/// `None`: another process, or another `Slot` of this one, has it.
fn try_lock(folder: &Path) -> io::Result<Option<File>> {
    fs::create_dir_all(folder)?;
    let file = File::create(folder.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_at_the_same_time_have_folders_of_their_own() {
        let parent = crate::paths::target().join("slot-test");
        // Left over by a test that failed.
        let _ = fs::remove_dir_all(&parent);
        let first = Slot::take(&parent).unwrap();
        let second = Slot::take(&parent).unwrap();
        assert_eq!((first.number(), second.number()), (1, 2));
        assert_ne!(first.folder(), second.folder());
        drop(first);
        assert_eq!(Slot::take(&parent).unwrap().number(), 1, "a folder is used again");
        drop(second);
        fs::remove_dir_all(&parent).unwrap();
    }
}
