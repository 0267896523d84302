//! How many threads there are, and how many there may be (`/proc/sys/kernel/threads-max`).

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rux_mm::slab::KArc;

use super::{Caps, Cred, Process, Resource, User};
use crate::errno::{Errno, Result};

/// User threads, those that ended and were not reaped included.
static THREADS: AtomicUsize = AtomicUsize::new(0);
/// User threads ever started.
static STARTED: AtomicUsize = AtomicUsize::new(0);
/// The most of them.
static MAX_THREADS: AtomicUsize = AtomicUsize::new(20);

/// Bytes of a kernel stack; an eighth of memory may be such.
const STACK_BYTES: u64 = 16 << 10;
/// The bounds of the limit.
const LIMITS: core::ops::RangeInclusive<u64> = 20..=0x3fff_ffff;

/// Sets the limit for a machine of so many bytes (Linux: `set_max_threads`).
pub(super) fn init(memory: u64) {
    set_max((memory / (STACK_BYTES * 8)).clamp(*LIMITS.start(), *LIMITS.end()) as usize);
}

/// Threads there are.
pub fn threads() -> usize {
    THREADS.load(Relaxed)
}

/// Threads ever started (`processes` of /proc/stat).
pub fn started() -> usize {
    STARTED.load(Relaxed)
}

/// Threads there may be.
pub fn max() -> usize {
    MAX_THREADS.load(Relaxed)
}

/// Changes the limit; what is out of bounds is brought to the nearest bound.
pub fn set_max(max: usize) {
    MAX_THREADS.store(max.clamp(*LIMITS.start() as usize, *LIMITS.end() as usize), Relaxed);
}

/// One thread, counted: with its user, and with all.
pub struct ThreadCount(KArc<User>);

impl ThreadCount {
    /// Counts a thread that `cred` starts in a process that has `process`' limits.
    ///
    /// # Errors
    /// `EAGAIN` at either limit. Root, and who has one of two capabilities, pass the user's
    /// (Linux: `copy_process`).
    pub(super) fn new(cred: &Cred, process: &Process) -> Result<Self> {
        let user = cred.user.clone();
        let count = Self::unlimited(user);
        let limit = process.limit(Resource::NPROC).soft;
        let over = count.0.processes.load(Relaxed) as u64 > limit;
        if over && cred.uid != 0 && !cred.capable(Caps::SYS_RESOURCE) && !cred.capable(Caps::SYS_ADMIN) {
            return Err(Errno::EAGAIN);
        }
        if threads() > max() {
            return Err(Errno::EAGAIN);
        }
        Ok(count)
    }

    /// Counts a thread whatever the limits.
    pub(super) fn unlimited(user: KArc<User>) -> Self {
        user.processes.fetch_add(1, Relaxed);
        THREADS.fetch_add(1, Relaxed);
        STARTED.fetch_add(1, Relaxed);
        Self(user)
    }
}

impl Drop for ThreadCount {
    fn drop(&mut self) {
        self.0.processes.fetch_sub(1, Relaxed);
        THREADS.fetch_sub(1, Relaxed);
    }
}
