//! System calls on the tree: names, attributes, mounts, working directories.

use linux_raw_sys::general as nr;
use rux_mm::addr::PAGE_SIZE;
use rux_mm::gfp::Gfp;
use rux_mm::slab::KVec;

use super::{Args, Handler};
use crate::errno::{Errno, Result};
use crate::fs::change::{self, NewTime, RenameMode};
use crate::fs::inode::{Link, New};
use crate::fs::mount::Path;
use crate::fs::namei::{AT_FDCWD, Lookup};
use crate::fs::stat;
use crate::fs::types::{Access, FileKind, PATH_MAX, Timestamp};
use crate::fs::user::{self, UserPath};
use crate::fs::{current, mounting};
use crate::process::cred::Caps;
use crate::uaccess;

/// The calls of this room.
pub const HANDLERS: &[(u32, Handler)] = &[
    (nr::__NR_mkdirat, mkdirat),
    (nr::__NR_mknodat, mknodat),
    (nr::__NR_unlinkat, unlinkat),
    (nr::__NR_symlinkat, symlinkat),
    (nr::__NR_linkat, linkat),
    (nr::__NR_renameat2, renameat2),
    (nr::__NR_readlinkat, readlinkat),
    (nr::__NR_faccessat, faccessat),
    (nr::__NR_faccessat2, faccessat2),
    (nr::__NR_fchmod, fchmod),
    (nr::__NR_fchmodat, fchmodat),
    (nr::__NR_fchmodat2, fchmodat2),
    (nr::__NR_fchown, fchown),
    (nr::__NR_fchownat, fchownat),
    (nr::__NR_utimensat, utimensat),
    (nr::__NR_newfstatat, newfstatat),
    (nr::__NR_fstat, fstat),
    (nr::__NR_statx, statx),
    (nr::__NR_statfs, statfs),
    (nr::__NR_fstatfs, fstatfs),
    (nr::__NR_chdir, chdir),
    (nr::__NR_fchdir, fchdir),
    (nr::__NR_chroot, chroot),
    (nr::__NR_getcwd, getcwd),
    (nr::__NR_umask, umask),
    (nr::__NR_mount, mount),
    (nr::__NR_umount2, umount2),
];

const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
const AT_EACCESS: u32 = 0x200;
const AT_REMOVEDIR: u32 = 0x200;
const AT_SYMLINK_FOLLOW: u32 = 0x400;
const AT_NO_AUTOMOUNT: u32 = 0x800;
const AT_EMPTY_PATH: u32 = 0x1000;
const AT_STATX_SYNC_TYPE: u32 = 0x6000;

/// How `AT_*` flags look a path up.
fn lookup_flags(flags: u32, follow: bool) -> Lookup {
    let follow = if follow { Lookup::FOLLOW } else { Lookup::empty() };
    if flags & AT_EMPTY_PATH != 0 { follow | Lookup::EMPTY } else { follow }
}

fn lookup(dirfd: i32, path: usize, how: Lookup) -> Result<Path> {
    let path = UserPath::read_or_null(path, how.contains(Lookup::EMPTY))?;
    current::caller()?.get().lookup(dirfd, path.bytes(), how)
}

fn mkdirat(args: &Args) -> Result<usize> {
    let path = UserPath::read(args.a[1])?;
    change::make(current::caller()?.get(), args.int(0), path.bytes(), New::Directory, args.uint(2))?;
    Ok(0)
}

fn mknodat(args: &Args) -> Result<usize> {
    let path = UserPath::read(args.a[1])?;
    change::make_node(current::caller()?.get(), args.int(0), path.bytes(), args.uint(2), args.uint(3))?;
    Ok(0)
}

fn unlinkat(args: &Args) -> Result<usize> {
    let flags = args.uint(2);
    if flags & !AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL);
    }
    let path = UserPath::read(args.a[1])?;
    let who = current::caller()?;
    if flags & AT_REMOVEDIR != 0 {
        change::rmdir(who.get(), args.int(0), path.bytes())?;
    } else {
        change::unlink(who.get(), args.int(0), path.bytes())?;
    }
    Ok(0)
}

fn symlinkat(args: &Args) -> Result<usize> {
    let (target, path) = (UserPath::read(args.a[0])?, UserPath::read(args.a[2])?);
    change::symlink(current::caller()?.get(), target.bytes(), args.int(1), path.bytes())?;
    Ok(0)
}

fn linkat(args: &Args) -> Result<usize> {
    let flags = args.uint(4);
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let how = lookup_flags(flags, flags & AT_SYMLINK_FOLLOW != 0);
    let old = UserPath::read_or_null(args.a[1], false)?;
    let who = current::caller()?;
    if old.bytes().is_empty() && flags & AT_EMPTY_PATH != 0 {
        who.cred.require(Caps::DAC_READ_SEARCH).map_err(|_| Errno::ENOENT)?;
    }
    let old = who.get().lookup(args.int(0), old.bytes(), how)?;
    let path = UserPath::read(args.a[3])?;
    change::link(who.get(), &old, args.int(2), path.bytes())?;
    Ok(0)
}

fn renameat2(args: &Args) -> Result<usize> {
    let mode = match args.uint(4) {
        0 => RenameMode::Replace,
        1 => RenameMode::NoReplace,
        2 => RenameMode::Exchange,
        // RENAME_WHITEOUT (4) needs a file system that knows it.
        _ => return Err(Errno::EINVAL),
    };
    let (old, new) = (UserPath::read(args.a[1])?, UserPath::read(args.a[3])?);
    let who = current::caller()?;
    change::rename(who.get(), (args.int(0), old.bytes()), (args.int(2), new.bytes()), mode)?;
    Ok(0)
}

fn readlinkat(args: &Args) -> Result<usize> {
    let size = args.int(3);
    if size <= 0 {
        return Err(Errno::EINVAL);
    }
    let path = UserPath::read(args.a[1])?;
    let empty = path.bytes().is_empty();
    let found = current::caller()?.get().lookup(args.int(0), path.bytes(), Lookup::EMPTY)?;
    if found.inode().kind != FileKind::Symlink {
        return Err(if empty { Errno::ENOENT } else { Errno::EINVAL });
    }
    let text = match found.inode().ops().follow(found.inode(), false)? {
        Link::Text(text) => text,
        Link::Place(place) => place.to_name()?,
    };
    found.inode().touch_accessed();
    let len = text.len().min(size as usize);
    uaccess::copy_to_user(rux_mm::addr::VirtAddr::new(args.a[2] as u64), &text[..len])?;
    Ok(len)
}

fn access(dirfd: i32, path: usize, mode: u32, flags: u32) -> Result<usize> {
    if mode & !7 != 0 || flags & !(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let how = lookup_flags(flags, flags & AT_SYMLINK_NOFOLLOW == 0);
    let path = UserPath::read_or_null(path, how.contains(Lookup::EMPTY))?;
    let mut who = current::caller()?;
    if flags & AT_EACCESS == 0 {
        who.cred = current::real_cred(&who.cred)?;
    }
    let found = who.get().lookup(dirfd, path.bytes(), how)?;
    let wanted = Access::from_bits_truncate(mode);
    let inode = found.inode();
    if wanted.contains(Access::EXEC)
        && inode.kind == FileKind::Regular
        && found.mount.flags().contains(crate::fs::mount::MountFlags::NOEXEC)
    {
        return Err(Errno::EACCES);
    }
    if !wanted.is_empty() {
        inode.permission(&who.cred, wanted)?;
    }
    // Devices, fifos and sockets are written to without changing the file system.
    if wanted.contains(Access::WRITE)
        && matches!(inode.kind, FileKind::Regular | FileKind::Directory | FileKind::Symlink)
    {
        found.writable()?;
    }
    Ok(0)
}

fn faccessat(args: &Args) -> Result<usize> {
    access(args.int(0), args.a[1], args.uint(2), 0)
}

fn faccessat2(args: &Args) -> Result<usize> {
    access(args.int(0), args.a[1], args.uint(2), args.uint(3))
}

fn fchmod(args: &Args) -> Result<usize> {
    let file = current::files()?.get(args.int(0))?;
    change::chmod(&file.path, args.uint(1), &*current::cred()?)?;
    Ok(0)
}

fn chmod_at(dirfd: i32, path: usize, mode: u32, flags: u32) -> Result<usize> {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let found = lookup(dirfd, path, lookup_flags(flags, flags & AT_SYMLINK_NOFOLLOW == 0))?;
    change::chmod(&found, mode, &*current::cred()?)?;
    Ok(0)
}

fn fchmodat(args: &Args) -> Result<usize> {
    chmod_at(args.int(0), args.a[1], args.uint(2), 0)
}

fn fchmodat2(args: &Args) -> Result<usize> {
    chmod_at(args.int(0), args.a[1], args.uint(2), args.uint(3))
}

/// An id of chown(2): -1 leaves it.
fn id(value: u32) -> Option<u32> {
    (value != u32::MAX).then_some(value)
}

fn fchown(args: &Args) -> Result<usize> {
    let file = current::files()?.get(args.int(0))?;
    change::chown(&file.path, id(args.uint(1)), id(args.uint(2)), &*current::cred()?)?;
    Ok(0)
}

fn fchownat(args: &Args) -> Result<usize> {
    let flags = args.uint(4);
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let found = lookup(args.int(0), args.a[1], lookup_flags(flags, flags & AT_SYMLINK_NOFOLLOW == 0))?;
    change::chown(&found, id(args.uint(2)), id(args.uint(3)), &*current::cred()?)?;
    Ok(0)
}

fn utimensat(args: &Args) -> Result<usize> {
    const UTIME_NOW: i64 = (1 << 30) - 1;
    const UTIME_OMIT: i64 = (1 << 30) - 2;
    let flags = args.uint(3);
    let time = |[sec, nsec]: [i64; 2]| match nsec {
        UTIME_NOW => Ok(NewTime::Now),
        UTIME_OMIT => Ok(NewTime::Keep),
        0..1_000_000_000 => Ok(NewTime::At(Timestamp { sec, nsec: nsec as u32 })),
        _ => Err(Errno::EINVAL),
    };
    let (atime, mtime) = match args.a[2] {
        0 => (NewTime::Now, NewTime::Now),
        at => {
            let times: [[i64; 2]; 2] = user::get(at)?;
            (time(times[0])?, time(times[1])?)
        }
    };
    if (atime, mtime) == (NewTime::Keep, NewTime::Keep) {
        return Ok(0);
    }
    let cred = current::cred()?;
    if args.a[1] == 0 && args.int(0) != AT_FDCWD {
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        let file = current::files()?.get(args.int(0))?;
        change::set_times(&file.path, atime, mtime, &cred)?;
        return Ok(0);
    }
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let found = lookup(args.int(0), args.a[1], lookup_flags(flags, flags & AT_SYMLINK_NOFOLLOW == 0))?;
    change::set_times(&found, atime, mtime, &cred)?;
    Ok(0)
}

fn newfstatat(args: &Args) -> Result<usize> {
    let flags = args.uint(3);
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let found = lookup(args.int(0), args.a[1], lookup_flags(flags, flags & AT_SYMLINK_NOFOLLOW == 0))?;
    user::put(args.a[2], stat::stat(found.inode()))?;
    Ok(0)
}

fn fstat(args: &Args) -> Result<usize> {
    let file = current::files()?.get_any(args.int(0))?;
    user::put(args.a[1], stat::stat(file.inode()))?;
    Ok(0)
}

fn statx(args: &Args) -> Result<usize> {
    let (flags, mask) = (args.uint(2), args.uint(3));
    let known = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE;
    if mask & stat::STATX_RESERVED != 0
        || flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE
        || flags & !known != 0
    {
        return Err(Errno::EINVAL);
    }
    let found = lookup(args.int(0), args.a[1], lookup_flags(flags, flags & AT_SYMLINK_NOFOLLOW == 0))?;
    user::put(args.a[4], stat::statx(&found, mask))?;
    Ok(0)
}

fn statfs(args: &Args) -> Result<usize> {
    let found = lookup(AT_FDCWD, args.a[0], Lookup::FOLLOW)?;
    user::put(args.a[1], stat::statfs(&found))?;
    Ok(0)
}

fn fstatfs(args: &Args) -> Result<usize> {
    let file = current::files()?.get_any(args.int(0))?;
    user::put(args.a[1], stat::statfs(&file.path))?;
    Ok(0)
}

fn enter(path: &Path) -> Result<()> {
    if !path.inode().is_dir() {
        return Err(Errno::ENOTDIR);
    }
    path.inode().permission(&*current::cred()?, Access::EXEC)
}

fn chdir(args: &Args) -> Result<usize> {
    let found = lookup(AT_FDCWD, args.a[0], Lookup::FOLLOW | Lookup::DIRECTORY)?;
    enter(&found)?;
    current::fs()?.set_cwd(found);
    Ok(0)
}

fn fchdir(args: &Args) -> Result<usize> {
    let file = current::files()?.get_any(args.int(0))?;
    enter(&file.path)?;
    current::fs()?.set_cwd(file.path.clone());
    Ok(0)
}

fn chroot(args: &Args) -> Result<usize> {
    let found = lookup(AT_FDCWD, args.a[0], Lookup::FOLLOW | Lookup::DIRECTORY)?;
    enter(&found)?;
    current::cred()?.require(Caps::SYS_CHROOT)?;
    current::fs()?.set_root(found);
    Ok(0)
}

fn getcwd(args: &Args) -> Result<usize> {
    let (root, cwd) = current::fs()?.root_and_cwd();
    if cwd.dentry.is_unlinked() {
        return Err(Errno::ENOENT);
    }
    let mut buffer: KVec<u8> = KVec::new();
    buffer.resize(PAGE_SIZE, 0, Gfp::KERNEL)?;
    let prefix = b"(unreachable)";
    let end = buffer.len() - 1;
    let (mut start, reached) = cwd.write_to(Some(&root), &mut buffer[..end])?;
    if !reached {
        start = start.checked_sub(prefix.len()).ok_or(Errno::ENAMETOOLONG)?;
        buffer[start..start + prefix.len()].copy_from_slice(prefix);
    }
    let text = &buffer[start..];
    if text.len() > args.a[1] {
        return Err(Errno::ERANGE);
    }
    uaccess::copy_to_user(rux_mm::addr::VirtAddr::new(args.a[0] as u64), text)?;
    Ok(text.len())
}

fn umask(args: &Args) -> Result<usize> {
    Ok(current::fs()?.set_umask(args.uint(0)) as usize)
}

/// Copies the options of mount(2): at most a page, up to the NUL.
fn options(addr: usize) -> Result<KVec<u8>> {
    let mut text: KVec<u8> = KVec::new();
    if addr != 0 {
        text.resize(PATH_MAX, 0, Gfp::KERNEL)?;
        let len = uaccess::strncpy_from_user(&mut text, rux_mm::addr::VirtAddr::new(addr as u64))?;
        text.truncate(len);
    }
    Ok(text)
}

fn mount(args: &Args) -> Result<usize> {
    let kind = options(args.a[2])?;
    let source = options(args.a[0])?;
    let data = options(args.a[4])?;
    let found = lookup(AT_FDCWD, args.a[1], Lookup::FOLLOW)?;
    current::cred()?.require(Caps::SYS_ADMIN)?;
    mounting::mount(&source, &found, &kind, args.a[3] as u32, &data)?;
    Ok(0)
}

fn umount2(args: &Args) -> Result<usize> {
    const FORCE: u32 = 1;
    const DETACH: u32 = 2;
    const EXPIRE: u32 = 4;
    const NOFOLLOW: u32 = 8;
    let flags = args.uint(1);
    if flags & !(FORCE | DETACH | EXPIRE | NOFOLLOW) != 0 || flags & EXPIRE != 0 {
        return Err(Errno::EINVAL);
    }
    let follow = if flags & NOFOLLOW == 0 { Lookup::FOLLOW } else { Lookup::empty() };
    let found = lookup(AT_FDCWD, args.a[0], follow)?;
    current::cred()?.require(Caps::SYS_ADMIN)?;
    crate::fs::mount::detach(found, flags & DETACH != 0)?;
    Ok(0)
}
