//! Memory before there is an allocator: ranges of RAM, what of it is taken, and a bump allocation for
//! page tables and descriptors (Linux: `mm/memblock.c`).
//!
//! Ranges are of whole frames, sorted, and those of RAM do not overlap.

use arrayvec::ArrayVec;

use crate::addr::{PAGE_SIZE, Pfn, PhysAddr, VirtRange};
use crate::error::AllocError;

/// The most ranges of each kind.
pub const MAX_RANGES: usize = 128;

/// Frames from the first up to, but not with, the second.
type Ranges = ArrayVec<(Pfn, Pfn), MAX_RANGES>;

/// Bytes of physical memory that can be used: the direct map's reach.
#[cfg(target_os = "none")]
const LIMIT: PhysAddr = PhysAddr::new(rux_machine::riscv::DIRECT_MAP_SIZE);
/// Bytes of physical memory that can be used: what can have descriptors.
#[cfg(not(target_os = "none"))]
const LIMIT: PhysAddr = PhysAddr::new(crate::page::MAX_MEMORY);

/// RAM and what of it is in use already. The kernel fills it from the device tree.
#[derive(Debug, Default)]
pub struct EarlyMemory {
    ram: Ranges,
    reserved: Ranges,
    /// From here on memory is taken only when there is no other.
    avoided: Option<Pfn>,
}

/// Maps a section's descriptors: 2 MiB of virtual memory, to 2 MiB at a physical address, both aligned
/// to that. May take tables from the `EarlyMemory`.
pub type MapVmemmap<'a> = &'a mut dyn FnMut(&mut EarlyMemory, VirtRange, PhysAddr) -> Result<(), AllocError>;

impl EarlyMemory {
    /// No memory.
    pub const fn new() -> Self {
        Self { ram: ArrayVec::new_const(), reserved: ArrayVec::new_const(), avoided: None }
    }

    /// Adds `bytes` of RAM from `start` on. What is beyond the direct map, or more ranges than fit, is
    /// ignored with a line in the log. Whole pages are used, the rest is not. Overlaps are dropped.
    pub fn add_ram(&mut self, start: PhysAddr, bytes: u64) {
        let end = start.checked_add(bytes).unwrap_or(PhysAddr::new(u64::MAX));
        if end > LIMIT {
            log::warn!("memory: {:#x} to {:#x} is out of reach and ignored", start.max(LIMIT), end);
        }
        let Some(first) = start.page_ceil() else { return };
        let (mut first, end) = (first.pfn(), end.min(LIMIT).pfn());
        // Frame 0 stays out: a list of 32-bit frame numbers ends with it.
        first = first.max(Pfn::new(1));
        for &(low, high) in &self.ram {
            if first < high && low < end {
                // Of an overlap the part above counts; what a further range leaves out was there.
                first = first.max(high);
            }
        }
        if first < end && insert(&mut self.ram, first, end).is_err() {
            log::warn!("memory: too many ranges, {:#x} on is ignored", first.phys());
        }
    }

    /// Forgets the RAM from `limit` on (`mem=` on the command line).
    pub fn limit(&mut self, limit: PhysAddr) {
        self.ram.iter_mut().for_each(|range| range.1 = range.1.min(limit.pfn()));
        self.ram.retain(|range| range.0 < range.1);
    }

    /// Says that `bytes` from `start` on are taken: firmware, the kernel's image, the initramfs, the
    /// device tree. Parts of a page take it whole. Ranges may overlap, and need not be RAM.
    ///
    /// # Errors
    /// More than [`MAX_RANGES`] ranges.
    pub fn reserve(&mut self, start: PhysAddr, bytes: u64) -> Result<(), AllocError> {
        let end = start.checked_add(bytes).unwrap_or(PhysAddr::new(u64::MAX));
        let end = end.page_ceil().unwrap_or(end.page_floor()).pfn();
        if start.pfn() < end { insert(&mut self.reserved, start.pfn(), end) } else { Ok(()) }
    }

    /// Says that what lies from `pfn` on is to be taken last.
    pub fn avoid(&mut self, pfn: Pfn) {
        self.avoided = Some(pfn);
    }

    /// Takes `bytes`, at a multiple of `align`, a power of two, for good. From the top of RAM down, but what is
    /// to be avoided last. What is in it is whatever was there.
    ///
    /// # Errors
    /// No RAM left that is not taken, or too many ranges.
    pub fn alloc(&mut self, bytes: u64, align: u64) -> Result<PhysAddr, AllocError> {
        let top = Pfn::new(u64::MAX);
        match self.avoided {
            Some(avoided) => {
                self.alloc_below(bytes, align, avoided).or_else(|_| self.alloc_below(bytes, align, top))
            }
            None => self.alloc_below(bytes, align, top),
        }
    }

    fn alloc_below(&mut self, bytes: u64, align: u64, limit: Pfn) -> Result<PhysAddr, AllocError> {
        let align = align.max(PAGE_SIZE as u64);
        let frames = bytes.div_ceil(PAGE_SIZE as u64).max(1);
        for &(low, high) in self.ram.iter().rev() {
            let mut top = high.min(limit);
            while let Some(at) = top.get().checked_sub(frames) {
                let at = Pfn::new(at).phys().align_down(align).pfn();
                if at < low {
                    break;
                }
                match self.reserved.iter().find(|range| range.0 < at + frames && at < range.1) {
                    Some(taken) => top = taken.0,
                    None => {
                        insert(&mut self.reserved, at, at + frames)?;
                        return Ok(at.phys());
                    }
                }
            }
        }
        Err(AllocError)
    }

    /// All RAM: first frame and one past the last of each range, ascending.
    pub fn ram(&self) -> &ArrayVec<(Pfn, Pfn), MAX_RANGES> {
        &self.ram
    }

    /// Calls for each range of RAM that is not taken, ascending.
    pub fn for_each_free(&self, mut each: impl FnMut(Pfn, Pfn)) {
        for &(low, high) in &self.ram {
            let mut at = low;
            for &(start, end) in &self.reserved {
                if end <= at || start >= high {
                    continue;
                }
                if start > at {
                    each(at, start);
                }
                at = end;
            }
            if at < high {
                each(at, high);
            }
        }
    }

    /// Calls for each range of RAM that is taken, ascending.
    pub fn for_each_reserved(&self, mut each: impl FnMut(Pfn, Pfn)) {
        for &(low, high) in &self.ram {
            for &(start, end) in &self.reserved {
                let (start, end) = (start.max(low), end.min(high));
                if start < end {
                    each(start, end);
                }
            }
        }
    }
}

/// Puts a range in its place, joined with those that it touches or overlaps.
fn insert(ranges: &mut Ranges, mut start: Pfn, mut end: Pfn) -> Result<(), AllocError> {
    ranges.retain(|&mut (low, high)| {
        let apart = high < start || end < low;
        if !apart {
            (start, end) = (start.min(low), end.max(high));
        }
        apart
    });
    let at = ranges.partition_point(|range| range.0 < start);
    ranges.try_insert(at, (start, end)).map_err(|_| AllocError)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    fn machine() -> EarlyMemory {
        let mut early = EarlyMemory::new();
        early.add_ram(PhysAddr::new(0x8000_0000), 64 * MB);
        early.add_ram(PhysAddr::new(0x1_0000_0000), 16 * MB);
        early.reserve(PhysAddr::new(0x8000_0000), 2 * MB + 1).unwrap();
        early
    }

    fn free(early: &EarlyMemory) -> Vec<(u64, u64)> {
        let mut ranges = Vec::new();
        early.for_each_free(|a, b| ranges.push((a.phys().get(), b.phys().get())));
        ranges
    }

    #[test]
    fn what_is_taken_is_not_free() {
        let early = machine();
        assert_eq!(free(&early), [(0x8020_1000, 0x8400_0000), (0x1_0000_0000, 0x1_0100_0000)], "{early:x?}");
    }

    #[test]
    fn the_bump_goes_down_around_what_is_taken() {
        let mut early = machine();
        early.reserve(PhysAddr::new(0x1_00f0_0000), 4096).unwrap();
        assert_eq!(early.alloc(2 * MB, 2 * MB), Ok(PhysAddr::new(0x1_00c0_0000)));
        assert_eq!(early.alloc(1, 1), Ok(PhysAddr::new(0x1_00ff_f000)));
        assert_eq!(early.alloc(32 * MB, 1), Ok(PhysAddr::new(0x8200_0000)));
        assert_eq!(early.alloc(32 * MB, 1), Err(AllocError));
        let left: u64 = free(&early).iter().map(|(a, b)| b - a).sum();
        assert_eq!(left, (80 - 2 - 2 - 32) * MB - 3 * 4096);
    }

    #[test]
    fn odd_ranges_do_no_harm() {
        let mut early = EarlyMemory::new();
        early.add_ram(PhysAddr::new(u64::MAX - 4096), u64::MAX);
        early.add_ram(PhysAddr::new(0x8000_0001), 4096);
        assert!(free(&early).is_empty());
        early.add_ram(PhysAddr::new(0), 2 * 4096);
        early.add_ram(PhysAddr::new(4096), 2 * 4096);
        assert_eq!(free(&early), [(4096, 3 * 4096)]);
        early.reserve(PhysAddr::new(u64::MAX - 1), u64::MAX).unwrap();
        early.reserve(PhysAddr::new(0), u64::MAX).unwrap();
        assert!(free(&early).is_empty());
        assert_eq!(early.alloc(1, 1), Err(AllocError));
    }

    #[test]
    fn a_limit_cuts() {
        let mut early = machine();
        early.limit(PhysAddr::new(0x8100_0000));
        assert_eq!(free(&early), [(0x8020_1000, 0x8100_0000)]);
    }
}
