//! Changes to the tree and to inodes: make, link, remove, rename, mode, owner, times, size
//! (Linux: `vfs_mkdir` and its kin in `fs/namei.c`, `fs/attr.c`).
//!
//! Here are the rules that hold for every file system: permissions, sticky bits, what may replace
//! what. The file system looks again under its own locks and says `ESTALE` if the tree changed
//! meanwhile; then the look-up starts anew.

use rux_mm::slab::KArc;

use super::dentry::Dentry;
use super::inode::{Attributes, Inode, New, RenameEnd};
use super::limit;
use super::mount::Path;
use super::namei::{Caller, Last, Lookup, Walk};
use super::types::{Access, Dev, FileKind, MAX_FILE_SIZE, PATH_MAX, S_ISGID, S_ISUID, Timestamp};
use crate::errno::{Errno, Result};
use crate::process::cred::{Caps, Cred};

/// Whether `cred` may make a name in `dir`.
///
/// # Errors
/// `ENOENT` when the directory was removed, `EACCES`.
pub fn may_create(dir: &Path, cred: &Cred) -> Result<()> {
    if dir.dentry.is_unlinked() {
        return Err(Errno::ENOENT);
    }
    dir.inode().permission(cred, Access::WRITE | Access::EXEC)
}

/// Whether `cred` may take `victim`'s name in `dir` away (Linux: `may_delete`).
fn may_delete(dir: &Path, victim: &Dentry, directory: bool, cred: &Cred) -> Result<()> {
    dir.inode().permission(cred, Access::WRITE | Access::EXEC)?;
    if dir.inode().sticky_protects(cred, &victim.inode) {
        return Err(Errno::EPERM);
    }
    match (directory, victim.inode.is_dir()) {
        (true, false) => return Err(Errno::ENOTDIR),
        (false, true) => return Err(Errno::EISDIR),
        _ => {}
    }
    if dir.dentry.is_unlinked() { Err(Errno::ENOENT) } else { Ok(()) }
}

/// The attributes of what `caller` makes in `dir` (Linux: `inode_init_owner`).
fn new_attributes(dir: &Inode, kind: FileKind, mode: u32, caller: Caller<'_>) -> Attributes {
    let above = dir.attributes();
    let mut mode = if kind == FileKind::Symlink { 0o777 } else { mode & !caller.fs.umask() };
    let gid = if above.mode & S_ISGID != 0 {
        if kind == FileKind::Directory {
            mode |= S_ISGID;
        } else if mode & (S_ISGID | 0o010) == S_ISGID | 0o010
            && !caller.cred.in_group(above.gid)
            && !caller.cred.capable(Caps::FSETID)
        {
            mode &= !S_ISGID;
        }
        above.gid
    } else {
        caller.cred.fsgid
    };
    Attributes::new(kind, mode, caller.cred.fsuid, gid)
}

/// Makes `new` as `name` in `dir`; the caller has asked [`may_create`].
///
/// # Errors
/// `EEXIST`, what the file system says.
pub fn create(dir: &Path, name: &[u8], new: New<'_>, mode: u32, caller: Caller<'_>) -> Result<KArc<Dentry>> {
    let attributes = new_attributes(dir.inode(), new.kind(), mode, caller);
    dir.inode().ops().create(&dir.dentry, name, new, attributes)
}

/// Makes a regular file without a name in the file system of `dir`. Unless `sealed` (`O_EXCL`) it can be
/// given a name later.
///
/// # Errors
/// `EACCES`, `EOPNOTSUPP`, what the file system says.
pub fn create_unnamed(dir: &Path, mode: u32, sealed: bool, caller: Caller<'_>) -> Result<KArc<Dentry>> {
    dir.writable()?;
    dir.inode().permission(caller.cred, Access::WRITE | Access::EXEC)?;
    let mut attributes = new_attributes(dir.inode(), FileKind::Regular, mode, caller);
    attributes.nlink = 0;
    let dentry = dir.inode().ops().create_unnamed(&dir.dentry, attributes)?;
    if !sealed {
        dentry.inode.set_linkable();
    }
    Ok(dentry)
}

/// Where `text` names nothing yet: the directory, the name, and whether slashes follow it.
fn vacant<'t>(caller: Caller<'_>, dirfd: i32, text: &'t [u8]) -> Result<(Path, &'t [u8], bool)> {
    let mut walk = Walk::new(caller, dirfd, text, Lookup::empty())?;
    let (dir, last, slashes) = walk.parent(text)?;
    let Last::Name(name) = last else { return Err(Errno::EEXIST) };
    match walk.last(name) {
        Ok(_) => Err(Errno::EEXIST),
        Err(Errno::ENOENT) => dir.inode().ops().may_add().map(|()| (dir, name, slashes)),
        Err(e) => Err(e),
    }
}

/// Makes `new` at `text` (mkdirat, mknodat, symlinkat).
///
/// # Errors
/// Those of the system calls.
pub fn make(caller: Caller<'_>, dirfd: i32, text: &[u8], new: New<'_>, mode: u32) -> Result<()> {
    let (dir, name, slashes) = vacant(caller, dirfd, text)?;
    if slashes && new.kind() != FileKind::Directory {
        return Err(Errno::ENOENT);
    }
    dir.writable()?;
    may_create(&dir, caller.cred)?;
    if let New::Special(FileKind::CharDevice | FileKind::BlockDevice, _) = new {
        caller.cred.require(Caps::MKNOD)?;
    }
    // Only the permissions and the sticky bit are the caller's choice for a directory.
    let mode = if new.kind() == FileKind::Directory { mode & 0o1777 } else { mode & 0o7777 };
    create(&dir, name, new, mode, caller).map(drop)
}

/// mknod(2): `mode` has the kind in it.
///
/// # Errors
/// Those of mknod(2).
pub fn make_node(caller: Caller<'_>, dirfd: i32, text: &[u8], mode: u32, dev: u32) -> Result<()> {
    let new = match FileKind::of_mode(mode) {
        Some(FileKind::Regular) => New::Regular,
        None if mode & FileKind::MASK == 0 => New::Regular,
        Some(FileKind::Directory) => return Err(Errno::EPERM),
        Some(FileKind::Symlink) | None => return Err(Errno::EINVAL),
        Some(kind @ (FileKind::CharDevice | FileKind::BlockDevice)) => New::Special(kind, Dev::decode(dev)),
        Some(kind) => New::Special(kind, Dev::default()),
    };
    make(caller, dirfd, text, new, mode)
}

/// symlink(2).
///
/// # Errors
/// Those of symlink(2).
pub fn symlink(caller: Caller<'_>, target: &[u8], dirfd: i32, text: &[u8]) -> Result<()> {
    if target.is_empty() {
        return Err(Errno::ENOENT);
    }
    if target.len() >= PATH_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    make(caller, dirfd, text, New::Symlink(target), 0o777)
}

/// unlink(2).
///
/// # Errors
/// Those of unlink(2).
pub fn unlink(caller: Caller<'_>, dirfd: i32, text: &[u8]) -> Result<()> {
    retry(|| {
        let mut walk = Walk::new(caller, dirfd, text, Lookup::empty())?;
        let (dir, last, slashes) = walk.parent(text)?;
        let Last::Name(name) = last else { return Err(Errno::EISDIR) };
        let victim = walk.last(name)?;
        if slashes {
            return Err(if victim.inode().is_dir() { Errno::EISDIR } else { Errno::ENOTDIR });
        }
        dir.writable()?;
        may_delete(&dir, &victim.dentry, false, caller.cred)?;
        if !victim.same_mount(&dir) || victim.dentry.is_mountpoint() {
            return Err(Errno::EBUSY);
        }
        dir.inode().ops().unlink(&dir.dentry, name, &victim.dentry)
    })
}

/// rmdir(2).
///
/// # Errors
/// Those of rmdir(2).
pub fn rmdir(caller: Caller<'_>, dirfd: i32, text: &[u8]) -> Result<()> {
    retry(|| {
        let mut walk = Walk::new(caller, dirfd, text, Lookup::empty())?;
        let (dir, last, _) = walk.parent(text)?;
        let name = match last {
            Last::Name(name) => name,
            Last::Dot => return Err(Errno::EINVAL),
            Last::DotDot => return Err(Errno::ENOTEMPTY),
            Last::Root => return Err(Errno::EBUSY),
        };
        let victim = walk.last(name)?;
        dir.writable()?;
        if !victim.same_mount(&dir) {
            return Err(Errno::EBUSY);
        }
        may_delete(&dir, &victim.dentry, true, caller.cred)?;
        if victim.dentry.is_mountpoint() {
            return Err(Errno::EBUSY);
        }
        dir.inode().ops().unlink(&dir.dentry, name, &victim.dentry)
    })
}

/// Looks again as long as the tree changed under the look-up.
fn retry(mut once: impl FnMut() -> Result<()>) -> Result<()> {
    loop {
        match once() {
            Err(Errno::ESTALE) => {}
            result => return result,
        }
    }
}

/// Gives the inode at `old` the name `text`.
///
/// # Errors
/// Those of linkat(2).
pub fn link(caller: Caller<'_>, old: &Path, dirfd: i32, text: &[u8]) -> Result<()> {
    let (dir, name, slashes) = vacant(caller, dirfd, text)?;
    if slashes {
        return Err(Errno::ENOENT);
    }
    if !old.same_mount(&dir) {
        return Err(Errno::EXDEV);
    }
    dir.writable()?;
    may_create(&dir, caller.cred)?;
    if old.inode().is_dir() {
        return Err(Errno::EPERM);
    }
    dir.inode().ops().link(&dir.dentry, name, old.inode())
}

/// How a rename treats what has the new name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RenameMode {
    /// It is replaced.
    Replace,
    /// It must not be there (`RENAME_NOREPLACE`).
    NoReplace,
    /// It gets the old name (`RENAME_EXCHANGE`).
    Exchange,
}

/// renameat2(2).
///
/// # Errors
/// Those of rename(2).
pub fn rename(caller: Caller<'_>, old: (i32, &[u8]), new: (i32, &[u8]), mode: RenameMode) -> Result<()> {
    retry(|| rename_once(caller, old, new, mode))
}

fn rename_once(caller: Caller<'_>, old: (i32, &[u8]), new: (i32, &[u8]), mode: RenameMode) -> Result<()> {
    let mut from_walk = Walk::new(caller, old.0, old.1, Lookup::empty())?;
    let (from_dir, from_last, from_slashes) = from_walk.parent(old.1)?;
    let mut to_walk = Walk::new(caller, new.0, new.1, Lookup::empty())?;
    let (to_dir, to_last, to_slashes) = to_walk.parent(new.1)?;
    if !from_dir.same_mount(&to_dir) {
        return Err(Errno::EXDEV);
    }
    let Last::Name(from_name) = from_last else { return Err(Errno::EBUSY) };
    let Last::Name(to_name) = to_last else {
        return Err(if mode == RenameMode::NoReplace { Errno::EEXIST } else { Errno::EBUSY });
    };
    from_dir.writable()?;
    let sb = from_dir.inode().sb.clone();
    let _tree = sb.rename.lock();
    let from = from_walk.last(from_name)?;
    let to = match to_walk.last(to_name) {
        Ok(_) if mode == RenameMode::NoReplace => return Err(Errno::EEXIST),
        Ok(to) => Some(to),
        Err(Errno::ENOENT) if mode != RenameMode::Exchange => {
            to_dir.inode().ops().may_add()?;
            None
        }
        Err(e) => return Err(e),
    };
    let exchange = mode == RenameMode::Exchange;
    if !from.inode().is_dir() && (from_slashes || to_slashes && !exchange) {
        return Err(Errno::ENOTDIR);
    }
    if exchange && to_slashes && to.as_ref().is_some_and(|to| !to.inode().is_dir()) {
        return Err(Errno::ENOTDIR);
    }
    // A directory would be its own ancestor; or what is replaced holds what replaces it.
    if Dentry::is_inside(&to_dir.dentry, &from.dentry) {
        return Err(Errno::EINVAL);
    }
    if let Some(to) = &to
        && Dentry::is_inside(&from_dir.dentry, &to.dentry)
    {
        return Err(if exchange { Errno::EINVAL } else { Errno::ENOTEMPTY });
    }
    if let Some(to) = &to
        && KArc::ptr_eq(from.inode(), to.inode())
    {
        return Ok(());
    }
    let mounted = |path: &Path| !path.same_mount(&from_dir) || path.dentry.is_mountpoint();
    if mounted(&from) || to.as_ref().is_some_and(mounted) {
        return Err(Errno::EBUSY);
    }
    let from_is_dir = from.inode().is_dir();
    may_delete(&from_dir, &from.dentry, from_is_dir, caller.cred)?;
    match &to {
        None => may_create(&to_dir, caller.cred)?,
        Some(to) if exchange => may_delete(&to_dir, &to.dentry, to.inode().is_dir(), caller.cred)?,
        Some(to) => may_delete(&to_dir, &to.dentry, from_is_dir, caller.cred)?,
    }
    // A directory that moves gets another `..`.
    if !KArc::ptr_eq(&from_dir.dentry, &to_dir.dentry) {
        if from_is_dir {
            from.inode().permission(caller.cred, Access::WRITE)?;
        }
        if exchange
            && let Some(to) = &to
            && to.inode().is_dir()
        {
            to.inode().permission(caller.cred, Access::WRITE)?;
        }
    }
    let source = RenameEnd { dir: &from_dir.dentry, name: from_name, dentry: Some(&from.dentry) };
    let target = RenameEnd { dir: &to_dir.dentry, name: to_name, dentry: to.as_ref().map(|to| &to.dentry) };
    from_dir.inode().ops().rename(&source, &target, exchange)
}

/// chmod(2) on an inode.
///
/// # Errors
/// `EPERM`, `EROFS`, `EOPNOTSUPP` for a symbolic link.
pub fn chmod(path: &Path, mode: u32, cred: &Cred) -> Result<()> {
    path.writable()?;
    let inode = path.inode();
    if inode.kind == FileKind::Symlink {
        return Err(Errno::EOPNOTSUPP);
    }
    inode.ops().may_change()?;
    if !inode.owned_by(cred) {
        return Err(Errno::EPERM);
    }
    let mut mode = mode & 0o7777;
    if !cred.in_group(inode.attributes().gid) && !cred.capable(Caps::FSETID) {
        mode &= !S_ISGID;
    }
    // Seals and what they are about change under this lock.
    let _contents = inode.ops().seals().map(|_| inode.rwsem.write());
    if let Some(seals) = inode.ops().seals() {
        seals.may_change_mode(inode.attributes().mode, mode)?;
    }
    let now = Timestamp::now();
    inode.update(|a| (a.mode, a.ctime) = (mode, now));
    Ok(())
}

/// chown(2) on an inode; `None` leaves an id as it is.
///
/// # Errors
/// `EPERM`, `EROFS`.
pub fn chown(path: &Path, uid: Option<u32>, gid: Option<u32>, cred: &Cred) -> Result<()> {
    path.writable()?;
    let inode = path.inode();
    inode.ops().may_change()?;
    let old = inode.attributes();
    let owner = cred.fsuid == old.uid;
    let all = cred.capable(Caps::CHOWN);
    if uid.is_some_and(|uid| !(all || owner && uid == old.uid)) {
        return Err(Errno::EPERM);
    }
    if gid.is_some_and(|gid| !(all || owner && (gid == old.gid || cred.in_group(gid)))) {
        return Err(Errno::EPERM);
    }
    let now = Timestamp::now();
    let regular = !inode.is_dir();
    inode.update(|a| {
        a.uid = uid.unwrap_or(a.uid);
        a.gid = gid.unwrap_or(a.gid);
        a.ctime = now;
        if regular {
            a.mode &= !S_ISUID;
            if a.mode & 0o010 != 0 {
                a.mode &= !S_ISGID;
            }
        }
    });
    Ok(())
}

/// A time that utimensat(2) sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NewTime {
    /// The time of the call.
    Now,
    /// As it is (`UTIME_OMIT`).
    Keep,
    /// This one.
    At(Timestamp),
}

/// utimensat(2) on an inode.
///
/// # Errors
/// `EPERM`, `EACCES`, `EROFS`.
pub fn set_times(path: &Path, atime: NewTime, mtime: NewTime, cred: &Cred) -> Result<()> {
    if (atime, mtime) == (NewTime::Keep, NewTime::Keep) {
        return Ok(());
    }
    path.writable()?;
    let inode = path.inode();
    inode.ops().may_change()?;
    if (atime, mtime) == (NewTime::Now, NewTime::Now) {
        // Who may write may also say that it was written.
        if !inode.owned_by(cred) {
            inode.permission(cred, Access::WRITE)?;
        }
    } else if !inode.owned_by(cred) {
        return Err(Errno::EPERM);
    }
    let now = Timestamp::now();
    let resolve = |time, old| match time {
        NewTime::Now => now,
        NewTime::Keep => old,
        NewTime::At(at) => at,
    };
    inode.update(|a| {
        a.atime = resolve(atime, a.atime);
        a.mtime = resolve(mtime, a.mtime);
        a.ctime = now;
    });
    Ok(())
}

/// Sets the size of a regular file. The caller counts as a writer.
///
/// # Errors
/// `EFBIG`, `ENOMEM`, `EPERM` for a sealed memfd.
pub fn truncate_inode(inode: &Inode, size: u64, cred: &Cred) -> Result<()> {
    if size > MAX_FILE_SIZE {
        return Err(Errno::EFBIG);
    }
    let _contents = inode.rwsem.write();
    limit::check_size(size, inode.ops().size())?;
    if let Some(seals) = inode.ops().seals() {
        seals.may_resize(inode.ops().size(), size)?;
    }
    inode.ops().resize(inode, size)?;
    inode.remove_privileges(cred);
    inode.touch_modified();
    Ok(())
}

/// truncate(2).
///
/// # Errors
/// Those of truncate(2).
pub fn truncate(path: &Path, size: u64, cred: &Cred) -> Result<()> {
    let inode = path.inode();
    match inode.kind {
        FileKind::Directory => return Err(Errno::EISDIR),
        FileKind::Regular => {}
        _ => return Err(Errno::EINVAL),
    }
    path.writable()?;
    inode.permission(cred, Access::WRITE)?;
    inode.ops().may_change()?;
    inode.get_write_access()?;
    let result = truncate_inode(inode, size, cred);
    inode.put_write_access();
    result
}
