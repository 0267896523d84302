//! fcntl(2), and the ioctls that every file knows (Linux: `fs/fcntl.c`, `fs/ioctl.c`).

use core::sync::atomic::Ordering::Relaxed;

use rux_mm::slab::KArc;

use super::current;
use super::file::{File, SETFL, Seek};
use super::locks::{Family, Lock, Mode, Patience};
use super::memfd;
use super::pipe::PipeEnd;
use super::types::{FileKind, oflag::*};
use super::user;
use crate::errno::{Errno, Result};

const F_DUPFD: u32 = 0;
const F_GETFD: u32 = 1;
const F_SETFD: u32 = 2;
const F_GETFL: u32 = 3;
const F_SETFL: u32 = 4;
const F_GETLK: u32 = 5;
const F_SETLK: u32 = 6;
const F_SETLKW: u32 = 7;
const F_SETOWN: u32 = 8;
const F_GETOWN: u32 = 9;
const F_OFD_GETLK: u32 = 36;
const F_OFD_SETLK: u32 = 37;
const F_OFD_SETLKW: u32 = 38;
const F_DUPFD_QUERY: u32 = 1027;
const F_DUPFD_CLOEXEC: u32 = 1030;
const F_SETPIPE_SZ: u32 = 1031;
const F_GETPIPE_SZ: u32 = 1032;
const F_ADD_SEALS: u32 = 1033;
const F_GET_SEALS: u32 = 1034;

const FD_CLOEXEC: usize = 1;

const F_RDLCK: i16 = 0;
const F_WRLCK: i16 = 1;
const F_UNLCK: i16 = 2;

/// `struct flock` as the words that it is made of: type and whence, start, length, process.
type RawFlock = [u64; 4];

/// fcntl(2).
///
/// # Errors
/// Those of fcntl(2).
pub fn fcntl(fd: i32, command: u32, arg: usize) -> Result<usize> {
    let files = current::files()?;
    let file = files.get_any(fd)?;
    let allowed_on_path =
        matches!(command, F_DUPFD | F_DUPFD_CLOEXEC | F_DUPFD_QUERY | F_GETFD | F_SETFD | F_GETFL);
    if file.is_path() && !allowed_on_path {
        return Err(Errno::EBADF);
    }
    match command {
        F_DUPFD | F_DUPFD_CLOEXEC => {
            let limit = current::descriptor_limit();
            if arg as u64 >= limit {
                return Err(Errno::EINVAL);
            }
            Ok(files.reserve(arg, limit, command == F_DUPFD_CLOEXEC)?.install(file) as usize)
        }
        F_DUPFD_QUERY => Ok(usize::from(KArc::ptr_eq(&file, &files.get_any(arg as i32)?))),
        F_GETFD => Ok(usize::from(files.cloexec(fd)?)),
        F_SETFD => {
            files.set_cloexec(fd, arg & FD_CLOEXEC != 0)?;
            Ok(0)
        }
        F_GETFL => Ok(file.flags() as usize),
        F_SETFL => set_flags(&file, arg as u32),
        F_GETLK | F_OFD_GETLK => get_lock(&file, command == F_OFD_GETLK, files.owner(), arg),
        F_SETLK | F_SETLKW => set_lock(&file, false, files.owner(), command == F_SETLKW, arg),
        F_OFD_SETLK | F_OFD_SETLKW => set_lock(&file, true, files.owner(), command == F_OFD_SETLKW, arg),
        F_SETOWN => {
            if arg as i32 == i32::MIN {
                return Err(Errno::EINVAL);
            }
            file.owner.store(arg as i32, Relaxed);
            Ok(0)
        }
        F_GETOWN => Ok(file.owner.load(Relaxed) as isize as usize),
        F_SETPIPE_SZ | F_GETPIPE_SZ => {
            let end: &PipeEnd = file.ops().as_any().downcast_ref().ok_or(Errno::EBADF)?;
            if command == F_GETPIPE_SZ {
                return Ok(end.pipe().capacity());
            }
            end.pipe().resize(arg as u32 as usize, &*current::cred()?)
        }
        F_ADD_SEALS | F_GET_SEALS => {
            let inode = file.inode();
            let seals = inode.ops().seals().ok_or(Errno::EINVAL)?;
            if command == F_GET_SEALS {
                return Ok(seals.get() as usize);
            }
            if !file.can_write() {
                return Err(Errno::EPERM);
            }
            let _contents = inode.rwsem.write();
            let executable = inode.attributes().mode & memfd::EXECUTE != 0;
            let seal_mappings = || inode.ops().mapping().is_none_or(|mapping| mapping.seal());
            seals.add(arg as u32, executable, seal_mappings)?;
            Ok(0)
        }
        _ => Err(Errno::EINVAL),
    }
}

fn set_flags(file: &File, flags: u32) -> Result<usize> {
    if flags & O_NOATIME != 0 && file.flags() & O_NOATIME == 0 && !file.inode().owned_by(&*current::cred()?) {
        return Err(Errno::EPERM);
    }
    if flags & O_DIRECT != 0 && !matches!(file.inode().kind, FileKind::Regular | FileKind::Fifo) {
        return Err(Errno::EINVAL);
    }
    file.set_flags(flags & SETFL);
    Ok(0)
}

/// The range of a `struct flock`, first and last byte (Linux: `flock64_to_posix_lock`).
fn range(file: &File, raw: &RawFlock) -> Result<(u64, u64)> {
    let whence = (raw[0] >> 16) as i16;
    let (start, len) = (raw[1] as i64, raw[2] as i64);
    let base = match whence {
        0 => 0,
        1 if file.ops().seek() == Seek::Position => *file.pos.lock() as i64,
        1 => 0,
        2 => file.ops().end(file) as i64,
        _ => return Err(Errno::EINVAL),
    };
    let start = base.checked_add(start).ok_or(Errno::EOVERFLOW)?;
    if start < 0 {
        return Err(Errno::EINVAL);
    }
    match len {
        0 => Ok((start as u64, i64::MAX as u64)),
        1.. => {
            let end = start.checked_add(len - 1).ok_or(Errno::EOVERFLOW)?;
            Ok((start as u64, end as u64))
        }
        _ => {
            let first = start.checked_add(len).filter(|first| *first >= 0).ok_or(Errno::EINVAL)?;
            Ok((first as u64, start.checked_sub(1).ok_or(Errno::EINVAL)? as u64))
        }
    }
}

fn lock(file: &File, raw: &RawFlock, of_file: bool, table: usize) -> Result<(Lock, i16)> {
    let kind = raw[0] as i16;
    let mode = match kind {
        F_RDLCK | F_UNLCK => Mode::Shared,
        F_WRLCK => Mode::Exclusive,
        _ => return Err(Errno::EINVAL),
    };
    // l_pid of an open file's lock is to be zero.
    if of_file && raw[3] as u32 != 0 {
        return Err(Errno::EINVAL);
    }
    let (start, end) = range(file, raw)?;
    let (owner, pid) = if of_file { (file.key(), -1) } else { (table, current::pid() as i32) };
    Ok((Lock { family: Family::Record, owner, mode, start, end, pid }, kind))
}

fn get_lock(file: &File, of_file: bool, table: usize, arg: usize) -> Result<usize> {
    let mut raw: RawFlock = user::get(arg)?;
    let (wanted, kind) = lock(file, &raw, of_file, table)?;
    if kind == F_UNLCK && !of_file {
        return Err(Errno::EINVAL);
    }
    match file.inode().locks.conflict(&wanted) {
        None => raw[0] = raw[0] & !0xffff | F_UNLCK as u64,
        Some(held) => {
            let kind = if held.mode == Mode::Shared { F_RDLCK } else { F_WRLCK };
            let len = if held.end == i64::MAX as u64 { 0 } else { held.end - held.start + 1 };
            raw = [kind as u64, held.start, len, u64::from(held.pid as u32)];
        }
    }
    user::put(arg, raw)?;
    Ok(0)
}

fn set_lock(file: &File, of_file: bool, table: usize, wait: bool, arg: usize) -> Result<usize> {
    let raw: RawFlock = user::get(arg)?;
    let (wanted, kind) = lock(file, &raw, of_file, table)?;
    match kind {
        F_RDLCK if !file.can_read() => return Err(Errno::EBADF),
        F_WRLCK if !file.can_write() => return Err(Errno::EBADF),
        _ => {}
    }
    let locks = &file.inode().locks;
    if kind == F_UNLCK {
        locks.release(&wanted)?;
    } else {
        locks.take(&wanted, if wait { Patience::Wait } else { Patience::Try })?;
    }
    Ok(0)
}

const FIONREAD: u32 = 0x541b;
const FIONBIO: u32 = 0x5421;
const FIONCLEX: u32 = 0x5450;
const FIOCLEX: u32 = 0x5451;
const FIOASYNC: u32 = 0x5452;
const FIOQSIZE: u32 = 0x5460;
const FIGETBSZ: u32 = 2;

/// ioctl(2).
///
/// # Errors
/// Those of ioctl(2).
pub fn ioctl(fd: i32, request: u32, arg: usize) -> Result<usize> {
    let files = current::files()?;
    let file = files.get(fd)?;
    let kind = file.inode().kind;
    match request {
        FIOCLEX | FIONCLEX => files.set_cloexec(fd, request == FIOCLEX)?,
        FIONBIO => file.set_flag(O_NONBLOCK, user::get::<i32>(arg)? != 0),
        FIOASYNC => {
            // Nothing here sends SIGIO: asking for it is refused as by a file that cannot.
            if user::get::<i32>(arg)? != 0 {
                return Err(Errno::ENOTTY);
            }
        }
        FIOQSIZE if matches!(kind, FileKind::Regular | FileKind::Directory | FileKind::Symlink) => {
            user::put(arg, file.inode().ops().size())?;
        }
        FIGETBSZ if matches!(kind, FileKind::Regular | FileKind::Directory) => {
            user::put(arg, rux_mm::addr::PAGE_SIZE as i32)?;
        }
        FIONREAD if kind == FileKind::Regular => {
            let left = (file.inode().ops().size() as i64).wrapping_sub(*file.pos.lock() as i64);
            user::put(arg, left as i32)?;
        }
        _ => return file.ops().ioctl(&file, request, arg),
    }
    Ok(0)
}
