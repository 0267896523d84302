//! Fault injection: the n-th allocation from now on fails (Linux: `mm/fail_page_alloc.c`, `failslab`).
//!
//! A bit in the thread's scope says that it is on, so that nothing is paid when it is not. The count is
//! the machine's: one thread at a time injects.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rux_machine::{Hot, HotExt, Hw, Scope};

use crate::gfp::Gfp;
use crate::memory::memory;

/// What is to fail.
#[derive(Debug)]
pub(crate) struct State {
    left: AtomicU64,
    repeat: AtomicBool,
    failed: AtomicU64,
}

impl State {
    pub(crate) const fn new() -> Self {
        Self { left: AtomicU64::new(0), repeat: AtomicBool::new(false), failed: AtomicU64::new(0) }
    }
}

/// What becomes of the allocations after the one that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    /// They go on as ever.
    Pass,
    /// They fail too.
    Fail,
}

/// While it lives, allocations of this thread that are due fail.
#[must_use = "injection ends once the guard is dropped"]
#[derive(Debug)]
pub struct Injection {
    scope: Scope,
    not_send: PhantomData<*mut ()>,
}

/// Lets `n` allocations of this thread pass and fails the next one; what comes after that is `then`.
/// Pages count, and objects of slab.
pub fn fail_after(n: u64, then: Then) -> Injection {
    let state = &memory().inject;
    state.left.store(n, Relaxed);
    state.repeat.store(then == Then::Fail, Relaxed);
    state.failed.store(0, Relaxed);
    Injection { scope: Hw::thread().enter_scope(Scope::INJECT), not_send: PhantomData }
}

impl Injection {
    /// How many allocations failed so far. 0 at the end of what was tested: it makes no more than `n`.
    pub fn failed(&self) -> u64 {
        memory().inject.failed.load(Relaxed)
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        Hw::thread().set_scope(self.scope);
    }
}

/// Whether an allocation with `gfp` is to fail. For the allocators, once an allocation.
#[inline(always)]
pub fn due(gfp: Gfp) -> bool {
    Hw::scope().contains(Scope::INJECT) && due_slow(gfp)
}

#[cold]
fn due_slow(gfp: Gfp) -> bool {
    if Hw::scope().contains(Scope::NO_INJECT) || gfp.contains(Gfp::NOFAIL) {
        return false;
    }
    let state = &memory().inject;
    match state.left.load(Relaxed) {
        0 => {
            if !state.repeat.load(Relaxed) {
                state.left.store(u64::MAX, Relaxed);
            }
            state.failed.store(state.failed.load(Relaxed) + 1, Relaxed);
            true
        }
        // Once it is that much, it is not counted any more.
        u64::MAX => false,
        left => {
            state.left.store(left - 1, Relaxed);
            false
        }
    }
}
