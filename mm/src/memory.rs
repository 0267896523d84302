//! The one place that all mutable state of the memory manager hangs on.
//!
//! In the kernel it is a static; on the host every thread says which machine it works on (see
//! [`crate::host`]), so that several machines live in one test process.

use core::sync::atomic::AtomicPtr;

use rux_machine::MAX_HARTS;

use crate::addr::PhysAddr;
use crate::early::{EarlyMemory, MapVmemmap};
use crate::error::AllocError;
use crate::page::Memmap;
use crate::page_alloc::ZeroPage;
use crate::paging::Paging;
use crate::slab::SlabState;
use crate::stat::Counters;

/// What the command line says about memory.
#[derive(Clone, Copy, Default, Debug)]
pub struct BootOptions {
    /// Free memory that only urgent allocations may use, in KiB; `None` for Linux's formula.
    pub min_free_kbytes: Option<u64>,
}

/// Everything that the memory manager knows.
pub struct Memory {
    pub(crate) memmap: Memmap,
    pub(crate) zero_page: ZeroPage,
    pub(crate) paging: Paging,
    pub(crate) slab: SlabState,
    harts: [HartMemory; MAX_HARTS],
}

/// What each hart has for itself, on cache lines of its own.
#[repr(C, align(512))]
pub(crate) struct HartMemory {
    pub(crate) stat: Counters,
    /// See `slab::state`.
    pub(crate) sheaves: AtomicPtr<u8>,
}

impl HartMemory {
    const fn new() -> Self {
        Self { stat: Counters::new(), sheaves: AtomicPtr::new(core::ptr::null_mut()) }
    }
}

impl Memory {
    /// Nothing known yet: no zone has a page.
    pub const fn new() -> Self {
        Self {
            memmap: Memmap::new(),
            zero_page: ZeroPage::new(),
            paging: Paging::new(),
            slab: SlabState::new(),
            harts: [const { HartMemory::new() }; MAX_HARTS],
        }
    }

    /// Boots: makes descriptors for all RAM, gives what is not taken to the zones. Called once, on one
    /// hart, with the direct map in place; `harts` is how many there will be.
    ///
    /// # Errors
    /// No room for the descriptors.
    pub fn boot(
        &self,
        _early: EarlyMemory,
        _options: BootOptions,
        _harts: usize,
        _map_vmemmap: MapVmemmap<'_>,
    ) -> Result<(), AllocError> {
        unimplemented!()
    }

    /// Gives reserved memory to the allocator: an initramfs once unpacked. Only whole pages of the
    /// range are given.
    ///
    /// # Safety
    /// The range is RAM, was reserved at boot, and nobody uses it any more.
    pub unsafe fn free_reserved(&self, _start: PhysAddr, _bytes: u64) {
        unimplemented!()
    }

    #[inline(always)]
    pub(crate) fn hart(&self, hart: usize) -> &HartMemory {
        &self.harts[hart % MAX_HARTS]
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(target_os = "none")]
static MEMORY: Memory = Memory::new();

/// The machine's memory.
#[cfg(target_os = "none")]
#[inline(always)]
pub fn memory() -> &'static Memory {
    &MEMORY
}

/// The memory of the machine that this thread works on.
#[cfg(not(target_os = "none"))]
#[inline(always)]
pub fn memory() -> &'static Memory {
    crate::host::memory()
}
