//! /dev: a tmpfs with a node for each device (Linux: `drivers/base/devtmpfs.c`). One instance, wherever
//! it is mounted.

use core::sync::atomic::Ordering::Relaxed;

use rux_mm::slab::KArc;
use spin::Once;

use super::dentry::Dentry;
use super::device;
use super::inode::{Attributes, New};
use super::superblock::SuperBlock;
use super::tmpfs;
use super::types::{Dev, FileKind};
use crate::errno::{Errno, Result};

static INSTANCE: Once<(KArc<SuperBlock>, KArc<Dentry>)> = Once::new();

/// The devices: name, number, permissions, as Linux and its udev leave them.
const NODES: &[(&[u8], Dev, u32)] = &[
    (b"null", device::NULL, 0o666),
    (b"zero", device::ZERO, 0o666),
    (b"full", device::FULL, 0o666),
    (b"random", device::RANDOM, 0o666),
    (b"urandom", device::URANDOM, 0o666),
    (b"kmsg", device::KMSG, 0o644),
    (b"tty", device::TTY, 0o666),
    (b"console", device::CONSOLE, 0o600),
    (b"ttyS0", device::SERIAL, 0o600),
];

/// The links that programs expect in /dev.
const LINKS: &[(&[u8], &[u8])] = &[
    (b"fd", b"/proc/self/fd"),
    (b"stdin", b"/proc/self/fd/0"),
    (b"stdout", b"/proc/self/fd/1"),
    (b"stderr", b"/proc/self/fd/2"),
];

/// The instance, for a mount.
///
/// # Errors
/// `ENODEV` before [`init`].
pub fn instance() -> Result<(KArc<SuperBlock>, KArc<Dentry>)> {
    INSTANCE.get().cloned().ok_or(Errno::ENODEV)
}

/// Makes the instance and its nodes, once at boot.
///
/// # Errors
/// `ENOMEM`.
pub(super) fn init() -> Result<()> {
    let options = tmpfs::Options { mode: 0o755, ..tmpfs::Options::standard() };
    let (sb, root) = tmpfs::mount(tmpfs::DEVTMPFS, &options)?;
    // One count stays, so that the nodes outlive every mount.
    sb.mounts.fetch_add(1, Relaxed);
    let dir = root.inode.ops();
    for &(name, dev, mode) in NODES {
        let attributes = Attributes::new(FileKind::CharDevice, mode, 0, 0);
        dir.create(&root, name, New::Special(FileKind::CharDevice, dev), attributes)?;
    }
    for &(name, text) in LINKS {
        dir.create(&root, name, New::Symlink(text), Attributes::new(FileKind::Symlink, 0o777, 0, 0))?;
    }
    for name in [&b"shm"[..], b"pts"] {
        dir.create(&root, name, New::Directory, Attributes::new(FileKind::Directory, 0o755, 0, 0))?;
    }
    INSTANCE.call_once(|| (sb, root));
    Ok(())
}
