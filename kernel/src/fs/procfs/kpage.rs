//! /proc/{kpagecount,kpageflags}: a 64-bit number for each frame, from frame 0 on (Linux: `fs/proc/page.c`).

use rux_mm::addr::{PAGE_SIZE, Pfn};
use rux_mm::gfp::Gfp;
use rux_mm::page_alloc::kpage::{page_count, page_flags};
use rux_mm::slab::KVec;

use super::Entry;
use crate::errno::{Errno, Result};
use crate::fs::iobuf::IoBuf;

/// Bytes of a frame's number.
const BYTES: u64 = size_of::<u64>() as u64;
/// Numbers that are put together at a time.
const AT_ONCE: u64 = PAGE_SIZE as u64 / BYTES;

pub(super) const KPAGECOUNT: Entry =
    Entry::Bytes { name: "kpagecount", mode: 0o400, read: |buf, pos| read(buf, pos, page_count) };
pub(super) const KPAGEFLAGS: Entry =
    Entry::Bytes { name: "kpageflags", mode: 0o400, read: |buf, pos| read(buf, pos, page_flags) };

/// Reads from `pos` on what `of` says of each frame.
///
/// # Errors
/// `EINVAL` for what is not whole numbers; `EFAULT` if nothing could be written.
fn read(buf: &mut IoBuf<'_>, pos: &mut u64, of: fn(Pfn) -> u64) -> Result<usize> {
    if !pos.is_multiple_of(BYTES) || !(buf.left() as u64).is_multiple_of(BYTES) {
        return Err(Errno::EINVAL);
    }
    let end = rux_mm::memory().end_pfn().get();
    let mut done = 0;
    let mut bytes = KVec::new();
    while *pos / BYTES < end && buf.left() != 0 {
        let first = *pos / BYTES;
        let count = AT_ONCE.min(end - first).min(buf.left() as u64 / BYTES);
        bytes.clear();
        // Once: from then on there is room for as many.
        bytes.reserve((count * BYTES) as usize, Gfp::KERNEL)?;
        for pfn in first..first + count {
            bytes.extend_from_slice(&of(Pfn::new(pfn)).to_ne_bytes(), Gfp::KERNEL)?;
        }
        match buf.put(&bytes) {
            Ok(put) => {
                done += put;
                *pos += put as u64;
                if put < bytes.len() {
                    break;
                }
            }
            Err(_) if done != 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
