//! Grace periods: when every hart has been where it reads nothing (Linux: `kernel/rcu/tree.c`, `rcu_segcblist.c`).
//!
//! Whoever takes something out of a structure numbers a grace period by adding one to a counter. A hart writes down,
//! where it reads nothing, how far the counter was; a hart that is away (idle, or not there) has a zero written down.
//! The period is over when no hart has an older number. Two harts never write to one word but that counter.
//!
//! Why it holds. A hart that passes loads the counter (acquire) before it writes the number (release): what it read
//! before is done when the number is seen, and what it reads afterwards it reads after the change that the number
//! stands for. A hart that comes back writes its number before a full fence, and reads after it; who waits has
//! a full fence between its change and its look at the number: one of the two sees the other.
//!
//! Models of `mm/tests/loom_rcu.rs` are of this very source.

use core::cell::UnsafeCell;
use core::ptr::{NonNull, null_mut};

use super::shim::{AtomicPtr, AtomicU64, Ordering, fence};

/// The grace periods of a machine.
#[derive(Debug)]
pub(super) struct Periods(AtomicU64);

/// What one hart says of itself. All zeroes is a hart that is away.
#[derive(Debug)]
pub(super) struct Passed(AtomicU64);

impl Periods {
    pub(super) const fn new(started: AtomicU64) -> Self {
        Self(started)
    }

    /// Starts a grace period for what the caller, and whoever it waited for, changed before. Returns its number, for
    /// [`Passed::is_past`].
    pub(super) fn start(&self) -> u64 {
        let number = self.0.fetch_add(1, Ordering::AcqRel) + 1;
        // Before the looks at the harts' words: see the head of the room.
        fence(Ordering::SeqCst);
        number
    }

    /// What a hart writes down that has seen all periods which have started.
    #[inline(always)]
    fn all(&self, order: Ordering) -> u64 {
        self.0.load(order) + 1
    }
}

impl Passed {
    pub(super) const fn new(passed: AtomicU64) -> Self {
        Self(passed)
    }

    /// The hart itself, which is not away, says that it reads nothing now.
    #[inline(always)]
    pub(super) fn pass(&self, periods: &Periods) {
        let all = periods.all(Ordering::Acquire);
        if self.0.load(Ordering::Relaxed) != all {
            self.0.store(all, Ordering::Release);
        }
    }

    /// The hart itself goes where it reads nothing until [`Passed::come_back`].
    #[inline(always)]
    pub(super) fn go_away(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// The hart itself is back, and may read from here on.
    #[inline(always)]
    pub(super) fn come_back(&self, periods: &Periods) {
        // Release: who sees this number may not have seen that the hart was away, and what it read before that is done.
        self.0.store(periods.all(Ordering::Relaxed), Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// Whether the hart is away. Steady for itself alone.
    #[inline(always)]
    pub(super) fn is_away(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    /// Whether the hart reads nothing any more that was taken out before grace period `number` started.
    pub(super) fn is_past(&self, number: u64) -> bool {
        let passed = self.0.load(Ordering::Acquire);
        passed == 0 || passed > number
    }
}

/// What is to be done after a grace period. It lies in the object that it is for, and changes while readers have that
/// still (Linux: `struct rcu_head`).
#[derive(Debug)]
#[repr(transparent)]
pub struct Head(UnsafeCell<Link>);

#[derive(Clone, Copy, Debug)]
struct Link {
    next: *mut Head,
    then: Option<unsafe fn(NonNull<Head>)>,
}

// SAFETY: whoever pushes it has it alone until `then` runs, as `Calls::push` demands; readers do not look.
unsafe impl Sync for Head {}
// SAFETY: as above.
unsafe impl Send for Head {}

impl Head {
    /// Of an object that nobody waits to free.
    pub const fn new() -> Self {
        Self(UnsafeCell::new(Link { next: null_mut(), then: None }))
    }
}

impl Default for Head {
    fn default() -> Self {
        Self::new()
    }
}

/// Heads that wait for a grace period to start: a stack that all may push to, and that is taken as a whole.
#[derive(Debug)]
pub(super) struct Calls(AtomicPtr<Head>);

impl Calls {
    pub(super) const fn new(first: AtomicPtr<Head>) -> Self {
        Self(first)
    }

    /// Adds one; says whether it is the first.
    ///
    /// # Safety
    /// The head stays where it is, and nobody else touches it, until `then` runs.
    pub(super) unsafe fn push(&self, head: NonNull<Head>, then: unsafe fn(NonNull<Head>)) -> bool {
        let mut first = self.0.load(Ordering::Relaxed);
        loop {
            // SAFETY: the caller's alone until it is in the stack.
            unsafe { head.as_ref().0.get().write(Link { next: first, then: Some(then) }) };
            // Release: the head, and what its owner did before.
            match self.0.compare_exchange(first, head.as_ptr(), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return first.is_null(),
                Err(now) => first = now,
            }
        }
    }

    /// Takes all, the newest first.
    pub(super) fn take(&self) -> Chain {
        // Acquire: what the owners did before they pushed.
        Chain(self.0.swap(null_mut(), Ordering::Acquire))
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed).is_null()
    }
}

/// Heads that were taken. Their owners left them alone, so they are this one's.
#[derive(Debug)]
pub(super) struct Chain(*mut Head);

// SAFETY: whoever has the chain has its heads.
unsafe impl Send for Chain {}

impl Chain {
    pub(super) const fn empty() -> Self {
        Self(null_mut())
    }

    /// Puts another in front.
    pub(super) fn append(&mut self, front: Self) {
        let Some(mut last) = NonNull::new(front.0) else { return };
        // SAFETY: heads of a chain are valid, and its own.
        unsafe {
            while let Some(next) = NonNull::new((*last.as_ref().0.get()).next) {
                last = next;
            }
            (*last.as_ref().0.get()).next = self.0;
        }
        self.0 = front.0;
    }

    /// Does what is to be done; says for how many. A grace period has passed since they were taken.
    pub(super) fn run(self) -> usize {
        let (mut next, mut count) = (self.0, 0);
        while let Some(head) = NonNull::new(next) {
            // SAFETY: as above; read before `then` frees it.
            let Link { next: after, then } = unsafe { head.as_ref().0.get().read() };
            if let Some(then) = then {
                // SAFETY: the head was pushed with this function, and its grace period has passed.
                unsafe { then(head) };
            }
            (next, count) = (after, count + 1);
        }
        count
    }
}
