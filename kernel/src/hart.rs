//! What each hart keeps for itself (Linux: per-CPU variables).

use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};

use rux_machine::{AtomicHartMask, HartMask, HotExt, Hw, MAX_HARTS};

use crate::ipi::Mailbox;
use crate::sched::RunQueue;
use crate::task::{ActiveSpace, Task};
use crate::time::TimerQueue;

/// One hart.
#[repr(align(128))]
pub struct Hart {
    index: usize,
    id: AtomicU64,
    /// Who waits to run.
    pub(crate) queue: RunQueue,
    /// Who waits for a time.
    pub(crate) timers: TimerQueue,
    /// What other harts ask of it.
    pub(crate) mailbox: Mailbox,
    /// The thread that it runs, as others may see it.
    pub(crate) running: AtomicPtr<Task>,
    idle: AtomicPtr<Task>,
    /// What it translates with.
    pub(crate) active_space: ActiveSpace,
    /// Nanoseconds in user mode, in the kernel, and idle.
    pub(crate) times: [AtomicU64; 3],
    /// Switches from one thread to another, for /proc/stat.
    pub(crate) switches: AtomicU64,
    /// Interrupts served, for /proc/stat.
    pub(crate) interrupts: AtomicU64,
    /// When its page lists are trimmed next.
    pub(crate) trim: AtomicU64,
}

impl Hart {
    const fn new(index: usize) -> Self {
        Self {
            index,
            id: AtomicU64::new(0),
            queue: RunQueue::new(index),
            timers: TimerQueue::new(),
            mailbox: Mailbox::new(),
            running: AtomicPtr::new(core::ptr::null_mut()),
            idle: AtomicPtr::new(core::ptr::null_mut()),
            active_space: ActiveSpace::new(),
            times: [const { AtomicU64::new(0) }; 3],
            switches: AtomicU64::new(0),
            interrupts: AtomicU64::new(0),
            trim: AtomicU64::new(0),
        }
    }

    /// Its index.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its id as the firmware knows it.
    pub fn id(&self) -> u64 {
        self.id.load(Relaxed)
    }

    /// The thread that runs when no other does. Not before [`Hart::set_idle`].
    pub(crate) fn idle(&self) -> &'static Task {
        let idle = self.idle.load(Relaxed);
        debug_assert!(!idle.is_null());
        // SAFETY: `set_idle` was given a thread that is never freed.
        unsafe { &*idle }
    }

    /// Names the idle thread, which is the one that runs now.
    pub(crate) fn set_idle(&self, idle: &'static Task) {
        let idle = core::ptr::from_ref(idle).cast_mut();
        self.idle.store(idle, Relaxed);
        self.running.store(idle, Relaxed);
    }

    /// Whether no thread but the idle one runs.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.load(Relaxed) == self.idle.load(Relaxed)
    }

    /// Nanoseconds in user mode, in the kernel, and idle, since boot.
    pub fn times(&self) -> (u64, u64, u64) {
        let [user, system, idle] = &self.times;
        (user.load(Relaxed), system.load(Relaxed), idle.load(Relaxed))
    }

    /// Switches from one thread to another since boot.
    pub fn switches(&self) -> u64 {
        self.switches.load(Relaxed)
    }

    /// Interrupts served since boot.
    pub fn interrupts(&self) -> u64 {
        self.interrupts.load(Relaxed)
    }
}

static HARTS: [Hart; MAX_HARTS] = {
    let mut harts = [const { Hart::new(0) }; MAX_HARTS];
    let mut index = 0;
    while index < MAX_HARTS {
        core::mem::forget(core::mem::replace(&mut harts[index], Hart::new(index)));
        index += 1;
    }
    harts
};
static ONLINE: AtomicHartMask = AtomicHartMask::new();

/// Hart `index`, below [`MAX_HARTS`].
#[inline]
pub fn hart(index: usize) -> &'static Hart {
    &HARTS[index % MAX_HARTS]
}

/// The hart that runs this. Steady only while pre-emption or interrupts are off.
#[inline]
pub fn this() -> &'static Hart {
    hart(Hw::hart())
}

/// The harts that run.
pub fn online() -> HartMask {
    ONLINE.load()
}

/// Says that `index` is the hart with the firmware's `id`.
pub(crate) fn set_id(index: usize, id: u64) {
    hart(index).id.store(id, Relaxed);
}

/// Says that this hart runs from now on.
pub(crate) fn set_online() {
    ONLINE.set(Hw::hart());
}
