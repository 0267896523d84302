//! What is left of dead threads, and who waits for it to be gone.
//!
//! A thread is buried by the one that its hart runs next. Its parent may know of its death a little earlier; so that
//! a parent that has waited finds the memory free again, the wait ends with [`settle`].

use core::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

use rux_mm::slab::KArc;

use crate::task::{Task, current};
use crate::time;
use crate::wait::WaitQueue;

/// How long [`settle`] waits at most, in nanoseconds: a hart of an emulator may be held up.
const PATIENCE: u64 = 200_000_000;

/// Threads that have been announced to be dead soon, and those of them that are buried.
static ANNOUNCED: AtomicU64 = AtomicU64::new(0);
static BURIED: AtomicU64 = AtomicU64::new(0);
static BURIALS: WaitQueue = WaitQueue::new();

/// Says that the running thread will be dead without waiting for anything; pre-emption is off for good. Before its
/// parent is told.
pub(crate) fn announce() {
    let task = current();
    task.info().preempt_disable();
    task.sched.announced.store(true, Relaxed);
    ANNOUNCED.fetch_add(1, SeqCst);
}

/// Gives back the stack of a dead thread, and the scheduler's share of the thread. Interrupts are off: what the
/// thread still holds is memory alone, since all that may sleep was given up at its end.
///
/// # Safety
/// `task` was started, is dead, and no hart uses its stack.
pub(super) unsafe fn bury(task: *const Task) {
    // SAFETY: the share that `start` kept, which is given away here; nobody uses the stack.
    let announced = unsafe {
        Task::free_stack(task);
        let task = KArc::from_raw(task);
        task.sched.announced.load(Relaxed)
    };
    if announced {
        BURIED.fetch_add(1, SeqCst);
        BURIALS.wake_all();
    }
}

/// Waits for the burial of the threads announced so far; not for ever, and not if a signal comes.
pub(crate) fn settle() {
    let announced = ANNOUNCED.load(SeqCst);
    let buried = || BURIED.load(SeqCst) >= announced;
    if !buried() {
        // Whatever ends it: it is a courtesy.
        let _ = BURIALS.wait_deadline(Some(time::now() + PATIENCE), buried);
    }
}
