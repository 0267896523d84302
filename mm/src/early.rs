//! Memory before there is an allocator: ranges of RAM, what of it is taken, and a bump allocation for
//! page tables and descriptors (Linux: `mm/memblock.c`).

use crate::addr::{PhysAddr, VirtRange};
use crate::error::AllocError;

/// The most ranges of each kind.
pub const MAX_RANGES: usize = 64;

/// RAM and what of it is in use already. The kernel fills it from the device tree.
#[derive(Debug, Default)]
pub struct EarlyMemory {
    ram: arrayvec::ArrayVec<(PhysAddr, PhysAddr), MAX_RANGES>,
    reserved: arrayvec::ArrayVec<(PhysAddr, PhysAddr), MAX_RANGES>,
}

/// Maps a section's descriptors: 2 MiB of virtual memory, to 2 MiB at a physical address, both aligned
/// to that. May take tables from the `EarlyMemory`.
pub type MapVmemmap<'a> = &'a mut dyn FnMut(&mut EarlyMemory, VirtRange, PhysAddr) -> Result<(), AllocError>;

impl EarlyMemory {
    /// No memory.
    pub const fn new() -> Self {
        Self { ram: arrayvec::ArrayVec::new_const(), reserved: arrayvec::ArrayVec::new_const() }
    }

    /// Adds `bytes` of RAM from `start` on. What is beyond the direct map, or more ranges than fit, is
    /// ignored with a line in the log. Whole pages are used, the rest is not.
    pub fn add_ram(&mut self, _start: PhysAddr, _bytes: u64) {
        unimplemented!()
    }

    /// Says that `bytes` from `start` on are taken: firmware, the kernel's image, the initramfs, the
    /// device tree. Parts of a page take it whole. Ranges may overlap.
    ///
    /// # Errors
    /// More than [`MAX_RANGES`] ranges.
    pub fn reserve(&mut self, _start: PhysAddr, _bytes: u64) -> Result<(), AllocError> {
        unimplemented!()
    }

    /// Takes `bytes`, at a multiple of `align`, a power of two, for good. From the top of RAM. What is
    /// in it is whatever was there.
    ///
    /// # Errors
    /// No RAM left that is not taken.
    pub fn alloc(&mut self, _bytes: u64, _align: u64) -> Result<PhysAddr, AllocError> {
        unimplemented!()
    }
}
