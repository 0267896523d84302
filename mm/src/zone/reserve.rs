//! What a low zone keeps from allocations that could have used a higher one (Linux:
//! `setup_per_zone_lowmem_reserve`, `calculate_totalreserve_pages`), and the settings of all that.

use core::sync::atomic::Ordering::Relaxed;

use super::{Watermark, Zone, ZoneId, update_watermarks};
use crate::memory::Memory;

/// Works the reserves out anew.
pub(super) fn update(memory: &Memory) {
    for zone in &memory.zones {
        let ratio = u64::from(memory.settings.reserve_ratio[zone.id() as usize].load(Relaxed));
        let mut above = 0;
        for upper in &memory.zones {
            if upper.id() > zone.id() {
                above += upper.managed_pages();
            }
            let none = upper.id() <= zone.id() || ratio == 0 || zone.managed_pages() == 0;
            zone.set_lowmem_reserve(upper.id(), if none { 0 } else { above / ratio });
        }
    }
    let total = memory.zones.iter().map(Zone::total_reserve).sum();
    memory.settings.total_reserve.store(total, Relaxed);
}

impl Zone {
    /// Pages of the zone that programs cannot have while nothing is wrong.
    fn total_reserve(&self) -> u64 {
        let reserve = ZoneId::ALL.map(|id| self.lowmem_reserve(id)).into_iter().max().unwrap_or(0);
        (reserve + self.watermark(Watermark::High)).min(self.managed_pages())
    }
}

/// A setting that is out of its range.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a setting out of range")]
pub struct OutOfRange;

impl Memory {
    /// Pages that programs cannot have while nothing is wrong (Linux: `totalreserve_pages`).
    pub fn total_reserve_pages(&self) -> u64 {
        self.settings.total_reserve.load(Relaxed)
    }

    /// KiB that stay free for the urgent (`/proc/sys/vm/min_free_kbytes`).
    pub fn min_free_kbytes(&self) -> u64 {
        self.settings.min_free_kbytes.load(Relaxed)
    }

    /// Sets [`Memory::min_free_kbytes`].
    ///
    /// # Errors
    /// More than an `int` holds.
    pub fn set_min_free_kbytes(&self, kbytes: u64) -> Result<(), OutOfRange> {
        if kbytes > i32::MAX as u64 {
            return Err(OutOfRange);
        }
        self.settings.min_free_kbytes.store(kbytes, Relaxed);
        self.settings.min_free_is_set.store(true, Relaxed);
        update_watermarks(self);
        Ok(())
    }

    /// Distance between the watermarks in ten-thousandths of a zone (`/proc/sys/vm/watermark_scale_factor`).
    pub fn watermark_scale_factor(&self) -> u32 {
        self.settings.scale_factor.load(Relaxed)
    }

    /// Sets [`Memory::watermark_scale_factor`].
    ///
    /// # Errors
    /// Not from 1 to 3000.
    pub fn set_watermark_scale_factor(&self, factor: u32) -> Result<(), OutOfRange> {
        if !(1..=3000).contains(&factor) {
            return Err(OutOfRange);
        }
        self.settings.scale_factor.store(factor, Relaxed);
        update_watermarks(self);
        Ok(())
    }

    /// For each zone how many pages above it one of its pages is kept for; 0: none is kept
    /// (`/proc/sys/vm/lowmem_reserve_ratio`).
    pub fn lowmem_reserve_ratio(&self) -> [u32; ZoneId::COUNT] {
        self.settings.reserve_ratio.each_ref().map(|ratio| ratio.load(Relaxed))
    }

    /// Sets [`Memory::lowmem_reserve_ratio`]; any number is fine.
    pub fn set_lowmem_reserve_ratio(&self, ratios: [u32; ZoneId::COUNT]) {
        for (setting, ratio) in self.settings.reserve_ratio.iter().zip(ratios) {
            setting.store(ratio, Relaxed);
        }
        update_watermarks(self);
    }

    /// What part of each zone the lists of all harts may have, one in so many; 0 where they grow and shrink by
    /// themselves (`/proc/sys/vm/percpu_pagelist_high_fraction`).
    pub fn percpu_pagelist_high_fraction(&self) -> u32 {
        self.settings.high_fraction.load(Relaxed)
    }

    /// Sets [`Memory::percpu_pagelist_high_fraction`].
    ///
    /// # Errors
    /// Neither 0 nor 8 or more.
    pub fn set_percpu_pagelist_high_fraction(&self, fraction: u32) -> Result<(), OutOfRange> {
        if (1..8).contains(&fraction) {
            return Err(OutOfRange);
        }
        self.settings.high_fraction.store(fraction, Relaxed);
        update_watermarks(self);
        Ok(())
    }
}
