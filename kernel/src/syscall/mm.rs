//! Memory: `mmap` and its family (Linux: `mm/mmap.c` and its neighbours). What they do is `rux_mm`'s.

use linux_raw_sys::general as linux;
use rux_mm::addr::{PAGE_SIZE, VirtAddr, VirtRange};
use rux_mm::slab::KArc;
use rux_mm::space::{MapRequest, Space};

use super::{Args, Handler};
use crate::errno::{Errno, Result};
use crate::exec::persona::reads_of_caller;
use crate::fs::File;
use crate::task;
use crate::{process, uaccess};

pub const HANDLERS: &[(u32, Handler)] = &[
    (linux::__NR_brk, brk),
    (linux::__NR_mmap, mmap),
    (linux::__NR_munmap, munmap),
    (linux::__NR_mremap, mremap),
    (linux::__NR_remap_file_pages, remap_file_pages),
    (linux::__NR_mprotect, mprotect),
    (linux::__NR_madvise, madvise),
    (linux::__NR_msync, msync),
    (linux::__NR_mincore, mincore),
    (linux::__NR_mlock, mlock),
    (linux::__NR_mlock2, mlock2),
    (linux::__NR_munlock, munlock),
    (linux::__NR_mlockall, mlockall),
    (linux::__NR_munlockall, munlockall),
    (linux::__NR_riscv_flush_icache, riscv_flush_icache),
];

fn space() -> Result<&'static KArc<Space>> {
    task::current_space().ok_or(Errno::ESRCH)
}

fn brk(args: &Args) -> Result<usize> {
    Ok(space()?.brk(args.addr(0)).get() as usize)
}

fn mmap(args: &Args) -> Result<usize> {
    let (flags, offset) = (args.uint(3), args.ulong(5));
    if !offset.is_multiple_of(PAGE_SIZE as u64) {
        return Err(Errno::EINVAL);
    }
    let file = if flags & linux::MAP_ANONYMOUS != 0 {
        None
    } else {
        Some(File::vm_file(&process::current()?.files()?.get(args.int(4))?))
    };
    let at = space()?.mmap(MapRequest {
        addr: args.addr(0),
        len: args.ulong(1),
        prot: reads_of_caller().of_new(args.uint(2), file.as_deref()),
        flags,
        file,
        offset,
    })?;
    Ok(at.get() as usize)
}

fn munmap(args: &Args) -> Result<usize> {
    space()?.munmap(args.addr(0), args.ulong(1))?;
    Ok(0)
}

fn mremap(args: &Args) -> Result<usize> {
    let (old, new) = (args.ulong(1), args.ulong(2));
    let at = space()?.mremap(args.addr(0), old, new, args.uint(3), args.addr(4))?;
    Ok(at.get() as usize)
}

fn remap_file_pages(args: &Args) -> Result<usize> {
    space()?.remap_file_pages(args.addr(0), args.ulong(1), args.uint(2), args.ulong(3), args.uint(4))?;
    Ok(0)
}

fn mprotect(args: &Args) -> Result<usize> {
    space()?.mprotect_as(args.addr(0), args.ulong(1), args.uint(2), reads_of_caller())?;
    Ok(0)
}

fn madvise(args: &Args) -> Result<usize> {
    space()?.madvise(args.addr(0), args.ulong(1), args.uint(2))?;
    Ok(0)
}

fn msync(args: &Args) -> Result<usize> {
    space()?.msync(args.addr(0), args.ulong(1), args.uint(2))?;
    Ok(0)
}

/// Pages that `mincore` asks about at a time.
const MINCORE_STEP: usize = 256;

fn mincore(args: &Args) -> Result<usize> {
    let (start, len, out) = (args.addr(0), args.ulong(1), args.addr(2));
    if !start.get().is_multiple_of(PAGE_SIZE as u64) {
        return Err(Errno::EINVAL);
    }
    if !uaccess::access_ok(start, len as usize) {
        return Err(Errno::ENOMEM);
    }
    let pages = len.div_ceil(PAGE_SIZE as u64) as usize;
    if !uaccess::access_ok(out, pages) {
        return Err(Errno::EFAULT);
    }
    let mut buffer = [0; MINCORE_STEP];
    let mut done = 0;
    while done < pages {
        let step = (pages - done).min(MINCORE_STEP);
        let from = start.checked_add((done * PAGE_SIZE) as u64).ok_or(Errno::ENOMEM)?;
        space()?.mincore(from, &mut buffer[..step])?;
        let to = out.checked_add(done as u64).ok_or(Errno::EFAULT)?;
        uaccess::copy_to_user(to, &buffer[..step])?;
        done += step;
    }
    Ok(0)
}

fn mlock(args: &Args) -> Result<usize> {
    space()?.mlock(args.addr(0), args.ulong(1), 0)?;
    Ok(0)
}

fn mlock2(args: &Args) -> Result<usize> {
    if args.uint(2) & !linux::MLOCK_ONFAULT != 0 {
        return Err(Errno::EINVAL);
    }
    space()?.mlock(args.addr(0), args.ulong(1), args.uint(2))?;
    Ok(0)
}

fn munlock(args: &Args) -> Result<usize> {
    space()?.munlock(args.addr(0), args.ulong(1))?;
    Ok(0)
}

fn mlockall(args: &Args) -> Result<usize> {
    space()?.mlockall(args.uint(0))?;
    Ok(0)
}

fn munlockall(_: &Args) -> Result<usize> {
    space()?.munlockall();
    Ok(0)
}

/// The only flag: this thread alone is to see the change. All do.
const FLUSH_LOCAL: u64 = 1;

fn riscv_flush_icache(args: &Args) -> Result<usize> {
    let (start, end) = (args.addr(0), args.addr(1));
    if args.ulong(2) & !FLUSH_LOCAL != 0 {
        return Err(Errno::EINVAL);
    }
    // As on Linux the range is not looked at: everything is fetched anew.
    let _ = (start, end);
    space()?.flush_icache(VirtRange::new(VirtAddr::new(0), space()?.task_size()));
    Ok(0)
}
