//! The kernel's own mappings: the direct map, descriptors, its image, device registers.
//!
//! Their top-level entries are the same in every address space and are all there before the first one is
//! made. Before the page allocator exists, tables come from whatever the boot code gives.

use super::entry::Prot;
use super::level::Mode;
use crate::addr::{Pfn, PhysAddr, VirtAddr, VirtRange};
use crate::error::AllocError;

/// The largest leaf that [`KernelTables::map`] may make.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum MaxLeaf {
    /// 4 KiB.
    Page,
    /// 2 MiB.
    Mega,
    /// 1 GiB.
    Giga,
}

/// The kernel's tables while they are built. Tables are reached through the direct map.
#[derive(Debug)]
pub struct KernelTables {
    mode: Mode,
    root: Pfn,
}

impl KernelTables {
    /// Empty tables of `mode`, in a zeroed frame from `alloc`.
    pub fn new(
        _mode: Mode,
        _alloc: &mut impl FnMut() -> Result<Pfn, AllocError>,
    ) -> Result<Self, AllocError> {
        unimplemented!()
    }

    /// Maps `range` to the physical memory from `phys` on, with the largest leaves up to `max` that fit.
    /// `alloc` gives zeroed frames. What was mapped there is replaced; no fence is made.
    pub fn map(
        &mut self,
        _range: VirtRange,
        _phys: PhysAddr,
        _prot: Prot,
        _max: MaxLeaf,
        _alloc: &mut impl FnMut() -> Result<Pfn, AllocError>,
    ) -> Result<(), AllocError> {
        unimplemented!()
    }

    /// Makes the top-level entries over `range`, so that what is mapped there later is seen in every address
    /// space.
    pub fn reserve(
        &mut self,
        _range: VirtRange,
        _alloc: &mut impl FnMut() -> Result<Pfn, AllocError>,
    ) -> Result<(), AllocError> {
        unimplemented!()
    }

    /// What `satp` is to be.
    pub fn satp(&self) -> u64 {
        super::level::satp(self.mode, self.root, 0)
    }

    /// Makes these the tables that every address space copies the kernel's half from. Once, at boot, after
    /// `Memory` is there.
    pub fn publish(self) {
        unimplemented!()
    }
}

/// Maps `bytes` of device registers at `phys`; the address is `phys`' within its page. Never unmapped.
pub fn ioremap(_phys: PhysAddr, _bytes: u64) -> Result<VirtAddr, AllocError> {
    unimplemented!()
}

/// The mode that the machine walks, since [`KernelTables::publish`].
pub fn mode() -> Mode {
    unimplemented!()
}
