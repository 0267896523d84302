//! Locks, and the one order in which they are taken (Linux: `kernel/locking/`).
//!
//! | lock | while waiting | while holding |
//! |---|---|---|
//! | [`SpinLock`] | spins | pre-emption off |
//! | [`IrqSpinLock`] | spins | pre-emption and interrupts off |
//! | [`RawSpinLock`] | spins | pre-emption off; four bytes, for a lock inside a page descriptor |
//! | [`Mutex`] | sleeps | may sleep |
//! | [`RwSem`] | sleeps | may sleep; many readers or one writer |
//! | a VMA's ([`vma`]) | readers only try, the writer sleeps | may sleep; many readers or who writes under `mmap_lock` |
//!
//! The order is the declaration order of [`Rank`], outermost first. A debug build checks it at every
//! acquisition and panics with both locks named; a release build keeps nothing of it.

mod mutex;
mod order;
mod raw;
mod rwsem;
mod seq;
mod spin;
mod vma;

pub use mutex::{Mutex, MutexGuard};
pub use order::{Nesting, Rank, acquire, acquire_tried, might_sleep, release};
pub use rwsem::{ReadGuard, RwSem, WriteGuard};
pub use seq::SeqCount;
pub use spin::{IrqSpinGuard, IrqSpinLock, MaskedGuard, RawSpinGuard, RawSpinLock, SpinGuard, SpinLock};
pub(crate) use vma::{RawVmaLock, WriteTime};

/// What the algorithms in [`raw`], [`seq`] and [`vma`] stand on. `mm/tests/loom` gives them loom's instead, and
/// models the very same source.
mod shim {
    pub(super) use core::sync::atomic::{AtomicU32, Ordering, fence};
    use rux_machine::{Hot, Hw, cold};

    use super::{IrqSpinGuard, IrqSpinLock, Rank};

    pub(super) type QueueGuard<'a> = IrqSpinGuard<'a, ()>;

    /// What guards the queue of a sleeping lock. No interrupt comes while it is held: one that takes
    /// a lock of its own would take it out of order.
    #[derive(Debug)]
    pub(super) struct QueueLock(IrqSpinLock<()>);

    impl Default for QueueLock {
        fn default() -> Self {
            Self::new()
        }
    }

    impl QueueLock {
        pub(super) const fn new() -> Self {
            Self(IrqSpinLock::new(Rank::SemQueue, ()))
        }

        pub(super) fn lock(&self) -> QueueGuard<'_> {
            self.0.lock()
        }
    }

    /// Sleeps while `*word == expected`, or less long.
    pub(super) fn park(word: &AtomicU32, expected: u32) {
        cold::park(word, expected, None)
    }

    /// Wakes at most `count` sleepers on `word`.
    pub(super) fn unpark(word: &AtomicU32, count: u32) {
        cold::unpark(word, count);
    }

    /// Whether the running thread is to die.
    pub(super) fn fatal_signal() -> bool {
        cold::fatal_signal()
    }

    /// One turn of a waiting loop.
    pub(super) fn relax() {
        Hw::relax()
    }

    /// How often a sleeping lock looks again before it sleeps. The holder is most often running on
    /// another hart and soon done; sleeping costs two switches.
    pub(super) const SPINS: u32 = 64;
}

/// A fatal signal ended the wait: the caller unwinds to the way out to user mode (`EINTR`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("killed while waiting for a lock")]
pub struct Killed;
