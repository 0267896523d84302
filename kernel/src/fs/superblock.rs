//! Instances of file systems (Linux: `struct super_block`).

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use rux_mm::gfp::Gfp;
use rux_mm::slab::{KArc, KBox};
use rux_mm::sync::{Mutex, Rank};

use super::types::Dev;
use crate::errno::Result;

/// Which file system it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FsType {
    /// As mount(2) and /proc/filesystems name it.
    pub name: &'static str,
    /// As statfs(2) does.
    pub magic: u32,
}

/// Sizes of a file system for statfs(2), in blocks of [`StatFs::block`] bytes.
#[derive(Clone, Copy, Default, Debug)]
pub struct StatFs {
    /// Bytes in a block.
    pub block: u64,
    /// Blocks in all.
    pub blocks: u64,
    /// Free blocks.
    pub free: u64,
    /// Inodes in all.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
}

/// What a file system does as a whole.
pub trait SuperOps: Send + Sync {
    /// Its sizes.
    fn statfs(&self) -> StatFs {
        StatFs { block: rux_mm::addr::PAGE_SIZE as u64, ..StatFs::default() }
    }

    /// The options that /proc/mounts shows after `rw`, each with a comma before it.
    fn show_options(&self, _out: &mut dyn core::fmt::Write) -> core::fmt::Result {
        Ok(())
    }
}

/// One instance of a file system.
pub struct SuperBlock {
    /// Its kind.
    pub fs: FsType,
    /// What stat(2) shows as `st_dev`.
    pub dev: Dev,
    /// Held while a rename moves a directory, so that no directory becomes its own ancestor
    /// (Linux: `s_vfs_rename_mutex`).
    pub rename: Mutex<()>,
    /// How many mounts show it; it is taken apart with the last.
    pub(super) mounts: AtomicU32,
    next_ino: AtomicU64,
    ops: KBox<dyn SuperOps>,
}

/// File systems without a device have major number 0 and count.
static NEXT_ANONYMOUS: AtomicU32 = AtomicU32::new(1);

impl SuperBlock {
    /// A new instance without inodes.
    pub fn new(fs: FsType, ops: KBox<dyn SuperOps>) -> Result<KArc<Self>> {
        let sb = Self {
            fs,
            dev: Dev::new(0, NEXT_ANONYMOUS.fetch_add(1, Relaxed)),
            rename: Mutex::new(Rank::Rename, ()),
            mounts: AtomicU32::new(0),
            next_ino: AtomicU64::new(1),
            ops,
        };
        Ok(KArc::new(sb, Gfp::KERNEL)?)
    }

    /// A number for a new inode.
    pub fn new_ino(&self) -> u64 {
        self.next_ino.fetch_add(1, Relaxed)
    }

    /// What it does as a whole.
    pub fn ops(&self) -> &dyn SuperOps {
        &*self.ops
    }
}
