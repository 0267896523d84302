//! The first tree: a cpio archive of the form `newc`, unpacked into the root (Linux: `init/initramfs.c`,
//! Documentation/driver-api/early-userspace/buffer-format.rst).

use rux_mm::slab::KArc;

use super::dentry::Dentry;
use super::mount::{self, Mount, MountFlags, Path};
use super::superblock::SuperBlock;
use super::{anon, tmpfs};
use crate::errno::Result;

pub(super) fn mount_root(_initrd: &[u8]) -> Result<()> {
    anon::init()?;
    let options = tmpfs::Options { mode: 0o755, ..tmpfs::Options::standard() };
    let (sb, root): (KArc<SuperBlock>, KArc<Dentry>) = tmpfs::mount(tmpfs::TMPFS, &options)?;
    let mount = Mount::new(sb, root, b"rootfs", MountFlags::RELATIME)?;
    mount::set_global_root(mount)?;
    let _root: &Path = mount::global_root();
    Ok(())
}
