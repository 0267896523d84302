//! Waiting for signals without a handler: `rt_sigtimedwait` (Linux: `do_sigtimedwait`).

use super::info::SigInfo;
use super::mask::recalculate;
use super::set::SigSet;
use crate::errno::{Errno, Result};
use crate::process::{self, Thread};
use crate::task::{self, Task};
use crate::time;
use crate::wait::{WaitError, WaitQueue};

/// Takes one of the signals in `set` out, waiting for it `timeout` nanoseconds at most.
///
/// # Errors
/// `EAGAIN` when none came in time, `EINTR` when another one did.
pub fn timed_wait(set: SigSet, timeout: Option<u64>) -> Result<SigInfo> {
    let task = task::current();
    let thread = process::current()?;
    let set = set.minus(SigSet::UNBLOCKABLE);
    if let Some(info) = take(task, thread, set, false) {
        return Ok(info);
    }
    if timeout == Some(0) {
        return Err(Errno::EAGAIN);
    }
    {
        // What comes from now on wakes this thread, blocked though it is.
        let group = thread.process().group();
        thread.signals.set_awaited(Some(set));
        recalculate(&group, task, thread);
    }
    let deadline = timeout.map(|timeout| time::now().saturating_add(timeout));
    let waited = WaitQueue::new().wait_deadline(deadline, || false);
    match take(task, thread, set, true) {
        Some(info) => Ok(info),
        None if waited == Err(WaitError::TimedOut) => Err(Errno::EAGAIN),
        None => Err(Errno::EINTR),
    }
}

/// Takes a signal of `set` out; `end`: and closes the mask again.
fn take(task: &Task, thread: &Thread, set: SigSet, end: bool) -> Option<SigInfo> {
    let mut group = thread.process().group();
    if end {
        thread.signals.set_awaited(None);
    }
    let taken = thread.signals.pending().take(set);
    let taken = taken.or_else(|| group.pending.take(set));
    recalculate(&group, task, thread);
    drop(group);
    let (info, flushed) = taken?;
    drop(flushed);
    Some(info)
}
