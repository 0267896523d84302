//! Watermarks: how much of a zone stays free for whom (Linux: `__setup_per_zone_wmarks`,
//! `__zone_watermark_ok`).
//!
//! Pages on harts' lists do not count: they were taken already. So a list that has pages serves any
//! allocation, and only what goes to the zone is checked.

use core::sync::atomic::Ordering::Relaxed;

use bitflags::bitflags;

use super::Zone;
use crate::addr::Order;

/// Which of the three.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Watermark {
    /// Below it only urgent allocations get memory.
    Min,
    /// Below it kswapd works.
    Low,
    /// Above it kswapd rests.
    High,
}

bitflags! {
    /// How far down an allocation may go.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct AllocFlags: u32 {
        /// Down to `Watermark::Low` only. The first try of every allocation.
        const LOW = 1 << 0;
        /// Half of the reserve below `Watermark::Min` (`Gfp::HIGH`).
        const RESERVE = 1 << 1;
        /// More of it: the caller cannot wait.
        const NON_BLOCK = 1 << 2;
        /// All of it: the caller frees memory (`Gfp::MEMALLOC`).
        const NO_WATERMARKS = 1 << 3;
    }
}

/// KiB to keep free when nobody says (Linux: `calculate_min_free_kbytes`).
fn default_min_free_kbytes(managed_kbytes: u64) -> u64 {
    (managed_kbytes * 16).isqrt().clamp(128, 262_144)
}

impl Zone {
    /// A watermark, in pages.
    #[inline]
    pub fn watermark(&self, which: Watermark) -> u64 {
        self.marks[which as usize].load(Relaxed)
    }

    /// Sets the watermarks from the size of the zone and, if given, `min_free_kbytes`. The distance
    /// between them is Linux's for a `watermark_scale_factor` of 10.
    pub(crate) fn set_watermarks(&self, min_free_kbytes: Option<u64>) {
        let managed = self.managed_pages();
        let kbytes = min_free_kbytes.unwrap_or_else(|| default_min_free_kbytes(managed * 4));
        // At most a twentieth of a small machine, so that something is left to use.
        let min = (kbytes / 4).min(managed / 20);
        let step = (min / 4).max(managed / 1000);
        for (mark, value) in self.marks.iter().zip([min, min + step, min + 2 * step]) {
            mark.store(value, Relaxed);
        }
    }

    /// Whether `blocks` blocks of `order` may be taken.
    #[inline]
    pub(super) fn watermark_ok(&self, order: Order, blocks: usize, flags: AllocFlags) -> bool {
        if flags.contains(AllocFlags::NO_WATERMARKS) {
            return true;
        }
        let mut mark =
            self.watermark(if flags.contains(AllocFlags::LOW) { Watermark::Low } else { Watermark::Min });
        if flags.contains(AllocFlags::RESERVE) {
            mark -= mark / 2;
        }
        if flags.contains(AllocFlags::NON_BLOCK) {
            mark -= mark / 4;
        }
        // Whether there is a block that large is seen when it is taken.
        let after = self.free_pages().checked_sub((blocks << order.get()) as u64);
        after.is_some_and(|after| after >= mark)
    }
}

#[cfg(test)]
mod tests {
    use super::default_min_free_kbytes;

    #[test]
    fn the_formula_is_linuxs() {
        // The table in Linux's comment at `calculate_min_free_kbytes`.
        for (mb, kbytes) in [(16, 512), (32, 724), (64, 1024), (128, 1448), (1024, 4096), (16384, 16384)] {
            assert_eq!(default_min_free_kbytes(mb * 1024), kbytes);
        }
    }
}
