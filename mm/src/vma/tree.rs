//! The store of an address space's mappings, by address (Linux: the maple tree of `mm_struct`).
//!
//! A [`Tree`] of ranges whose values are the mappings, with what it knows nothing of: that a stack keeps others away
//! from below it, that a mapping has its range itself too, and its lock. All changes are made under `mmap_lock` for
//! writing, and to a mapping that is locked: who has the tree exclusively is the writer whose time it is. What may
//! fail is
//! [`VmaTree::reserve`] alone, so that an operation fails before its first change or not at all.

use core::ptr::NonNull;

use super::cell::{VmaBox, VmaCell};
use super::reader::VmaReaders;
use crate::addr::{VirtAddr, VirtRange};
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::maple::{InsertError, Tree};
use crate::rmap::SpaceCore;
use crate::slab::KArc;
use crate::vma::Vma;

/// The mappings of one address space, in ascending order.
pub(crate) struct VmaTree {
    tree: Tree<VmaBox>,
    /// Has the writer's time.
    core: KArc<SpaceCore>,
}

/// The mapping of a cell in the tree.
#[inline(always)]
fn vma_of(cell: &VmaCell) -> &Vma {
    // SAFETY: the reference is borrowed from the tree. Who has the tree shared holds the writer off; who has it
    // exclusively is the writer, and changes no mapping while one is borrowed.
    unsafe { cell.vma() }
}

impl VmaTree {
    /// No mappings, of the address space that `core` is of.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn new(core: KArc<SpaceCore>) -> Result<Self, AllocError> {
        Ok(Self { tree: Tree::new(Gfp::KERNEL)?, core })
    }

    /// What finds its mappings without `mmap_lock`.
    pub(crate) fn readers(&self) -> VmaReaders {
        VmaReaders::new(self.tree.reader(), self.core.clone())
    }

    /// The writer gives `mmap_lock` back next: what it locked is free.
    #[inline]
    pub(crate) fn end_write(&mut self) {
        self.core.write_time.end();
    }

    /// How many mappings there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// Makes room for the next [`VmaTree::insert`] or [`VmaTree::split`].
    ///
    /// # Errors
    /// No memory; nothing has changed.
    #[inline]
    pub(crate) fn reserve(&mut self) -> Result<(), AllocError> {
        self.tree.reserve(Gfp::KERNEL)
    }

    /// Makes room, in a tree that is empty, for `count` mappings that are put in one above the other.
    ///
    /// # Errors
    /// No memory; nothing has changed.
    pub(crate) fn reserve_ascending(&mut self, count: usize) -> Result<(), AllocError> {
        self.tree.reserve_ascending(count, Gfp::KERNEL)
    }

    /// Gives back the room that was made and not used.
    pub(crate) fn free_reserve(&mut self) {
        self.tree.free_reserve();
    }

    /// The first mapping that ends above `addr` (Linux: `find_vma`).
    #[inline]
    pub(crate) fn find(&self, addr: VirtAddr) -> Option<&Vma> {
        self.tree.find(addr.get()).map(|entry| vma_of(entry.value))
    }

    /// The mapping that `addr` is in (Linux: `vma_lookup`).
    #[inline]
    pub(crate) fn lookup(&self, addr: VirtAddr) -> Option<&Vma> {
        self.tree.lookup(addr.get()).map(|entry| vma_of(entry.value))
    }

    /// As [`VmaTree::lookup`], and locks the mapping.
    #[inline]
    #[track_caller]
    pub(crate) fn lock(&mut self, addr: VirtAddr) -> Option<&Vma> {
        let cell = self.tree.lookup(addr.get())?.value;
        cell.write(&self.core.write_time);
        Some(vma_of(cell))
    }

    /// As [`VmaTree::before`], and locks the mapping.
    #[track_caller]
    pub(crate) fn lock_before(&mut self, addr: VirtAddr) -> Option<&Vma> {
        let cell = self.tree.before(addr.get())?;
        cell.write(&self.core.write_time);
        Some(vma_of(cell))
    }

    /// As [`VmaTree::iter`], and locks each mapping before it is given out.
    pub(crate) fn lock_all(&mut self) -> impl Iterator<Item = &Vma> {
        let time = &self.core.write_time;
        self.tree.iter().map(|cell| {
            cell.write(time);
            vma_of(cell)
        })
    }

    /// As [`VmaTree::overlapping`], and locks each mapping before it is given out, for good: it is to be taken out by
    /// [`VmaTree::remove_range`] before the writer is done.
    pub(crate) fn detach_in(&mut self, range: VirtRange) -> impl Iterator<Item = &Vma> {
        let time = &self.core.write_time;
        self.tree.iter_in(range.start.get(), range.end.get()).map(|cell| {
            cell.detach(time);
            vma_of(cell)
        })
    }

    /// Whether all mappings that have a byte in `range` are locked; for assertions.
    pub(crate) fn is_locked_in(&self, range: VirtRange) -> bool {
        let mut cells = self.tree.iter_in(range.start.get(), range.end.get());
        cells.all(|cell| cell.is_write_locked(&self.core.write_time))
    }

    /// The mapping that `addr` is in, locked, to be changed. Its range changes by [`VmaTree::resize`] only.
    #[track_caller]
    pub(crate) fn lookup_mut(&mut self, addr: VirtAddr) -> Option<&mut Vma> {
        let cell = self.tree.lookup(addr.get())?.value;
        cell.write(&self.core.write_time);
        debug_assert!(cell.is_write_locked(&self.core.write_time), "changed and not locked");
        // SAFETY: it is locked, and the tree is borrowed exclusively.
        Some(unsafe { cell.vma_mut() })
    }

    /// The last mapping that ends at or below `addr`.
    pub(crate) fn before(&self, addr: VirtAddr) -> Option<&Vma> {
        self.tree.before(addr.get()).map(vma_of)
    }

    /// All mappings, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Vma> {
        self.tree.iter().map(vma_of)
    }

    /// All mappings, descending.
    pub(crate) fn iter_back(&self) -> impl Iterator<Item = &Vma> {
        self.tree.iter_back(u64::MAX).map(vma_of)
    }

    /// The mappings that end above `addr`, ascending.
    pub(crate) fn iter_from(&self, addr: VirtAddr) -> impl Iterator<Item = &Vma> {
        self.tree.iter_in(addr.get(), u64::MAX).map(vma_of)
    }

    /// The mappings that have a byte in `range`, ascending.
    pub(crate) fn overlapping(&self, range: VirtRange) -> impl Iterator<Item = &Vma> {
        self.tree.iter_in(range.start.get(), range.end.get()).map(vma_of)
    }

    /// Whether a mapping has a byte in `range`.
    pub(crate) fn any_in(&self, range: VirtRange) -> bool {
        self.find(range.start).is_some_and(|vma| vma.start() < range.end)
    }

    /// Puts a mapping in where there is none, locked. Room was made by [`VmaTree::reserve`].
    ///
    /// # Errors
    /// Gives the mapping back when nobody made room and there is no memory, or where there is another.
    pub(crate) fn insert(&mut self, vma: VmaBox) -> Result<(), VmaBox> {
        let (start, end) = (vma.start().get(), vma.end().get());
        vma.lock_new(&self.core.write_time);
        let inserted = self.tree.insert(start, end, vma);
        debug_assert!(!matches!(inserted, Err(InsertError::Overlap(_))), "two mappings at {start:#x}");
        inserted.map_err(InsertError::into_value)
    }

    /// Puts a mapping in, locked, that takes the upper part of another over, which is locked, and whose range ends
    /// before it from then on. Room was made by [`VmaTree::reserve`].
    ///
    /// # Errors
    /// Gives the mapping back when nobody made room and there is no memory, or when it is not the upper part of one.
    #[track_caller]
    pub(crate) fn split(&mut self, upper: VmaBox) -> Result<(), VmaBox> {
        let at = upper.start();
        let Some(whole) = self.tree.lookup(at.get()) else { return Err(upper) };
        let (low, cell) = (whole.start, NonNull::from(whole.value));
        debug_assert!(
            whole.value.is_write_locked(&self.core.write_time),
            "not locked: what is split at {at:?}"
        );
        whole.value.write(&self.core.write_time);
        upper.lock_new(&self.core.write_time);
        self.tree.split(low, at.get(), at.get(), upper).map_err(InsertError::into_value)?;
        // SAFETY: in the tree still, and locked; the tree is borrowed exclusively.
        unsafe { cell.as_ref().vma_mut() }.range.end = at;
        Ok(())
    }

    /// Takes the mapping out that `addr` is in, and that is locked.
    #[track_caller]
    pub(crate) fn remove(&mut self, addr: VirtAddr) -> Option<VmaBox> {
        let vma = self.tree.remove(addr.get())?.value;
        debug_assert!(vma.is_write_locked(&self.core.write_time), "{:?} goes and is not locked", vma.range());
        vma.detach(&self.core.write_time);
        Some(vma)
    }

    /// Takes all mappings out that have a byte in `range`, ascending; they are locked.
    pub(crate) fn remove_range(&mut self, range: VirtRange, mut out: impl FnMut(VmaBox)) {
        let time = &self.core.write_time;
        self.tree.remove_range(range.start.get(), range.end.get(), |entry| {
            let vma = entry.value;
            debug_assert!(vma.is_write_locked(time), "{:?} goes and is not locked", vma.range());
            vma.detach(time);
            out(vma);
        });
    }

    /// Takes all mappings out, ascending, once nobody reads one.
    pub(crate) fn clear(&mut self, mut out: impl FnMut(VmaBox)) {
        let time = &self.core.write_time;
        self.tree.clear(|entry| {
            entry.value.detach(time);
            out(entry.value);
        });
    }

    /// Gives the mapping that `addr` is in, and that is locked, another range, which overlaps no other mapping and
    /// leaves the order as it is, and another offset. `tell` is shown it before.
    #[track_caller]
    pub(crate) fn resize(&mut self, addr: VirtAddr, range: VirtRange, pgoff: u64, tell: impl FnOnce(&Vma)) {
        let Some(entry) = self.tree.lookup(addr.get()) else {
            return debug_assert!(false, "no mapping at {addr:?}");
        };
        let cell = NonNull::from(entry.value);
        debug_assert!(
            entry.value.is_write_locked(&self.core.write_time),
            "not locked: what becomes {range:?}"
        );
        entry.value.write(&self.core.write_time);
        tell(vma_of(entry.value));
        let resized = self.tree.resize(addr.get(), range.start.get(), range.end.get());
        debug_assert!(resized, "another mapping in {range:?}");
        if resized {
            // SAFETY: in the tree still, and locked; the tree is borrowed exclusively.
            let vma = unsafe { cell.as_ref().vma_mut() };
            (vma.range, vma.pgoff) = (range, pgoff);
        }
    }

    /// The highest `len` bytes within `low..high` that no mapping and no stack's guard gap touches
    /// (Linux: `unmapped_area_topdown`).
    pub(crate) fn gap_top_down(&self, len: u64, low: VirtAddr, mut high: VirtAddr) -> Option<VirtAddr> {
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
    pub(crate) fn gap_bottom_up(&self, len: u64, mut low: VirtAddr, high: VirtAddr) -> Option<VirtAddr> {
        loop {
            let found = VirtAddr::new(self.tree.lowest_gap(len, low.get(), high.get())?);
            match self.find(found) {
                Some(next) if next.start_with_gap() < found + len => low = next.end(),
                _ => return Some(found),
            }
        }
    }

    /// Checks what must hold while nobody faults: the tree, that its ranges are those of the mappings, and that no
    /// mapping's lock was left behind.
    ///
    /// # Panics
    /// When it does not hold.
    pub(crate) fn validate(&self) {
        self.tree.validate();
        for vma in self.iter() {
            let entry = self.tree.find(vma.start().get()).map(|entry| (entry.start, entry.end));
            assert_eq!(entry, Some((vma.start().get(), vma.end().get())), "the range of a mapping");
            assert!(vma.start().is_page_aligned() && vma.end().is_page_aligned());
        }
        assert!(self.tree.iter().all(VmaCell::is_at_rest), "the lock of a mapping was left behind");
    }
}

impl Drop for VmaTree {
    fn drop(&mut self) {
        // The tree itself knows nothing of their locks.
        self.clear(drop);
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

    fn new_tree() -> VmaTree {
        let core = KArc::new(SpaceCore::new(Gfp::KERNEL).unwrap(), Gfp::KERNEL).unwrap();
        VmaTree::new(core).unwrap()
    }

    fn put(tree: &mut VmaTree, start: u64, end: u64, flags: VmFlags) {
        let range = VirtRange::new(addr(start), addr(end));
        let vma = Vma::new(range, flags, start, Backing::Anonymous);
        tree.reserve().unwrap();
        assert!(tree.insert(VmaBox::new(vma, Gfp::KERNEL).unwrap()).is_ok());
    }

    #[test]
    fn stacks_keep_others_away_from_below() {
        let _machine = HostMachine::new(64 << 20, 1);
        let mut tree = new_tree();
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
        let mut tree = new_tree();
        put(&mut tree, 10, 20, VmFlags::READ);
        let upper = |start, end| {
            let range = VirtRange::new(addr(start), addr(end));
            VmaBox::new(Vma::new(range, VmFlags::WRITE, 5, Backing::Anonymous), Gfp::KERNEL).unwrap()
        };
        assert!(tree.split(upper(20, 30)).is_err(), "there is nothing");
        assert!(tree.split(upper(10, 20)).is_err(), "nothing would be left");
        assert!(tree.split(upper(15, 20)).is_ok());
        tree.validate();
        assert_eq!(tree.lookup(addr(14)).map(Vma::range), Some(VirtRange::new(addr(10), addr(15))));
        assert_eq!(tree.lookup(addr(15)).map(Vma::flags), Some(VmFlags::WRITE));
        assert!(tree.iter_back().map(Vma::pages).eq([5, 5]));
        tree.resize(addr(15), VirtRange::new(addr(17), addr(19)), 9, |vma| assert_eq!(vma.pages(), 5));
        tree.validate();
        assert_eq!(tree.overlapping(VirtRange::new(addr(14), addr(17))).count(), 1);
        assert_eq!(tree.find(addr(16)).map(Vma::pgoff), Some(9));
        tree.clear(drop);
        assert!(tree.is_empty());
    }
}
