//! The one place that all mutable state of the memory manager hangs on.
//!
//! In the kernel it is a static; on the host every thread says which machine it works on (see
//! [`crate::host`]), so that several machines live in one test process.

use core::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, Ordering::Relaxed};

use rux_machine::{Hot, Hw, MAX_HARTS};

use crate::addr::{Order, PAGE_SIZE, Pfn, PhysAddr, VirtRange};
use crate::early::{EarlyMemory, MapVmemmap};
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::lru::{Batch, Lru};
use crate::page::{Memmap, PAGES_PER_SECTION, PageFlags, pfn_to_page, section_map};
use crate::page_alloc::debug::{self, Checks};
use crate::page_alloc::{FailureLog, Hooks, ZeroPage, device};
use crate::paging::Paging;
pub use crate::pcp::PcpInfo;
use crate::pcp::{Pcp, Places, Seat};
use crate::slab::SlabState;
use crate::stat::Counters;
use crate::zone::{
    Amount, BLOCK_ORDER, Layout, MigrateType, Settings, Zone, ZoneId, init_block, update_watermarks,
};
use crate::{inject, page_alloc, rcu, slab};

/// What the command line says about memory.
#[derive(Clone, Copy, Default, Debug)]
pub struct BootOptions {
    /// Free memory that only urgent allocations may use, in KiB; `None` for Linux's formula.
    pub min_free_kbytes: Option<u64>,
    /// How much memory may hold what cannot move (`kernelcore=`).
    pub kernelcore: Option<Amount>,
    /// How much may not (`movablecore=`).
    pub movablecore: Option<Amount>,
    /// What is checked and wiped as pages come and go.
    pub checks: Checks,
    /// Frames of a device that get descriptors: the first one, and one past the last. Whole sections.
    pub device: Option<(Pfn, Pfn)>,
    /// What is behind `slab_debug=`; empty for the word alone. See `Documentation/mm/slab.rst` of Linux.
    pub slab_debug: Option<&'static str>,
}

/// Everything that the memory manager knows.
pub struct Memory {
    pub(crate) memmap: Memmap,
    pub(crate) zero_page: ZeroPage,
    pub(crate) paging: Paging,
    pub(crate) slab: SlabState,
    pub(crate) zones: [Zone; ZoneId::COUNT],
    pub(crate) lru: Lru,
    pub(crate) settings: Settings,
    pub(crate) places: Places,
    /// The highest zone that has memory, for each highest zone that an allocation may use.
    preferred: [AtomicU32; ZoneId::COUNT],
    layout: spin::Once<Layout>,
    pub(crate) hooks: Hooks,
    pub(crate) debug: debug::State,
    pub(crate) device: device::State,
    /// Whether threads may sleep yet; until then no allocation reclaims by itself.
    pub(crate) may_sleep: AtomicBool,
    pub(crate) inject: inject::State,
    pub(crate) rcu: rcu::State,
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
    pub(crate) seat: Seat,
    pub(crate) stat: Counters,
    pub(crate) lru: Batch,
    pub(crate) rcu: rcu::HartState,
    /// See `slab::state`.
    pub(crate) sheaves: AtomicPtr<u8>,
}

impl HartMemory {
    pub(crate) const fn new() -> Self {
        Self {
            pcp: Pcp::new(),
            seat: Seat::new(AtomicU32::new(0)),
            stat: Counters::new(),
            lru: Batch::new(),
            rcu: rcu::HartState::new(),
            sheaves: AtomicPtr::new(core::ptr::null_mut()),
        }
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
            zones: [
                Zone::new(ZoneId::Dma32),
                Zone::new(ZoneId::Normal),
                Zone::new(ZoneId::Movable),
                Zone::new(ZoneId::Device),
            ],
            lru: Lru::new(),
            settings: Settings::new(),
            places: Places::new(),
            preferred: [const { AtomicU32::new(0) }; ZoneId::COUNT],
            layout: spin::Once::new(),
            hooks: Hooks::new(),
            debug: debug::State::new(),
            device: device::State::new(),
            may_sleep: AtomicBool::new(false),
            inject: inject::State::new(),
            rcu: rcu::State::new(),
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
        let layout = Layout::new(early.ram(), options.kernelcore, options.movablecore);
        let layout = self.layout.call_once(|| layout);
        // What boot takes is never given back: not from what is for movable memory alone, if there is other.
        early.avoid(layout.movable_start());
        let mut next = Pfn::new(0);
        for (start, end) in early.ram().clone() {
            let mut at = Pfn::new(start.get() / PAGES_PER_SECTION * PAGES_PER_SECTION).max(next);
            while at < end {
                self.add_section(at, layout, &mut early, map_vmemmap)?;
                at = at + PAGES_PER_SECTION;
            }
            next = at;
        }
        if let Some((start, end)) = options.device {
            self.add_device(start, end, &mut early, map_vmemmap)?;
        }
        self.debug.init(options.checks, &self.memmap, &mut early)?;
        self.grow_zones(layout, &early);
        early.for_each_free(|start, end| {
            self.debug.wipe(start, end);
            layout.for_each_part(start, end, |zone, start, end| self.zone(zone).give(start, end));
        });
        self.reserved.store(self.zones[..ZoneId::ALLOCATED].iter().map(Zone::absent_pages).sum(), Relaxed);
        early.for_each_reserved(|start, end| {
            (start.get()..end.get())
                .for_each(|pfn| pfn_to_page(Pfn::new(pfn)).init_flags(PageFlags::RESERVED));
        });
        self.settings.init(harts, options.min_free_kbytes);
        update_watermarks(self);
        self.this_hart_arrives();
        log::info!(
            "memory: {} KiB, {} KiB of them taken at boot",
            self.zones[..ZoneId::ALLOCATED].iter().map(Zone::present_pages).sum::<u64>() * 4,
            self.reserved_pages() * 4
        );
        self.boot_slab(harts, options.slab_debug)?;
        page_alloc::register_reclaim(slab::reclaim);
        // A page's descriptor has the lists' heads; the page itself is of no use.
        self.lru.init(page_alloc::alloc_pages(Gfp::KERNEL, Order::ZERO)?.into_raw());
        // Now, when nobody else could be waiting for it.
        page_alloc::zero_folio().map(|_| ())
    }

    /// Tells the zones which RAM is theirs, which of them an allocation tries first, and where pages of each go
    /// when they are freed.
    fn grow_zones(&self, layout: &Layout, early: &EarlyMemory) {
        for &(start, end) in early.ram() {
            layout.for_each_part(start, end, |zone, start, end| self.zone(zone).grow(start, end));
        }
        let mut first = ZoneId::Dma32;
        for id in ZoneId::ALL {
            if id != ZoneId::Device && self.zone(id).present_pages() != 0 {
                first = id;
            }
            self.preferred[id as usize].store(first as u32, Relaxed);
        }
        let checked = self.debug.is_on();
        let by_kind = |kind| match kind {
            MigrateType::Movable => self.preferred(ZoneId::Movable),
            _ => self.preferred(ZoneId::Normal),
        };
        self.places.init(if checked { None } else { Some(&by_kind) });
        self.harts.iter().for_each(|hart| hart.pcp.init(&self.places));
        for zone in &self.zones[..ZoneId::ALLOCATED] {
            let mut lists = zone.lists.lock();
            for kind in MigrateType::ALL {
                lists.set_home(kind, self.places.home(zone.id(), kind, checked));
            }
        }
    }

    /// The highest zone with memory that an allocation may use whose highest is `highest`.
    #[inline]
    pub(crate) fn preferred(&self, highest: ZoneId) -> ZoneId {
        ZoneId::from_index(self.preferred[highest as usize].load(Relaxed))
    }

    /// The zones that an allocation tries, in that order (Linux: `zonelist`).
    #[inline]
    pub(crate) fn zonelist(&self, highest: ZoneId) -> impl Iterator<Item = &Zone> {
        let first = self.preferred(highest) as usize;
        self.zones[..=first.min(ZoneId::ALLOCATED - 1)].iter().rev().filter(|zone| zone.managed_pages() != 0)
    }

    /// Makes the descriptors of the section that starts with `first`.
    fn add_section(
        &self,
        first: Pfn,
        layout: &Layout,
        early: &mut EarlyMemory,
        map_vmemmap: MapVmemmap<'_>,
    ) -> Result<(), AllocError> {
        self.add_descriptors(first, early, map_vmemmap)?;
        for block in 0..PAGES_PER_SECTION >> BLOCK_ORDER.get() {
            let first = first + (block << BLOCK_ORDER.get());
            init_block(pfn_to_page(first), layout.zone_of(first).0, MigrateType::Movable);
        }
        Ok(())
    }

    pub(crate) fn add_descriptors(
        &self,
        first: Pfn,
        early: &mut EarlyMemory,
        map_vmemmap: MapVmemmap<'_>,
    ) -> Result<(), AllocError> {
        let map = section_map(first);
        // The host's are beside the RAM, and zero already.
        if cfg!(target_os = "none") {
            let phys = early.alloc(map.len(), map.len())?;
            map_vmemmap(early, map, phys)?;
            clear(map);
        } else {
            map_vmemmap(early, map, PhysAddr::ZERO)?;
        }
        // From here on `pfn_to_page` knows it.
        self.memmap.set_present(first);
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
        self.debug.wipe(first, end);
        if let Some(layout) = self.layout.get() {
            layout.for_each_part(first, end, |zone, start, end| self.zone(zone).give(start, end));
        }
        self.reserved.fetch_sub(end - first, Relaxed);
        update_watermarks(self);
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

    /// What a hart keeps of a zone (`/proc/zoneinfo`).
    pub fn pcp_info(&self, id: ZoneId, hart: usize) -> PcpInfo {
        self.hart(hart).pcp.info(self.zone(id))
    }

    /// Pages that are free (`MemFree`); see [`page_alloc::free_pages_count`].
    pub fn free_pages(&self) -> u64 {
        let lists: u64 = self.harts().map(|hart| hart.pcp.pages()).sum();
        self.zones.iter().map(Zone::free_pages).sum::<u64>() + lists
    }

    /// Says that the hart which runs this uses its lists from now on.
    pub(crate) fn this_hart_arrives(&self) {
        self.hart(Hw::thread().hart()).seat.arrive();
    }

    #[inline(always)]
    pub(crate) fn hart(&self, hart: usize) -> &HartMemory {
        &self.harts[hart % MAX_HARTS]
    }

    /// What each hart has, by its index.
    pub(crate) fn each_hart(&self) -> impl Iterator<Item = &HartMemory> {
        self.harts.iter()
    }

    /// What each hart has that was ever there; the others have nothing.
    pub(crate) fn harts(&self) -> impl Iterator<Item = &HartMemory> {
        self.harts.iter().filter(|hart| hart.seat.was_used())
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
