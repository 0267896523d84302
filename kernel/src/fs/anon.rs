//! Open files that are nowhere in the tree: pipes, eventfds, epolls (Linux: `fs/anon_inodes.c`,
//! `pipefs`). Each kind has a mount of the kernel's own, so that every open file has a path.

use rux_mm::gfp::Gfp;
use rux_mm::slab::{KArc, KBox};
use spin::Once;

use super::dentry::Dentry;
use super::file::{File, FileOps};
use super::inode::{Attributes, Inode, InodeOps};
use super::mount::{Mount, Path};
use super::superblock::{FsType, SuperBlock, SuperOps};
use super::types::{Dev, FileKind};
use crate::errno::{Errno, Result};
use crate::process::cred::Cred;

const PIPEFS: FsType = FsType { name: "pipefs", magic: 0x5049_5045 };
const ANON_INODEFS: FsType = FsType { name: "anon_inodefs", magic: 0x0904_1934 };

struct Plain;

impl SuperOps for Plain {}

/// An inode that is only there to be shown: what the file does is in its `FileOps`.
pub(super) struct Shown;

impl InodeOps for Shown {
    fn open(&self, _path: &Path, _flags: u32) -> Result<KBox<dyn FileOps>> {
        // By way of /proc/PID/fd: as on Linux, these are not opened anew.
        Err(Errno::ENXIO)
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

static PIPES: Once<KArc<Mount>> = Once::new();
static ANONYMOUS: Once<(KArc<Mount>, KArc<Inode>)> = Once::new();
static MEMORY: Once<KArc<Mount>> = Once::new();

fn shown_inode(sb: &KArc<SuperBlock>, kind: FileKind, mode: u32) -> Result<KArc<Inode>> {
    let ops = rux_mm::kbox_dyn!(KBox::new(Shown, Gfp::KERNEL)? => dyn InodeOps);
    Inode::new(sb, sb.new_ino(), kind, Dev::default(), Attributes::new(kind, mode, 0, 0), ops)
}

fn internal_mount(fs: FsType) -> Result<KArc<Mount>> {
    let ops = rux_mm::kbox_dyn!(KBox::new(Plain, Gfp::KERNEL)? => dyn SuperOps);
    let sb = SuperBlock::new(fs, ops)?;
    let root = Dentry::new(shown_inode(&sb, FileKind::Directory, 0o555)?, None, b"/", 0)?;
    Mount::internal(sb, root)
}

/// Makes the mounts, once at boot.
///
/// # Errors
/// `ENOMEM`.
pub(super) fn init() -> Result<()> {
    let pipes = internal_mount(PIPEFS)?;
    let anonymous = internal_mount(ANON_INODEFS)?;
    // One inode stands for all, as on Linux.
    let inode = shown_inode(&anonymous.sb, FileKind::Regular, 0o600)?;
    let memory = internal_mount(super::tmpfs::TMPFS)?;
    PIPES.call_once(|| pipes);
    ANONYMOUS.call_once(|| (anonymous, inode));
    MEMORY.call_once(|| memory);
    Ok(())
}

/// The mount of memfds.
pub(super) fn memory_mount() -> &'static KArc<Mount> {
    MEMORY.get().expect("fs::init has run before the first process")
}

/// The path of a new pipe, whose inode does what `ops` says.
///
/// # Errors
/// `ENOMEM`.
pub(super) fn pipe_path(ops: KBox<dyn InodeOps>, cred: &Cred) -> Result<Path> {
    let mount = PIPES.get().expect("fs::init has run before the first process").clone();
    let ino = mount.sb.new_ino();
    let attributes = Attributes::new(FileKind::Fifo, 0o600, cred.fsuid, cred.fsgid);
    let inode = Inode::new(&mount.sb, ino, FileKind::Fifo, Dev::default(), attributes, ops)?;
    let name = rux_mm::slab::KString::format(format_args!("pipe:[{ino}]"), Gfp::KERNEL)?;
    let dentry = Dentry::new(inode, None, name.as_bytes(), 0)?;
    Ok(Path { mount, dentry })
}

/// An open file that is only its `ops`, shown as `anon_inode:[name]`.
///
/// # Errors
/// `ENFILE`, `ENOMEM`.
pub fn open(name: &str, ops: KBox<dyn FileOps>, flags: u32, cred: &KArc<Cred>) -> Result<KArc<File>> {
    let (mount, inode) = ANONYMOUS.get().expect("fs::init has run before the first process");
    let name = rux_mm::slab::KString::format(format_args!("anon_inode:{name}"), Gfp::KERNEL)?;
    let dentry = Dentry::new(inode.clone(), None, name.as_bytes(), 0)?;
    File::anonymous(Path { mount: mount.clone(), dentry }, flags, cred.clone(), ops)
}
