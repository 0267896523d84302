//! A counter that is waited for like a file (Linux: `fs/eventfd.c`).

use rux_mm::gfp::Gfp;
use rux_mm::slab::{KArc, KBox};
use rux_mm::sync::{Rank, SpinLock};

use super::anon;
use super::file::{File, FileOps};
use super::iobuf::IoBuf;
use super::poll::{Events, PollTable, WaitPoint};
use super::types::oflag::*;
use crate::errno::{Errno, Result};
use crate::process::cred::Cred;

/// The largest count.
const MAX: u64 = u64::MAX - 1;

struct EventFd {
    count: SpinLock<u64>,
    /// A read takes one, not all (`EFD_SEMAPHORE`).
    semaphore: bool,
    changed: WaitPoint,
}

impl EventFd {
    fn take(&self) -> Option<u64> {
        let mut count = self.count.lock();
        let taken = if self.semaphore { (*count).min(1) } else { *count };
        *count -= taken;
        (taken > 0).then_some(taken)
    }

    fn add(&self, value: u64) -> bool {
        let mut count = self.count.lock();
        let fits = value <= MAX - *count;
        if fits {
            *count += value;
        }
        fits
    }
}

impl FileOps for EventFd {
    fn read(&self, file: &File, buf: &mut IoBuf<'_>, _pos: &mut u64) -> Result<usize> {
        if buf.left() < 8 {
            return Err(Errno::EINVAL);
        }
        let value = loop {
            if let Some(value) = self.take() {
                break value;
            }
            if file.nonblocking() {
                return Err(Errno::EAGAIN);
            }
            self.changed.wait(|| *self.count.lock() > 0).map_err(|_| Errno::ERESTARTSYS)?;
        };
        self.changed.wake();
        match buf.put(&value.to_le_bytes())? {
            8 => Ok(8),
            _ => Err(Errno::EFAULT),
        }
    }

    fn write(&self, file: &File, buf: &mut IoBuf<'_>, _pos: &mut u64) -> Result<usize> {
        if buf.left() < 8 {
            return Err(Errno::EINVAL);
        }
        let mut value = [0; 8];
        if buf.take(&mut value)? < 8 {
            return Err(Errno::EFAULT);
        }
        let value = u64::from_le_bytes(value);
        if value == u64::MAX {
            return Err(Errno::EINVAL);
        }
        while !self.add(value) {
            if file.nonblocking() {
                return Err(Errno::EAGAIN);
            }
            self.changed.wait(|| value <= MAX - *self.count.lock()).map_err(|_| Errno::ERESTARTSYS)?;
        }
        self.changed.wake();
        Ok(8)
    }

    fn poll(&self, _file: &File, table: &mut PollTable<'_>) -> Events {
        table.watch(&self.changed);
        let count = *self.count.lock();
        let mut events = Events::empty();
        if count > 0 {
            events |= Events::IN;
        }
        if count < MAX {
            events |= Events::OUT;
        }
        events
    }

    fn pollable(&self) -> bool {
        true
    }

    fn show_fdinfo(&self, out: &mut dyn core::fmt::Write) -> core::fmt::Result {
        let count = *self.count.lock();
        writeln!(out, "eventfd-count: {count:16x}")?;
        writeln!(out, "eventfd-semaphore: {}", u8::from(self.semaphore))
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

/// A new eventfd.
///
/// # Errors
/// `ENFILE`, `ENOMEM`.
pub fn create(count: u32, semaphore: bool, nonblocking: bool, cred: &KArc<Cred>) -> Result<KArc<File>> {
    let event =
        EventFd { count: SpinLock::new(Rank::Names, u64::from(count)), semaphore, changed: WaitPoint::new() };
    let ops = rux_mm::kbox_dyn!(KBox::new(event, Gfp::KERNEL)? => dyn FileOps);
    let flags = O_RDWR | if nonblocking { O_NONBLOCK } else { 0 };
    anon::open("[eventfd]", ops, flags, cred)
}
