//! The kernel thread that gives back what is left of dead threads. The switch that leaves a dead thread runs with
//! interrupts off, and dropping what a program's thread holds may sleep.

use core::ptr::NonNull;

use rux_mm::error::AllocError;
use rux_mm::slab::KArc;
use rux_mm::sync::{IrqSpinLock, Rank};

use crate::heap::Heap;
use crate::task::Task;
use crate::wait::WaitQueue;

/// The dead, by the nodes that they no longer need for a run queue.
static DEAD: IrqSpinLock<Heap> = IrqSpinLock::new(Rank::Kernel, Heap::new());
static MORE: WaitQueue = WaitQueue::new();

/// Starts the thread.
///
/// # Errors
/// No memory for it.
pub(crate) fn start() -> Result<(), AllocError> {
    super::spawn_kthread("reaper", |_| run(), 0)
}

/// Hands over the scheduler's share of a dead thread. Interrupts are off.
pub(super) fn add(task: *const Task) {
    // SAFETY: the task is alive by the scheduler's share, and in no run queue, as it is dead.
    unsafe { DEAD.lock().insert((*task).sched.node.get(), 0) };
    MORE.wake_one();
}

fn take() -> Option<NonNull<Task>> {
    let mut dead = DEAD.lock();
    let first = NonNull::new(dead.first())?;
    // SAFETY: it is the first of this heap.
    unsafe { dead.remove(first.as_ptr()) };
    Some(Task::of_node(first))
}

fn run() -> ! {
    loop {
        MORE.wait_uninterruptible(|| !DEAD.lock().first().is_null());
        while let Some(task) = take() {
            // SAFETY: the share that `start` kept, and `add` handed over.
            drop(unsafe { KArc::from_raw(task.as_ptr().cast_const()) });
        }
    }
}
