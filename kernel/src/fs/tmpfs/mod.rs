//! tmpfs: files that live in memory (Linux: `mm/shmem.c`).
//!
//! The data of a regular file are the pages of its page cache, so that read, write and mmap see the same
//! bytes; they count against the quota of the file system. The root of all and /dev are tmpfs too.

mod dir;
mod file;
mod special;

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rux_mm::addr::PAGE_SIZE;
use rux_mm::filemap::{FileError, Mapping, PageQuota};
use rux_mm::gfp::Gfp;
use rux_mm::kbox_dyn;
use rux_mm::slab::{KArc, KBox, KVec};

use super::dentry::Dentry;
use super::inode::{Attributes, Inode, InodeOps, New};
use super::memfd::Seals;
use super::superblock::{FsType, StatFs, SuperBlock, SuperOps};
use super::types::{Dev, FileKind};
use crate::errno::{Errno, Result};

pub use dir::Directory;
pub use file::MemoryFile;

/// tmpfs, as mount(2) names it.
pub const TMPFS: FsType = FsType { name: "tmpfs", magic: 0x0102_1994 };
/// devtmpfs: a tmpfs that has nodes of devices in it from the start.
pub const DEVTMPFS: FsType = FsType { name: "devtmpfs", magic: 0x0102_1994 };
/// ramfs: a tmpfs without limits.
pub const RAMFS: FsType = FsType { name: "ramfs", magic: 0x8584_58f6 };

/// The limits of one tmpfs, and what is used of them.
pub struct Limits {
    /// Pages of data.
    pub pages: KArc<PageQuota>,
    /// Inodes; `u64::MAX` for no limit.
    pub max_inodes: AtomicU64,
    inodes: AtomicU64,
}

/// What mount(2) was told.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Pages of data.
    pub pages: u64,
    /// Inodes.
    pub inodes: u64,
    /// Permissions of the root.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl Options {
    /// Half of memory, as many inodes as pages in that, and a root for everybody.
    pub fn standard() -> Self {
        let pages = rux_mm::memory::memory().total_pages() / 2;
        Self { pages, inodes: pages, mode: 0o1777, uid: 0, gid: 0 }
    }
}

struct Super {
    limits: KArc<Limits>,
    /// The limits that nobody chose: those are not shown.
    standard: (u64, u64),
}

impl SuperOps for Super {
    fn statfs(&self) -> StatFs {
        let (blocks, files) = (self.limits.pages.limit(), self.limits.max_inodes.load(Relaxed));
        if blocks == u64::MAX {
            return StatFs { block: PAGE_SIZE as u64, ..StatFs::default() };
        }
        StatFs {
            block: PAGE_SIZE as u64,
            blocks,
            free: blocks.saturating_sub(self.limits.pages.used()),
            files,
            files_free: files.saturating_sub(self.limits.inodes.load(Relaxed)),
        }
    }

    fn show_options(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let (pages, inodes) = (self.limits.pages.limit(), self.limits.max_inodes.load(Relaxed));
        if pages != u64::MAX && pages != self.standard.0 {
            write!(out, ",size={}k", pages * (PAGE_SIZE as u64 / 1024))?;
        }
        if inodes != u64::MAX && inodes != self.standard.1 {
            write!(out, ",nr_inodes={inodes}")?;
        }
        Ok(())
    }
}

/// Makes a tmpfs; says its root.
///
/// # Errors
/// `ENOMEM`.
pub fn mount(fs: FsType, options: &Options) -> Result<(KArc<SuperBlock>, KArc<Dentry>)> {
    let limits = Limits {
        pages: KArc::new(PageQuota::new(options.pages), Gfp::KERNEL)?,
        max_inodes: AtomicU64::new(options.inodes),
        inodes: AtomicU64::new(0),
    };
    let limits = KArc::new(limits, Gfp::KERNEL)?;
    let standard = Options::standard();
    let sup = Super { limits: limits.clone(), standard: (standard.pages, standard.inodes) };
    let ops = kbox_dyn!(KBox::new(sup, Gfp::KERNEL)? => dyn SuperOps);
    let sb = SuperBlock::new(fs, ops)?;
    let attributes = Attributes::new(FileKind::Directory, options.mode, options.uid, options.gid);
    let inode = new_inode(&sb, &limits, New::Directory, attributes)?;
    let root = Dentry::new(inode, None, b"/", 0)?;
    Ok((sb, root))
}

/// One inode of the quota; dropping it gives it back.
pub(in crate::fs) struct Counted(KArc<Limits>);

impl Counted {
    fn take(limits: &KArc<Limits>) -> Result<Self> {
        if limits.inodes.fetch_add(1, Relaxed) >= limits.max_inodes.load(Relaxed) {
            limits.inodes.fetch_sub(1, Relaxed);
            return Err(Errno::ENOSPC);
        }
        Ok(Self(limits.clone()))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.inodes.fetch_sub(1, Relaxed);
    }
}

/// A new inode without a name.
fn new_inode(
    sb: &KArc<SuperBlock>,
    limits: &KArc<Limits>,
    new: New<'_>,
    attributes: Attributes,
) -> Result<KArc<Inode>> {
    let counted = Counted::take(limits)?;
    let mut rdev = Dev::default();
    let ops = match new {
        New::Regular => {
            let mapping = Mapping::new_memory(0, Some(limits.pages.clone()))?;
            let file = MemoryFile::new(mapping, Seals::none(), Some(counted));
            kbox_dyn!(KBox::new(file, Gfp::KERNEL)? => dyn InodeOps)
        }
        New::Directory => kbox_dyn!(KBox::new(Directory::new(counted), Gfp::KERNEL)? => dyn InodeOps),
        New::Symlink(text) => {
            let text = KVec::from_slice(text, Gfp::KERNEL)?;
            kbox_dyn!(KBox::new(special::Symlink::new(text, counted), Gfp::KERNEL)? => dyn InodeOps)
        }
        New::Special(_, dev) => {
            rdev = dev;
            kbox_dyn!(KBox::new(special::Special::new(counted), Gfp::KERNEL)? => dyn InodeOps)
        }
    };
    Inode::new(sb, sb.new_ino(), new.kind(), rdev, attributes, ops)
}

impl From<FileError> for Errno {
    fn from(error: FileError) -> Self {
        match error {
            FileError::NoMemory => Self::ENOMEM,
            FileError::NoSpace => Self::ENOSPC,
            FileError::Io | FileError::PastEnd => Self::EIO,
            FileError::Fault => Self::EFAULT,
            FileError::Interrupted => Self::EINTR,
        }
    }
}
