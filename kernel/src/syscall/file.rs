//! System calls on descriptors: open, close, read, write, positions, flags, locks, pipes.

use linux_raw_sys::general as nr;
use rux_mm::addr::VirtAddr;
use rux_mm::gfp::Gfp;
use rux_mm::slab::{KArc, KVec};

use super::{Args, Handler};
use crate::errno::{Errno, Result};
use crate::fs::file::Seek;
use crate::fs::inode::Fallocate;
use crate::fs::iobuf::{IoBuf, MAX_RW_COUNT};
use crate::fs::locks::{Family, Lock, Mode, Patience};
use crate::fs::namei::Lookup;
use crate::fs::open::How;
use crate::fs::types::{FileKind, MAX_FILE_SIZE, oflag::*};
use crate::fs::user::{self, UserPath};
use crate::fs::{File, change, current, fcntl, memfd, open, pipe};
use crate::uaccess;

/// The calls of this room.
pub const HANDLERS: &[(u32, Handler)] = &[
    (nr::__NR_openat, openat),
    (nr::__NR_openat2, openat2),
    (nr::__NR_close, close),
    (nr::__NR_close_range, close_range),
    (nr::__NR_read, read),
    (nr::__NR_write, write),
    (nr::__NR_readv, readv),
    (nr::__NR_writev, writev),
    (nr::__NR_pread64, pread64),
    (nr::__NR_pwrite64, pwrite64),
    (nr::__NR_preadv, preadv),
    (nr::__NR_pwritev, pwritev),
    (nr::__NR_preadv2, preadv2),
    (nr::__NR_pwritev2, pwritev2),
    (nr::__NR_lseek, lseek),
    (nr::__NR_dup, dup),
    (nr::__NR_dup3, dup3),
    (nr::__NR_fcntl, fcntl),
    (nr::__NR_ioctl, ioctl),
    (nr::__NR_flock, flock),
    (nr::__NR_pipe2, pipe2),
    (nr::__NR_sendfile, sendfile),
    (nr::__NR_copy_file_range, copy_file_range),
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
    (nr::__NR_getdents64, getdents64),
    (nr::__NR_memfd_create, memfd_create),
];

fn openat(args: &Args) -> Result<usize> {
    open_at(args.int(0), args.a[1], How::openat(args.uint(2), args.uint(3)))
}

fn open_at(dirfd: i32, path: usize, how: How) -> Result<usize> {
    let mode = if how.flags & (O_CREAT | O_TMPFILE_REST) != 0 { how.mode } else { 0 };
    let how = How { mode, ..how }.normalized()?;
    let path = UserPath::read(path)?;
    let who = current::caller()?;
    let fd = who.files.reserve(0, current::descriptor_limit(), how.flags & O_CLOEXEC != 0)?;
    let file = open::open(who.get(), dirfd, path.bytes(), how)?;
    Ok(fd.install(file) as usize)
}

fn openat2(args: &Args) -> Result<usize> {
    const SIZE: usize = 24;
    const RESOLVE: [(u64, Lookup); 5] = [
        (1, Lookup::NO_XDEV),
        (2, Lookup::NO_MAGICLINKS),
        (4, Lookup::NO_SYMLINKS),
        (8, Lookup::BENEATH),
        (16, Lookup::IN_ROOT),
    ];
    let size = args.a[3];
    if size < SIZE {
        return Err(Errno::EINVAL);
    }
    if size > rux_mm::addr::PAGE_SIZE {
        return Err(Errno::E2BIG);
    }
    let [flags, mode, resolve]: [u64; 3] = user::get(args.a[2])?;
    // What a newer program says beyond what is known here must be nothing.
    for n in SIZE..size {
        if user::get::<u8>(args.a[2].wrapping_add(n))? != 0 {
            return Err(Errno::E2BIG);
        }
    }
    let flags_known = u32::try_from(flags).ok().filter(|flags| flags & !VALID == 0).ok_or(Errno::EINVAL)?;
    let lookup =
        RESOLVE.iter().filter(|(bit, _)| resolve & bit != 0).fold(Lookup::empty(), |sum, (_, l)| sum | *l);
    let creates = flags_known & (O_CREAT | O_TMPFILE_REST) != 0;
    let with_path =
        flags_known & O_PATH != 0 && flags_known & !(O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) != 0;
    // RESOLVE_CACHED (32) would have to fail where nothing is cached.
    if resolve & 32 != 0 {
        return Err(Errno::EAGAIN);
    }
    if resolve & !31 != 0 || resolve & 24 == 24 || with_path || mode & !0o7777 != 0 || (mode != 0 && !creates)
    {
        return Err(Errno::EINVAL);
    }
    open_at(args.int(0), args.a[1], How { flags: flags_known, mode: mode as u32, lookup })
}

fn close(args: &Args) -> Result<usize> {
    current::files()?.close(args.int(0))?;
    Ok(0)
}

fn close_range(args: &Args) -> Result<usize> {
    const UNSHARE: u32 = 2;
    const CLOEXEC: u32 = 4;
    let (first, last, flags) = (args.uint(0), args.uint(1), args.uint(2));
    if flags & !(UNSHARE | CLOEXEC) != 0 || first > last {
        return Err(Errno::EINVAL);
    }
    let mut files = current::files()?;
    if flags & UNSHARE != 0 && KArc::strong_count(&files) > 2 {
        files = files.fork()?;
        current::set_files(files.clone())?;
    }
    files.close_range(first as usize, last as usize, flags & CLOEXEC != 0);
    Ok(0)
}

fn file(args: &Args) -> Result<KArc<File>> {
    current::files()?.get(args.int(0))
}

fn read(args: &Args) -> Result<usize> {
    let file = file(args)?;
    if !file.can_read() {
        return Err(Errno::EBADF);
    }
    file.read(&mut IoBuf::user(user::segment(args.a[1], args.a[2])?.as_slice()))
}

fn write(args: &Args) -> Result<usize> {
    let file = file(args)?;
    if !file.can_write() {
        return Err(Errno::EBADF);
    }
    file.write(&mut IoBuf::user(user::segment(args.a[1], args.a[2])?.as_slice()))
}

fn readv(args: &Args) -> Result<usize> {
    let file = file(args)?;
    if !file.can_read() {
        return Err(Errno::EBADF);
    }
    file.read(&mut IoBuf::user(user::segments(args.a[1], args.a[2])?.as_slice()))
}

fn writev(args: &Args) -> Result<usize> {
    let file = file(args)?;
    if !file.can_write() {
        return Err(Errno::EBADF);
    }
    file.write(&mut IoBuf::user(user::segments(args.a[1], args.a[2])?.as_slice()))
}

fn position(args: &Args) -> Result<u64> {
    u64::try_from(args.long(3)).map_err(|_| Errno::EINVAL)
}

fn pread64(args: &Args) -> Result<usize> {
    let pos = position(args)?;
    let file = file(args)?;
    file.check_positioned(false)?;
    file.read_at(&mut IoBuf::user(user::segment(args.a[1], args.a[2])?.as_slice()), pos)
}

fn pwrite64(args: &Args) -> Result<usize> {
    let pos = position(args)?;
    let file = file(args)?;
    file.check_positioned(true)?;
    file.write_at(&mut IoBuf::user(user::segment(args.a[1], args.a[2])?.as_slice()), pos)
}

fn preadv(args: &Args) -> Result<usize> {
    let pos = position(args)?;
    let file = file(args)?;
    file.check_positioned(false)?;
    file.read_at(&mut IoBuf::user(user::segments(args.a[1], args.a[2])?.as_slice()), pos)
}

fn pwritev(args: &Args) -> Result<usize> {
    let pos = position(args)?;
    let file = file(args)?;
    file.check_positioned(true)?;
    file.write_at(&mut IoBuf::user(user::segments(args.a[1], args.a[2])?.as_slice()), pos)
}

/// The flags of preadv2 and pwritev2 that mean nothing for files in memory (`RWF_HIPRI`, `RWF_DSYNC`,
/// `RWF_SYNC`); others are refused.
fn check_rwf(flags: u32) -> Result<()> {
    if flags & !7 != 0 { Err(Errno::EOPNOTSUPP) } else { Ok(()) }
}

fn preadv2(args: &Args) -> Result<usize> {
    check_rwf(args.uint(5))?;
    if args.long(3) == -1 { readv(args) } else { preadv(args) }
}

fn pwritev2(args: &Args) -> Result<usize> {
    check_rwf(args.uint(5))?;
    if args.long(3) == -1 { writev(args) } else { pwritev(args) }
}

fn lseek(args: &Args) -> Result<usize> {
    let file = file(args)?;
    let (offset, whence) = (args.long(1), args.uint(2));
    if whence > 4 {
        return Err(Errno::EINVAL);
    }
    match file.ops().seek() {
        Seek::Stream => return Err(Errno::ESPIPE),
        Seek::Nowhere => return Ok(0),
        Seek::Position => {}
    }
    let mut pos = file.pos.lock();
    let base = match whence {
        0 => 0,
        1 => *pos,
        2 => file.ops().end(&file),
        _ => {
            let from = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
            *pos = file.ops().seek_data(from, whence == 4)?;
            return Ok(*pos as usize);
        }
    };
    let new = base.checked_add_signed(offset).filter(|new| *new <= MAX_FILE_SIZE).ok_or(Errno::EINVAL)?;
    *pos = new;
    Ok(new as usize)
}

fn dup(args: &Args) -> Result<usize> {
    let files = current::files()?;
    let file = files.get_any(args.int(0))?;
    Ok(files.install(file, current::descriptor_limit(), false)? as usize)
}

fn dup3(args: &Args) -> Result<usize> {
    let (old, new, flags) = (args.int(0), args.int(1), args.uint(2));
    if flags & !O_CLOEXEC != 0 || old == new {
        return Err(Errno::EINVAL);
    }
    current::files()?.replace(old, new, current::descriptor_limit(), flags & O_CLOEXEC != 0)?;
    Ok(new as usize)
}

fn fcntl(args: &Args) -> Result<usize> {
    fcntl::fcntl(args.int(0), args.uint(1), args.a[2])
}

fn ioctl(args: &Args) -> Result<usize> {
    fcntl::ioctl(args.int(0), args.uint(1), args.a[2])
}

fn flock(args: &Args) -> Result<usize> {
    const LOCK_SH: u32 = 1;
    const LOCK_EX: u32 = 2;
    const LOCK_NB: u32 = 4;
    const LOCK_UN: u32 = 8;
    let operation = args.uint(1);
    let mode = match operation & !LOCK_NB {
        LOCK_SH => Some(Mode::Shared),
        LOCK_EX => Some(Mode::Exclusive),
        LOCK_UN => None,
        _ => return Err(Errno::EINVAL),
    };
    let file = file(args)?;
    if mode.is_some() && !file.can_read() && !file.can_write() {
        return Err(Errno::EBADF);
    }
    let patience = if operation & LOCK_NB != 0 { Patience::Try } else { Patience::Wait };
    let lock = Lock {
        family: Family::Flock,
        owner: file.key(),
        mode: mode.unwrap_or(Mode::Shared),
        start: 0,
        end: u64::MAX,
        pid: current::pid() as i32,
    };
    match mode {
        Some(_) => file.inode().locks.take(&lock, patience)?,
        None => file.inode().locks.release(&lock)?,
    }
    Ok(0)
}

fn pipe2(args: &Args) -> Result<usize> {
    // O_NOTIFICATION_PIPE (O_EXCL) needs watch queues, which Linux too may be built without.
    let flags = args.uint(1);
    if flags & O_EXCL != 0 {
        return Err(Errno::ENOPKG);
    }
    if flags & !(O_CLOEXEC | O_NONBLOCK | O_DIRECT) != 0 {
        return Err(Errno::EINVAL);
    }
    let who = current::caller()?;
    let (reader, writer) = pipe::new_pipe(flags, &who.cred)?;
    let (limit, cloexec) = (current::descriptor_limit(), flags & O_CLOEXEC != 0);
    let read_fd = who.files.reserve(0, limit, cloexec)?;
    let write_fd = who.files.reserve(0, limit, cloexec)?;
    user::put(args.a[0], [read_fd.fd(), write_fd.fd()])?;
    read_fd.install(reader);
    write_fd.install(writer);
    Ok(0)
}

/// Copies `count` bytes from one file to another, by way of a page of the kernel's.
fn copy(
    from: &File,
    from_pos: &mut Option<u64>,
    to: &File,
    to_pos: &mut Option<u64>,
    count: usize,
) -> Result<usize> {
    let mut page = KVec::new();
    page.resize(count.min(4 * rux_mm::addr::PAGE_SIZE), 0u8, Gfp::KERNEL)?;
    let mut done = 0;
    while done < count {
        let want = (count - done).min(page.len());
        let mut buf = IoBuf::kernel_read(&mut page[..want]);
        let got = match *from_pos {
            Some(pos) => from.read_at(&mut buf, pos),
            None => from.read(&mut buf),
        };
        let got = match got {
            Ok(0) => break,
            Ok(got) => got,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        };
        let mut buf = IoBuf::kernel_write(&page[..got]);
        let put = match *to_pos {
            Some(pos) => to.write_at(&mut buf, pos),
            None => to.write(&mut buf),
        };
        let (moved, error) = match put {
            Ok(moved) => (moved, None),
            Err(e) => (0, Some(e)),
        };
        for pos in [&mut *from_pos, &mut *to_pos].into_iter().flatten() {
            *pos += moved as u64;
        }
        if from_pos.is_none() && moved < got && from.ops().seek() == Seek::Position {
            // Somebody else may have moved it meanwhile.
            let mut pos = from.pos.lock();
            *pos = pos.saturating_sub((got - moved) as u64);
        }
        done += moved;
        match error {
            Some(e) if done == 0 => return Err(e),
            _ if moved < got => break,
            _ => {}
        }
        if current::signal_pending() {
            break;
        }
    }
    Ok(done)
}

fn sendfile(args: &Args) -> Result<usize> {
    let files = current::files()?;
    let mut pos = match args.a[2] {
        0 => None,
        at => Some(u64::try_from(user::get::<i64>(at)?).map_err(|_| Errno::EINVAL)?),
    };
    let from = files.get(args.int(1))?;
    if !from.can_read() {
        return Err(Errno::EBADF);
    }
    if pos.is_some() && from.ops().seek() == Seek::Stream {
        return Err(Errno::ESPIPE);
    }
    let to = files.get(args.int(0))?;
    if !to.can_write() {
        return Err(Errno::EBADF);
    }
    // What cannot be read again would be lost where the other side takes less.
    if to.flags() & O_APPEND != 0 || from.ops().seek() == Seek::Stream {
        return Err(Errno::EINVAL);
    }
    let done = copy(&from, &mut pos, &to, &mut None, args.a[3].min(MAX_RW_COUNT))?;
    if let Some(pos) = pos {
        user::put(args.a[2], pos)?;
    }
    Ok(done)
}

fn copy_file_range(args: &Args) -> Result<usize> {
    if args.uint(5) != 0 {
        return Err(Errno::EINVAL);
    }
    let files = current::files()?;
    let (from, to) = (files.get(args.int(0))?, files.get(args.int(2))?);
    for (file, right) in [(&from, from.can_read()), (&to, to.can_write() && to.flags() & O_APPEND == 0)] {
        match file.inode().kind {
            FileKind::Directory => return Err(Errno::EISDIR),
            FileKind::Regular if right => {}
            FileKind::Regular => return Err(Errno::EBADF),
            _ => return Err(Errno::EINVAL),
        }
    }
    let offset = |at: usize| -> Result<Option<u64>> {
        if at == 0 {
            return Ok(None);
        }
        Ok(Some(u64::try_from(user::get::<i64>(at)?).map_err(|_| Errno::EINVAL)?))
    };
    let (mut from_pos, mut to_pos) = (offset(args.a[1])?, offset(args.a[3])?);
    let count = args.a[4].min(MAX_RW_COUNT);
    if KArc::ptr_eq(from.inode(), to.inode()) {
        let a = from_pos.unwrap_or_else(|| *from.pos.lock());
        let b = to_pos.unwrap_or_else(|| *to.pos.lock());
        if a < b.saturating_add(count as u64) && b < a.saturating_add(count as u64) {
            return Err(Errno::EINVAL);
        }
    }
    let done = copy(&from, &mut from_pos, &to, &mut to_pos, count)?;
    for (pos, at) in [(from_pos, args.a[1]), (to_pos, args.a[3])] {
        if let Some(pos) = pos {
            user::put(at, pos)?;
        }
    }
    Ok(done)
}

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

fn getdents64(args: &Args) -> Result<usize> {
    /// Bytes of `struct linux_dirent64` before the name.
    const HEADER: usize = 19;
    let file = file(args)?;
    let (start, len) = (VirtAddr::new(args.a[1] as u64), args.uint(2) as usize);
    if !uaccess::access_ok(start, len) {
        return Err(Errno::EFAULT);
    }
    let mut done = 0;
    let mut error = None;
    let mut record = [0u8; (HEADER + crate::fs::types::NAME_MAX + 1).next_multiple_of(8)];
    file.read_dir(&mut |entry| {
        let size = (HEADER + entry.name.len() + 1).next_multiple_of(8);
        if size > len - done {
            error = Some(Errno::EINVAL);
            return false;
        }
        let record = &mut record[..size];
        record.fill(0);
        record[..8].copy_from_slice(&entry.ino.to_le_bytes());
        record[8..16].copy_from_slice(&entry.next.to_le_bytes());
        record[16..18].copy_from_slice(&(size as u16).to_le_bytes());
        record[18] = entry.kind.dirent_type();
        record[HEADER..HEADER + entry.name.len()].copy_from_slice(entry.name);
        if uaccess::copy_to_user(start + done as u64, record).is_err() {
            error = Some(Errno::EFAULT);
            return false;
        }
        done += size;
        true
    })?;
    match error {
        Some(error) if done == 0 => Err(error),
        _ => Ok(done),
    }
}

fn memfd_create(args: &Args) -> Result<usize> {
    const CLOEXEC: u32 = 1;
    const ALLOW_SEALING: u32 = 2;
    const HUGETLB: u32 = 4;
    const NOEXEC_SEAL: u32 = 8;
    const EXEC: u32 = 16;
    const PREFIX: usize = "memfd:".len();
    let flags = args.uint(1);
    if flags & (HUGETLB | !(CLOEXEC | ALLOW_SEALING | NOEXEC_SEAL | EXEC)) != 0
        || flags & (NOEXEC_SEAL | EXEC) == NOEXEC_SEAL | EXEC
    {
        return Err(Errno::EINVAL);
    }
    // The longest name, and the NUL at its end.
    let mut name = [0; crate::fs::types::NAME_MAX - PREFIX + 1];
    let len = uaccess::strncpy_from_user(&mut name, VirtAddr::new(args.a[0] as u64))?;
    if len == name.len() {
        return Err(Errno::EINVAL);
    }
    let who = current::caller()?;
    let sealable = flags & (ALLOW_SEALING | NOEXEC_SEAL) != 0;
    let file = memfd::create(&name[..len], sealable, flags & NOEXEC_SEAL == 0, &who.cred)?;
    Ok(who.files.install(file, current::descriptor_limit(), flags & CLOEXEC != 0)? as usize)
}
