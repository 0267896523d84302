//! The limits and settings of an address space that come from outside.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use spin::Once;

use crate::addr::VirtAddr;

/// No limit (`RLIM_INFINITY`).
pub const UNLIMITED: u64 = u64::MAX;

/// The most mappings of one address space (`/proc/sys/vm/max_map_count`).
pub const MAX_MAP_COUNT: usize = 65_530;

/// The lowest address that a program without `CAP_SYS_RAWIO` maps (`/proc/sys/vm/mmap_min_addr`).
pub const MMAP_MIN_ADDR: u64 = 65_536;

/// Bytes that a stack keeps from the mapping below it (Linux: `stack_guard_gap`, 256 pages).
pub const STACK_GUARD_GAP: u64 = 256 << crate::addr::PAGE_SHIFT;

/// What of an address space is placed at random (Linux: `randomize_va_space`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Randomize {
    /// Nothing.
    Nothing,
    /// Stack and mappings.
    AllButHeap,
    /// The heap, too.
    All,
}

/// What a new address space starts with.
#[derive(Clone, Copy, Debug)]
pub struct SpaceConfig {
    /// One past the last address that a program can map (Linux: `TASK_SIZE`), page-aligned.
    pub task_size: VirtAddr,
    /// What is placed at random (nothing under `ADDR_NO_RANDOMIZE`).
    pub randomize: Randomize,
    /// Place mappings from the bottom up (`ADDR_COMPAT_LAYOUT`).
    pub legacy_layout: bool,
    /// The soft limits.
    pub limits: Limits,
}

/// The soft limits that the address space obeys, in bytes; [`UNLIMITED`] for none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// `RLIMIT_AS`.
    pub address_space: u64,
    /// `RLIMIT_DATA`.
    pub data: u64,
    /// `RLIMIT_STACK`.
    pub stack: u64,
    /// `RLIMIT_MEMLOCK`.
    pub memlock: u64,
    /// `CAP_IPC_LOCK`: `memlock` does not count.
    pub may_lock: bool,
    /// `CAP_SYS_RAWIO`: may map below [`MMAP_MIN_ADDR`].
    pub may_map_low: bool,
}

impl Limits {
    /// Whether anything may be locked at all (Linux: `can_do_mlock`).
    pub(crate) const fn can_lock(&self) -> bool {
        self.memlock != 0 || self.may_lock
    }
}

impl Default for Limits {
    /// What Linux gives to the first process: 8 MiB of stack and of locked memory.
    fn default() -> Self {
        Self {
            address_space: UNLIMITED,
            data: UNLIMITED,
            stack: 8 << 20,
            memlock: 8 << 20,
            may_lock: false,
            may_map_low: false,
        }
    }
}

/// Limits that `prlimit` and a change of credentials write while others read.
#[derive(Debug)]
pub struct KeptLimits {
    address_space: AtomicU64,
    data: AtomicU64,
    stack: AtomicU64,
    memlock: AtomicU64,
    may_lock: AtomicBool,
    may_map_low: AtomicBool,
}

impl KeptLimits {
    /// These, until they are changed.
    pub fn new(limits: Limits) -> Self {
        Self {
            address_space: AtomicU64::new(limits.address_space),
            data: AtomicU64::new(limits.data),
            stack: AtomicU64::new(limits.stack),
            memlock: AtomicU64::new(limits.memlock),
            may_lock: AtomicBool::new(limits.may_lock),
            may_map_low: AtomicBool::new(limits.may_map_low),
        }
    }

    /// As they are now.
    pub fn get(&self) -> Limits {
        Limits {
            address_space: self.address_space.load(Relaxed),
            data: self.data.load(Relaxed),
            stack: self.stack.load(Relaxed),
            memlock: self.memlock.load(Relaxed),
            may_lock: self.may_lock.load(Relaxed),
            may_map_low: self.may_map_low.load(Relaxed),
        }
    }

    /// Changes them.
    pub fn set(&self, limits: Limits) {
        self.address_space.store(limits.address_space, Relaxed);
        self.data.store(limits.data, Relaxed);
        self.stack.store(limits.stack, Relaxed);
        self.memlock.store(limits.memlock, Relaxed);
        self.may_lock.store(limits.may_lock, Relaxed);
        self.may_map_low.store(limits.may_map_low, Relaxed);
    }
}

/// The limits of the process that runs, `None` for a kernel thread.
type Caller = fn() -> Option<Limits>;

static CALLER: Once<Caller> = Once::new();

/// Says whose limits count: those of the process that asks, which may share the address space with others that have
/// their own (Linux: `rlimit`, of `current`). The first call counts.
pub fn obey_caller(limits: Caller) {
    CALLER.call_once(|| limits);
}

/// The limits of the process that runs.
pub(super) fn of_caller() -> Option<Limits> {
    CALLER.get().and_then(|limits| limits())
}
