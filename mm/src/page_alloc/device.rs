//! Memory of a device with descriptors: pages that others can refer to, but that the allocator does not hand out
//! (Linux: `ZONE_DEVICE`, `free_zone_device_folio` in `mm/memremap.c`). The device's driver takes its pages
//! itself, and is told when the last reference to one goes.

use crate::addr::Pfn;
use crate::early::{EarlyMemory, MapVmemmap};
use crate::error::AllocError;
use crate::memory::{Memory, memory};
use crate::page::{PAGES_PER_SECTION, PageFlags, PagePtr, pfn_to_online_page, pfn_to_page};
use crate::page_alloc::FolioRef;
use crate::sync::{IrqSpinLock, Rank};
use crate::zone::{BLOCK_ORDER, MigrateType, ZoneId, init_block};

/// Told that nobody refers to a page of the device any more. Called in any context.
pub type PageFreed = fn(Pfn);

/// Who is told.
pub(crate) struct State(IrqSpinLock<Option<PageFreed>>);

impl State {
    pub(crate) const fn new() -> Self {
        Self(IrqSpinLock::new(Rank::Zone, None))
    }
}

impl Memory {
    /// Gives descriptors to a device's frames, in whole sections, none of which has RAM.
    pub(crate) fn add_device(
        &self,
        start: Pfn,
        end: Pfn,
        early: &mut EarlyMemory,
        map_vmemmap: MapVmemmap<'_>,
    ) -> Result<(), AllocError> {
        let whole = (start.get() | end.get()).is_multiple_of(PAGES_PER_SECTION);
        if !whole || (start.get()..end.get()).any(|pfn| pfn_to_online_page(Pfn::new(pfn)).is_some()) {
            return Err(AllocError);
        }
        for section in (start.get()..end.get()).step_by(PAGES_PER_SECTION as usize) {
            self.add_descriptors(Pfn::new(section), early, map_vmemmap)?;
        }
        for pfn in start.get()..end.get() {
            let page = pfn_to_page(Pfn::new(pfn));
            page.init_flags(PageFlags::RESERVED);
            if page.pfn().is_aligned(BLOCK_ORDER) {
                init_block(page, ZoneId::Device, MigrateType::Movable);
            }
        }
        self.zone(ZoneId::Device).grow(start, end);
        Ok(())
    }
}

/// Registers who is told when the last reference to a device's page goes.
pub fn register_device(freed: PageFreed) {
    *memory().device.0.lock() = Some(freed);
}

/// The first reference to a page of a device; for its driver.
///
/// # Errors
/// The frame is no device's, or is referred to already.
pub fn take_device_page(pfn: Pfn) -> Result<FolioRef, AllocError> {
    let page = pfn_to_online_page(pfn).filter(|page| page.zone_id() == ZoneId::Device).ok_or(AllocError)?;
    if page.count().take_free() { Ok(FolioRef::from_head(page)) } else { Err(AllocError) }
}

/// Whether a page whose last reference went is a device's; then its driver is told.
pub(super) fn freed(page: PagePtr) -> bool {
    if page.zone_id() != ZoneId::Device {
        return false;
    }
    page.init_flags(PageFlags::RESERVED);
    let told = *memory().device.0.lock();
    if let Some(told) = told {
        told(page.pfn());
    }
    true
}
