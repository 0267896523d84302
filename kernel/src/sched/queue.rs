//! One hart's run queue: who wants to run there, the one that had least so far first
//! (Linux: `kernel/sched/fair.c`).
//!
//! Run time is weighed by the nice value; a thread that wakes is at most a little behind the others, so
//! that sleeping earns nothing. A thread is queued on at most one hart, and only the lock of the hart
//! that its `info.hart` names guards its place.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use rux_mm::sync::{IrqSpinGuard, IrqSpinLock, Rank};

use crate::heap::Heap;
use crate::task::Task;

/// How far behind the others a thread may be when it wakes, in weighted nanoseconds.
const WAKE_CREDIT: u64 = 3_000_000;
/// How much less than the running thread a waking one must have had to take its place at once.
const WAKE_GRANULARITY: u64 = 1_000_000;

/// See the head of the room.
pub(crate) struct RunQueue {
    queue: IrqSpinLock<Queued>,
    /// How many are queued; the one that runs is not.
    waiting: AtomicUsize,
    /// No less than any thread's run time that left, so that new ones start level.
    floor: AtomicU64,
}

/// What the lock guards.
pub(crate) struct Queued {
    heap: Heap,
    index: usize,
}

impl RunQueue {
    pub(crate) const fn new(index: usize) -> Self {
        Self {
            queue: IrqSpinLock::new(Rank::RunQueue, Queued { heap: Heap::new(), index }),
            waiting: AtomicUsize::new(0),
            floor: AtomicU64::new(0),
        }
    }

    #[inline]
    pub(super) fn lock(&self) -> IrqSpinGuard<'_, Queued> {
        self.queue.lock()
    }

    /// How many threads wait to run.
    #[inline]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// The run time that is level here.
    #[inline]
    pub(super) fn floor(&self) -> u64 {
        self.floor.load(Relaxed)
    }

    fn raise_floor(&self, to: u64) {
        if to > self.floor() {
            self.floor.store(to, Relaxed);
        }
    }
}

impl Queued {
    fn queue(&self) -> &'static RunQueue {
        &crate::hart::hart(self.index).queue
    }

    /// Queues `task`. It is in no queue, and one reference to it is held until it is dead.
    pub(super) fn push(&mut self, task: &Task) {
        // SAFETY: the task is in no queue, and stays alive while it is not dead; the lock is held.
        unsafe { self.heap.insert(task.sched.node.get(), task.sched.runtime_weighted.load(Relaxed)) };
        let queue = self.queue();
        queue.waiting.store(queue.waiting() + 1, Relaxed);
    }

    /// Takes out the thread that is to run next.
    pub(super) fn pop(&mut self) -> Option<NonNull<Task>> {
        let first = NonNull::new(self.heap.first())?;
        // SAFETY: it is the first of this heap.
        unsafe { self.heap.remove(first.as_ptr()) };
        let queue = self.queue();
        queue.waiting.store(queue.waiting() - 1, Relaxed);
        // SAFETY: a queued node is alive.
        queue.raise_floor(unsafe { first.as_ref() }.key());
        Some(Task::of_node(first))
    }

    /// The smallest run time that waits.
    pub(super) fn first_key(&self) -> Option<u64> {
        self.heap.first_key()
    }

    /// Gives a waking or moving thread, level with `from_floor` where it was, its run time here.
    pub(super) fn place(&self, task: &Task, from_floor: u64) {
        let floor = self.queue().floor();
        let behind = from_floor.saturating_sub(task.sched.runtime_weighted.load(Relaxed)).min(WAKE_CREDIT);
        let ahead = task.sched.runtime_weighted.load(Relaxed).saturating_sub(from_floor);
        task.sched.runtime_weighted.store((floor + ahead).saturating_sub(behind), Relaxed);
    }

    /// Whether a thread that wakes with run time `waking` takes the place of one that runs with `running`.
    pub(super) fn preempts(waking: u64, running: u64) -> bool {
        waking.saturating_add(WAKE_GRANULARITY) < running
    }
}
