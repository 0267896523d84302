//! What a mapping needs to know of the file behind it.
//!
//! The kernel's open files implement [`VmFile`]; `mm` itself does so for shared anonymous memory.

use core::fmt;

use crate::filemap::Mapping;
use crate::slab::KArc;
use crate::space::MmError;

/// The memory behind an open file.
pub enum FileMemory<'a> {
    /// Cannot be mapped (`ENODEV`): directories, pipes, terminals.
    None,
    /// `/dev/zero`: private mappings are anonymous, shared ones are shared anonymous memory.
    Zero,
    /// The file's page cache.
    Cache(&'a KArc<Mapping>),
}

/// An open file as far as mappings of it go (Linux: `struct file`).
///
/// A mapping holds the file by a `KArc`; what it returns does not change while the file is open.
pub trait VmFile: Send + Sync {
    /// The memory to map.
    fn memory(&self) -> FileMemory<'_>;
    /// Open for reading (`FMODE_READ`).
    fn readable(&self) -> bool;
    /// Open for writing (`FMODE_WRITE`).
    fn writable(&self) -> bool;
    /// On a mount without execution (`path_noexec`).
    fn noexec(&self) -> bool {
        false
    }
    /// Opened to append only (`IS_APPEND`): no shared writable mapping.
    fn append_only(&self) -> bool {
        false
    }
    /// Sealed against writing (`F_SEAL_WRITE`, `F_SEAL_FUTURE_WRITE`): shared mappings only read.
    fn write_sealed(&self) -> bool {
        false
    }
    /// Whether the running thread may know which pages are in the cache: only who could change the file, as
    /// others would learn what its users read (Linux: `can_do_mincore`).
    fn may_see_residency(&self) -> bool;
    /// Makes a hole of the bytes from `start` to `end`, under the inode's lock (`FALLOC_FL_PUNCH_HOLE`).
    ///
    /// # Errors
    /// No memory, sealed against writing, or a file that has no holes.
    fn punch_hole(&self, start: u64, end: u64) -> Result<(), MmError>;
    /// Device number of its file system, (major, minor).
    fn dev(&self) -> (u32, u32);
    /// Inode number.
    fn ino(&self) -> u64;
    /// Writes the path that `/proc/PID/maps` shows, ` (deleted)` included, newlines as `\012`.
    ///
    /// # Errors
    /// Those of `out`.
    fn path(&self, out: &mut dyn fmt::Write) -> fmt::Result;
}
