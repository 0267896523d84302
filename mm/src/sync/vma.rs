//! The lock of one mapping: a fault has it for reading and needs no other lock then (Linux: `vma_start_read`,
//! `vma_start_write`, `vma_end_write_all`, `vma_mark_detached`).
//!
//! Readers only try: where they do not get it, they take `mmap_lock`. A writer has `mmap_lock` for writing already;
//! it waits for the readers that are in, and marks the mapping with the number of its time. The mapping then stays
//! locked until the writer gives `mmap_lock` back and lets the next time begin: one store frees all that it locked. A
//! mapping that goes for good is never free again.
//!
//! Why a reader that gets in sees all of what a writer did. The number of the time is stored (release) after all
//! changes; the reader loads it (acquire) once its count is in the state, and gets in only if it is not the
//! mapping's. A writer that comes after that finds the count, and waits. Numbers wrap: a mapping that was last locked
//! 2^32 times ago looks locked once, which costs a reader a look under `mmap_lock`.
//!
//! Models of `mm/tests/loom` are of this very source.

use super::shim::{AtomicU32, Ordering, SPINS, park, relax, unpark};

/// A writer waits for the readers, or is about to mark the mapping, or has taken it out for good.
const WRITER: u32 = 1 << 31;

/// The time of an address space's writer.
#[derive(Default, Debug)]
pub(crate) struct WriteTime(AtomicU32);

impl WriteTime {
    /// The writer is done with all that it locked, and gives `mmap_lock` back next.
    #[inline]
    pub(crate) fn end(&self) {
        // One writer at a time: nobody else stores.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }
}

/// See the head of the room.
#[derive(Default, Debug)]
pub(crate) struct RawVmaLock {
    /// How many readers are in, and [`WRITER`].
    state: AtomicU32,
    /// In which time it was locked last. Written with [`WRITER`] set, or before anybody finds the mapping.
    locked: AtomicU32,
}

impl RawVmaLock {
    /// Of a mapping that nobody finds yet: locked by the writer whose time it is, as it will be seen in the middle of
    /// its changes.
    #[inline]
    pub(crate) fn lock_new(&self, time: &WriteTime) {
        self.locked.store(time.0.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Lets a reader in unless a writer has it, or waits for it.
    #[inline(always)]
    #[must_use]
    pub(crate) fn try_read(&self, time: &WriteTime) -> bool {
        // A look first: no line of the mapping is written to in vain.
        if self.locked.load(Ordering::Relaxed) == time.0.load(Ordering::Relaxed) {
            return false;
        }
        // Acquire: the mark of the writer that was there last.
        if self.state.fetch_add(1, Ordering::Acquire) & WRITER == 0
            && self.locked.load(Ordering::Relaxed) != time.0.load(Ordering::Acquire)
        {
            return true;
        }
        self.turn_back();
        false
    }

    #[cold]
    fn turn_back(&self) {
        self.unlock_read();
    }

    /// A reader goes.
    #[inline(always)]
    pub(crate) fn unlock_read(&self) {
        // Release: what it read and wrote.
        if self.state.fetch_sub(1, Ordering::Release) == WRITER + 1 {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        unpark(&self.state, 1);
    }

    /// The writer, which has `mmap_lock`, locks it until the end of its time. May sleep. Nothing happens if it did so
    /// before.
    #[inline]
    pub(crate) fn write(&self, time: &WriteTime) {
        if self.is_write_locked(time) {
            return;
        }
        self.shut_out();
        self.locked.store(time.0.load(Ordering::Relaxed), Ordering::Relaxed);
        // Release: the mark. A reader that comes from here on sees it.
        self.state.fetch_and(!WRITER, Ordering::Release);
    }

    /// As [`RawVmaLock::write`], for good: the mapping goes before the time ends.
    #[inline]
    pub(crate) fn detach(&self) {
        if !self.is_detached() {
            // Also those wait who will not get in: once the time has ended they would.
            self.shut_out();
        }
    }

    /// No reader gets in from now on, and none is in.
    #[inline]
    fn shut_out(&self) {
        // Acquire here and below: what the readers did that are gone.
        let seen = self.state.fetch_or(WRITER, Ordering::Acquire);
        if seen != 0 {
            self.wait_for_readers();
        }
    }

    #[cold]
    fn wait_for_readers(&self) {
        let mut spins = SPINS;
        loop {
            let seen = self.state.load(Ordering::Acquire);
            if seen == WRITER {
                return;
            }
            if spins > 0 {
                spins -= 1;
                relax();
            } else {
                park(&self.state, seen);
            }
        }
    }

    /// Whether the writer whose time it is has locked it; asked by that writer, or in vain.
    #[inline]
    pub(crate) fn is_write_locked(&self, time: &WriteTime) -> bool {
        self.locked.load(Ordering::Relaxed) == time.0.load(Ordering::Relaxed) || self.is_detached()
    }

    /// Whether the writer has taken it out for good; asked by that writer.
    #[inline]
    pub(crate) fn is_detached(&self) -> bool {
        self.state.load(Ordering::Relaxed) & WRITER != 0
    }

    /// Whether readers are in, at this moment.
    pub(crate) fn has_readers(&self) -> bool {
        self.state.load(Ordering::Relaxed) & !WRITER != 0
    }
}
