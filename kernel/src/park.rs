//! Sleep and wake by address, which the locks of `rux-mm` stand on
//! (`rux_machine::cold`; Linux: `kernel/locking/`, `wait_var_event`).

use core::ptr::{self, null_mut};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

use rux_mm::sync::{IrqSpinLock, Rank};

use crate::sched::{self, Kicks};
use crate::task::{State, Task, current};
use crate::time::{self, Timer};

/// Power of two.
const BUCKETS: usize = 256;

static TABLE: [IrqSpinLock<Bucket>; BUCKETS] =
    [const { IrqSpinLock::new(Rank::Park, Bucket { first: null_mut(), last: null_mut() }) }; BUCKETS];

/// Sleepers whose words fall into one bucket, in the order in which they came.
struct Bucket {
    first: *mut Sleeper,
    last: *mut Sleeper,
}

// SAFETY: the list is only reached under the bucket's lock.
unsafe impl Send for Bucket {}

/// On the sleeper's stack.
struct Sleeper {
    word: usize,
    task: *const Task,
    woken: AtomicBool,
    queued: bool,
    next: *mut Sleeper,
    prev: *mut Sleeper,
}

impl Bucket {
    fn of(word: &AtomicU32) -> &'static IrqSpinLock<Self> {
        // Words of different objects differ above the lowest bits.
        let hash = (ptr::from_ref(word).addr() as u64 >> 2).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &TABLE[(hash >> 56) as usize % BUCKETS]
    }

    /// # Safety
    /// `sleeper` is in no bucket, and stays where it is until it is out again.
    unsafe fn push(&mut self, sleeper: *mut Sleeper) {
        // SAFETY: the caller vouches for it; the last is queued, so alive.
        unsafe {
            (*sleeper).prev = self.last;
            (*sleeper).queued = true;
            if self.last.is_null() {
                self.first = sleeper;
            } else {
                (*self.last).next = sleeper;
            }
        }
        self.last = sleeper;
    }

    /// # Safety
    /// `sleeper` is in this bucket.
    unsafe fn remove(&mut self, sleeper: *mut Sleeper) {
        // SAFETY: it is queued, and so are its neighbours.
        unsafe {
            let (next, prev) = ((*sleeper).next, (*sleeper).prev);
            if prev.is_null() {
                self.first = next;
            } else {
                (*prev).next = next;
            }
            if next.is_null() {
                self.last = prev;
            } else {
                (*next).prev = prev;
            }
            (*sleeper).queued = false;
        }
    }
}

/// See [`rux_machine::cold::Cold::park`]. A fatal signal ends the sleep, too.
pub(crate) fn park(word: &AtomicU32, expected: u32, deadline: Option<u64>) {
    let task = current();
    let mut sleeper = Sleeper {
        word: ptr::from_ref(word).addr(),
        task,
        woken: AtomicBool::new(false),
        queued: false,
        next: null_mut(),
        prev: null_mut(),
    };
    let at = &raw mut sleeper;
    let bucket = Bucket::of(word);
    {
        let mut bucket = bucket.lock();
        if word.load(SeqCst) != expected {
            return;
        }
        task.set_state(State::Killable);
        // SAFETY: the sleeper is taken out below, before it goes.
        unsafe { bucket.push(at) };
    }
    let timer = Timer::new(
        |timer| {
            // SAFETY: the thread waits for `cancel`, so it is alive.
            sched::wake(unsafe { &*(timer.data() as usize as *const Task) }, &[State::Killable]);
        },
        ptr::from_ref(task) as u64,
    );
    if let Some(deadline) = deadline {
        // SAFETY: cancelled below, before it goes.
        unsafe { timer.arm(deadline) };
        if time::now() >= deadline {
            task.set_state(State::Running);
        }
    }
    // SAFETY: the sleeper lives on this stack.
    if unsafe { !(*at).woken.load(SeqCst) } {
        sched::schedule();
    }
    task.set_state(State::Running);
    if deadline.is_some() {
        timer.cancel();
    }
    let mut bucket = bucket.lock();
    // SAFETY: the bucket's lock guards the links.
    unsafe {
        if (*at).queued {
            bucket.remove(at);
        }
    }
}

/// See [`rux_machine::cold::Cold::unpark`].
pub(crate) fn unpark(word: &AtomicU32, count: u32) -> u32 {
    let address = ptr::from_ref(word).addr();
    let mut kicks = Kicks::new();
    let mut bucket = Bucket::of(word).lock();
    let mut woken = 0;
    let mut at = bucket.first;
    while !at.is_null() && woken < count {
        // SAFETY: queued sleepers are alive, and so are their threads.
        unsafe {
            let next = (*at).next;
            if (*at).word == address {
                bucket.remove(at);
                (*at).woken.store(true, SeqCst);
                sched::wake_into(&*(*at).task, &[State::Killable], &mut kicks);
                woken += 1;
            }
            at = next;
        }
    }
    woken
}
