//! A hart's own free objects of one cache, ready to be taken: a small stack of pointers (Linux 6.18:
//! sheaves; the per-hart slab of `mm/slub.c` before).
//!
//! Only its hart touches it, with interrupts off; others look at it for statistics. The cursor says by
//! its own low bits that the stack is full, and the entry below the first is null, so that neither test
//! needs another load. A sheaf is full and empty at once until its cache uses it: every operation goes
//! the slow way then, which sets it up.
//!
//! Models of `mm/tests/loom` are of this very source.

use core::ptr::{NonNull, null_mut};

use super::shim::{AtomicPtr, AtomicU32, Ordering::Relaxed};

/// Bytes of a sheaf, and its alignment.
pub(super) const SHEAF_SIZE: usize = 256;
/// Bytes of a slot; loom's are larger.
const SLOT: usize = size_of::<AtomicPtr<u8>>();
const SLOTS: usize = (SHEAF_SIZE - SLOT - 2 * size_of::<AtomicU32>()) / SLOT;
/// The most objects that a sheaf holds: one slot is for the null at the bottom.
pub(super) const SHEAF_MOST: usize = SLOTS - 1;

/// See the head of the room.
#[repr(C, align(256))]
#[derive(Debug)]
pub(super) struct Sheaf {
    /// The first free slot; one past the last when full.
    cursor: AtomicPtr<AtomicPtr<u8>>,
    /// How often it was filled from the slabs, and emptied into them. They wrap.
    refills: AtomicU32,
    flushes: AtomicU32,
    slots: [AtomicPtr<u8>; SLOTS],
}

const _: () = assert!(size_of::<Sheaf>() == SHEAF_SIZE);

impl Sheaf {
    /// Empty memory as a sheaf, to be [`Sheaf::reset`].
    #[cfg(any(test, loom))]
    #[cfg_attr(loom, allow(dead_code))]
    pub(super) fn new() -> Self {
        Self {
            cursor: AtomicPtr::new(null_mut()),
            refills: AtomicU32::new(0),
            flushes: AtomicU32::new(0),
            slots: core::array::from_fn(|_| AtomicPtr::new(null_mut())),
        }
    }

    fn end(&self) -> *mut AtomicPtr<u8> {
        self.slots.as_ptr_range().end.cast_mut()
    }

    /// Makes it one that no cache uses yet.
    pub(super) fn reset(&self) {
        self.slots[SLOTS - 1].store(null_mut(), Relaxed);
        self.cursor.store(self.end(), Relaxed);
    }

    /// Whether it waits to be set up: full and empty.
    pub(super) fn is_idle(&self) -> bool {
        self.cursor.load(Relaxed) == self.end() && self.slots[SLOTS - 1].load(Relaxed).is_null()
    }

    /// Sets it up, empty, for at most `capacity` objects.
    pub(super) fn start(&self, capacity: usize) {
        let bottom = SLOTS - 1 - capacity.min(SHEAF_MOST);
        self.slots[bottom].store(null_mut(), Relaxed);
        let first = self.slots.as_ptr().wrapping_add(bottom + 1);
        self.cursor.store(first.cast_mut(), Relaxed);
    }

    /// Takes an object off; `None` when it is empty.
    #[inline(always)]
    pub(super) fn pop(&self) -> Option<NonNull<u8>> {
        // SAFETY: the cursor is never below the slot behind the null.
        let below = unsafe { self.cursor.load(Relaxed).sub(1) };
        // SAFETY: a slot of this sheaf.
        let object = NonNull::new(unsafe { (*below).load(Relaxed) })?;
        self.cursor.store(below, Relaxed);
        Some(object)
    }

    /// Puts an object on; `false` when it is full.
    #[inline(always)]
    pub(super) fn push(&self, object: NonNull<u8>) -> bool {
        let at = self.cursor.load(Relaxed);
        if at.addr().is_multiple_of(SHEAF_SIZE) {
            return false;
        }
        // SAFETY: not the end, so a free slot of this sheaf.
        unsafe {
            (*at).store(object.as_ptr(), Relaxed);
            self.cursor.store(at.add(1), Relaxed);
        }
        true
    }

    /// Takes the oldest objects out, as many as `out` has room for; those that stay are the ones used
    /// last. Says how many.
    pub(super) fn take_oldest(&self, out: &mut [*mut u8]) -> usize {
        let objects = self.objects();
        let count = out.len().min(objects.len());
        for (out, slot) in out.iter_mut().zip(objects) {
            *out = slot.load(Relaxed);
        }
        for at in count..objects.len() {
            objects[at - count].store(objects[at].load(Relaxed), Relaxed);
        }
        self.cursor.store(self.cursor.load(Relaxed).wrapping_sub(count), Relaxed);
        count
    }

    /// Counts that the hart got objects from the slabs.
    pub(super) fn count_refill(&self) {
        self.refills.store(self.refills.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Counts that the hart gave objects to the slabs.
    pub(super) fn count_flush(&self) {
        self.flushes.store(self.flushes.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// How often objects came from the slabs and went to them.
    pub(super) fn moves(&self) -> (u32, u32) {
        (self.refills.load(Relaxed), self.flushes.load(Relaxed))
    }

    /// The slots with objects, oldest first. From another hart a glimpse, good for counting.
    pub(super) fn objects(&self) -> &[AtomicPtr<u8>] {
        let used = (self.cursor.load(Relaxed).addr() - self.slots.as_ptr().addr()) / SLOT;
        let used = &self.slots[..used.min(SLOTS)];
        match used.iter().rposition(|slot| slot.load(Relaxed).is_null()) {
            Some(bottom) => &used[bottom + 1..],
            // Another hart filled it while we looked.
            None => &[],
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn object(n: usize) -> NonNull<u8> {
        NonNull::without_provenance(core::num::NonZero::new(n * 8).unwrap())
    }

    #[test]
    fn a_sheaf_is_a_stack_with_a_bound() {
        let sheaf = Sheaf::new();
        for capacity in [1, 2, 15, SHEAF_MOST] {
            sheaf.reset();
            assert!(sheaf.is_idle() && sheaf.pop().is_none() && !sheaf.push(object(1)));
            sheaf.start(capacity);
            assert!(!sheaf.is_idle() && sheaf.pop().is_none() && sheaf.objects().is_empty());
            for n in 1..=capacity {
                assert!(sheaf.push(object(n)));
                assert_eq!(sheaf.objects().len(), n);
            }
            assert!(!sheaf.push(object(99)) && !sheaf.is_idle());
            let mut oldest = [null_mut(); 2];
            let taken = sheaf.take_oldest(&mut oldest);
            assert_eq!(taken, capacity.min(2));
            assert_eq!(oldest[0], object(1).as_ptr());
            for n in (taken + 1..=capacity).rev() {
                assert_eq!(sheaf.pop(), Some(object(n)));
            }
            assert!(sheaf.pop().is_none());
        }
    }
}
