//! /dev/kmsg: the kernel's log, a record a read (Linux: `kernel/printk/printk.c`, `devkmsg_read`).

use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rux_mm::gfp::Gfp;
use rux_mm::slab::{KBox, KString, KVec};

use super::file::{File, FileOps};
use super::iobuf::IoBuf;
use super::poll::{Events, PollTable};
use crate::errno::{Errno, Result};
use crate::klog;

/// The longest text of one record.
const MAX_TEXT: usize = 1024;
/// The level of a text that names none (Linux: `default_message_loglevel`).
const DEFAULT_LEVEL: u8 = 4;

/// The log, open: each opening reads all of it.
struct Kmsg {
    next: AtomicU64,
}

/// What serves /dev/kmsg.
///
/// # Errors
/// `ENOMEM`.
pub(super) fn open() -> Result<KBox<dyn FileOps>> {
    let kmsg = Kmsg { next: AtomicU64::new(klog::range().0) };
    Ok(rux_mm::kbox_dyn!(KBox::new(kmsg, Gfp::KERNEL)? => dyn FileOps))
}

impl FileOps for Kmsg {
    fn read(&self, file: &File, buf: &mut IoBuf<'_>, _pos: &mut u64) -> Result<usize> {
        let mut text: KVec<u8> = KVec::new();
        text.resize(MAX_TEXT, 0, Gfp::KERNEL)?;
        let record = loop {
            let from = self.next.load(Relaxed);
            // Records were lost before they were read: said once, and the reading goes on after them.
            let first = klog::range().0;
            if from < first {
                self.next.store(first, Relaxed);
                return Err(Errno::EPIPE);
            }
            if let Some(record) = klog::record(from, &mut text) {
                break record;
            }
            if file.nonblocking() {
                return Err(Errno::EAGAIN);
            }
            klog::readers().wait_event(|| klog::range().1 > from).map_err(|_| Errno::ERESTARTSYS)?;
        };
        let mut line = KString::format(
            format_args!("{},{},{},-;", record.level, record.sequence, record.time / 1000),
            Gfp::KERNEL,
        )?;
        for byte in text[..record.len].iter().copied() {
            let shown = match byte {
                b' '..=b'~' if byte != b'\\' => line.write_char(char::from(byte)),
                _ => write!(line, "\\x{byte:02x}"),
            };
            shown.map_err(|_| Errno::ENOMEM)?;
        }
        line.write_char('\n').map_err(|_| Errno::ENOMEM)?;
        if line.len() > buf.left() {
            return Err(Errno::EINVAL);
        }
        let done = buf.put(line.as_bytes())?;
        self.next.store(record.sequence + 1, Relaxed);
        Ok(done)
    }

    fn write(&self, _file: &File, buf: &mut IoBuf<'_>, _pos: &mut u64) -> Result<usize> {
        let len = buf.left();
        if len > MAX_TEXT - 32 {
            return Err(Errno::EINVAL);
        }
        let mut text: KVec<u8> = KVec::new();
        text.resize(len, 0, Gfp::KERNEL)?;
        if buf.take(&mut text)? < len {
            return Err(Errno::EFAULT);
        }
        let (level, rest) = level_of(&text);
        let rest = rest.strip_suffix(b"\n").unwrap_or(rest);
        klog::message(level, format_args!("{}", rest.escape_ascii()));
        Ok(len)
    }

    fn poll(&self, _file: &File, table: &mut PollTable<'_>) -> Events {
        table.watch_queue(klog::readers(), klog::range().1);
        if klog::range().1 > self.next.load(Relaxed) { Events::IN | Events::RDNORM } else { Events::empty() }
    }

    fn pollable(&self) -> bool {
        true
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

/// The level in a prefix `<N>`, N being a facility times 8 and a level; and the text behind it.
fn level_of(text: &[u8]) -> (u8, &[u8]) {
    let prefixed = || {
        let rest = text.strip_prefix(b"<")?;
        let end = rest.iter().position(|&b| b == b'>')?;
        let number: u32 = core::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
        Some(((number % 8) as u8, &rest[end + 1..]))
    };
    prefixed().unwrap_or((DEFAULT_LEVEL, text))
}
