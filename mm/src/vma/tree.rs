//! The store of an address space's mappings, by address (Linux: the maple tree of `mm_struct`).
//!
//! A [`Tree`] of ranges whose values are the mappings, with what it knows nothing of: that a stack keeps others away from
//! below it, and that a mapping has its range itself too. All changes are made under `mmap_lock` for writing. What may
//! fail is [`VmaTree::reserve`] alone, so that an operation fails before its first change or not at all.

use crate::addr::{VirtAddr, VirtRange};
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::maple::{InsertError, Iter, IterBack, Tree};
use crate::slab::KBox;
use crate::vma::Vma;

/// The mappings of one address space, in ascending order.
#[derive(Debug)]
pub struct VmaTree {
    tree: Tree<KBox<Vma>>,
}

impl VmaTree {
    /// No mappings.
    ///
    /// # Errors
    /// No memory.
    pub fn new() -> Result<Self, AllocError> {
        Ok(Self { tree: Tree::new(Gfp::KERNEL)? })
    }

    /// How many mappings there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// Makes room for the next [`VmaTree::insert`] or [`VmaTree::split`].
    ///
    /// # Errors
    /// No memory; nothing has changed.
    #[inline]
    pub fn reserve(&mut self) -> Result<(), AllocError> {
        self.tree.reserve(Gfp::KERNEL)
    }

    /// Makes room, in a tree that is empty, for `count` mappings that are put in one above the other.
    ///
    /// # Errors
    /// No memory; nothing has changed.
    pub fn reserve_ascending(&mut self, count: usize) -> Result<(), AllocError> {
        self.tree.reserve_ascending(count, Gfp::KERNEL)
    }

    /// Gives back the room that was made and not used.
    pub fn free_reserve(&mut self) {
        self.tree.free_reserve();
    }

    /// The first mapping that ends above `addr` (Linux: `find_vma`).
    #[inline]
    pub fn find(&self, addr: VirtAddr) -> Option<&Vma> {
        self.tree.find(addr.get()).map(|entry| entry.value)
    }

    /// The mapping that `addr` is in (Linux: `vma_lookup`).
    #[inline]
    pub fn lookup(&self, addr: VirtAddr) -> Option<&Vma> {
        self.tree.lookup(addr.get()).map(|entry| entry.value)
    }

    /// The mapping that `addr` is in, to be changed. Its range changes by [`VmaTree::resize`] only.
    pub fn lookup_mut(&mut self, addr: VirtAddr) -> Option<&mut Vma> {
        self.tree.lookup_mut(addr.get())
    }

    /// The last mapping that ends at or below `addr`.
    pub fn before(&self, addr: VirtAddr) -> Option<&Vma> {
        self.tree.before(addr.get())
    }

    /// All mappings, ascending.
    pub fn iter(&self) -> Iter<'_, KBox<Vma>> {
        self.tree.iter()
    }

    /// All mappings, descending.
    pub fn iter_back(&self) -> IterBack<'_, KBox<Vma>> {
        self.tree.iter_back(u64::MAX)
    }

    /// The mappings that end above `addr`, ascending.
    pub fn iter_from(&self, addr: VirtAddr) -> Iter<'_, KBox<Vma>> {
        self.tree.iter_in(addr.get(), u64::MAX)
    }

    /// The mappings that have a byte in `range`, ascending.
    pub fn overlapping(&self, range: VirtRange) -> Iter<'_, KBox<Vma>> {
        self.tree.iter_in(range.start.get(), range.end.get())
    }

    /// Whether a mapping has a byte in `range`.
    pub fn any_in(&self, range: VirtRange) -> bool {
        self.find(range.start).is_some_and(|vma| vma.start() < range.end)
    }

    /// Puts a mapping in where there is none. Room was made by [`VmaTree::reserve`].
    ///
    /// # Errors
    /// Gives the mapping back when nobody made room and there is no memory, or where there is another.
    pub fn insert(&mut self, vma: KBox<Vma>) -> Result<(), KBox<Vma>> {
        let (start, end) = (vma.start().get(), vma.end().get());
        let inserted = self.tree.insert(start, end, vma);
        debug_assert!(!matches!(inserted, Err(InsertError::Overlap(_))), "two mappings at {start:#x}");
        inserted.map_err(InsertError::into_value)
    }

    /// Puts a mapping in that takes the upper part of another over, whose range ends before it from then on. Room was
    /// made by [`VmaTree::reserve`].
    ///
    /// # Errors
    /// Gives the mapping back when nobody made room and there is no memory, or when it is not the upper part of one.
    pub fn split(&mut self, upper: KBox<Vma>) -> Result<(), KBox<Vma>> {
        let at = upper.start();
        let Some(low) = self.tree.lookup(at.get()).map(|entry| entry.start) else { return Err(upper) };
        self.tree.split(low, at.get(), at.get(), upper).map_err(InsertError::into_value)?;
        if let Some(vma) = self.tree.lookup_mut(low) {
            vma.range = VirtRange::new(vma.range.start, at);
        }
        Ok(())
    }

    /// Takes the mapping out that `addr` is in.
    pub fn remove(&mut self, addr: VirtAddr) -> Option<KBox<Vma>> {
        self.tree.remove(addr.get()).map(|entry| entry.value)
    }

    /// Takes all mappings out that have a byte in `range`, ascending.
    pub fn remove_range(&mut self, range: VirtRange, mut out: impl FnMut(KBox<Vma>)) {
        self.tree.remove_range(range.start.get(), range.end.get(), |entry| out(entry.value));
    }

    /// Takes all mappings out, ascending.
    pub fn clear(&mut self, mut out: impl FnMut(KBox<Vma>)) {
        self.tree.clear(|entry| out(entry.value));
    }

    /// Gives the mapping that `addr` is in another range, which overlaps no other mapping and leaves
    /// the order as it is, and another offset.
    pub fn resize(&mut self, addr: VirtAddr, range: VirtRange, pgoff: u64) {
        let resized = self.tree.resize(addr.get(), range.start.get(), range.end.get());
        debug_assert!(resized, "no mapping at {addr:?}, or another in {range:?}");
        if resized && let Some(vma) = self.tree.lookup_mut(range.start.get()) {
            vma.range = range;
            vma.pgoff = pgoff;
        }
    }

    /// The highest `len` bytes within `low..high` that no mapping and no stack's guard gap touches
    /// (Linux: `unmapped_area_topdown`).
    pub fn gap_top_down(&self, len: u64, low: VirtAddr, mut high: VirtAddr) -> Option<VirtAddr> {
        loop {
            let found = VirtAddr::new(self.tree.highest_gap(len, low.get(), high.get())?);
            match self.find(found).map(Vma::start_with_gap) {
                Some(ceiling) if ceiling < found + len => high = ceiling,
                _ => return Some(found),
            }
        }
    }

    /// The lowest `len` bytes within `low..high` that no mapping and no stack's guard gap touches
    /// (Linux: `unmapped_area`).
    pub fn gap_bottom_up(&self, len: u64, mut low: VirtAddr, high: VirtAddr) -> Option<VirtAddr> {
        loop {
            let found = VirtAddr::new(self.tree.lowest_gap(len, low.get(), high.get())?);
            match self.find(found) {
                Some(next) if next.start_with_gap() < found + len => low = next.end(),
                _ => return Some(found),
            }
        }
    }

    /// Checks what must always hold: the tree, and that its ranges are those of the mappings.
    ///
    /// # Panics
    /// When it does not hold.
    pub fn validate(&self) {
        self.tree.validate();
        for vma in self.iter() {
            let entry = self.tree.find(vma.start().get()).map(|entry| (entry.start, entry.end));
            assert_eq!(entry, Some((vma.start().get(), vma.end().get())), "the range of a mapping");
            assert!(vma.start().is_page_aligned() && vma.end().is_page_aligned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::PAGE_SIZE;
    use crate::host::HostMachine;
    use crate::space::STACK_GUARD_GAP;
    use crate::vma::{Backing, VmFlags};

    const PAGE: u64 = PAGE_SIZE as u64;

    fn addr(page: u64) -> VirtAddr {
        VirtAddr::new(page * PAGE)
    }

    fn put(tree: &mut VmaTree, start: u64, end: u64, flags: VmFlags) {
        let range = VirtRange::new(addr(start), addr(end));
        let vma = Vma::new(range, flags, start, Backing::Anonymous);
        tree.reserve().unwrap();
        assert!(tree.insert(KBox::new(vma, Gfp::KERNEL).unwrap()).is_ok());
    }

    #[test]
    fn stacks_keep_others_away_from_below() {
        let _machine = HostMachine::new(64 << 20, 1);
        let mut tree = VmaTree::new().unwrap();
        let guard = STACK_GUARD_GAP / PAGE;
        put(&mut tree, 1000, 1010, VmFlags::READ);
        put(&mut tree, 2000, 2010, VmFlags::GROWSDOWN);
        put(&mut tree, 2020, 2030, VmFlags::READ);
        let top_down = |len, low, high| tree.gap_top_down(len * PAGE, addr(low), addr(high));
        assert_eq!(top_down(10, 0, 2030), Some(addr(2010)), "above a stack there is none");
        assert_eq!(top_down(11, 0, 2030), Some(addr(2000 - guard - 11)));
        assert_eq!(top_down(11, 0, 1999), Some(addr(2000 - guard - 11)));
        assert_eq!(top_down(990 - guard, 0, 2030), Some(addr(1010)));
        assert_eq!(top_down(991 - guard, 0, 2030), Some(addr(1000 - (991 - guard))));
        assert_eq!(top_down(991 - guard, 500, 2030), None);
        let bottom_up = |len, low, high| tree.gap_bottom_up(len * PAGE, addr(low), addr(high));
        assert_eq!(bottom_up(10, 1000, 3000), Some(addr(1010)));
        assert_eq!(bottom_up(990 - guard, 1000, 3000), Some(addr(1010)));
        assert_eq!(
            bottom_up(991 - guard, 1000, 3000),
            Some(addr(2030)),
            "the gap below the stack is too small"
        );
        assert_eq!(bottom_up(10, 1800, 3000), Some(addr(2010)), "nor does it begin within the guard gap");
        assert_eq!(bottom_up(991 - guard, 1000, 2100), None);
    }

    #[test]
    fn the_upper_part_of_a_mapping_becomes_another() {
        let _machine = HostMachine::new(64 << 20, 1);
        let mut tree = VmaTree::new().unwrap();
        put(&mut tree, 10, 20, VmFlags::READ);
        let upper = |start, end| {
            let range = VirtRange::new(addr(start), addr(end));
            KBox::new(Vma::new(range, VmFlags::WRITE, 5, Backing::Anonymous), Gfp::KERNEL).unwrap()
        };
        assert!(tree.split(upper(20, 30)).is_err(), "there is nothing");
        assert!(tree.split(upper(10, 20)).is_err(), "nothing would be left");
        assert!(tree.split(upper(15, 20)).is_ok());
        tree.validate();
        assert_eq!(tree.lookup(addr(14)).map(Vma::range), Some(VirtRange::new(addr(10), addr(15))));
        assert_eq!(tree.lookup(addr(15)).map(Vma::flags), Some(VmFlags::WRITE));
        assert!(tree.iter_back().map(Vma::pages).eq([5, 5]));
        tree.resize(addr(15), VirtRange::new(addr(17), addr(19)), 9);
        tree.validate();
        assert_eq!(tree.overlapping(VirtRange::new(addr(14), addr(17))).count(), 1);
        assert_eq!(tree.find(addr(16)).map(Vma::pgoff), Some(9));
        tree.clear(drop);
        assert!(tree.is_empty());
    }
}
