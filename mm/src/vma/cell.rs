//! A mapping as the store has it: with its lock, and freed when no reader without `mmap_lock` can be at it any more
//! (Linux: `vm_area_alloc`, `vm_area_free`).
//!
//! Who sees what. Under `mmap_lock` the store gives out references to the mapping. A fault without `mmap_lock` has a
//! pointer that it found in the store, for as long as it reads under RCU; it looks at the lock alone, and at the
//! mapping only once it has that for reading. The writer changes a mapping only with its lock, and drops what one
//! holds (its file, its chain) only once it is out of the store and detached. The memory alone waits for the readers'
//! grace period.

use core::cell::UnsafeCell;
use core::mem::{ManuallyDrop, MaybeUninit, offset_of};
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use super::Vma;
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::maple::Stored;
use crate::rcu::{self, Head};
use crate::slab::KBox;
use crate::sync::{Nesting, Rank, RawVmaLock, WriteTime, acquire, might_sleep, release};

/// See the head of the room.
#[repr(C)]
pub(crate) struct VmaCell {
    vma: UnsafeCell<Vma>,
    lock: RawVmaLock,
    head: Head,
}

/// Two lines of a cache, the lock in the second.
const _: () = assert!(size_of::<VmaCell>() == 128 && offset_of!(VmaCell, lock) >= 64);

// SAFETY: the mapping is shared under `mmap_lock` or its lock for reading, and changed by who has both for writing.
unsafe impl Sync for VmaCell where Vma: Send + Sync {}

impl VmaCell {
    /// The mapping.
    ///
    /// # Safety
    /// For as long as it is used, nobody changes the mapping.
    #[inline(always)]
    pub(super) unsafe fn vma(&self) -> &Vma {
        // SAFETY: the caller vouches for it.
        unsafe { &*self.vma.get() }
    }

    /// The mapping, to be changed.
    ///
    /// # Safety
    /// For as long as it is used, nobody else looks at the mapping.
    #[expect(clippy::mut_from_ref, reason = "the lock is beside it, and others look at that")]
    #[inline(always)]
    pub(super) unsafe fn vma_mut(&self) -> &mut Vma {
        // SAFETY: the caller vouches for it.
        unsafe { &mut *self.vma.get() }
    }

    /// Its lock, which may be asked about by all who found it and read under RCU still.
    ///
    /// # Safety
    /// The cell is not freed as long as the lock is used.
    #[inline(always)]
    pub(super) unsafe fn lock_of<'a>(this: NonNull<Self>) -> &'a RawVmaLock {
        // SAFETY: the caller vouches for it; no more than the lock is borrowed.
        unsafe { &(*this.as_ptr()).lock }
    }

    /// Where it is in the order of locks.
    #[inline(always)]
    pub(super) fn address(this: NonNull<Self>) -> usize {
        this.addr().get()
    }

    /// Locks it until the end of the writer's time, if it is not.
    #[inline]
    #[track_caller]
    pub(super) fn write(&self, time: &WriteTime) {
        if !self.lock.is_write_locked(time) {
            self.note();
            self.lock.write(time);
        }
    }

    /// Locks it for good.
    #[inline]
    #[track_caller]
    pub(super) fn detach(&self, time: &WriteTime) {
        if !self.lock.is_write_locked(time) {
            self.note();
        }
        self.lock.detach();
    }

    /// Whether the writer has locked it.
    pub(super) fn is_write_locked(&self, time: &WriteTime) -> bool {
        self.lock.is_write_locked(time)
    }

    /// Whether nobody has its lock, but the writer whose time it is.
    pub(super) fn is_at_rest(&self) -> bool {
        !self.lock.has_readers() && !self.lock.is_detached()
    }

    /// Readers are waited for here, and only here: the order is checked, and the lock is not held in its sense, as one
    /// writer may lock as many mappings as there are.
    #[inline(always)]
    #[track_caller]
    fn note(&self) {
        might_sleep();
        let address = Self::address(NonNull::from(self));
        acquire(Rank::Vma, address, Nesting::None);
        release(address);
    }
}

/// Owns a mapping that nobody finds in a store: not yet, or not any more and detached.
pub(crate) struct VmaBox(ManuallyDrop<KBox<VmaCell>>);

impl VmaBox {
    /// A mapping for a store.
    ///
    /// # Errors
    /// No memory; `vma` is dropped.
    #[inline]
    pub(crate) fn new(vma: Vma, gfp: Gfp) -> Result<Self, AllocError> {
        let cell = VmaCell { vma: UnsafeCell::new(vma), lock: RawVmaLock::default(), head: Head::new() };
        Ok(Self(ManuallyDrop::new(KBox::new(cell, gfp)?)))
    }

    /// Has it found locked by the writer whose time it is.
    #[inline]
    pub(super) fn lock_new(&self, time: &WriteTime) {
        self.0.lock.lock_new(time);
    }

    /// As [`VmaCell::detach`].
    #[inline]
    #[track_caller]
    pub(super) fn detach(&self, time: &WriteTime) {
        self.0.detach(time);
    }

    /// As [`VmaCell::is_write_locked`].
    pub(super) fn is_write_locked(&self, time: &WriteTime) -> bool {
        self.0.is_write_locked(time)
    }
}

impl Deref for VmaBox {
    type Target = Vma;

    #[inline(always)]
    fn deref(&self) -> &Vma {
        // SAFETY: the box is its mapping's only owner, and nobody else gets in.
        unsafe { self.0.vma() }
    }
}

impl DerefMut for VmaBox {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Vma {
        // SAFETY: as above, and the box is borrowed exclusively.
        unsafe { self.0.vma_mut() }
    }
}

impl Drop for VmaBox {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: it is not used again.
        let cell = KBox::into_raw(unsafe { ManuallyDrop::take(&mut self.0) });
        // SAFETY: the box was its only owner; readers who found it look at its lock, and do not get in. The head is the
        // object's, by a pointer that is good for all of it.
        unsafe {
            (*cell).vma.get().drop_in_place();
            rcu::call(NonNull::new_unchecked(&raw mut (*cell).head), free);
        }
    }
}

/// # Safety
/// `head` is that of a cell whose mapping was dropped, and no reader is at it any more.
unsafe fn free(head: NonNull<Head>) {
    // SAFETY: it is in the cell, which came from a box; there is nothing more to drop.
    unsafe {
        let cell = head.byte_sub(offset_of!(VmaCell, head)).cast::<MaybeUninit<VmaCell>>();
        drop(KBox::from_raw(cell.as_ptr()));
    }
}

// SAFETY: a cell stays where it is.
unsafe impl Stored for VmaBox {
    type Target = VmaCell;

    #[inline(always)]
    fn into_value(self) -> NonNull<VmaCell> {
        // SAFETY: the box is not used again.
        let cell = unsafe { ManuallyDrop::take(&mut ManuallyDrop::new(self).0) };
        // SAFETY: the pointer of a box is not null.
        unsafe { NonNull::new_unchecked(KBox::into_raw(cell)) }
    }

    #[inline(always)]
    unsafe fn from_value(value: NonNull<VmaCell>) -> Self {
        // SAFETY: the caller vouches for it.
        Self(ManuallyDrop::new(unsafe { KBox::from_raw(value.as_ptr()) }))
    }
}
