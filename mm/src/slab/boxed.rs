//! [`KBox`]: the owner of one kernel object (Linux: `KBox` of the Rust support, `kmalloc`/`kfree`).

use core::alloc::Layout;
use core::fmt;
use core::marker::PhantomData;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ops::{Deref, DerefMut};
use core::pin::Pin;
use core::ptr::{self, NonNull};

use super::{kfree, kmalloc};
use crate::error::AllocError;
use crate::gfp::Gfp;

/// Owns one object in kernel memory.
#[repr(transparent)]
pub struct KBox<T: ?Sized> {
    ptr: NonNull<T>,
    owns: PhantomData<T>,
}

// SAFETY: a box owns its object alone.
unsafe impl<T: ?Sized + Send> Send for KBox<T> {}
// SAFETY: a shared box gives out shared references only.
unsafe impl<T: ?Sized + Sync> Sync for KBox<T> {}

impl<T> KBox<T> {
    /// Puts `value` into a new object.
    ///
    /// # Errors
    /// No memory; `value` is dropped.
    #[inline]
    pub fn new(value: T, gfp: Gfp) -> Result<Self, AllocError> {
        Ok(KBox::<T>::new_uninit(gfp)?.write(value))
    }

    /// As [`KBox::new`] of what `make` returns, which is called only once there is memory for it, so
    /// that a large value need not be on the stack.
    ///
    /// # Errors
    /// No memory.
    #[inline]
    pub fn new_with(gfp: Gfp, make: impl FnOnce() -> T) -> Result<Self, AllocError> {
        Ok(KBox::<T>::new_uninit(gfp)?.write(make()))
    }

    /// An object with nothing in it yet, to be filled where it is. With `ZERO` in `gfp` its bytes are 0.
    ///
    /// # Errors
    /// No memory.
    #[inline]
    pub fn new_uninit(gfp: Gfp) -> Result<KBox<MaybeUninit<T>>, AllocError> {
        let ptr = kmalloc(Layout::new::<T>(), gfp)?.cast();
        // SAFETY: a new allocation of that layout, which nobody else knows.
        Ok(unsafe { KBox::from_raw(ptr.as_ptr()) })
    }

    /// An object that `init` fills where it is, for what is too large for the stack.
    ///
    /// # Errors
    /// No memory, or what `init` says; the object is given back then, without dropping what is in it.
    ///
    /// # Safety
    /// When `init` returns `Ok`, the object is initialised.
    pub unsafe fn try_init<E: From<AllocError>>(
        gfp: Gfp,
        init: impl FnOnce(&mut MaybeUninit<T>) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut object = KBox::<T>::new_uninit(gfp)?;
        init(&mut object)?;
        // SAFETY: the caller vouches for `init`.
        Ok(unsafe { object.assume_init() })
    }

    /// Takes the value out.
    pub fn into_inner(this: Self) -> T {
        let ptr = KBox::into_raw(this).cast::<MaybeUninit<T>>();
        // SAFETY: the same object, as one that is not dropped.
        let object = unsafe { KBox::from_raw(ptr) };
        // SAFETY: a box holds a valid value; it is moved out and not dropped with the box.
        unsafe { object.assume_init_read() }
    }
}

impl<T> KBox<MaybeUninit<T>> {
    /// Fills the object.
    #[inline(always)]
    pub fn write(mut self, value: T) -> KBox<T> {
        (*self).write(value);
        // SAFETY: it was filled just now.
        unsafe { self.assume_init() }
    }

    /// The object as what it is, filled.
    ///
    /// # Safety
    /// It is initialised.
    #[inline(always)]
    pub unsafe fn assume_init(self) -> KBox<T> {
        // SAFETY: the same object; the caller vouches for its value.
        unsafe { KBox::from_raw(KBox::into_raw(self).cast()) }
    }
}

impl<T> KBox<[T]> {
    /// A slice of `len` values, made one after the other by `make(index)`.
    ///
    /// # Errors
    /// No memory.
    pub fn from_fn(len: usize, gfp: Gfp, make: impl FnMut(usize) -> T) -> Result<Self, AllocError> {
        let mut values = super::KVec::with_capacity(len, gfp)?;
        values.try_extend((0..len).map(make), gfp)?;
        values.into_boxed_slice(gfp)
    }
}

impl KBox<[u8]> {
    /// `len` zero bytes.
    ///
    /// # Errors
    /// No memory.
    pub fn zeroed(len: usize, gfp: Gfp) -> Result<Self, AllocError> {
        let layout = Layout::array::<u8>(len).map_err(|_| AllocError)?;
        let ptr = kmalloc(layout, gfp | Gfp::ZERO)?;
        // SAFETY: a new allocation of `len` bytes, all 0, which nobody else knows.
        Ok(unsafe { KBox::from_raw(ptr::slice_from_raw_parts_mut(ptr.as_ptr(), len)) })
    }
}

impl<T: ?Sized> KBox<T> {
    /// Lets go of the box but not of the object.
    #[inline(always)]
    pub fn into_raw(this: Self) -> *mut T {
        ManuallyDrop::new(this).ptr.as_ptr()
    }

    /// The reverse of [`KBox::into_raw`].
    ///
    /// # Safety
    /// `ptr` comes from [`KBox::into_raw`], perhaps cast to a trait object or between types of the same
    /// layout, and is owned by the caller, who gives it away here.
    #[inline(always)]
    pub unsafe fn from_raw(ptr: *mut T) -> Self {
        // SAFETY: the pointer of a box is not null.
        Self { ptr: unsafe { NonNull::new_unchecked(ptr) }, owns: PhantomData }
    }

    /// Keeps the object for ever.
    pub fn leak<'a>(this: Self) -> &'a mut T
    where
        T: 'a,
    {
        // SAFETY: nobody else knows the object, and it is never given back.
        unsafe { &mut *KBox::into_raw(this) }
    }

    /// The object, which never moves while the box owns it.
    pub fn into_pin(this: Self) -> Pin<Self> {
        // SAFETY: moving a box does not move its object, which is dropped where it is.
        unsafe { Pin::new_unchecked(this) }
    }

    /// Where the object is.
    #[inline(always)]
    pub fn as_ptr(this: &Self) -> *mut T {
        this.ptr.as_ptr()
    }
}

/// Turns a `KBox<T>` into a `KBox<dyn Trait>`: `kbox_dyn!(KBox::new(value, gfp)? => dyn Trait)`.
#[macro_export]
macro_rules! kbox_dyn {
    ($boxed:expr => $Trait:ty) => {{
        let raw = $crate::slab::KBox::into_raw($boxed);
        // SAFETY: the pointer of a box, unsized by the compiler.
        unsafe { $crate::slab::KBox::from_raw(raw as *mut $Trait) }
    }};
}

impl<T: ?Sized> Drop for KBox<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the box owns a valid value, and nobody sees it after this.
        let bytes = unsafe {
            let bytes = size_of_val(self.ptr.as_ref());
            self.ptr.drop_in_place();
            bytes
        };
        if bytes != 0 {
            // SAFETY: allocated by `kmalloc` or a cache, as it has a size; the value is gone.
            unsafe { kfree(self.ptr.cast()) };
        }
    }
}

impl<T: ?Sized> Deref for KBox<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the box owns a valid value.
        unsafe { self.ptr.as_ref() }
    }
}

impl<T: ?Sized> DerefMut for KBox<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the box owns a valid value alone.
        unsafe { self.ptr.as_mut() }
    }
}

impl<T: ?Sized> AsRef<T> for KBox<T> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T: ?Sized> core::borrow::Borrow<T> for KBox<T> {
    fn borrow(&self) -> &T {
        self
    }
}

impl<T: ?Sized> Unpin for KBox<T> {}

impl<T: ?Sized + fmt::Debug> fmt::Debug for KBox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for KBox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + PartialEq> PartialEq for KBox<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: ?Sized + Eq> Eq for KBox<T> {}
