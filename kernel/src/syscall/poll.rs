//! System calls that wait for files: ppoll, pselect6, epoll, eventfd.

use linux_raw_sys::general as nr;
use rux_mm::addr::VirtAddr;
use rux_mm::gfp::Gfp;
use rux_mm::slab::{KArc, KVec};

use super::{Args, Handler};
use crate::errno::{Errno, Result};
use crate::fs::epoll::{self, Interest, Operation};
use crate::fs::poll::{Events, PollTable, Poller, SELECT_EX, SELECT_IN, SELECT_OUT};
use crate::fs::types::oflag::{O_CLOEXEC, O_NONBLOCK};
use crate::fs::{File, current, eventfd, user};
use crate::signal::{SigSet, restore_mask, set_temporary_mask};
use crate::wait::WaitError;
use crate::{time, uaccess};

/// The calls of this room.
pub const HANDLERS: &[(u32, Handler)] = &[
    (nr::__NR_ppoll, ppoll),
    (nr::__NR_pselect6, pselect6),
    (nr::__NR_epoll_create1, epoll_create1),
    (nr::__NR_epoll_ctl, epoll_ctl),
    (nr::__NR_epoll_pwait, epoll_pwait),
    (nr::__NR_epoll_pwait2, epoll_pwait2),
    (nr::__NR_eventfd2, eventfd2),
];

/// Runs `wait` under the signal mask at `mask`, if there is one. A wait that a signal ended leaves the
/// mask to the signal's delivery.
fn masked<T>(mask: usize, size: usize, wait: impl FnOnce() -> Result<T>) -> Result<T> {
    if mask == 0 {
        return wait();
    }
    if size != size_of::<u64>() {
        return Err(Errno::EINVAL);
    }
    set_temporary_mask(SigSet(user::get(mask)?));
    let result = wait();
    if !matches!(result, Err(Errno::EINTR | Errno::ERESTARTNOHAND)) {
        restore_mask();
    }
    result
}

/// When a wait of `timeout` nanoseconds ends.
fn deadline(timeout: Option<u64>) -> Option<u64> {
    timeout.map(|timeout| time::now().saturating_add(timeout))
}

/// Writes back what is left of the time; that it cannot be written is the program's affair.
fn write_left(addr: usize, deadline: Option<u64>) {
    if let Some(deadline) = deadline {
        let left = deadline.saturating_sub(time::now());
        let _ignored = user::put(addr, [left / time::SECOND, left % time::SECOND]);
    }
}

/// Asks `look` again and again until it counts something, in time. `look` gets a table that collects
/// places to wait at, the first time, and one that only looks after that.
fn wait_for(timeout: Option<u64>, mut look: impl FnMut(&mut PollTable<'_>) -> usize) -> Result<usize> {
    if timeout == Some(0) {
        return Ok(look(&mut PollTable::look()));
    }
    let deadline = deadline(timeout);
    let mut poller = Poller::new()?;
    let mut table = PollTable::new(&mut poller);
    let count = look(&mut table);
    if count > 0 {
        return Ok(count);
    }
    table.result()?;
    loop {
        let slept = poller.sleep(deadline);
        let count = look(&mut PollTable::look());
        if count > 0 {
            return Ok(count);
        }
        match slept {
            Ok(()) => {}
            Err(WaitError::TimedOut) => return Ok(0),
            Err(WaitError::Interrupted) => return Err(Errno::ERESTARTNOHAND),
        }
    }
}

fn ppoll(args: &Args) -> Result<usize> {
    let (addr, count) = (args.a[0], args.uint(1) as usize);
    let timeout = user::timeout(args.a[2])?;
    let until = deadline(timeout);
    let result = masked(args.a[3], args.a[4], || poll(addr, count, timeout));
    if result != Err(Errno::EFAULT) {
        write_left(args.a[2], until);
    }
    result
}

/// One `struct pollfd`: descriptor; events, and events that came.
type PollFd = [u16; 4];

fn poll(addr: usize, count: usize, timeout: Option<u64>) -> Result<usize> {
    if count as u64 > current::descriptor_limit() {
        return Err(Errno::EINVAL);
    }
    let files = current::files()?;
    let mut entries: KVec<(PollFd, Option<KArc<File>>)> = KVec::with_capacity(count, Gfp::KERNEL)?;
    for n in 0..count {
        let raw: PollFd = user::get(addr.wrapping_add(8 * n))?;
        let fd = (u32::from(raw[0]) | u32::from(raw[1]) << 16) as i32;
        let file = if fd < 0 { None } else { files.get(fd).ok() };
        entries.push((raw, file), Gfp::KERNEL)?;
    }
    let ready = wait_for(timeout, |table| {
        let mut ready = 0;
        for (raw, file) in entries.iter_mut() {
            let negative = raw[1] & 0x8000 != 0;
            let events = match file {
                None if negative => Events::empty(),
                None => Events::NVAL,
                Some(file) => table.ask(file),
            };
            let wanted = u32::from(raw[2]) | (Events::ERR | Events::HUP | Events::NVAL).bits();
            raw[3] = (events.bits() & wanted) as u16;
            if raw[3] != 0 {
                ready += 1;
                table.stop_waiting();
            }
        }
        ready
    })?;
    for (n, (raw, _)) in entries.iter().enumerate() {
        user::put(addr.wrapping_add(8 * n + 6), raw[3])?;
    }
    Ok(ready)
}

fn pselect6(args: &Args) -> Result<usize> {
    let timeout = user::timeout(args.a[4])?;
    let [mask, size]: [usize; 2] = if args.a[5] == 0 { [0; 2] } else { user::get(args.a[5])? };
    let until = deadline(timeout);
    let sets = [args.a[1], args.a[2], args.a[3]];
    let result = masked(mask, size, || select(args.int(0), sets, timeout));
    if result != Err(Errno::EFAULT) {
        write_left(args.a[4], until);
    }
    result
}

fn select(count: i32, sets: [usize; 3], timeout: Option<u64>) -> Result<usize> {
    let files = current::files()?;
    let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?.min(files.capacity());
    let words = count.div_ceil(64);
    let mut wanted: [KVec<u64>; 3] = [KVec::new(), KVec::new(), KVec::new()];
    for (bits, &addr) in wanted.iter_mut().zip(&sets) {
        for n in 0..words {
            let word = if addr == 0 { 0 } else { user::get(addr.wrapping_add(8 * n))? };
            bits.push(word, Gfp::KERNEL)?;
        }
    }
    // Each descriptor that any set names, with its file.
    let mut entries: KVec<(usize, KArc<File>)> = KVec::new();
    for fd in 0..count {
        if wanted.iter().any(|bits| bits[fd / 64] >> (fd % 64) & 1 != 0) {
            entries.push((fd, files.get(fd as i32)?), Gfp::KERNEL)?;
        }
    }
    let mut found: [KVec<u64>; 3] = [KVec::new(), KVec::new(), KVec::new()];
    for bits in &mut found {
        bits.resize(words, 0, Gfp::KERNEL)?;
    }
    let ready = wait_for(timeout, |table| {
        let mut ready = 0;
        for (fd, file) in entries.iter() {
            let events = table.ask(file);
            for ((bits, found), mask) in wanted.iter().zip(&mut found).zip([SELECT_IN, SELECT_OUT, SELECT_EX])
            {
                let bit = 1 << (fd % 64);
                if bits[fd / 64] & bit != 0 && events.intersects(mask) {
                    found[fd / 64] |= bit;
                    ready += 1;
                }
            }
            if ready > 0 {
                table.stop_waiting();
            }
        }
        ready
    })?;
    for (found, &addr) in found.iter().zip(&sets) {
        if addr != 0 {
            for (n, word) in found.iter().enumerate() {
                user::put(addr.wrapping_add(8 * n), *word)?;
            }
        }
    }
    Ok(ready)
}

fn epoll_create1(args: &Args) -> Result<usize> {
    let flags = args.uint(0);
    if flags & !O_CLOEXEC != 0 {
        return Err(Errno::EINVAL);
    }
    let who = current::caller()?;
    let file = epoll::create(&who.cred)?;
    Ok(who.files.install(file, current::descriptor_limit(), flags & O_CLOEXEC != 0)? as usize)
}

fn epoll_ctl(args: &Args) -> Result<usize> {
    let op = match args.int(1) {
        1 => Operation::Add,
        2 => Operation::Delete,
        3 => Operation::Modify,
        _ => return Err(Errno::EINVAL),
    };
    // `struct epoll_event` is not packed here: four bytes of events, four of nothing, eight of data.
    let raw: [u32; 4] = if op == Operation::Delete { [0; 4] } else { user::get(args.a[3])? };
    let interest = Interest { events: raw[0], data: u64::from(raw[2]) | u64::from(raw[3]) << 32 };
    let files = current::files()?;
    let set = files.get(args.int(0))?;
    let file = files.get(args.int(2))?;
    if !file.ops().pollable() {
        return Err(Errno::EPERM);
    }
    epoll::control(&epoll::set_of(&set)?, op, args.int(2), &file, interest)?;
    Ok(0)
}

fn epoll_wait(args: &Args, timeout: Option<u64>) -> Result<usize> {
    const MAX_EVENTS: i32 = i32::MAX / 16;
    let (addr, max) = (args.a[1], args.int(2));
    if max <= 0 || max > MAX_EVENTS {
        return Err(Errno::EINVAL);
    }
    if !uaccess::access_ok(VirtAddr::new(addr as u64), 16 * max as usize) {
        return Err(Errno::EFAULT);
    }
    let file = current::files()?.get(args.int(0))?;
    let set = epoll::set_of(&file)?;
    let ready = set.wait(max as usize, timeout == Some(0), deadline(timeout))?;
    for (n, event) in ready.iter().enumerate() {
        let raw = [u64::from(event.events), event.data];
        if let Err(error) = user::put(addr.wrapping_add(16 * n), raw) {
            return if n > 0 { Ok(n) } else { Err(error) };
        }
    }
    Ok(ready.len())
}

fn epoll_pwait(args: &Args) -> Result<usize> {
    let timeout = u64::try_from(args.int(3)).ok().map(|ms| ms * 1_000_000);
    masked(args.a[4], args.a[5], || epoll_wait(args, timeout))
}

fn epoll_pwait2(args: &Args) -> Result<usize> {
    let timeout = user::timeout(args.a[3])?;
    masked(args.a[4], args.a[5], || epoll_wait(args, timeout))
}

fn eventfd2(args: &Args) -> Result<usize> {
    const SEMAPHORE: u32 = 1;
    let flags = args.uint(1);
    if flags & !(SEMAPHORE | O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let who = current::caller()?;
    let file = eventfd::create(args.uint(0), flags & SEMAPHORE != 0, flags & O_NONBLOCK != 0, &who.cred)?;
    Ok(who.files.install(file, current::descriptor_limit(), flags & O_CLOEXEC != 0)? as usize)
}
