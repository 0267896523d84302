//! The one place that all mutable state of the memory manager hangs on.
//!
//! In the kernel it is a static; on the host every thread says which machine it works on (see
//! [`crate::host`]), so that several machines live in one test process.

use core::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU64, Ordering::Relaxed};

use rux_machine::{Hot, Hw, MAX_HARTS};

use crate::addr::{PAGE_SIZE, Pfn, PhysAddr, VirtRange};
use crate::early::{EarlyMemory, MapVmemmap};
use crate::error::AllocError;
use crate::page::{Memmap, PAGES_PER_SECTION, PageFlags, pfn_to_page, section_map};
use crate::page_alloc::{FailureLog, Reclaim, ZeroPage};
use crate::paging::Paging;
use crate::pcp::{Limits, Pcp};
use crate::slab::SlabState;
use crate::stat::Counters;
use crate::sync::{IrqSpinLock, Rank};
use crate::zone::{BLOCK_ORDER, MigrateType, Watermark, Zone, ZoneId, set_block_type};
use crate::{inject, page_alloc, slab};

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
    pub(crate) zones: [Zone; ZoneId::COUNT],
    pub(crate) pcp_limits: Limits,
    pub(crate) reclaim: IrqSpinLock<Option<Reclaim>>,
    /// Whether threads may sleep yet; until then no allocation reclaims by itself.
    pub(crate) may_sleep: AtomicBool,
    pub(crate) inject: inject::State,
    pub(crate) failures: FailureLog,
    /// Pages of RAM that were taken before there was an allocator, and are still.
    reserved: AtomicU64,
    /// Pages promised to programs.
    pub(crate) committed: AtomicI64,
    harts: [HartMemory; MAX_HARTS],
}

/// What each hart has for itself, on cache lines of its own.
#[repr(C, align(1024))]
pub(crate) struct HartMemory {
    pub(crate) pcp: Pcp,
    pub(crate) stat: Counters,
    /// See `slab::state`.
    pub(crate) sheaves: AtomicPtr<u8>,
}

impl HartMemory {
    pub(crate) const fn new() -> Self {
        Self { pcp: Pcp::new(), stat: Counters::new(), sheaves: AtomicPtr::new(core::ptr::null_mut()) }
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
            zones: [Zone::new(ZoneId::Normal)],
            pcp_limits: Limits::new(),
            reclaim: IrqSpinLock::new(Rank::Zone, None),
            may_sleep: AtomicBool::new(false),
            inject: inject::State::new(),
            failures: FailureLog::new(),
            reserved: AtomicU64::new(0),
            committed: AtomicI64::new(0),
            harts: [const { HartMemory::new() }; MAX_HARTS],
        }
    }

    /// Boots: makes descriptors for all RAM, gives what is not taken to the zones. Called once, on one
    /// hart, with the direct map in place; `harts` is how many there will be.
    ///
    /// # Errors
    /// No room for the descriptors, or for what each hart needs.
    pub fn boot(
        &'static self,
        mut early: EarlyMemory,
        options: BootOptions,
        harts: usize,
        map_vmemmap: MapVmemmap<'_>,
    ) -> Result<(), AllocError> {
        #[cfg(target_os = "none")]
        {
            use rux_machine::{HotExt, set_hart_local};
            for hart in 0..MAX_HARTS {
                set_hart_local(hart, core::ptr::from_ref(self.hart(hart)).addr());
            }
            Hw::thread().set_hart(Hw::hart());
        }
        let mut next = Pfn::new(0);
        for (start, end) in early.ram().clone() {
            let mut at = Pfn::new(start.get() / PAGES_PER_SECTION * PAGES_PER_SECTION).max(next);
            while at < end {
                self.add_section(at, &mut early, map_vmemmap)?;
                at = at + PAGES_PER_SECTION;
            }
            next = at;
        }
        let zone = self.zone(ZoneId::Normal);
        for (start, end) in early.ram() {
            zone.grow(*start, *end);
        }
        early.for_each_free(|start, end| zone.give(start, end));
        self.reserved.store(zone.present_pages() - zone.managed_pages(), Relaxed);
        early.for_each_reserved(|start, end| {
            (start.get()..end.get())
                .for_each(|pfn| pfn_to_page(Pfn::new(pfn)).init_flags(PageFlags::RESERVED));
        });
        zone.set_watermarks(options.min_free_kbytes);
        self.pcp_limits.set(zone.managed_pages(), zone.watermark(Watermark::Low), harts);
        log::info!(
            "memory: {} KiB, {} KiB of them taken at boot",
            zone.present_pages() * 4,
            self.reserved_pages() * 4
        );
        self.boot_slab(harts)?;
        page_alloc::register_reclaim(|_, _| slab::drain_all());
        // Now, when nobody else could be waiting for it.
        page_alloc::zero_folio().map(|_| ())
    }

    /// Makes the descriptors of the section that starts with `first`.
    fn add_section(
        &self,
        first: Pfn,
        early: &mut EarlyMemory,
        map_vmemmap: MapVmemmap<'_>,
    ) -> Result<(), AllocError> {
        let map = section_map(first);
        // The host's are beside the RAM.
        let phys = if cfg!(target_os = "none") { early.alloc(map.len(), map.len())? } else { PhysAddr::ZERO };
        map_vmemmap(early, map, phys)?;
        clear(map);
        // From here on `pfn_to_page` knows it.
        self.memmap.set_present(first);
        for block in 0..PAGES_PER_SECTION >> BLOCK_ORDER.get() {
            set_block_type(pfn_to_page(first + (block << BLOCK_ORDER.get())), MigrateType::Movable);
        }
        Ok(())
    }

    /// Gives reserved memory to the allocator: an initramfs once unpacked. Only whole pages of the
    /// range are given.
    ///
    /// # Safety
    /// The range is RAM, was reserved at boot, and nobody uses it any more.
    pub unsafe fn free_reserved(&self, start: PhysAddr, bytes: u64) {
        let (Some(first), Some(end)) = (start.page_ceil(), start.checked_add(bytes)) else { return };
        let (first, end) = (first.pfn(), end.pfn());
        if first >= end {
            return;
        }
        for pfn in first.get()..end.get() {
            let page = pfn_to_page(Pfn::new(pfn));
            debug_assert!(page.flags() == PageFlags::RESERVED, "not reserved: {page:?}");
            page.init_flags(PageFlags::empty());
        }
        self.zone(ZoneId::Normal).give(first, end);
        self.reserved.fetch_sub(end - first, Relaxed);
    }

    /// Says that threads run now and may sleep: from here on an allocation that may reclaims by itself,
    /// and debug builds check that it may. Before, all are served as `Gfp::NOWAIT` is.
    pub fn allow_sleep(&self) {
        self.may_sleep.store(true, Relaxed);
    }

    /// A zone.
    #[inline(always)]
    pub fn zone(&self, id: ZoneId) -> &Zone {
        &self.zones[id as usize]
    }

    /// Pages that the allocator was given (`MemTotal`).
    pub fn total_pages(&self) -> u64 {
        self.zones.iter().map(Zone::managed_pages).sum()
    }

    /// Pages of RAM that the allocator was not given: firmware, the kernel's image, descriptors.
    pub fn reserved_pages(&self) -> u64 {
        self.reserved.load(Relaxed)
    }

    /// Pages that are free (`MemFree`); see [`page_alloc::free_pages_count`].
    pub fn free_pages(&self) -> u64 {
        let lists: u64 = self.harts.iter().map(|hart| hart.pcp.pages()).sum();
        self.zones.iter().map(Zone::free_pages).sum::<u64>() + lists
    }

    #[inline(always)]
    pub(crate) fn hart(&self, hart: usize) -> &HartMemory {
        &self.harts[hart % MAX_HARTS]
    }

    #[cfg(not(target_os = "none"))]
    pub(crate) fn harts(&self) -> &[HartMemory] {
        &self.harts
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for Memory {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "memory: {} of {} pages free", page_alloc::free_pages_count(), self.total_pages())
    }
}

/// Zeroes descriptors that were just mapped: each is a frame that nobody was ever given.
fn clear(map: VirtRange) {
    let base = Hw::vmemmap();
    let offset = map.start.get().wrapping_sub(base.addr() as u64) as usize;
    for page in (0..map.len() as usize).step_by(PAGE_SIZE) {
        // SAFETY: the section's descriptors are mapped, and nobody knows of them yet.
        unsafe { Hw::clear_page(base.wrapping_add(offset + page)) };
    }
}

#[cfg(target_os = "none")]
mod place {
    use super::{HartMemory, Memory};
    use core::sync::atomic::Ordering::Relaxed;

    use rux_machine::{Hot, Hw};

    static MEMORY: Memory = Memory::new();

    /// The machine's memory.
    #[inline(always)]
    pub fn memory() -> &'static Memory {
        &MEMORY
    }

    /// What the hart that this runs on has for itself. Steady while interrupts are off.
    #[inline(always)]
    pub(crate) fn this_hart() -> &'static HartMemory {
        let local = Hw::thread().local.load(Relaxed) as *const HartMemory;
        debug_assert!(!local.is_null(), "a thread without a hart, or memory not booted");
        // SAFETY: `boot` set it for every hart, in `MEMORY`, before any thread but this one ran.
        unsafe { &*local }
    }
}

#[cfg(not(target_os = "none"))]
use crate::host as place;

pub use place::memory;
pub(crate) use place::this_hart;
