//! Reading, writing and copying by descriptor (Linux: `fs/read_write.c`, `fs/splice.c`).

use linux_raw_sys::general as nr;
use rux_mm::gfp::Gfp;
use rux_mm::slab::{KArc, KVec};

use super::file::file;
use super::{Args, Handler};
use crate::errno::{Errno, Result};
use crate::fs::file::Seek;
use crate::fs::iobuf::{IoBuf, MAX_RW_COUNT};
use crate::fs::types::{FileKind, MAX_FILE_SIZE, oflag::*};
use crate::fs::user;
use crate::fs::{File, current};

/// The calls of this room.
pub const HANDLERS: &[(u32, Handler)] = &[
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
    (nr::__NR_sendfile, sendfile),
    (nr::__NR_copy_file_range, copy_file_range),
];

/// The file, which is open for reading.
fn readable(args: &Args) -> Result<KArc<File>> {
    let file = file(args)?;
    if file.can_read() { Ok(file) } else { Err(Errno::EBADF) }
}

/// The file, which is open for writing.
fn writable(args: &Args) -> Result<KArc<File>> {
    let file = file(args)?;
    if file.can_write() { Ok(file) } else { Err(Errno::EBADF) }
}

/// The file, which has positions and is open for writing, or else for reading; and the position.
fn positioned(args: &Args, write: bool) -> Result<(KArc<File>, u64)> {
    let pos = u64::try_from(args.long(3)).map_err(|_| Errno::EINVAL)?;
    let file = file(args)?;
    file.check_positioned(write)?;
    Ok((file, pos))
}

fn read(args: &Args) -> Result<usize> {
    readable(args)?.read(&mut IoBuf::user(user::segment(args.a[1], args.a[2])?.as_slice()))
}

fn write(args: &Args) -> Result<usize> {
    writable(args)?.write(&mut IoBuf::user(user::segment(args.a[1], args.a[2])?.as_slice()))
}

fn readv(args: &Args) -> Result<usize> {
    readable(args)?.read(&mut IoBuf::user(user::segments(args.a[1], args.a[2])?.as_slice()))
}

fn writev(args: &Args) -> Result<usize> {
    writable(args)?.write(&mut IoBuf::user(user::segments(args.a[1], args.a[2])?.as_slice()))
}

fn pread64(args: &Args) -> Result<usize> {
    let (file, pos) = positioned(args, false)?;
    file.read_at(&mut IoBuf::user(user::segment(args.a[1], args.a[2])?.as_slice()), pos)
}

fn pwrite64(args: &Args) -> Result<usize> {
    let (file, pos) = positioned(args, true)?;
    file.write_at(&mut IoBuf::user(user::segment(args.a[1], args.a[2])?.as_slice()), pos)
}

fn preadv(args: &Args) -> Result<usize> {
    let (file, pos) = positioned(args, false)?;
    file.read_at(&mut IoBuf::user(user::segments(args.a[1], args.a[2])?.as_slice()), pos)
}

fn pwritev(args: &Args) -> Result<usize> {
    let (file, pos) = positioned(args, true)?;
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
