//! procfs.

use core::sync::atomic::Ordering::Relaxed;

use rux_mm::gfp::Gfp;
use rux_mm::kbox_dyn;
use rux_mm::slab::{KArc, KBox};
use spin::Once;

use super::dentry::Dentry;
use super::file::{DirectoryFile, FileOps};
use super::inode::{Attributes, DirEntry, Inode, InodeOps};
use super::mount::Path;
use super::superblock::{FsType, SuperBlock, SuperOps};
use super::types::{Dev, FileKind};
use crate::errno::{Errno, Result};

/// proc, as mount(2) names it.
pub const PROC: FsType = FsType { name: "proc", magic: 0x9fa0 };

struct Root;

impl InodeOps for Root {
    fn lookup(&self, _dir: &KArc<Dentry>, _name: &[u8]) -> Result<KArc<Dentry>> {
        Err(Errno::ENOENT)
    }

    fn readdir(&self, _: &KArc<Dentry>, _: u64, _: &mut dyn FnMut(DirEntry<'_>) -> bool) -> Result<()> {
        Ok(())
    }

    fn open(&self, _path: &Path, _flags: u32) -> Result<KBox<dyn FileOps>> {
        Ok(kbox_dyn!(KBox::new(DirectoryFile, Gfp::KERNEL)? => dyn FileOps))
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

struct Super;

impl SuperOps for Super {}

static INSTANCE: Once<(KArc<SuperBlock>, KArc<Dentry>)> = Once::new();

/// Makes the instance, once at boot.
///
/// # Errors
/// `ENOMEM`.
pub(super) fn init() -> Result<()> {
    let sb = SuperBlock::new(PROC, kbox_dyn!(KBox::new(Super, Gfp::KERNEL)? => dyn SuperOps))?;
    sb.mounts.fetch_add(1, Relaxed);
    let ops = kbox_dyn!(KBox::new(Root, Gfp::KERNEL)? => dyn InodeOps);
    let attributes = Attributes::new(FileKind::Directory, 0o555, 0, 0);
    let inode = Inode::new(&sb, 1, FileKind::Directory, Dev::default(), attributes, ops)?;
    let root = Dentry::new(inode, None, b"/", 0)?;
    INSTANCE.call_once(|| (sb, root));
    Ok(())
}

/// The instance, for a mount: everybody sees the same processes.
///
/// # Errors
/// `ENODEV` before [`init`].
pub fn instance() -> Result<(KArc<SuperBlock>, KArc<Dentry>)> {
    INSTANCE.get().cloned().ok_or(Errno::ENODEV)
}
