//! Files (Linux: `fs/`).
//!
//! | room | what |
//! |---|---|
//! | [`types`] | kinds, device numbers, times, flags |
//! | [`inode`], [`dentry`], [`superblock`], [`mount`] | the objects of the tree |
//! | [`namei`], [`open`], [`change`] | walks, opening, changing |
//! | [`file`], [`table`], [`context`], [`iobuf`], [`poll`], [`locks`] | open files, and what a process has of them |
//! | [`tmpfs`], [`memfd`], [`initramfs`], [`pipe`], [`anon`], [`device`], [`tty`] | the files that there are |
//!
//! Locks, outermost first: a file's position, the mount table and the rename lock, directories, the
//! inode's `rwsem`, a pipe's or a terminal's own; below `mmap_lock` only spinlocks. User memory is
//! copied under all of the sleeping ones.

pub mod anon;
pub mod change;
pub mod chunked;
pub mod context;
pub mod current;
pub mod dentry;
pub mod device;
pub mod file;
pub mod initramfs;
pub mod inode;
pub mod iobuf;
pub mod limit;
pub mod locks;
pub mod memfd;
pub mod mount;
pub mod namei;
pub mod open;
pub mod pipe;
pub mod poll;
pub mod superblock;
pub mod table;
pub mod tmpfs;
pub mod tty;
pub mod types;

pub use context::FsContext;
pub use file::File;
pub use namei::Caller;
pub use table::FileTable;

use crate::errno::Result;

/// Brings the tree up: the root with what is in `initrd` (a cpio archive, or nothing), /dev, /proc,
/// /dev/shm and /tmp. Once, in a kernel thread, before the first process. The archive's memory is not
/// needed any more afterwards.
///
/// # Errors
/// No memory for it.
pub fn init(initrd: &[u8]) -> Result<()> {
    initramfs::mount_root(initrd)
}
