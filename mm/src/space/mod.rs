//! Address spaces: `mmap` and its family, fork, exec, and what `/proc` tells of them (Linux: `struct
//! mm_struct`, `mm/{mmap,mprotect,mremap,madvise,mlock,msync,mincore}.c`).
//!
//! A `KArc<Space>` is held by every thread that runs in it (Linux: `mm_users`); when the last goes,
//! everything that was mapped is freed. Its [`SpaceCore`] is what kernel threads borrow (`mm_count`).
//! All operations take `mmap_lock` themselves and may sleep; those that change a mapping lock it, too, since faults
//! have the lock of their mapping alone. None touches user memory.

mod access;
pub(crate) mod account;
mod advise;
mod brk;
mod edit;
mod error;
mod exec;
mod fork;
mod icache;
mod layout;
mod limits;
mod lock;
mod map;
mod mmap_lock;
mod pageout;
mod place;
mod populate;
mod protect;
mod query;
mod remap;
mod resident;
mod shared;
mod sync;
mod unmap;
mod validate;

pub use account::{commit_limit, committed_pages};
pub use error::MmError;
pub use exec::{ExecFields, StackRights};
pub use limits::{
    KeptLimits, Limits, MAX_MAP_COUNT, MMAP_MIN_ADDR, Randomize, STACK_GUARD_GAP, SpaceConfig, UNLIMITED,
    obey_caller,
};
pub use map::MapRequest;
pub use protect::Reads;
pub use query::{SpaceStat, VmaInfo, VmaName};
pub use resident::{Resident, Share};

pub use crate::rmap::{SpaceCore, Usage};

pub(crate) use layout::Layout;

use crate::addr::VirtAddr;
use crate::gfp::Gfp;
use crate::slab::KArc;

/// An address space.
pub struct Space {
    pub(crate) core: KArc<SpaceCore>,
    /// The mappings and what goes with them, under `mmap_lock`, and their own locks.
    pub(crate) layout: mmap_lock::MmapLock,
    pub(crate) limits: limits::KeptLimits,
    task_size: VirtAddr,
    randomize: Randomize,
}

impl Space {
    /// An address space in which nothing is mapped. Where mappings, the stack and the heap go is drawn
    /// here (Linux: `mm_alloc`, `arch_pick_mmap_layout`).
    ///
    /// # Errors
    /// No memory.
    pub fn new(config: &SpaceConfig) -> Result<KArc<Self>, MmError> {
        let core = KArc::new(SpaceCore::new(Gfp::KERNEL)?, Gfp::KERNEL)?;
        let space = Self {
            layout: mmap_lock::MmapLock::new(Layout::new(core.clone(), config)?),
            core,
            limits: limits::KeptLimits::new(config.limits),
            task_size: config.task_size,
            randomize: config.randomize,
        };
        Ok(KArc::new(space, Gfp::KERNEL)?)
    }

    /// Tables and counters: what a hart needs to run in the address space.
    pub fn core(&self) -> &KArc<SpaceCore> {
        &self.core
    }

    /// One past the last address that can be mapped (Linux: `TASK_SIZE`).
    pub fn task_size(&self) -> VirtAddr {
        self.task_size
    }

    /// The soft limits that the running process obeys here; its own, where it has any.
    pub fn limits(&self) -> Limits {
        limits::of_caller().unwrap_or_else(|| self.limits.get())
    }

    /// Changes the soft limits of who has none of its own.
    pub fn set_limits(&self, limits: Limits) {
        self.limits.set(limits);
    }
}

#[cfg(test)]
mod tests;
