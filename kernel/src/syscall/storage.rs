//! What a file's contents take and where they are: size, allocation, write-back, read-ahead (Linux: `fs/open.c`,
//! `fs/sync.c`, `mm/fadvise.c`).

use linux_raw_sys::general as nr;

use super::file::file;
use super::{Args, Handler};
use crate::errno::{Errno, Result};
use crate::fs::inode::Fallocate;
use crate::fs::namei::Lookup;
use crate::fs::types::FileKind;
use crate::fs::user::UserPath;
use crate::fs::{change, current};

/// The calls of this room.
pub const HANDLERS: &[(u32, Handler)] = &[
    (nr::__NR_fsync, fsync),
    (nr::__NR_fdatasync, fsync),
    (nr::__NR_sync, sync),
    (nr::__NR_syncfs, syncfs),
    (nr::__NR_sync_file_range, sync_file_range),
    (nr::__NR_ftruncate, ftruncate),
    (nr::__NR_truncate, truncate),
    (nr::__NR_fallocate, fallocate),
    (nr::__NR_fadvise64, fadvise64),
    (nr::__NR_readahead, readahead),
];

fn fsync(args: &Args) -> Result<usize> {
    // Files in memory are where they stay; what has no medium at all refuses.
    match file(args)?.inode().kind {
        FileKind::Regular | FileKind::Directory => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

fn sync(_: &Args) -> Result<usize> {
    Ok(0)
}

fn syncfs(args: &Args) -> Result<usize> {
    file(args).map(|_| 0)
}

fn sync_file_range(args: &Args) -> Result<usize> {
    let file = file(args)?;
    let (offset, len) = (args.long(1), args.long(2));
    if args.uint(3) & !7 != 0 || offset < 0 || offset.checked_add(len).is_none_or(|end| end < offset) {
        return Err(Errno::EINVAL);
    }
    match file.inode().kind {
        FileKind::Regular | FileKind::Directory | FileKind::Symlink | FileKind::BlockDevice => Ok(0),
        _ => Err(Errno::ESPIPE),
    }
}

fn size(value: i64) -> Result<u64> {
    u64::try_from(value).map_err(|_| Errno::EINVAL)
}

fn ftruncate(args: &Args) -> Result<usize> {
    let size = size(args.long(1))?;
    let file = file(args)?;
    if file.inode().kind != FileKind::Regular || !file.can_write() {
        return Err(Errno::EINVAL);
    }
    file.inode().ops().may_change()?;
    change::truncate_inode(file.inode(), size, &file.cred)?;
    Ok(0)
}

fn truncate(args: &Args) -> Result<usize> {
    let size = size(args.long(1))?;
    let path = UserPath::read(args.a[0])?;
    let who = current::caller()?;
    let path = who.get().lookup(crate::fs::namei::AT_FDCWD, path.bytes(), Lookup::FOLLOW)?;
    change::truncate(&path, size, &who.cred)?;
    Ok(0)
}

fn fallocate(args: &Args) -> Result<usize> {
    const KEEP_SIZE: u32 = 1;
    const PUNCH_HOLE: u32 = 2;
    let (mode, offset, len) = (args.uint(1), args.long(2), args.long(3));
    let file = file(args)?;
    if offset < 0 || len <= 0 {
        return Err(Errno::EINVAL);
    }
    let mode = match mode {
        0 => Fallocate::Extend,
        KEEP_SIZE => Fallocate::KeepSize,
        m if m == KEEP_SIZE | PUNCH_HOLE => Fallocate::PunchHole,
        _ => return Err(Errno::EOPNOTSUPP),
    };
    if !file.can_write() {
        return Err(Errno::EBADF);
    }
    match file.inode().kind {
        FileKind::Fifo => return Err(Errno::ESPIPE),
        FileKind::Directory => return Err(Errno::EISDIR),
        FileKind::Regular => {}
        _ => return Err(Errno::ENODEV),
    }
    let end = offset.checked_add(len).ok_or(Errno::EFBIG)? as u64;
    let inode = file.inode();
    let _contents = inode.rwsem.write();
    if mode == Fallocate::Extend {
        crate::fs::limit::check_size(end, inode.ops().size())?;
    }
    inode.ops().fallocate(offset as u64, end, mode)?;
    inode.touch_modified();
    Ok(0)
}

fn fadvise64(args: &Args) -> Result<usize> {
    let file = file(args)?;
    match file.inode().kind {
        FileKind::Fifo => Err(Errno::ESPIPE),
        _ if args.long(2) < 0 || args.uint(3) > 5 => Err(Errno::EINVAL),
        _ => Ok(0),
    }
}

fn readahead(args: &Args) -> Result<usize> {
    let file = file(args)?;
    if !file.can_read() {
        return Err(Errno::EBADF);
    }
    match file.inode().kind {
        FileKind::Regular => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}
