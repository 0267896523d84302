//! Inodes: what a file is, whatever its names (Linux: `struct inode`, `struct inode_operations`).
//!
//! An inode lives as long as a dentry, an open file or a mapping holds it. Its attributes are behind a
//! spinlock; what it contains is its file system's affair, reached through [`InodeOps`]. The `rwsem`
//! is held shared by reads and exclusively by writes and changes of size of a regular file.

use core::cmp::max;
use core::sync::atomic::{AtomicBool, AtomicI32, Ordering::Relaxed};

use rux_mm::filemap::Mapping;
use rux_mm::gfp::Gfp;
use rux_mm::slab::{KArc, KBox, KVec};
use rux_mm::sync::{Rank, RwSem, SpinLock};

use super::dentry::Dentry;
use super::file::FileOps;
use super::locks::FileLocks;
use super::mount::Path;
use super::superblock::SuperBlock;
use super::types::{Access, Dev, FileKind, S_ISGID, S_ISUID, S_ISVTX, Timestamp};
use crate::errno::{Errno, Result};
use crate::process::cred::{Caps, Cred};

/// What of an inode stat(2) shows and chmod, chown, utimensat and link change.
#[derive(Clone, Copy, Debug)]
pub struct Attributes {
    /// The low 12 bits of the mode: permissions, set-id bits, sticky bit.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// How many names it has; for a directory 2 and one for each directory in it.
    pub nlink: u32,
    /// Last read.
    pub atime: Timestamp,
    /// Last change of its contents.
    pub mtime: Timestamp,
    /// Last change of anything.
    pub ctime: Timestamp,
    /// When it was made.
    pub btime: Timestamp,
}

impl Attributes {
    /// Of a new inode with one name, or two for a directory.
    pub fn new(kind: FileKind, mode: u32, uid: u32, gid: u32) -> Self {
        let now = Timestamp::now();
        let nlink = if kind == FileKind::Directory { 2 } else { 1 };
        Self { mode: mode & 0o7777, uid, gid, nlink, atime: now, mtime: now, ctime: now, btime: now }
    }
}

/// A file, whatever its names.
pub struct Inode {
    /// Its number, unique in its file system.
    pub ino: u64,
    /// What it is.
    pub kind: FileKind,
    /// Which device, if it is one.
    pub rdev: Dev,
    /// Its file system.
    pub sb: KArc<SuperBlock>,
    /// Serializes what changes a regular file's contents (Linux: `i_rwsem`).
    pub rwsem: RwSem<()>,
    /// The advisory locks on it.
    pub locks: FileLocks,
    attributes: SpinLock<Attributes>,
    /// Above 0: how often it is open for writing; below: how often it runs (Linux: `i_writecount`).
    writers: AtomicI32,
    /// An unnamed file that may be given a name (Linux: `I_LINKABLE`).
    linkable: AtomicBool,
    ops: KBox<dyn InodeOps>,
}

/// What a symbolic link leads to.
pub enum Link {
    /// A path, resolved from the directory that the link is in.
    Text(KVec<u8>),
    /// A place itself (`/proc/PID/cwd` and its like).
    Place(Path),
}

/// What [`InodeOps::create`] is to make.
#[derive(Clone, Copy)]
pub enum New<'a> {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link with this text.
    Symlink(&'a [u8]),
    /// A device, a fifo or a socket's address.
    Special(FileKind, Dev),
}

impl New<'_> {
    /// What the new inode is.
    pub fn kind(&self) -> FileKind {
        match self {
            Self::Regular => FileKind::Regular,
            Self::Directory => FileKind::Directory,
            Self::Symlink(_) => FileKind::Symlink,
            Self::Special(kind, _) => *kind,
        }
    }
}

/// One end of a rename, as the VFS found it. The file system looks again under its locks.
pub struct RenameEnd<'a> {
    /// The directory.
    pub dir: &'a KArc<Dentry>,
    /// The name in it.
    pub name: &'a [u8],
    /// What has that name; always there for the source.
    pub dentry: Option<&'a KArc<Dentry>>,
}

/// What fallocate(2) is to do with a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fallocate {
    /// Make room, and the file longer if need be.
    Extend,
    /// Make room.
    KeepSize,
    /// Free it: it reads as zeroes.
    PunchHole,
}

/// One entry of a directory, on its way to getdents64(2).
pub struct DirEntry<'a> {
    /// The name.
    pub name: &'a [u8],
    /// The inode's number.
    pub ino: u64,
    /// The inode's kind.
    pub kind: FileKind,
    /// Where the directory is to be read from after this entry.
    pub next: u64,
}

/// What a file system does for one inode. The defaults are those of an inode that cannot do it.
///
/// Operations on directories get the directory's dentry, whose inode is the one that the operation is
/// called on. They lock what they need; the VFS has checked the permissions.
pub trait InodeOps: Send + Sync {
    /// Looks `name` up; neither `.` nor `..`, and at most [`super::types::NAME_MAX`] bytes.
    ///
    /// # Errors
    /// `ENOENT`, `ENOMEM`.
    fn lookup(&self, _dir: &KArc<Dentry>, _name: &[u8]) -> Result<KArc<Dentry>> {
        Err(Errno::ENOTDIR)
    }

    /// Whether there can be names that are not there yet: where names are made as they are looked up, one
    /// that is not found is not to be had (Linux: a negative dentry, or none).
    ///
    /// # Errors
    /// `ENOENT`.
    fn may_add(&self) -> Result<()> {
        Ok(())
    }

    /// Makes a new inode with the attributes and gives it the name.
    ///
    /// # Errors
    /// `EEXIST`, `ENOENT` when the directory was removed, `ENOSPC`, `ENOMEM`; `EACCES` or `EPERM` where
    /// nothing can be made.
    fn create(&self, _dir: &KArc<Dentry>, _name: &[u8], new: New<'_>, _: Attributes) -> Result<KArc<Dentry>> {
        Err(if matches!(new, New::Regular) { Errno::EACCES } else { Errno::EPERM })
    }

    /// Makes a regular file without a name (`O_TMPFILE`, `memfd_create`).
    fn create_unnamed(&self, _dir: &KArc<Dentry>, _attributes: Attributes) -> Result<KArc<Dentry>> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Gives `inode` one more name.
    fn link(&self, _dir: &KArc<Dentry>, _name: &[u8], _inode: &KArc<Inode>) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// Takes away the name of `victim`; a directory must be empty.
    ///
    /// # Errors
    /// `ESTALE` when the name is no longer `victim`'s: the VFS looks again. `ENOTEMPTY`.
    fn unlink(&self, _dir: &KArc<Dentry>, _name: &[u8], _victim: &KArc<Dentry>) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// Moves `from` to `to`, in place of what is there; or exchanges the two. Called on the directory of
    /// `from`; both are in this file system, and neither is above the other.
    ///
    /// # Errors
    /// As for [`InodeOps::unlink`].
    fn rename(&self, _from: &RenameEnd<'_>, _to: &RenameEnd<'_>, _exchange: bool) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// Hands the entries from position `pos` on (2 and more: `.` and `..` are the VFS's) to `emit` until
    /// it says `false`.
    fn readdir(
        &self,
        _dir: &KArc<Dentry>,
        _pos: u64,
        _emit: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<()> {
        Err(Errno::ENOTDIR)
    }

    /// Where a symbolic link leads. `following` is false for readlink(2).
    fn follow(&self, _inode: &Inode, _following: bool) -> Result<Link> {
        Err(Errno::EINVAL)
    }

    /// What serves an open file of this inode. May sleep (a fifo waits for its other end).
    fn open(&self, path: &Path, flags: u32) -> Result<KBox<dyn FileOps>>;

    /// Cuts or stretches a regular file to `size` bytes. The `rwsem` is held exclusively.
    fn resize(&self, _inode: &Inode, _size: u64) -> Result<()> {
        Err(Errno::EINVAL)
    }

    /// Makes room for `[start, end)`, or frees it where `punch` (fallocate(2)). With `keep_size` the file
    /// does not grow. The `rwsem` is held exclusively.
    fn fallocate(&self, _start: u64, _end: u64, _mode: Fallocate) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Bytes in it.
    fn size(&self) -> u64 {
        0
    }

    /// The unit in which it is best read and written (`st_blksize`).
    fn block_size(&self) -> usize {
        rux_mm::addr::PAGE_SIZE
    }

    /// What it takes of its file system, in units of 512 bytes.
    fn blocks(&self) -> u64 {
        0
    }

    /// Its page cache, if it can be mapped.
    fn mapping(&self) -> Option<&KArc<Mapping>> {
        None
    }

    /// Attributes that are not kept but follow from something else (`/proc/PID`).
    fn refresh(&self, _attributes: &mut Attributes) {}

    /// Refuses a change of mode, owner or size (procfs).
    fn may_change(&self) -> Result<()> {
        Ok(())
    }

    /// Frees what the directory contains, when its file system is gone for good. Iterative: hands one
    /// child after the other out.
    fn take_child(&self) -> Option<KArc<Dentry>> {
        None
    }

    /// The object itself, for the file system that made it.
    fn as_any(&self) -> &dyn core::any::Any;

    /// The file seals of a memfd, for fcntl(2).
    fn seals(&self) -> Option<&super::memfd::Seals> {
        None
    }
}

impl Inode {
    /// A new inode.
    pub fn new(
        sb: &KArc<SuperBlock>,
        ino: u64,
        kind: FileKind,
        rdev: Dev,
        attributes: Attributes,
        ops: KBox<dyn InodeOps>,
    ) -> Result<KArc<Self>> {
        let inode = Self {
            ino,
            kind,
            rdev,
            sb: sb.clone(),
            rwsem: RwSem::new(Rank::Inode, ()),
            locks: FileLocks::new(),
            attributes: SpinLock::new(Rank::Names, attributes),
            writers: AtomicI32::new(0),
            linkable: AtomicBool::new(false),
            ops,
        };
        Ok(KArc::new(inode, Gfp::KERNEL)?)
    }

    /// What its file system does for it.
    #[inline]
    pub fn ops(&self) -> &dyn InodeOps {
        &*self.ops
    }

    /// The unit in which it is best read and written (`st_blksize`).
    pub fn block_size(&self) -> usize {
        self.ops.block_size()
    }

    /// Whether it is a directory.
    #[inline]
    pub fn is_dir(&self) -> bool {
        self.kind == FileKind::Directory
    }

    /// The attributes as they are now.
    pub fn attributes(&self) -> Attributes {
        let mut attributes = *self.attributes.lock();
        self.ops.refresh(&mut attributes);
        attributes
    }

    /// Changes the attributes; `change` runs under a spinlock.
    pub fn update<R>(&self, change: impl FnOnce(&mut Attributes) -> R) -> R {
        change(&mut self.attributes.lock())
    }

    /// Marks that the contents changed now.
    pub fn touch_modified(&self) {
        let now = Timestamp::now();
        self.update(|a| (a.mtime, a.ctime) = (now, now));
    }

    /// Marks that the attributes or the number of names changed now.
    pub fn touch_changed(&self) {
        let now = Timestamp::now();
        self.update(|a| a.ctime = now);
    }

    /// Marks a read, as `relatime` does: only if the last one was before the last change or a day ago.
    pub fn touch_accessed(&self) {
        let now = Timestamp::now();
        self.update(|a| {
            if a.atime <= a.mtime || a.atime <= a.ctime || a.atime.sec.saturating_add(86_400) <= now.sec {
                a.atime = max(a.atime, now);
            }
        });
    }

    /// Whether `cred` may access the inode so (Linux: `inode_permission` without the mount's part).
    ///
    /// # Errors
    /// `EACCES`.
    pub fn permission(&self, cred: &Cred, access: Access) -> Result<()> {
        let a = self.attributes();
        let granted = if cred.fsuid == a.uid {
            a.mode >> 6
        } else if cred.in_group(a.gid) {
            a.mode >> 3
        } else {
            a.mode
        };
        if granted & access.bits() == access.bits() {
            return Ok(());
        }
        let search = access.difference(Access::EXEC | Access::READ).is_empty();
        if self.is_dir() {
            if (search && cred.capable(Caps::DAC_READ_SEARCH)) || cred.capable(Caps::DAC_OVERRIDE) {
                return Ok(());
            }
        } else {
            if access == Access::READ && cred.capable(Caps::DAC_READ_SEARCH) {
                return Ok(());
            }
            // Root runs only what somebody may run.
            if (!access.contains(Access::EXEC) || a.mode & 0o111 != 0) && cred.capable(Caps::DAC_OVERRIDE) {
                return Ok(());
            }
        }
        Err(Errno::EACCES)
    }

    /// Whether `cred` owns the inode, or may do as if (Linux: `inode_owner_or_capable`).
    pub fn owned_by(&self, cred: &Cred) -> bool {
        cred.fsuid == self.attributes().uid || cred.capable(Caps::FOWNER)
    }

    /// Whether the sticky bit of this directory keeps `cred` from removing `victim`
    /// (Linux: `check_sticky`).
    pub fn sticky_protects(&self, cred: &Cred, victim: &Self) -> bool {
        let dir = self.attributes();
        dir.mode & S_ISVTX != 0
            && victim.attributes().uid != cred.fsuid
            && dir.uid != cred.fsuid
            && !cred.capable(Caps::FOWNER)
    }

    /// Takes the set-id bits away, which a write by somebody without privilege does
    /// (Linux: `file_remove_privs`).
    pub fn remove_privileges(&self, cred: &Cred) {
        let mode = self.attributes.lock().mode;
        if mode & (S_ISUID | S_ISGID) == 0 || cred.capable(Caps::FSETID) {
            return;
        }
        self.update(|a| {
            a.mode &= !S_ISUID;
            // Without group execution the bit once meant mandatory locking: kept, for those in the group.
            if a.mode & 0o010 != 0 || !cred.in_group(a.gid) {
                a.mode &= !S_ISGID;
            }
        });
    }

    /// Lets a file without a name be given one (`O_TMPFILE` without `O_EXCL`).
    pub fn set_linkable(&self) {
        self.linkable.store(true, Relaxed);
    }

    /// One more name.
    ///
    /// # Errors
    /// `ENOENT` when it has none any more, `EMLINK`.
    pub fn add_link(&self) -> Result<()> {
        let linkable = self.linkable.load(Relaxed);
        let now = Timestamp::now();
        self.update(|a| {
            if a.nlink == 0 && !linkable {
                return Err(Errno::ENOENT);
            }
            a.nlink = a.nlink.checked_add(1).ok_or(Errno::EMLINK)?;
            a.ctime = now;
            Ok(())
        })
    }

    /// One name less; for a directory `.` counts too.
    pub fn drop_link(&self) {
        let now = Timestamp::now();
        let names = if self.is_dir() { 2 } else { 1 };
        self.update(|a| {
            a.nlink = a.nlink.saturating_sub(names);
            a.ctime = now;
        });
    }

    /// Counts one more open file that writes (Linux: `get_write_access`).
    ///
    /// # Errors
    /// `ETXTBSY` while the file runs.
    pub fn get_write_access(&self) -> Result<()> {
        let step = |n: i32| if n < 0 { None } else { n.checked_add(1) };
        self.writers.fetch_update(Relaxed, Relaxed, step).map(drop).map_err(|_| Errno::ETXTBSY)
    }

    /// Takes [`Inode::get_write_access`] back.
    pub fn put_write_access(&self) {
        self.writers.fetch_sub(1, Relaxed);
    }

    /// Keeps the file from being opened for writing (Linux: `deny_write_access`).
    ///
    /// # Errors
    /// `ETXTBSY` while it is.
    pub fn deny_write_access(&self) -> Result<()> {
        let step = |n: i32| if n > 0 { None } else { n.checked_sub(1) };
        self.writers.fetch_update(Relaxed, Relaxed, step).map(drop).map_err(|_| Errno::ETXTBSY)
    }

    /// Takes [`Inode::deny_write_access`] back.
    pub fn allow_write_access(&self) {
        self.writers.fetch_add(1, Relaxed);
    }
}
