//! Stores of ranges behind one interface: the peers.

use std::collections::BTreeMap;

use nodit::interval::ie;
use nodit::{Interval, NoditMap};
use rangemap::RangeMap;

use crate::ranges::Ranges;

#[repr(C)]
struct Mallinfo2 {
    arena: usize,
    ordblks: usize,
    smblks: usize,
    hblks: usize,
    hblkhd: usize,
    usmblks: usize,
    fsmblks: usize,
    uordblks: usize,
    fordblks: usize,
    keepcost: usize,
}

unsafe extern "C" {
    /// glibc's, of `malloc.h`.
    fn mallinfo2() -> Mallinfo2;
}

/// Bytes that the host's allocator has given out.
fn allocated() -> usize {
    // SAFETY: takes nothing, and returns figures.
    let info = unsafe { mallinfo2() };
    info.uordblks + info.hblkhd
}

/// The standard library's, by start, as somebody without a range map would use it.
pub struct BTree(BTreeMap<u64, (u64, u64)>);

impl Ranges for BTree {
    const NAME: &'static str = "BTreeMap";

    fn new() -> BTree {
        BTree(BTreeMap::new())
    }

    #[inline(always)]
    fn insert(&mut self, start: u64, end: u64, value: u64) -> bool {
        let is_free = self.0.range(..end).next_back().is_none_or(|(_, &(last, _))| last <= start);
        if is_free {
            self.0.insert(start, (end, value));
        }
        is_free
    }

    #[inline(always)]
    fn find(&self, addr: u64) -> Option<u64> {
        let (_, &(end, value)) = self.0.range(..=addr).next_back()?;
        (addr < end).then_some(value)
    }

    #[inline(always)]
    fn erase(&mut self, start: u64, _: u64) {
        self.0.remove(&start);
    }

    #[inline(always)]
    fn punch(&mut self, start: u64, end: u64) {
        let Some((_, (last, value))) = self.0.range_mut(..=start).next_back() else { return };
        let (tail, value) = (std::mem::replace(last, start), *value);
        self.0.insert(end, (tail, value));
    }

    #[inline(always)]
    fn gap(&self, size: u64, high: u64) -> Option<u64> {
        let mut ceiling = high;
        for (&start, &(end, _)) in self.0.range(..high).rev() {
            if ceiling.saturating_sub(end) >= size {
                return Some(ceiling - size);
            }
            ceiling = start;
        }
        ceiling.checked_sub(size)
    }

    #[inline(always)]
    fn sum(&self) -> u64 {
        self.0.values().map(|(_, value)| value).sum()
    }

    fn bytes(&self) -> usize {
        allocated()
    }
}

/// Crate `rangemap`.
pub struct Rangemap(RangeMap<u64, u64>);

impl Ranges for Rangemap {
    const NAME: &'static str = "rangemap";

    fn new() -> Rangemap {
        Rangemap(RangeMap::new())
    }

    #[inline(always)]
    fn insert(&mut self, start: u64, end: u64, value: u64) -> bool {
        let is_free = !self.0.overlaps(&(start..end));
        if is_free {
            self.0.insert(start..end, value);
        }
        is_free
    }

    #[inline(always)]
    fn find(&self, addr: u64) -> Option<u64> {
        self.0.get(&addr).copied()
    }

    #[inline(always)]
    fn erase(&mut self, start: u64, end: u64) {
        self.0.remove(start..end);
    }

    #[inline(always)]
    fn punch(&mut self, start: u64, end: u64) {
        self.0.remove(start..end);
    }

    #[inline(always)]
    fn gap(&self, size: u64, high: u64) -> Option<u64> {
        // Its gaps come in ascending order.
        let below = 0..high;
        let fits = self.0.gaps(&below).filter(|gap| gap.end - gap.start >= size);
        fits.last().map(|gap| gap.end - size)
    }

    #[inline(always)]
    fn sum(&self) -> u64 {
        self.0.iter().map(|(_, value)| value).sum()
    }

    fn bytes(&self) -> usize {
        allocated()
    }
}

/// Crate `nodit`.
pub struct Nodit(NoditMap<u64, Interval<u64>, u64>);

impl Ranges for Nodit {
    const NAME: &'static str = "nodit";

    fn new() -> Nodit {
        Nodit(NoditMap::new())
    }

    #[inline(always)]
    fn insert(&mut self, start: u64, end: u64, value: u64) -> bool {
        self.0.insert_strict(ie(start, end), value).is_ok()
    }

    #[inline(always)]
    fn find(&self, addr: u64) -> Option<u64> {
        self.0.get_at_point(&addr).copied()
    }

    #[inline(always)]
    fn erase(&mut self, start: u64, end: u64) {
        self.0.remove_overlapping(&ie(start, end)).for_each(drop);
    }

    #[inline(always)]
    fn punch(&mut self, start: u64, end: u64) {
        self.0.cut(&ie(start, end)).for_each(drop);
    }

    #[inline(always)]
    fn gap(&self, size: u64, high: u64) -> Option<u64> {
        let below = ie(0, high);
        // Its gaps come in ascending order.
        let fits = self.0.gaps_trimmed(&below).filter(|gap| gap.end() - gap.start() + 1 >= size);
        fits.last().map(|gap| gap.end() + 1 - size)
    }

    #[inline(always)]
    fn sum(&self) -> u64 {
        self.0.iter().map(|(_, value)| value).sum()
    }

    fn bytes(&self) -> usize {
        allocated()
    }
}
