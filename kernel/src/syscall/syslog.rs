//! `syslog`: the kernel log, read and cleared (Linux: `do_syslog`, `kernel/printk/printk.c`).

use linux_raw_sys::general as linux;
use rux_mm::addr::VirtAddr;
use rux_mm::sync::{IrqSpinLock, Rank};

use super::{Args, Handler};
use crate::errno::{Errno, Result};
use crate::process::{self, Caps};
use crate::{klog, uaccess};

pub const HANDLERS: &[(u32, Handler)] = &[(linux::__NR_syslog, syslog)];

/// What `syslog` does; the numbers have no names in the headers that programs see.
mod syslog_action {
    pub(super) const CLOSE: i32 = 0;
    pub(super) const OPEN: i32 = 1;
    pub(super) const READ: i32 = 2;
    pub(super) const READ_ALL: i32 = 3;
    pub(super) const READ_CLEAR: i32 = 4;
    pub(super) const CLEAR: i32 = 5;
    pub(super) const CONSOLE_OFF: i32 = 6;
    pub(super) const CONSOLE_ON: i32 = 7;
    pub(super) const CONSOLE_LEVEL: i32 = 8;
    pub(super) const SIZE_UNREAD: i32 = 9;
    pub(super) const SIZE_BUFFER: i32 = 10;
}

/// Where `READ` goes on, and where `READ_ALL` starts since the last `CLEAR`.
static LOG_POSITIONS: IrqSpinLock<(u64, u64)> = IrqSpinLock::new(Rank::Users, (0, 0));

fn syslog(args: &Args) -> Result<usize> {
    use syslog_action as action;
    let (what, to, len) = (args.int(0), args.addr(1), args.int(2));
    // Anybody may look at what is there, as with dmesg_restrict off.
    if !matches!(what, action::READ_ALL | action::SIZE_BUFFER) {
        process::current()?.cred().require(Caps::SYSLOG)?;
    }
    match what {
        action::CLOSE | action::OPEN => Ok(0),
        action::READ | action::READ_ALL | action::READ_CLEAR => {
            let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
            if to.get() == 0 {
                return Err(Errno::EINVAL);
            }
            if len == 0 {
                return Ok(0);
            }
            if !uaccess::access_ok(to, len) {
                return Err(Errno::EFAULT);
            }
            if what == action::READ {
                read_log(to, len)
            } else {
                read_all_log(to, len, what == action::READ_CLEAR)
            }
        }
        action::CLEAR => {
            LOG_POSITIONS.lock().1 = klog::range().1;
            Ok(0)
        }
        action::CONSOLE_OFF | action::CONSOLE_ON => Ok(0),
        action::CONSOLE_LEVEL if (1..=8).contains(&len) => Ok(0),
        action::SIZE_UNREAD => {
            let from = LOG_POSITIONS.lock().0;
            let mut buffer = [0; 1024];
            let (mut at, mut total) = (from, 0);
            loop {
                let (bytes, next) = klog::read(at, &mut buffer);
                if bytes == 0 {
                    return Ok(total);
                }
                (at, total) = (next, total + bytes);
            }
        }
        action::SIZE_BUFFER => Ok(klog::size()),
        _ => Err(Errno::EINVAL),
    }
}

/// Reads what nobody has read; waits until there is something.
fn read_log(to: VirtAddr, len: usize) -> Result<usize> {
    klog::readers()
        .wait_event(|| klog::range().1 > LOG_POSITIONS.lock().0)
        .map_err(|_| Errno::ERESTARTSYS)?;
    let from = LOG_POSITIONS.lock().0;
    let (bytes, next) = copy_log(from, u64::MAX, to, len)?;
    LOG_POSITIONS.lock().0 = next;
    Ok(bytes)
}

/// Reads the last `len` bytes since the last clearing.
fn read_all_log(to: VirtAddr, len: usize, clear: bool) -> Result<usize> {
    let (first, end) = klog::range();
    let first = first.max(LOG_POSITIONS.lock().1);
    // Drops as many of the oldest records as do not fit.
    let mut buffer = [0; 1024];
    let (mut at, mut total) = (first, 0);
    while at < end {
        let (bytes, next) = klog::read(at, &mut buffer);
        if bytes == 0 {
            break;
        }
        (at, total) = (next, total + bytes);
    }
    let mut from = first;
    while total > len && from < end {
        let (bytes, next) = klog::read(from, &mut buffer);
        if bytes == 0 {
            break;
        }
        // Records come and go meanwhile.
        (from, total) = (next, total.saturating_sub(bytes));
    }
    let (bytes, _) = copy_log(from, end, to, len)?;
    if clear {
        LOG_POSITIONS.lock().1 = end;
    }
    Ok(bytes)
}

/// Copies whole records from `from` up to `end`, as many as fit; returns the bytes and where to go on.
fn copy_log(from: u64, end: u64, to: VirtAddr, len: usize) -> Result<(usize, u64)> {
    let mut buffer = [0; 1024];
    let (mut at, mut done) = (from, 0);
    while at < end && done < len {
        let room = (len - done).min(buffer.len());
        let (bytes, next) = klog::read(at, &mut buffer[..room]);
        if bytes == 0 {
            break;
        }
        uaccess::copy_to_user(to.checked_add(done as u64).ok_or(Errno::EFAULT)?, &buffer[..bytes])?;
        (at, done) = (next, done + bytes);
    }
    Ok((done, at))
}
