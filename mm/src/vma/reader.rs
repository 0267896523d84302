//! How a fault has a mapping without `mmap_lock` (Linux: `lock_vma_under_rcu`, `vma_end_read`).
//!
//! It finds the mapping in the store without a lock, reading under RCU, so that what it found is not freed; tries its
//! lock, which it does not get if a writer is at it or has taken it out; and looks whether the mapping is where it
//! was still. From then on no writer gets by, and RCU is not needed. Where any of this fails, `mmap_lock` is taken:
//! nothing here waits.

use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::NonNull;

use super::Vma;
use super::cell::{VmaBox, VmaCell};
use crate::addr::VirtAddr;
use crate::maple::Reader;
use crate::rcu;
use crate::rmap::SpaceCore;
use crate::slab::KArc;
use crate::sync::{Nesting, Rank, acquire, acquire_tried, might_sleep, release};

/// Finds mappings of one address space without `mmap_lock`.
pub(crate) struct VmaReaders {
    tree: Reader<VmaBox>,
    core: KArc<SpaceCore>,
}

impl VmaReaders {
    pub(super) fn new(tree: Reader<VmaBox>, core: KArc<SpaceCore>) -> Self {
        Self { tree, core }
    }

    /// The mapping that `addr` is in, locked for reading; `None`: look under `mmap_lock`. The caller may sleep, and
    /// holds nothing that ranks below `mmap_lock`.
    #[inline(always)]
    #[track_caller]
    pub(crate) fn lock(&self, addr: VirtAddr) -> Option<VmaGuard<'_>> {
        // Who could not take `mmap_lock` is not to come this far by luck.
        might_sleep();
        let place = core::ptr::from_ref(self).addr();
        acquire(Rank::Mmap, place, Nesting::None);
        release(place);
        let reading = rcu::read();
        let cell = self.tree.lookup(&reading, addr.get()).ok()??.value;
        // SAFETY: it was in the store when this looked.
        unsafe { self.lock_found(reading, cell, addr) }
    }

    /// Locks what was found for `addr`, unless it is not what it was.
    ///
    /// # Safety
    /// `cell` was in the store since `reading` was begun.
    #[inline(always)]
    #[track_caller]
    unsafe fn lock_found(
        &self,
        reading: rcu::ReadGuard,
        cell: NonNull<VmaCell>,
        addr: VirtAddr,
    ) -> Option<VmaGuard<'_>> {
        // SAFETY: as the caller vouches, so that it is not freed before `reading` is dropped.
        let lock = unsafe { VmaCell::lock_of(cell) };
        if !lock.try_read(&self.core.write_time) {
            return None;
        }
        acquire_tried(Rank::Vma, VmaCell::address(cell));
        // Whoever takes it out waits for this from here on.
        let guard = VmaGuard { cell, readers: PhantomData };
        drop(reading);
        // It may have become another range before it was locked.
        guard.range().contains(addr).then_some(guard)
    }
}

/// A mapping, locked for reading: it stays as it is, and in its place.
#[must_use = "the lock is given back once the guard is dropped"]
pub(crate) struct VmaGuard<'a> {
    cell: NonNull<VmaCell>,
    readers: PhantomData<&'a VmaReaders>,
}

impl Deref for VmaGuard<'_> {
    type Target = Vma;

    #[inline(always)]
    fn deref(&self) -> &Vma {
        // SAFETY: a writer that changes the mapping, or takes it out, waits for the guard.
        unsafe { self.cell.as_ref().vma() }
    }
}

impl Drop for VmaGuard<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        release(VmaCell::address(self.cell));
        // SAFETY: as above. Once the count is given back the cell may go; what is used of it then is its address alone.
        unsafe { VmaCell::lock_of(self.cell) }.unlock_read();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{PAGE_SIZE, VirtRange};
    use crate::gfp::Gfp;
    use crate::host::HostMachine;
    use crate::slab::KBox;
    use crate::vma::{Backing, VmFlags, VmaTree};

    const PAGE: u64 = PAGE_SIZE as u64;

    fn addr(page: u64) -> VirtAddr {
        VirtAddr::new(page * PAGE)
    }

    fn range(start: u64, end: u64) -> VirtRange {
        VirtRange::new(addr(start), addr(end))
    }

    fn vma(start: u64, end: u64) -> VmaBox {
        let vma = Vma::new(range(start, end), VmFlags::READ, start, Backing::Anonymous);
        VmaBox::new(vma, Gfp::KERNEL).unwrap()
    }

    /// A mapping of pages 10 to 20 is found; another hart does `change` to the store; then the mapping is locked for
    /// page 15.
    fn found_before(change: impl FnOnce(&mut VmaTree) + Send, check: impl FnOnce(Option<VmaGuard<'_>>)) {
        let machine = HostMachine::new(2 << 20, 2);
        let core = KArc::new(SpaceCore::new(Gfp::KERNEL).unwrap(), Gfp::KERNEL).unwrap();
        let mut tree = VmaTree::new(core).unwrap();
        let readers = tree.readers();
        tree.reserve().unwrap();
        assert!(tree.insert(vma(10, 20)).is_ok());
        assert!(readers.lock(addr(15)).is_none(), "its writer is not done");
        tree.end_write();
        assert!(readers.lock(addr(20)).is_none() && readers.lock(addr(9)).is_none());
        let reading = rcu::read();
        let cell = readers.tree.lookup(&reading, addr(15).get()).unwrap().unwrap().value;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                machine.enter(1);
                change(&mut tree);
            });
        });
        // SAFETY: it was found after `reading` was begun.
        check(unsafe { readers.lock_found(reading, cell, addr(15)) });
        tree.validate();
        drop(tree);
        assert!(readers.lock(addr(15)).is_none(), "found in a store that is gone");
        drop(readers);
        rcu::barrier();
    }

    #[test]
    fn what_nobody_touched_is_had() {
        found_before(|_| (), |found| assert_eq!(found.map(|vma| vma.range()), Some(range(10, 20))));
    }

    #[test]
    fn what_a_writer_is_at_is_not_had() {
        found_before(|tree| assert!(tree.lock(addr(15)).is_some()), |found| assert!(found.is_none()));
    }

    #[test]
    fn what_was_changed_is_had_as_it_is_now() {
        let change = |tree: &mut VmaTree| {
            tree.lookup_mut(addr(15)).unwrap().flags = VmFlags::WRITE;
            tree.end_write();
        };
        found_before(change, |found| assert_eq!(found.map(|vma| vma.flags()), Some(VmFlags::WRITE)));
    }

    #[test]
    fn what_went_is_not_had() {
        let change = |tree: &mut VmaTree| {
            tree.lock(addr(15)).unwrap();
            drop(tree.remove(addr(15)));
            tree.end_write();
            // If the memory were free already, this would be there.
            drop(KBox::new([0_u64; size_of::<VmaCell>() / 8], Gfp::KERNEL).unwrap());
        };
        found_before(change, |found| assert!(found.is_none()));
        let change = |tree: &mut VmaTree| {
            tree.detach_in(range(10, 20)).for_each(|_| ());
            tree.remove_range(range(10, 20), drop);
            // Another is there now.
            tree.reserve().unwrap();
            assert!(tree.insert(vma(12, 16)).is_ok());
            tree.end_write();
        };
        found_before(change, |found| assert!(found.is_none()));
    }

    #[test]
    fn what_is_elsewhere_now_is_not_had() {
        for (start, end) in [(10, 15), (16, 20)] {
            let change = |tree: &mut VmaTree| {
                tree.lock(addr(15)).unwrap();
                tree.resize(addr(10), range(start, end), start, |_| ());
                tree.end_write();
            };
            found_before(change, |found| assert!(found.is_none()));
        }
    }

    #[test]
    #[cfg_attr(debug_assertions, should_panic(expected = "lock order"))]
    fn who_has_what_a_fault_waits_for_is_found_out() {
        let _machine = HostMachine::new(2 << 20, 1);
        let core = KArc::new(SpaceCore::new(Gfp::KERNEL).unwrap(), Gfp::KERNEL).unwrap();
        let readers = VmaTree::new(core).unwrap().readers();
        let lock = crate::sync::Mutex::new(Rank::Folio, ());
        let _held = lock.lock();
        let _ = readers.lock(addr(15));
    }
}
