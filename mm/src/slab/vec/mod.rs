//! [`KVec`]: an array that grows, fallibly.

mod iter;

use core::alloc::Layout;
use core::fmt;
use core::marker::PhantomData;
use core::mem::{self, ManuallyDrop};
use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};

pub use iter::{Drain, IntoIter};

use super::{KBox, kfree, kmalloc, usable_size};
use crate::error::AllocError;
use crate::gfp::Gfp;

/// A growing array in kernel memory, contiguous, so at most the page allocator's largest block. Every
/// growth doubles it, so that appending costs a constant in the mean. A number that a user gave indexes
/// it by `get` only.
pub struct KVec<T> {
    ptr: NonNull<T>,
    len: usize,
    cap: usize,
    owns: PhantomData<T>,
}

// SAFETY: a vector owns its values alone.
unsafe impl<T: Send> Send for KVec<T> {}
// SAFETY: a shared vector gives out shared references only.
unsafe impl<T: Sync> Sync for KVec<T> {}

impl<T> KVec<T> {
    /// The empty array; allocates nothing.
    pub const fn new() -> Self {
        // A value of no size needs no memory for any number of them.
        let cap = if size_of::<T>() == 0 { usize::MAX } else { 0 };
        Self { ptr: NonNull::dangling(), len: 0, cap, owns: PhantomData }
    }

    /// An empty array with room for `cap` values.
    ///
    /// # Errors
    /// No memory.
    pub fn with_capacity(cap: usize, gfp: Gfp) -> Result<Self, AllocError> {
        let mut vec = Self::new();
        vec.reserve(cap, gfp)?;
        Ok(vec)
    }

    /// A copy of `values`.
    ///
    /// # Errors
    /// No memory.
    pub fn from_slice(values: &[T], gfp: Gfp) -> Result<Self, AllocError>
    where
        T: Clone,
    {
        let mut vec = Self::new();
        vec.extend_from_slice(values, gfp)?;
        Ok(vec)
    }

    /// How many values there is room for without growth.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.cap
    }

    /// Makes room for `more` values beyond those that are there.
    ///
    /// # Errors
    /// No memory; nothing changed.
    #[inline]
    pub fn reserve(&mut self, more: usize, gfp: Gfp) -> Result<(), AllocError> {
        if self.cap - self.len >= more { Ok(()) } else { self.grow(more, gfp) }
    }

    #[cold]
    fn grow(&mut self, more: usize, gfp: Gfp) -> Result<(), AllocError> {
        let needed = self.len.checked_add(more).ok_or(AllocError)?;
        self.move_to(needed.max(self.cap.saturating_mul(2)), gfp).or_else(|error| {
            // Doubled it may be more than there is.
            if needed < self.cap.saturating_mul(2) { self.move_to(needed, gfp) } else { Err(error) }
        })
    }

    /// Moves the values to an allocation for `cap` values, at least `len`.
    fn move_to(&mut self, cap: usize, gfp: Gfp) -> Result<(), AllocError> {
        debug_assert!(cap >= self.len && size_of::<T>() != 0);
        let layout = Layout::array::<T>(cap).map_err(|_| AllocError)?;
        let bytes = usable_size(layout.size());
        let layout = Layout::from_size_align(bytes, layout.align()).map_err(|_| AllocError)?;
        let ptr: NonNull<T> = kmalloc(layout, gfp)?.cast();
        // SAFETY: both are allocations for at least `len` values, and not the same one.
        unsafe { ptr.copy_from_nonoverlapping(self.ptr, self.len) };
        self.free_memory();
        self.ptr = ptr;
        self.cap = bytes / size_of::<T>();
        Ok(())
    }

    /// Gives the memory back, without dropping values. The caller sets `ptr` and `cap` anew, or is done.
    fn free_memory(&mut self) {
        if size_of::<T>() != 0 && self.cap != 0 {
            // SAFETY: allocated by `move_to`.
            unsafe { kfree(self.ptr.cast()) };
        }
    }

    /// Appends `value`.
    ///
    /// # Errors
    /// No memory; nothing changed, `value` is dropped.
    #[inline]
    pub fn push(&mut self, value: T, gfp: Gfp) -> Result<(), AllocError> {
        self.reserve(1, gfp)?;
        // SAFETY: there is room behind the last value.
        unsafe { self.ptr.add(self.len).write(value) };
        self.len += 1;
        Ok(())
    }

    /// Appends `value` if that needs no growth; gives it back otherwise.
    #[inline]
    pub fn push_within_capacity(&mut self, value: T) -> Result<(), T> {
        if self.len == self.cap {
            return Err(value);
        }
        // SAFETY: there is room behind the last value.
        unsafe { self.ptr.add(self.len).write(value) };
        self.len += 1;
        Ok(())
    }

    /// Takes the last value off.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: the value is there, and now beyond the end.
        Some(unsafe { self.ptr.add(self.len).read() })
    }

    /// Puts `value` in front of the value at `index`, at most `len`.
    ///
    /// # Errors
    /// No memory; nothing changed, `value` is dropped.
    ///
    /// # Panics
    /// When `index` is beyond the end.
    pub fn insert(&mut self, index: usize, value: T, gfp: Gfp) -> Result<(), AllocError> {
        assert!(index <= self.len, "insert at {index} of {}", self.len);
        self.reserve(1, gfp)?;
        // SAFETY: there is room for one more; the values from `index` on move up into it.
        unsafe {
            let at = self.ptr.add(index);
            at.copy_to(at.add(1), self.len - index);
            at.write(value);
        }
        self.len += 1;
        Ok(())
    }

    /// Takes the value at `index` out; those behind it move up.
    ///
    /// # Panics
    /// When there is none.
    pub fn remove(&mut self, index: usize) -> T {
        assert!(index < self.len, "remove {index} of {}", self.len);
        self.len -= 1;
        // SAFETY: the value is there; those behind it close the gap.
        unsafe {
            let at = self.ptr.add(index);
            let value = at.read();
            at.copy_from(at.add(1), self.len - index);
            value
        }
    }

    /// Takes the value at `index` out; the last one takes its place.
    ///
    /// # Panics
    /// When there is none.
    pub fn swap_remove(&mut self, index: usize) -> T {
        let last = self.len.saturating_sub(1);
        self.swap(index, last);
        self.remove(last)
    }

    /// Drops the values from `len` on.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len {
            let gone = self.len - len;
            // First the length: a drop that panics leaks, and drops nothing twice.
            self.len = len;
            // SAFETY: the values are there and beyond the end now.
            unsafe { ptr::slice_from_raw_parts_mut(self.ptr.add(len).as_ptr(), gone).drop_in_place() };
        }
    }

    /// Drops all values; the memory stays.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Appends copies of `values`.
    ///
    /// # Errors
    /// No memory; nothing changed.
    pub fn extend_from_slice(&mut self, values: &[T], gfp: Gfp) -> Result<(), AllocError>
    where
        T: Clone,
    {
        self.reserve(values.len(), gfp)?;
        for value in values {
            // SAFETY: there is room for all of them.
            unsafe { self.ptr.add(self.len).write(value.clone()) };
            self.len += 1;
        }
        Ok(())
    }

    /// Appends what `values` yields.
    ///
    /// # Errors
    /// No memory; what was appended until then stays.
    pub fn try_extend(&mut self, values: impl IntoIterator<Item = T>, gfp: Gfp) -> Result<(), AllocError> {
        let mut values = values.into_iter();
        self.reserve(values.size_hint().0, gfp)?;
        values.try_for_each(|value| self.push(value, gfp))
    }

    /// Makes it `len` values long, with copies of `value` where it grows.
    ///
    /// # Errors
    /// No memory; nothing changed.
    pub fn resize(&mut self, len: usize, value: T, gfp: Gfp) -> Result<(), AllocError>
    where
        T: Clone,
    {
        self.reserve(len.saturating_sub(self.len), gfp)?;
        self.truncate(len);
        while self.len < len {
            // SAFETY: there is room for `len` values.
            unsafe { self.ptr.add(self.len).write(value.clone()) };
            self.len += 1;
        }
        Ok(())
    }

    /// Keeps the values that `keep` says yes to, in their order.
    pub fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        let len = mem::take(&mut self.len);
        for index in 0..len {
            // SAFETY: below the old length, and looked at once; the length counts what was kept, which
            // is packed below `index`. A `keep` that panics leaks the rest.
            unsafe {
                let at = self.ptr.add(index);
                if keep(&mut *at.as_ptr()) {
                    self.ptr.add(self.len).copy_from(at, 1);
                    self.len += 1;
                } else {
                    at.drop_in_place();
                }
            }
        }
    }

    /// A copy.
    ///
    /// # Errors
    /// No memory.
    pub fn try_clone(&self, gfp: Gfp) -> Result<Self, AllocError>
    where
        T: Clone,
    {
        Self::from_slice(self, gfp)
    }

    /// The array with no room to grow.
    ///
    /// # Errors
    /// No memory for a smaller allocation.
    pub fn into_boxed_slice(mut self, gfp: Gfp) -> Result<KBox<[T]>, AllocError> {
        if size_of::<T>() != 0 && self.len == 0 {
            self.free_memory();
            (self.ptr, self.cap) = (NonNull::dangling(), 0);
        } else if size_of::<T>() != 0 && usable_size(self.len * size_of::<T>()) / size_of::<T>() < self.cap {
            self.move_to(self.len, gfp)?;
        }
        let this = ManuallyDrop::new(self);
        // SAFETY: an allocation of its own with `len` values, or a dangling pointer for no bytes.
        Ok(unsafe { KBox::from_raw(ptr::slice_from_raw_parts_mut(this.ptr.as_ptr(), this.len)) })
    }

    /// Sets the length.
    ///
    /// # Safety
    /// `len` is at most the capacity, and the values below it are initialised.
    pub unsafe fn set_len(&mut self, len: usize) {
        debug_assert!(len <= self.cap);
        self.len = len;
    }

    /// Where the values are, the unused capacity behind them included.
    #[inline]
    pub fn as_mut_ptr(&mut self) -> *mut T {
        self.ptr.as_ptr()
    }
}

impl<T> Drop for KVec<T> {
    fn drop(&mut self) {
        self.clear();
        self.free_memory();
    }
}

impl<T> Default for KVec<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Deref for KVec<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: `len` values are there.
        unsafe { core::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for KVec<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: `len` values are there, owned alone.
        unsafe { core::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
}

impl<T> AsRef<[T]> for KVec<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T: fmt::Debug> fmt::Debug for KVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: PartialEq> PartialEq for KVec<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq> Eq for KVec<T> {}
