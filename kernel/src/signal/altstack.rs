//! `sigaltstack` (Linux: `do_sigaltstack`).

use linux_raw_sys::general as abi;

use super::frame::StackT;
use super::thread::AltStack;
use crate::errno::{Errno, Result};
use crate::process::Thread;

/// The smallest signal stack (`MINSIGSTKSZ`).
const MIN_SIZE: u64 = abi::MINSIGSTKSZ as u64;

/// Changes the signal stack of the running thread, whose stack pointer is `sp`.
///
/// # Errors
/// `EPERM` while the thread runs on it, `EINVAL` for unknown flags, `ENOMEM` when it is too small.
pub(crate) fn change(thread: &Thread, new: StackT, sp: u64) -> Result<()> {
    let old = thread.signals.alt_stack();
    if old.holds(sp) && old.size != 0 {
        return Err(Errno::EPERM);
    }
    let mode = new.flags as u32 & !abi::SS_AUTODISARM;
    let stack = match mode {
        abi::SS_DISABLE => AltStack { base: 0, size: 0, flags: new.flags as u32 },
        abi::SS_ONSTACK | 0 if new.size < MIN_SIZE => return Err(Errno::ENOMEM),
        abi::SS_ONSTACK | 0 => AltStack { base: new.sp, size: new.size, flags: new.flags as u32 },
        _ => return Err(Errno::EINVAL),
    };
    thread.signals.set_alt_stack(stack);
    Ok(())
}
