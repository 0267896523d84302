//! The signal mask of the running thread, and whether something waits (Linux: `set_current_blocked`,
//! `recalc_sigpending`).

use core::sync::atomic::Ordering::Relaxed;

use super::set::SigSet;
use crate::process::{Group, Thread};
use crate::task::{self, Task};

/// Whether something waits for the thread; its process' group is locked.
pub(super) fn has_work(group: &Group, thread: &Thread) -> bool {
    let signals = &thread.signals;
    let waiting = signals.pending().set().or(group.pending_set()).minus(signals.blocked());
    !waiting.is_empty()
        || signals.must_stop.load(Relaxed)
        || group.stop.untold.is_some()
        || group.exit.is_some()
        || group.exec.is_some_and(|tid| tid != thread.tid())
}

/// Sets or clears the running thread's flag by what waits.
pub(super) fn recalculate(group: &Group, task: &Task, thread: &Thread) {
    if has_work(group, thread) {
        task.notify_signal(false);
    } else {
        task.clear_signal_pending();
    }
}

/// Changes the running thread's mask. Signals of the whole process that it blocks now go to others.
pub fn set_blocked(mask: SigSet) {
    let task = task::current();
    let Some(thread) = &task.user else { return };
    let mask = mask.minus(SigSet::UNBLOCKABLE);
    let old = thread.signals.blocked();
    if old == mask {
        return;
    }
    let group = thread.process().group();
    let handed_on = group.pending_set().and(mask.minus(old));
    thread.signals.store_blocked(mask);
    if !handed_on.is_empty() && !thread.signals.is_killed() {
        for other in group.threads.iter() {
            let takes = other.user.as_ref().is_some_and(|other| {
                !other.is_exiting() && !handed_on.minus(other.signals.blocked()).is_empty()
            });
            if takes && !core::ptr::eq(other, task) {
                other.notify_signal(false);
            }
        }
    }
    recalculate(&group, task, thread);
}

/// Changes the running thread's mask for the length of one system call (`ppoll`, `rt_sigsuspend`):
/// [`restore_mask`] ends it.
pub fn set_temporary_mask(mask: SigSet) {
    if let Some(thread) = &task::current().user {
        let old = thread.signals.blocked();
        set_blocked(mask);
        thread.signals.set_saved(Some(old));
    }
}

/// Puts the mask of before [`set_temporary_mask`] back. After a wait that a signal interrupted, leave that
/// to the signal's delivery: it runs under the temporary mask (Linux: `restore_saved_sigmask_unless`).
pub fn restore_mask() {
    if let Some(thread) = &task::current().user
        && let Some(saved) = thread.signals.saved()
    {
        thread.signals.set_saved(None);
        set_blocked(saved);
    }
}
