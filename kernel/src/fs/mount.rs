//! Mounts: which file system is where (Linux: `fs/namespace.c`), and places in the whole tree.
//!
//! There is one tree for everybody. A walk meets the table of mounts only at a dentry that says that
//! something is mounted on it.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rux_mm::gfp::Gfp;
use rux_mm::slab::{KArc, KVec};
use rux_mm::sync::{Rank, RwSem, SpinLock};
use spin::Once;

use super::dentry::{Dentry, owned_name, tear_down};
use super::inode::Inode;
use super::superblock::SuperBlock;
use super::types::NAME_MAX;
use crate::errno::{Errno, Result};

bitflags::bitflags! {
    /// How a mount restricts what is done through it; the values are mount(2)'s.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct MountFlags: u32 {
        /// No changes.
        const RDONLY = 1;
        /// Set-id bits count for nothing.
        const NOSUID = 2;
        /// Devices cannot be opened.
        const NODEV = 4;
        /// Nothing runs from here.
        const NOEXEC = 8;
        /// Reads leave access times alone.
        const NOATIME = 1024;
        /// Access times are kept about right.
        const RELATIME = 1 << 21;
    }
}

/// A file system, or a part of one, in its place.
pub struct Mount {
    /// Its number.
    pub id: u32,
    /// The file system.
    pub sb: KArc<SuperBlock>,
    /// What is seen at the place.
    pub root: KArc<Dentry>,
    /// The device or word that mount(2) was given.
    pub source: KVec<u8>,
    flags: AtomicU32,
    /// Where it is; `None` for the root of all, for what was unmounted, and for the kernel's own.
    at: SpinLock<Option<Path>>,
    /// The kernel's own: pipes and the like, whose files have a name and no path.
    internal: bool,
}

static NEXT_ID: AtomicU32 = AtomicU32::new(1);

impl Mount {
    fn with(
        sb: KArc<SuperBlock>,
        root: KArc<Dentry>,
        source: &[u8],
        flags: MountFlags,
        internal: bool,
    ) -> Result<KArc<Self>> {
        let source = owned_name(source)?;
        sb.mounts.fetch_add(1, Relaxed);
        let mount = Self {
            id: NEXT_ID.fetch_add(1, Relaxed),
            sb,
            root,
            source,
            flags: AtomicU32::new(flags.bits()),
            at: SpinLock::new(Rank::Names, None),
            internal,
        };
        Ok(KArc::new(mount, Gfp::KERNEL)?)
    }

    /// A mount that is nowhere yet.
    pub fn new(
        sb: KArc<SuperBlock>,
        root: KArc<Dentry>,
        source: &[u8],
        flags: MountFlags,
    ) -> Result<KArc<Self>> {
        Self::with(sb, root, source, flags, false)
    }

    /// A mount for files without a path.
    pub fn internal(sb: KArc<SuperBlock>, root: KArc<Dentry>) -> Result<KArc<Self>> {
        Self::with(sb, root, b"none", MountFlags::empty(), true)
    }

    /// How it restricts what is done through it.
    pub fn flags(&self) -> MountFlags {
        MountFlags::from_bits_truncate(self.flags.load(Relaxed))
    }

    /// Changes the restrictions (`MS_REMOUNT`).
    pub fn set_flags(&self, flags: MountFlags) {
        self.flags.store(flags.bits(), Relaxed);
    }

    /// The part of its file system that is mounted, as a path from the file system's root.
    ///
    /// # Errors
    /// No memory.
    pub fn root_path(&self) -> Result<KVec<u8>> {
        let mut path: KVec<u8> = KVec::new();
        let mut at = self.root.clone();
        while let Some(above) = at.parent() {
            // Written backwards, and turned around at the end.
            at.with_name(|name| path.try_extend(name.iter().rev().chain(b"/").copied(), Gfp::NOWAIT))?;
            at = above;
        }
        if path.is_empty() {
            path.push(b'/', Gfp::KERNEL)?;
        }
        path.reverse();
        Ok(path)
    }

    /// The place that it is mounted on.
    pub fn mountpoint(&self) -> Option<Path> {
        self.at.lock().clone()
    }

    /// Whether it is on a mount that has no place any more.
    fn is_orphan(&self) -> bool {
        // Not with its own lock held: the other's has the same rank.
        self.mountpoint().is_some_and(|at| !at.mount.is_attached())
    }

    /// Whether it is a part of the tree.
    pub fn is_attached(&self) -> bool {
        core::ptr::eq(self, &*global_root().mount) || self.at.lock().is_some()
    }

    /// Whether files on it have a name and no path.
    pub fn is_internal(&self) -> bool {
        self.internal
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.sb.mounts.fetch_sub(1, Relaxed) == 1 {
            // What is mounted may be a part of the file system.
            let mut root = self.root.clone();
            while let Some(above) = root.parent() {
                root = above;
            }
            tear_down(&root);
        }
    }
}

/// A place in the tree: a dentry as seen through a mount (Linux: `struct path`).
#[derive(Clone)]
pub struct Path {
    /// The mount.
    pub mount: KArc<Mount>,
    /// The dentry.
    pub dentry: KArc<Dentry>,
}

impl Path {
    /// The inode there.
    #[inline]
    pub fn inode(&self) -> &KArc<Inode> {
        &self.dentry.inode
    }

    /// Whether both are the same place.
    pub fn same(&self, other: &Self) -> bool {
        KArc::ptr_eq(&self.dentry, &other.dentry) && KArc::ptr_eq(&self.mount, &other.mount)
    }

    /// Whether both are seen through the same mount.
    pub fn same_mount(&self, other: &Self) -> bool {
        KArc::ptr_eq(&self.mount, &other.mount)
    }

    /// Whether it is what its mount shows at its place.
    pub fn is_mount_root(&self) -> bool {
        KArc::ptr_eq(&self.dentry, &self.mount.root)
    }

    /// What a walker that comes here sees: the root of what is mounted here, if something is.
    pub fn descend(self) -> Self {
        let mut path = self;
        while path.dentry.is_mountpoint() {
            let Some(mount) = mounted_at(&path) else { break };
            path = Self { dentry: mount.root.clone(), mount };
        }
        path
    }

    /// The directory above; `root` and the root of all are their own.
    pub fn parent(&self, root: &Self) -> Self {
        let mut at = self.clone();
        loop {
            if at.same(root) {
                return at.descend();
            }
            if !at.is_mount_root() {
                break;
            }
            match at.mount.mountpoint() {
                Some(below) => at = below,
                None => return at,
            }
        }
        match at.dentry.parent() {
            Some(dentry) => Self { mount: at.mount, dentry }.descend(),
            None => at,
        }
    }

    /// Changes may be made here.
    ///
    /// # Errors
    /// `EROFS`.
    pub fn writable(&self) -> Result<()> {
        if self.mount.flags().contains(MountFlags::RDONLY) { Err(Errno::EROFS) } else { Ok(()) }
    }

    /// Writes the path from `root` on, backwards into the end of `buffer`; says where it starts.
    ///
    /// # Errors
    /// `ENAMETOOLONG`. `Ok` comes with whether `root` was met at all (Linux prefixes `(unreachable)` if not).
    pub fn write_to(&self, root: Option<&Self>, buffer: &mut [u8]) -> Result<(usize, bool)> {
        let mut start = buffer.len();
        let mut push = |text: &[u8]| -> Result<()> {
            start = start.checked_sub(text.len()).ok_or(Errno::ENAMETOOLONG)?;
            buffer[start..start + text.len()].copy_from_slice(text);
            Ok(())
        };
        if self.dentry.is_unlinked() {
            push(b" (deleted)")?;
        }
        let mut name = [0; NAME_MAX + 1];
        if self.mount.is_internal() {
            let n = self.dentry.copy_name(&mut name);
            push(&name[..n])?;
            return Ok((start, true));
        }
        let mut at = self.clone();
        let mut any = false;
        let reached = loop {
            if root.is_some_and(|root| at.same(root)) {
                break true;
            }
            if at.is_mount_root() {
                match at.mount.mountpoint() {
                    Some(below) => {
                        at = below;
                        continue;
                    }
                    None => break root.is_none() || KArc::ptr_eq(&at.mount, &global_root().mount),
                }
            }
            let Some(parent) = at.dentry.parent() else { break false };
            let n = at.dentry.copy_name(&mut name);
            push(&name[..n])?;
            push(b"/")?;
            any = true;
            at.dentry = parent;
        };
        if !any {
            push(b"/")?;
        }
        Ok((start, reached))
    }

    /// The path from the root of all on, as /proc shows it.
    pub fn to_name(&self) -> Result<KVec<u8>> {
        let mut buffer = KVec::new();
        buffer.resize(super::types::PATH_MAX, 0, Gfp::KERNEL)?;
        let (start, _) = self.write_to(None, &mut buffer)?;
        Ok(owned_name(&buffer[start..])?)
    }

    /// Formats the path with newlines as `\012`, as /proc/PID/maps does.
    pub fn format(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let name = self.to_name().map_err(|_| fmt::Error)?;
        write_escaped(&name, b"\n", out)
    }
}

/// Writes `text` with the bytes of `escape` in octal (Linux: `mangle_path`); a text
/// can only carry UTF-8, so that other bytes become `?`.
pub fn write_escaped(text: &[u8], escape: &[u8], out: &mut dyn fmt::Write) -> fmt::Result {
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_ascii() && escape.contains(&(c as u8)) {
                write!(out, "\\{:03o}", c as u32)?;
            } else {
                out.write_char(c)?;
            }
        }
        for _ in chunk.invalid() {
            out.write_char('?')?;
        }
    }
    Ok(())
}

static MOUNTS: RwSem<KVec<KArc<Mount>>> = RwSem::new(Rank::Namespace, KVec::new());
static ROOT: Once<Path> = Once::new();

/// The root of all. There from `fs::init` on.
pub fn global_root() -> &'static Path {
    ROOT.get().expect("fs::init has run before the first process")
}

/// Makes `mount` the root of all; once, at boot.
pub(super) fn set_global_root(mount: KArc<Mount>) -> Result<()> {
    MOUNTS.write().push(mount.clone(), Gfp::KERNEL)?;
    ROOT.call_once(|| Path { dentry: mount.root.clone(), mount });
    Ok(())
}

/// The mount on top of `path`, if there is one.
fn mounted_at(path: &Path) -> Option<KArc<Mount>> {
    let mounts = MOUNTS.read();
    mounts.iter().find(|m| m.at.lock().as_ref().is_some_and(|at| at.same(path))).cloned()
}

/// Puts `mount` at `path`, on top of what is there.
///
/// # Errors
/// `ENOENT` when the place was removed, `ENOTDIR` when one is a directory and the other is not.
pub fn attach(mount: KArc<Mount>, path: &Path) -> Result<()> {
    let path = path.clone().descend();
    if path.dentry.is_unlinked() {
        return Err(Errno::ENOENT);
    }
    if path.inode().is_dir() != mount.root.inode.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    let mut mounts = MOUNTS.write();
    mounts.push(mount.clone(), Gfp::KERNEL)?;
    path.dentry.mounts.fetch_add(1, Relaxed);
    *mount.at.lock() = Some(path);
    Ok(())
}

/// Takes the mount away whose root `path` is.
///
/// # Errors
/// `EINVAL` when it is none, or the root of all; `EBUSY` while somebody uses it, unless `lazy`.
pub fn detach(path: Path, lazy: bool) -> Result<()> {
    if !path.is_mount_root() || KArc::ptr_eq(&path.mount, &global_root().mount) {
        return Err(Errno::EINVAL);
    }
    let Path { mount, dentry } = path;
    drop(dentry);
    let mut mounts = MOUNTS.write();
    let position = mounts.iter().position(|m| KArc::ptr_eq(m, &mount)).ok_or(Errno::EINVAL)?;
    // One reference is the table's, one ours.
    if !lazy && KArc::strong_count(&mount) > 2 {
        return Err(Errno::EBUSY);
    }
    let gone = mounts.remove(position);
    release(&gone);
    // What is mounted inside goes with it, level by level.
    while lazy && let Some(position) = mounts.iter().position(|m| m.is_orphan()) {
        release(&mounts.remove(position));
    }
    drop(mounts);
    drop(gone);
    Ok(())
}

/// Notes that `mount` has no place any more.
fn release(mount: &Mount) {
    let place = mount.at.lock().take();
    if let Some(place) = place {
        place.dentry.mounts.fetch_sub(1, Relaxed);
    }
}

/// All mounts in the order in which they were made.
///
/// # Errors
/// No memory for the list.
pub fn all() -> Result<KVec<KArc<Mount>>> {
    Ok(MOUNTS.read().try_clone(Gfp::KERNEL)?)
}

/// The number of mounts on which /proc/PID/mountinfo's parent column stands.
pub fn parent_id(mount: &Mount) -> u32 {
    mount.at.lock().as_ref().map_or(mount.id, |at| at.mount.id)
}
