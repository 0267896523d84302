//! The sleeping locks' algorithms, without their values: what loom models (`mm/tests/loom`).
//!
//! Both have a fast path of one compare-and-swap. The mutex is the three-state futex mutex. The
//! reader/writer semaphore is phase-fair: once anybody waits, nobody passes by; who gives the lock
//! back hands it over, to all waiting readers after a writer, to one writer after readers. So neither
//! a stream of readers nor one of writers starves the other (Linux: `kernel/locking/rwsem.c`).

use super::shim::{AtomicU32, Ordering, QueueGuard, QueueLock, SPINS, fatal_signal, park, relax, unpark};

const FREE: u32 = 0;
const LOCKED: u32 = 1;
/// Locked, and somebody may sleep.
const CONTENDED_MUTEX: u32 = 2;

/// A mutex around nothing.
#[derive(Default, Debug)]
pub(crate) struct RawMutex {
    pub(super) state: AtomicU32,
}

impl RawMutex {
    #[inline(always)]
    pub(crate) fn try_lock(&self) -> bool {
        self.state.compare_exchange(FREE, LOCKED, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline(always)]
    pub(crate) fn lock(&self) {
        if !self.try_lock() {
            self.lock_slow(false);
        }
    }

    /// `false`: a fatal signal came first.
    #[inline(always)]
    #[must_use]
    pub(crate) fn lock_killable(&self) -> bool {
        self.try_lock() || self.lock_slow(true)
    }

    #[cold]
    fn lock_slow(&self, killable: bool) -> bool {
        for _ in 0..SPINS {
            match self.state.load(Ordering::Relaxed) {
                FREE if self.try_lock() => return true,
                CONTENDED_MUTEX => break,
                _ => relax(),
            }
        }
        // Whoever comes by here leaves the state contended, as others may sleep; at worst the last
        // one to unlock wakes nobody.
        while self.state.swap(CONTENDED_MUTEX, Ordering::Acquire) != FREE {
            if killable && fatal_signal() {
                // A wake meant for this thread must not be lost with it.
                unpark(&self.state, 1);
                return false;
            }
            park(&self.state, CONTENDED_MUTEX);
        }
        true
    }

    /// The caller holds the lock.
    #[inline(always)]
    pub(crate) fn unlock(&self) {
        if self.state.swap(FREE, Ordering::Release) == CONTENDED_MUTEX {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        unpark(&self.state, 1);
    }
}

/// A writer has it.
const WRITER: u32 = 1;
/// Somebody waits: nobody gets in but by being handed the lock.
const WAITERS: u32 = 2;
/// One reader.
const READER: u32 = 4;

/// A reader/writer semaphore around nothing. `state` changes without `queue_lock` only on the fast
/// paths, which leave [`WAITERS`] as it is; the other words belong to `queue_lock`, but that sleepers
/// look at the turns.
#[derive(Default, Debug)]
pub(crate) struct RawRwSem {
    /// `READER` times the readers, [`WRITER`], [`WAITERS`].
    pub(super) state: AtomicU32,
    /// Guards the words below.
    pub(super) queue_lock: QueueLock,
    /// Readers that wait and were not handed the lock yet.
    pub(super) readers: AtomicU32,
    /// Writers likewise.
    pub(super) writers: AtomicU32,
    /// Rises when all waiting readers are handed the lock; they sleep on it.
    pub(super) read_turn: AtomicU32,
    /// 1 while a writer was handed the lock and has not noticed; writers sleep on it.
    pub(super) write_turn: AtomicU32,
}

/// Holds `queue_lock`.
struct Queue<'a>(&'a RawRwSem, #[allow(dead_code)] QueueGuard<'a>);

/// Who is to be woken, once `queue_lock` is free again.
#[derive(PartialEq, Eq)]
enum Wake {
    Nobody,
    Readers,
    Writer,
}

/// What a release was a release of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Read,
    Write,
}

impl RawRwSem {
    #[inline(always)]
    pub(crate) fn try_read(&self) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        while state & (WRITER | WAITERS) == 0 && state < u32::MAX - READER {
            let more = state + READER;
            match self.state.compare_exchange_weak(state, more, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    #[inline(always)]
    pub(crate) fn try_write(&self) -> bool {
        self.state.compare_exchange(0, WRITER, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline(always)]
    pub(crate) fn read(&self) {
        if !self.try_read() {
            self.read_slow(false);
        }
    }

    /// `false`: a fatal signal came first.
    #[inline(always)]
    #[must_use]
    pub(crate) fn read_killable(&self) -> bool {
        self.try_read() || self.read_slow(true)
    }

    #[inline(always)]
    pub(crate) fn write(&self) {
        if !self.try_write() {
            self.write_slow(false);
        }
    }

    /// `false`: a fatal signal came first.
    #[inline(always)]
    #[must_use]
    pub(crate) fn write_killable(&self) -> bool {
        self.try_write() || self.write_slow(true)
    }

    /// The caller holds it for reading.
    #[inline(always)]
    pub(crate) fn unlock_read(&self) {
        if self.state.fetch_sub(READER, Ordering::Release) == READER | WAITERS {
            self.hand_over(Phase::Read);
        }
    }

    /// The caller holds it for writing.
    #[inline(always)]
    pub(crate) fn unlock_write(&self) {
        if self.state.fetch_sub(WRITER, Ordering::Release) != WRITER {
            self.hand_over(Phase::Write);
        }
    }

    /// The caller holds it for writing, and then for reading.
    pub(crate) fn downgrade(&self) {
        if self.state.fetch_add(READER - WRITER, Ordering::Release) & WAITERS != 0 {
            let queue = self.queue();
            let wake = queue.admit_readers();
            drop(queue);
            self.wake(wake);
        }
    }

    pub(crate) fn is_write_locked(&self) -> bool {
        self.state.load(Ordering::Relaxed) & WRITER != 0
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.state.load(Ordering::Relaxed) & !WAITERS != 0
    }

    fn queue(&self) -> Queue<'_> {
        Queue(self, self.queue_lock.lock())
    }

    fn wake(&self, wake: Wake) {
        match wake {
            Wake::Nobody => {}
            Wake::Readers => unpark(&self.read_turn, u32::MAX),
            Wake::Writer => unpark(&self.write_turn, 1),
        }
    }

    #[cold]
    fn hand_over(&self, after: Phase) {
        let queue = self.queue();
        let wake = queue.hand_over(after);
        drop(queue);
        self.wake(wake);
    }

    #[cold]
    fn read_slow(&self, killable: bool) -> bool {
        for _ in 0..SPINS {
            if self.try_read() {
                return true;
            }
            if self.state.load(Ordering::Relaxed) & WAITERS != 0 {
                break;
            }
            relax();
        }
        let queue = self.queue();
        if queue.read_or_mark() {
            return true;
        }
        bump(&self.readers);
        let turn = self.read_turn.load(Ordering::Relaxed);
        drop(queue);
        while self.read_turn.load(Ordering::Acquire) == turn {
            if killable && fatal_signal() {
                let queue = self.queue();
                if self.read_turn.load(Ordering::Relaxed) != turn {
                    // Handed over meanwhile. Taking it is simplest; the caller dies soon.
                    return true;
                }
                drop_one(&self.readers);
                queue.settle();
                return false;
            }
            park(&self.read_turn, turn);
        }
        true
    }

    #[cold]
    fn write_slow(&self, killable: bool) -> bool {
        for _ in 0..SPINS {
            if self.try_write() {
                return true;
            }
            if self.state.load(Ordering::Relaxed) & WAITERS != 0 {
                break;
            }
            relax();
        }
        let queue = self.queue();
        if queue.write_or_mark() {
            return true;
        }
        bump(&self.writers);
        drop(queue);
        while self.write_turn.compare_exchange(1, 0, Ordering::Acquire, Ordering::Relaxed).is_err() {
            if killable && fatal_signal() {
                let queue = self.queue();
                if self.write_turn.compare_exchange(1, 0, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                    return true;
                }
                drop_one(&self.writers);
                let wake = queue.without_writers();
                queue.settle();
                drop(queue);
                self.wake(wake);
                return false;
            }
            park(&self.write_turn, 0);
        }
        true
    }
}

fn bump(word: &AtomicU32) {
    word.store(word.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

fn drop_one(word: &AtomicU32) {
    word.store(word.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
}

impl Queue<'_> {
    /// Takes the lock for reading if it can be had, or marks that somebody waits.
    fn read_or_mark(&self) -> bool {
        // With the mark, only holders of the queue lock change the state, but for releases.
        let old = self.0.state.fetch_or(WAITERS, Ordering::Acquire);
        let free = old & (WRITER | WAITERS) == 0;
        if free {
            self.0.state.fetch_add(READER - WAITERS, Ordering::Acquire);
        }
        free
    }

    /// Takes the lock for writing if it can be had, or marks that somebody waits.
    fn write_or_mark(&self) -> bool {
        let free = self.0.state.fetch_or(WAITERS, Ordering::Acquire) == 0;
        if free {
            self.0.state.fetch_sub(WAITERS - WRITER, Ordering::Acquire);
        }
        free
    }

    /// Gives a free lock to who is next. Does nothing if the lock is not free (any more).
    fn hand_over(&self, after: Phase) -> Wake {
        let sem = self.0;
        // Acquire: what the last holder did happens before what the next one does, by way of the
        // release of its turn. Only `WAITERS` set: no fast path changes the state.
        if sem.state.load(Ordering::Acquire) != WAITERS {
            return Wake::Nobody;
        }
        let (readers, writers) = (sem.readers.load(Ordering::Relaxed), sem.writers.load(Ordering::Relaxed));
        if readers > 0 && (after == Phase::Write || writers == 0) {
            return self.admit_readers();
        }
        if writers == 0 {
            sem.state.store(0, Ordering::Release);
            return Wake::Nobody;
        }
        drop_one(&sem.writers);
        let others = if readers + writers > 1 { WAITERS } else { 0 };
        sem.state.store(WRITER | others, Ordering::Relaxed);
        sem.write_turn.store(1, Ordering::Release);
        Wake::Writer
    }

    /// Lets all waiting readers in. The lock is free with [`WAITERS`] set, or held for reading.
    fn admit_readers(&self) -> Wake {
        let sem = self.0;
        let readers = sem.readers.load(Ordering::Relaxed);
        if readers == 0 {
            return Wake::Nobody;
        }
        sem.readers.store(0, Ordering::Relaxed);
        // The readers are in before the mark goes, so that nobody finds the lock free in between.
        sem.state.fetch_add(readers * READER, Ordering::Acquire);
        self.settle();
        bump_release(&sem.read_turn);
        Wake::Readers
    }

    /// After a writer gave up: readers that waited only for it get in.
    fn without_writers(&self) -> Wake {
        let sem = self.0;
        let state = sem.state.load(Ordering::Acquire);
        if sem.writers.load(Ordering::Relaxed) == 0 && state & WRITER == 0 {
            self.admit_readers()
        } else {
            Wake::Nobody
        }
    }

    /// Takes the mark away if nobody waits.
    fn settle(&self) {
        let sem = self.0;
        if sem.readers.load(Ordering::Relaxed) == 0 && sem.writers.load(Ordering::Relaxed) == 0 {
            sem.state.fetch_and(!WAITERS, Ordering::Release);
        }
    }
}

fn bump_release(word: &AtomicU32) {
    word.store(word.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
}
