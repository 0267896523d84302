//! Files in memory without a place in the tree (Linux: `mm/memfd.c`), and seals on them.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rux_mm::filemap::Mapping;
use rux_mm::gfp::Gfp;
use rux_mm::slab::{KArc, KBox, KString};

use super::file::{File, Purpose};
use super::inode::{Attributes, Inode, InodeOps};
use super::mount::Path;
use super::tmpfs::MemoryFile;
use super::types::{Dev, FileKind, oflag::*};
use super::{anon, dentry::Dentry};
use crate::errno::{Errno, Result};
use crate::process::cred::Cred;

/// No more seals.
pub const F_SEAL_SEAL: u32 = 1;
/// Not shorter.
pub const F_SEAL_SHRINK: u32 = 2;
/// Not longer.
pub const F_SEAL_GROW: u32 = 4;
/// No writes.
pub const F_SEAL_WRITE: u32 = 8;
/// No writes but through mappings that are there.
pub const F_SEAL_FUTURE_WRITE: u32 = 16;
/// No changes of the execution bits.
pub const F_SEAL_EXEC: u32 = 32;
const ALL: u32 = 63;
/// The permissions that `F_SEAL_EXEC` is about.
pub const EXECUTE: u32 = 0o111;

/// The seals of one file.
pub struct Seals(AtomicU32);

impl Seals {
    /// A file that cannot be sealed: its only seal forbids others.
    pub fn none() -> Self {
        Self(AtomicU32::new(F_SEAL_SEAL))
    }

    /// A file that can be sealed.
    pub fn open() -> Self {
        Self(AtomicU32::new(0))
    }

    /// The seals.
    pub fn get(&self) -> u32 {
        self.0.load(Relaxed)
    }

    /// Adds seals. `seal_mappings` sees to it that nobody writes through a mapping from now on, or says `false`
    /// if somebody could already. What can be executed now and for ever cannot be written any more, either. The
    /// inode's lock is held.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`, `EBUSY`.
    pub fn add(&self, mut seals: u32, executable: bool, seal_mappings: impl FnOnce() -> bool) -> Result<()> {
        if seals & !ALL != 0 {
            return Err(Errno::EINVAL);
        }
        if self.get() & F_SEAL_SEAL != 0 {
            return Err(Errno::EPERM);
        }
        if seals & F_SEAL_EXEC != 0 && executable {
            seals |= F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;
        }
        if seals & F_SEAL_WRITE != 0 && self.get() & F_SEAL_WRITE == 0 && !seal_mappings() {
            return Err(Errno::EBUSY);
        }
        self.0.fetch_or(seals, Relaxed);
        Ok(())
    }

    /// Whether the permissions may change from `old` to `new`.
    ///
    /// # Errors
    /// `EPERM`.
    pub fn may_change_mode(&self, old: u32, new: u32) -> Result<()> {
        if self.get() & F_SEAL_EXEC != 0 && (old ^ new) & EXECUTE != 0 { Err(Errno::EPERM) } else { Ok(()) }
    }

    /// Whether bytes may change.
    ///
    /// # Errors
    /// `EPERM`.
    pub fn may_write(&self) -> Result<()> {
        if self.get() & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) != 0 { Err(Errno::EPERM) } else { Ok(()) }
    }

    /// Whether the size may change from `old` to `new`.
    ///
    /// # Errors
    /// `EPERM`.
    pub fn may_resize(&self, old: u64, new: u64) -> Result<()> {
        let seals = self.get();
        if (new < old && seals & F_SEAL_SHRINK != 0) || (new > old && seals & F_SEAL_GROW != 0) {
            return Err(Errno::EPERM);
        }
        Ok(())
    }
}

/// Makes a memfd of this name, at most 249 bytes.
///
/// # Errors
/// `ENFILE`, `ENOMEM`.
pub fn create(name: &[u8], sealable: bool, executable: bool, cred: &KArc<Cred>) -> Result<KArc<File>> {
    let mount = anon::memory_mount();
    let mapping = Mapping::new_memory(0, None)?;
    let seals = if sealable { Seals::open() } else { Seals::none() };
    if sealable && !executable {
        seals.add(F_SEAL_EXEC, false, || true)?;
    }
    let ops =
        rux_mm::kbox_dyn!(KBox::new(MemoryFile::new(mapping, seals, None), Gfp::KERNEL)? => dyn InodeOps);
    let mode = if executable { 0o777 } else { 0o666 };
    let mut attributes = Attributes::new(FileKind::Regular, mode, cred.fsuid, cred.fsgid);
    attributes.nlink = 0;
    let inode =
        Inode::new(&mount.sb, mount.sb.new_ino(), FileKind::Regular, Dev::default(), attributes, ops)?;
    let mut shown = KString::from_str("/memfd:", Gfp::KERNEL)?.into_bytes();
    shown.extend_from_slice(name, Gfp::KERNEL)?;
    let dentry = Dentry::new(inode, None, &shown, 0)?;
    dentry.set_unlinked();
    File::open(Path { mount: mount.clone(), dentry }, O_RDWR, cred.clone(), Purpose::Ordinary)
}
