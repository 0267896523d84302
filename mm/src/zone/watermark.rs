//! Watermarks: how much of a zone stays free for whom (Linux: `__setup_per_zone_wmarks`,
//! `__zone_watermark_ok`).
//!
//! Pages on harts' lists do not count: they were taken already. So a list that has pages serves any
//! allocation, and only what goes to the zone is checked.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use bitflags::bitflags;

use super::{Zone, ZoneId, reserve};
use crate::addr::Order;
use crate::memory::Memory;
use crate::sync::{IrqSpinLock, Rank};

/// Which of the marks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Watermark {
    /// Below it only urgent allocations get memory.
    Min,
    /// Below it kswapd works.
    Low,
    /// Above it kswapd rests.
    High,
    /// Above it memory of a slower kind may be moved here.
    Promo,
}

impl Watermark {
    /// How many there are.
    pub const COUNT: usize = 4;
}

/// A floor that no zone stands above.
pub(super) const NOTHING: u64 = u64::MAX / 2;

bitflags! {
    /// How far down an allocation may go, and where it may look.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct AllocFlags: u32 {
        /// Down to `Watermark::Low` only. The first try of every allocation.
        const LOW = 1 << 0;
        /// Half of the reserve below `Watermark::Min` (`Gfp::HIGH`).
        const MIN_RESERVE = 1 << 1;
        /// More of it: the caller cannot wait.
        const NON_BLOCK = 1 << 2;
        /// All of it: the caller frees memory (`Gfp::MEMALLOC`).
        const NO_WATERMARKS = 1 << 3;
        /// The blocks that are kept for those who cannot wait and need several pages.
        const HIGHATOMIC = 1 << 4;
        /// No block of another mobility is spoiled, but for whole ones.
        const NO_FRAGMENT = 1 << 5;

        /// Those that have a part of what is below the minimum (Linux: `ALLOC_RESERVES`).
        const RESERVES = Self::MIN_RESERVE.bits() | Self::NON_BLOCK.bits();
        /// All that go below the minimum.
        const BELOW_MIN = Self::RESERVES.bits() | Self::NO_WATERMARKS.bits();
    }
}

/// What an allocation asks of a zone, beside order and mobility.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// How far down it may go.
    pub flags: AllocFlags,
    /// The highest zone that it may use.
    pub highest: ZoneId,
}

/// What the administrator may set (`/proc/sys/vm`).
#[derive(Debug)]
pub(crate) struct Settings {
    /// KiB that stay free.
    pub(super) min_free_kbytes: AtomicU64,
    /// Whether somebody said how many; then the formula does not apply.
    pub(super) min_free_is_set: AtomicBool,
    /// Distance between the marks, in ten-thousandths of a zone.
    pub(super) scale_factor: AtomicU32,
    /// How many pages of the zones above one page of this one is kept for; 0 for none at all.
    pub(super) reserve_ratio: [AtomicU32; ZoneId::COUNT],
    /// What part of a zone the lists of all harts may have: one in so many; 0 for Linux's own choice.
    pub(super) high_fraction: AtomicU32,
    /// How many harts there are.
    pub(super) harts: AtomicU32,
    /// Pages that programs cannot have while nothing is wrong.
    pub(super) total_reserve: AtomicU64,
    /// Held while all is worked out: of two who set something, the later one to work it out knows both settings.
    updating: IrqSpinLock<()>,
}

impl Settings {
    pub(crate) const fn new() -> Self {
        Self {
            min_free_kbytes: AtomicU64::new(0),
            min_free_is_set: AtomicBool::new(false),
            scale_factor: AtomicU32::new(10),
            reserve_ratio: [AtomicU32::new(256), AtomicU32::new(32), AtomicU32::new(0), AtomicU32::new(0)],
            high_fraction: AtomicU32::new(0),
            harts: AtomicU32::new(1),
            total_reserve: AtomicU64::new(0),
            updating: IrqSpinLock::new(Rank::Watermarks, ()),
        }
    }

    /// At boot: how many harts there will be, and what the command line says of the reserve.
    pub(crate) fn init(&self, harts: usize, min_free_kbytes: Option<u64>) {
        self.harts.store(harts as u32, Relaxed);
        if let Some(kbytes) = min_free_kbytes {
            self.min_free_kbytes.store(kbytes, Relaxed);
            self.min_free_is_set.store(true, Relaxed);
        }
    }
}

/// KiB to keep free when nobody says (Linux: `calculate_min_free_kbytes`).
fn default_min_free_kbytes(lowmem_kbytes: u64) -> u64 {
    (lowmem_kbytes * 16).isqrt().clamp(128, 262_144)
}

/// Works all marks and reserves out anew, and what harts may keep: after the zones or the settings have
/// changed (Linux: `setup_per_zone_wmarks`, `setup_per_zone_lowmem_reserve`, `zone_set_pageset_high_and_batch`).
pub(crate) fn update(memory: &Memory) {
    let settings = &memory.settings;
    let _updating = settings.updating.lock();
    // What is for movable memory alone needs no reserve: nobody urgent could have it.
    let low_zones = || memory.zones.iter().filter(|zone| zone.id() <= ZoneId::Normal);
    let lowmem: u64 = low_zones().map(Zone::managed_pages).sum();
    if !settings.min_free_is_set.load(Relaxed) {
        settings.min_free_kbytes.store(default_min_free_kbytes(lowmem * 4), Relaxed);
    }
    let min_pages = settings.min_free_kbytes.load(Relaxed) / 4;
    let scale = u64::from(settings.scale_factor.load(Relaxed));
    for zone in &memory.zones {
        zone.set_watermarks(min_pages, lowmem, scale);
    }
    reserve::update(memory);
    let (harts, fraction) = (settings.harts.load(Relaxed), settings.high_fraction.load(Relaxed));
    for zone in &memory.zones {
        zone.pcp.update(zone.managed_pages(), zone.watermark(Watermark::Low), harts, fraction);
        zone.set_floors(memory.debug.is_on());
    }
}

impl Zone {
    /// A watermark, in pages.
    #[inline]
    pub fn watermark(&self, which: Watermark) -> u64 {
        self.marks[which as usize].load(Relaxed)
    }

    /// Sets the marks: the zone's share of `min_pages`, of `lowmem` pages in all, and `scale` ten-thousandths of
    /// it from one to the next, a quarter of the minimum at least.
    fn set_watermarks(&self, min_pages: u64, lowmem: u64, scale: u64) {
        let managed = self.managed_pages();
        let share = (min_pages as u128 * managed as u128 / lowmem.max(1) as u128) as u64;
        // Nobody urgent can have what is movable alone: a little is enough.
        let min = if self.id == ZoneId::Movable { (managed / 1024).clamp(32, 128) } else { share };
        let step = (share / 4).max((managed as u128 * scale as u128 / 10_000) as u64);
        for (mark, distance) in self.marks.iter().zip(0..) {
            mark.store(min + distance * step, Relaxed);
        }
    }

    /// What is kept from allocations that could use the zones up to `highest` as well.
    #[inline]
    pub fn lowmem_reserve(&self, highest: ZoneId) -> u64 {
        self.lowmem_reserve[highest as usize].load(Relaxed)
    }

    pub(super) fn set_lowmem_reserve(&self, highest: ZoneId, pages: u64) {
        self.lowmem_reserve[highest as usize].store(pages, Relaxed);
    }

    /// Whether `blocks` blocks of `order` may be taken.
    #[inline]
    pub(super) fn watermark_ok(&self, order: Order, blocks: usize, request: Request) -> bool {
        let flags = request.flags;
        if flags.contains(AllocFlags::NO_WATERMARKS) {
            return true;
        }
        let mut free = self.free_pages();
        let mut mark =
            self.watermark(if flags.contains(AllocFlags::LOW) { Watermark::Low } else { Watermark::Min });
        if flags.intersects(AllocFlags::RESERVES) {
            if flags.contains(AllocFlags::MIN_RESERVE) {
                mark -= mark / 2;
                if flags.contains(AllocFlags::NON_BLOCK) {
                    mark -= mark / 4;
                }
            }
        } else {
            // They are not for this one.
            free = free.saturating_sub(self.highatomic.load(Relaxed));
        }
        // Whether there is a block that large is seen when it is taken.
        let after = free.checked_sub((blocks << order.get()) as u64);
        after.is_some_and(|after| after >= mark + self.lowmem_reserve(request.highest))
    }

    /// Says how many pages are in blocks that are kept for the urgent. Under the lock, as all that changes the
    /// floors.
    pub(super) fn set_highatomic(&self, pages: u64) {
        let before = self.highatomic.swap(pages, Relaxed);
        for floor in &self.floors {
            floor.store(floor.load(Relaxed).wrapping_sub(before).wrapping_add(pages), Relaxed);
        }
    }

    /// Works out in advance what [`Zone::watermark_ok`] asks of the first try of every allocation, so that it is
    /// one comparison there: the low mark, the reserve and what is kept for the urgent are to stay free. With
    /// `checked` nothing may go without a look, and so nothing does.
    fn set_floors(&self, checked: bool) {
        let _lists = self.lists.lock();
        let kept = self.watermark(Watermark::Low) + self.highatomic.load(Relaxed);
        for (floor, highest) in self.floors.iter().zip(ZoneId::ALL) {
            let pages = if checked { NOTHING } else { kept + self.lowmem_reserve(highest) };
            floor.store(pages, Relaxed);
        }
    }

    /// How many pages are free after the first try of an allocation had `pages`, if it may: as
    /// [`Zone::watermark_ok`] with [`AllocFlags::LOW`] has it.
    #[inline(always)]
    pub(super) fn after_first_try(&self, pages: usize, highest: ZoneId) -> Option<u64> {
        let after = self.free_pages().checked_sub(pages as u64)?;
        (after >= self.floors[highest as usize].load(Relaxed)).then_some(after)
    }

    /// Whether more than the high watermark is free (Linux: `zone_watermark_ok` with `high_wmark_pages`).
    pub(crate) fn is_above_high(&self) -> bool {
        self.free_pages() > self.watermark(Watermark::High) + self.lowmem_reserve(ZoneId::Movable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gfp::Gfp;
    use crate::host::HostMachine;
    use crate::memory::memory;
    use crate::page_alloc::alloc_pages;
    use crate::page_alloc::debug::Checks;
    use crate::zone::{FirstTry, MigrateType};

    fn zone() -> &'static Zone {
        memory().zone(ZoneId::Dma32)
    }

    /// That a first try may have just what the long way allows it.
    fn check_floors() {
        let low = Request { flags: AllocFlags::LOW, highest: ZoneId::Dma32 };
        for highest in ZoneId::ALL {
            let request = Request { highest, ..low };
            let most = (0..=zone().free_pages() as usize)
                .rev()
                .find(|&pages| zone().watermark_ok(Order::ZERO, pages, request));
            let Some(most) = most else {
                assert_eq!(zone().after_first_try(1, highest), None);
                continue;
            };
            assert_eq!(zone().after_first_try(most, highest), Some(zone().free_pages() - most as u64));
            assert_eq!(zone().after_first_try(most + 1, highest), None);
        }
    }

    #[test]
    fn a_first_try_keeps_to_the_mark() {
        let machine = HostMachine::new(256 << 20, 1);
        check_floors();
        memory().set_watermark_scale_factor(1000).unwrap();
        check_floors();
        memory().set_lowmem_reserve_ratio([2, 1, 0, 0]);
        check_floors();
        memory().set_watermark_scale_factor(10).unwrap();
        // Down to the mark, so that the urgent keep a block.
        let user = Gfp::HIGHUSER_MOVABLE | Gfp::NOWARN;
        let taken: Vec<_> = std::iter::from_fn(|| alloc_pages(user, Order::ZERO).ok()).collect();
        let urgent = alloc_pages(Gfp::ATOMIC, Order::new(2).unwrap()).unwrap();
        assert_ne!(zone().info().highatomic, 0);
        check_floors();
        drop(taken);
        check_floors();
        drop(urgent);
        assert!(zone().unreserve_highatomic(MigrateType::Movable, crate::zone::Force::Yes));
        check_floors();
        drop(machine);
    }

    #[test]
    fn a_first_try_does_not_wait_and_is_never_unlooked_at() {
        let machine = HostMachine::new(64 << 20, 1);
        let order = Order::new(4).unwrap();
        let first_try = || zone().first_try(order, MigrateType::Movable, ZoneId::Movable);
        let others = zone().lists.lock();
        assert!(matches!(first_try(), FirstTry::Nothing));
        drop(others);
        assert!(matches!(first_try(), FirstTry::Larger(_)));
        drop(machine);
        let options = crate::memory::BootOptions { checks: Checks::POISON, ..Default::default() };
        let machine = HostMachine::with_ram(&[(crate::host::RAM_BASE, 64 << 20)], 1, options);
        assert!(matches!(first_try(), FirstTry::Nothing));
        assert!(alloc_pages(Gfp::NOWAIT, order).is_ok());
        drop(machine);
    }

    #[test]
    fn the_formula_is_linuxs() {
        // The table in Linux's comment at `calculate_min_free_kbytes`.
        for (mb, kbytes) in [(16, 512), (32, 724), (64, 1024), (128, 1448), (1024, 4096), (16384, 16384)] {
            assert_eq!(default_min_free_kbytes(mb * 1024), kbytes);
        }
    }
}
