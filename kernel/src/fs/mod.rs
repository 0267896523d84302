//! Files (Linux: `fs/`).
//!
//! | room | what |
//! |---|---|
//! | [`types`] | kinds, device numbers, times, flags |
//! | [`inode`], [`dentry`], [`superblock`], [`mount`] | the objects of the tree |
//! | [`namei`], [`open`], [`change`] | walks, opening, changing |
//! | [`file`], [`table`], [`context`], [`iobuf`], [`poll`], [`locks`] | open files, and what a process has of them |
//! | [`tmpfs`], [`memfd`], [`initramfs`], [`devtmpfs`], [`device`], [`pipe`], [`eventfd`], [`epoll`], [`anon`] | the files that there are |
//! | [`procfs`] | what the kernel tells |
//! | [`tty`] | terminals and job control |
//! | [`current`], [`user`], [`limit`], [`fcntl`], [`stat`], [`mounting`] | what system calls need beside |
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
pub mod devtmpfs;
pub mod epoll;
pub mod eventfd;
pub mod fcntl;
pub mod file;
pub mod initramfs;
pub mod inode;
pub mod iobuf;
pub mod kmsg;
pub mod limit;
pub mod locks;
pub mod memfd;
pub mod mount;
pub mod mounting;
pub mod namei;
pub mod open;
pub mod pipe;
pub mod poll;
pub mod procfs;
pub mod stat;
pub mod superblock;
pub mod table;
pub mod tmpfs;
pub mod tty;
pub mod types;
pub mod user;

pub use context::FsContext;
pub use file::File;
pub use namei::Caller;
pub use table::FileTable;

use crate::errno::Result;

/// Brings the tree up: the root with what the boot loader's archive has, /dev, /proc, /dev/shm and
/// /tmp; and the terminal. Once, in a kernel thread, before the first process. The archive's memory goes
/// to the allocator.
///
/// # Errors
/// No memory for it.
pub fn init() -> Result<()> {
    let initrd = crate::dt::platform().initrd.filter(|initrd| !initrd.is_empty());
    match initrd {
        None => initramfs::mount_root(&[])?,
        Some(initrd) => {
            let start = initrd.start;
            // SAFETY: the boot loader put that many bytes there, reserved since and changed by nobody.
            let archive = unsafe { core::slice::from_raw_parts(start.as_ptr(), initrd.len() as usize) };
            initramfs::mount_root(archive)?;
            // SAFETY: reserved at boot, and not used any more: the tree has copies of what it needs.
            unsafe { rux_mm::memory().free_reserved(start, initrd.len()) };
        }
    }
    table::set_max_files(rux_mm::page_alloc::total_pages());
    tty::init()
}
