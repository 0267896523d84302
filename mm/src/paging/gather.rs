//! What was unmapped and may not be freed before no hart can reach it any more.
//!
//! Pages and tables are gathered; then one fence on every hart that may hold translations of the
//! address space; then they are freed. Linux: `struct mmu_gather`, `mm/mmu_gather.c`.

use super::tables::PageTables;
use crate::addr::VirtRange;
use crate::addr::{Pfn, VirtAddr};

/// Pages, tables and the range to fence. Dropping it flushes.
#[derive(Debug)]
pub struct Gather<'a> {
    tables: &'a PageTables,
}

impl<'a> Gather<'a> {
    /// For unmapping or changing a part.
    pub fn new(tables: &'a PageTables) -> Self {
        Self { tables }
    }

    /// For the end of the address space: everything goes.
    pub fn all(tables: &'a PageTables) -> Self {
        Self { tables }
    }

    /// The reference to the folio of page `pfn`, which was mapped, is put once the fence is done
    /// (`FolioRef::into_raw` gives the head's frame).
    #[inline]
    pub fn page(&mut self, _pfn: Pfn) {
        unimplemented!()
    }

    /// A valid leaf of `bytes` at `addr` was changed or taken out.
    #[inline]
    pub fn changed(&mut self, _addr: VirtAddr, _bytes: u64) {
        unimplemented!()
    }

    /// Whether [`Gather::flush`] should be called before more is gathered.
    #[inline]
    pub fn is_full(&self) -> bool {
        unimplemented!()
    }

    /// Fences, then frees. No spin lock is held.
    pub fn flush(&mut self) {
        unimplemented!()
    }
}

impl PageTables {
    /// Fences the leaves of `range` on every hart that may hold them.
    pub fn fence_range(&self, _range: VirtRange) {
        unimplemented!()
    }

    /// Fences the whole address space on every hart that may hold some of it.
    pub fn fence_all(&self) {
        unimplemented!()
    }

    /// Fences `addr` on this hart alone: after a fault that found the entry good already, since a hart may
    /// remember that an entry was not valid (Linux: `update_mmu_cache`).
    pub fn fence_spurious(&self, _addr: VirtAddr) {
        unimplemented!()
    }

    /// Every hart that runs the address space fetches instructions anew before it goes on, the others when they
    /// come to run it (`riscv_flush_icache`).
    pub fn fence_instructions(&self) {
        unimplemented!()
    }
}
