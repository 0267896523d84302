//! What the machine keeps of the running thread (Linux: `struct thread_info`).
//!
//! On RISC-V `tp` points here while the kernel runs. Every field belongs to the thread itself, so a
//! plain load and store changes it even when an interrupt comes between; only `need_resched` and
//! `hart` are written by others, and they are written whole.

use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::MAX_HARTS;

/// Bits of [`ThreadInfo::scope`]: what an allocation of this thread may not do, or may do beyond
/// its `Gfp` (Linux: `PF_MEMALLOC_NOIO`, `PF_MEMALLOC_NOFS`, `PF_MEMALLOC`).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Scope(pub u32);

impl Scope {
    /// No I/O may be started.
    pub const NOIO: Self = Self(1);
    /// No file system may be entered.
    pub const NOFS: Self = Self(2);
    /// The reserves below the minimum watermark may be used.
    pub const MEMALLOC: Self = Self(4);
    /// Fault injection passes this thread by (tests).
    pub const NO_INJECT: Self = Self(8);
    /// Fault injection is on for this thread (tests). A bit here, so that one look at the scope tells
    /// an allocation that nothing special is asked of it.
    pub const INJECT: Self = Self(16);

    /// Whether all of `other`'s bits are set.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// One lock that a thread holds; kept only in debug builds, for the lock-order check.
#[derive(Default, Debug)]
pub struct HeldLock {
    /// The lock's rank in the order that `rux_mm::sync` writes down.
    pub rank: AtomicU32,
    /// The lock's address.
    pub addr: AtomicUsize,
}

/// The most locks that one thread holds at once.
pub const MAX_HELD_LOCKS: usize = 24;

/// The thread as the machine knows it. The first five fields are known to the trap entry's assembly.
#[repr(C)]
#[derive(Debug)]
pub struct ThreadInfo {
    /// Top of the kernel stack, for the next trap from user mode.
    pub kernel_sp: AtomicUsize,
    /// Where the trap entry keeps the user's stack pointer for a moment.
    pub user_sp: AtomicUsize,
    /// How many times pre-emption was turned off and not on again; 0 means the thread may be pre-empted.
    pub preempt: AtomicU32,
    /// Not 0 once somebody asked that this hart reschedule.
    pub need_resched: AtomicU32,
    /// The hart that runs the thread, or ran it last.
    pub hart: AtomicU32,
    /// Allocation scope, bits of [`Scope`].
    pub scope: AtomicU32,
    /// Address of what `mm` keeps for `hart`; written with it, by [`ThreadInfo::set_hart`].
    pub local: AtomicUsize,
    /// Free for the kernel: a pointer to its task.
    pub task: AtomicUsize,
    /// Free for the trap entry.
    pub scratch: [AtomicU64; 2],
    /// How many of `held` are in use.
    pub held_count: AtomicU32,
    /// The locks that the thread holds, oldest first.
    pub held: [HeldLock; MAX_HELD_LOCKS],
}

impl ThreadInfo {
    /// A thread on hart 0 that may be pre-empted and holds nothing.
    pub const fn new() -> Self {
        Self {
            kernel_sp: AtomicUsize::new(0),
            user_sp: AtomicUsize::new(0),
            preempt: AtomicU32::new(0),
            need_resched: AtomicU32::new(0),
            hart: AtomicU32::new(0),
            scope: AtomicU32::new(0),
            local: AtomicUsize::new(0),
            task: AtomicUsize::new(0),
            scratch: [AtomicU64::new(0), AtomicU64::new(0)],
            held_count: AtomicU32::new(0),
            held: [const { HeldLock { rank: AtomicU32::new(0), addr: AtomicUsize::new(0) } }; MAX_HELD_LOCKS],
        }
    }

    /// The hart that runs the thread.
    #[inline(always)]
    pub fn hart(&self) -> usize {
        self.hart.load(Relaxed) as usize
    }

    /// Says which hart is to run the thread. The thread does not run, or it is this one.
    pub fn set_hart(&self, hart: usize) {
        self.hart.store(hart as u32, Relaxed);
        self.local.store(HART_LOCAL[hart % MAX_HARTS].load(Relaxed), Relaxed);
    }

    /// The allocation scope.
    #[inline(always)]
    pub fn scope(&self) -> Scope {
        Scope(self.scope.load(Relaxed))
    }

    /// Sets bits of the allocation scope; says what the scope was, for [`ThreadInfo::set_scope`].
    #[inline]
    pub fn enter_scope(&self, bits: Scope) -> Scope {
        let old = self.scope();
        self.scope.store(old.0 | bits.0, Relaxed);
        old
    }

    /// Sets the allocation scope.
    #[inline]
    pub fn set_scope(&self, scope: Scope) {
        self.scope.store(scope.0, Relaxed);
    }

    /// Turns pre-emption off, once more.
    #[inline(always)]
    pub fn preempt_disable(&self) {
        self.preempt.store(self.preempt.load(Relaxed) + 1, Relaxed);
        core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
    }

    /// Takes one [`ThreadInfo::preempt_disable`] back; says whether the thread should reschedule now.
    #[inline(always)]
    #[must_use]
    pub fn preempt_enable(&self) -> bool {
        core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
        let left = self.preempt.load(Relaxed) - 1;
        self.preempt.store(left, Relaxed);
        left == 0 && self.need_resched.load(Relaxed) != 0
    }
}

/// Addresses for [`ThreadInfo::local`].
static HART_LOCAL: [AtomicUsize; MAX_HARTS] = [const { AtomicUsize::new(0) }; MAX_HARTS];

/// Says where what `mm` keeps for `hart` is. Threads get to know with the next [`ThreadInfo::set_hart`].
pub fn set_hart_local(hart: usize, addr: usize) {
    HART_LOCAL[hart % MAX_HARTS].store(addr, Relaxed);
}

impl Default for ThreadInfo {
    fn default() -> Self {
        Self::new()
    }
}
