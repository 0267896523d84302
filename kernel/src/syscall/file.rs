//! System calls on descriptors: open, close, duplicate, flags, locks, directories; pipes and memfds.

use linux_raw_sys::general as nr;
use rux_mm::addr::VirtAddr;
use rux_mm::slab::KArc;

use super::{Args, Handler};
use crate::errno::{Errno, Result};
use crate::fs::locks::{Family, Lock, Mode, Patience};
use crate::fs::namei::Lookup;
use crate::fs::open::How;
use crate::fs::types::oflag::*;
use crate::fs::user::{self, UserPath};
use crate::fs::{File, current, fcntl, memfd, open, pipe};
use crate::uaccess;

/// The calls of this room.
pub const HANDLERS: &[(u32, Handler)] = &[
    (nr::__NR_openat, openat),
    (nr::__NR_openat2, openat2),
    (nr::__NR_close, close),
    (nr::__NR_close_range, close_range),
    (nr::__NR_dup, dup),
    (nr::__NR_dup3, dup3),
    (nr::__NR_fcntl, fcntl),
    (nr::__NR_ioctl, ioctl),
    (nr::__NR_flock, flock),
    (nr::__NR_pipe2, pipe2),
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

pub(super) fn file(args: &Args) -> Result<KArc<File>> {
    current::files()?.get(args.int(0))
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
